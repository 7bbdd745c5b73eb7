//! Why no answer came, in the transport's fixed set of words. The HTTP library's own errors quote addresses, so none of them
//! goes further than this.

use std::error::Error;
use std::io;

use crate::outcome::Reason;
use crate::sender::transport::Trouble;

/// From what the HTTP client for HTTP/1.1 reports. With a proxy, failing to connect is the proxy's doing.
pub(super) fn of(error: &reqwest::Error, proxied: bool) -> Trouble {
    if cause::<rustls::Error>(error).is_some() {
        return if error.is_connect() { Trouble::Tls } else { Trouble::ConnectionLost };
    }
    if error.is_connect() {
        return match proxied {
            _ if error.is_dns() => Trouble::Dns,
            true => Trouble::Proxy,
            false if error.is_timeout() => Trouble::ConnectTimeout,
            false => match cause::<io::Error>(error).map(io::Error::kind) {
                Some(io::ErrorKind::ConnectionRefused) => Trouble::ConnectRefused,
                _ => Trouble::ConnectFailed,
            },
        };
    }
    if let Some(h2) = cause::<h2::Error>(error) {
        return Trouble::of(h2);
    }
    if error.is_timeout() { Trouble::Timeout } else { Trouble::ConnectionLost }
}

/// Whether nothing of the request can have been looked at.
pub(super) fn is_unprocessed(trouble: Trouble) -> bool {
    match trouble {
        Trouble::Dns
        | Trouble::Proxy
        | Trouble::ProxyAuth
        | Trouble::Tls
        | Trouble::ConnectRefused
        | Trouble::ConnectFailed
        | Trouble::ConnectTimeout
        | Trouble::NoHttp2 => true,
        _ => trouble.is_unprocessed(),
    }
}

/// On the way to an access token.
pub(super) fn token_reason(trouble: Trouble) -> Reason {
    match trouble {
        Trouble::Dns => "oauth dns",
        Trouble::Proxy | Trouble::ProxyAuth => "oauth proxy",
        Trouble::Tls => "oauth tls",
        Trouble::ConnectRefused | Trouble::ConnectFailed | Trouble::ConnectTimeout => "oauth connect",
        Trouble::Timeout | Trouble::NoStream => "oauth timeout",
        _ => "oauth connection",
    }
}

/// The first error of this type among an error's causes. An `io::Error` hides what it wraps from `source`.
fn cause<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| cause::<T>(wrapped)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
