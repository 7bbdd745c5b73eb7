//! Why no answer came, in a fixed set of words. The HTTP library's own errors quote addresses, so none of them goes
//! further than this.

use std::error::Error;
use std::io;

use crate::outcome::Reason;

/// What kept an answer from coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The name could not be resolved.
    Dns,
    /// A proxy is configured and could not be reached, or did not let us through.
    Proxy,
    /// No trust, or no common ground, in TLS.
    Tls,
    /// TCP was refused or took too long.
    Connect,
    /// The other side says in TLS that it does not speak HTTP/2. Noticed once; after that, HTTP/1.1 is used.
    Http2Missing,
    /// The other side says that it did not look at the request (RFC 9113, 8.7).
    Refused,
    /// Time ran out while waiting for the answer.
    Timeout,
    /// The connection broke.
    Broken,
}

impl Trouble {
    /// From what the HTTP client reports. With a proxy, failing to connect is the proxy's doing.
    pub(super) fn of(error: &reqwest::Error, proxied: bool) -> Self {
        if let Some(tls) = cause::<rustls::Error>(error) {
            let alert = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
            return if *tls == alert {
                Self::Http2Missing
            } else if error.is_connect() {
                Self::Tls
            } else {
                Self::Broken
            };
        }
        if error.is_connect() {
            return match proxied {
                _ if error.is_dns() => Self::Dns,
                true => Self::Proxy,
                false => Self::Connect,
            };
        }
        if let Some(h2) = cause::<h2::Error>(error) {
            let refused = h2.is_remote() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            return if refused { Self::Refused } else { Self::Broken };
        }
        if error.is_timeout() { Self::Timeout } else { Self::Broken }
    }

    /// Nothing of the request can have been looked at.
    pub(super) fn is_unprocessed(self) -> bool {
        match self {
            Self::Dns | Self::Proxy | Self::Tls | Self::Connect | Self::Http2Missing | Self::Refused => true,
            Self::Timeout | Self::Broken => false,
        }
    }

    /// On the way to FCM.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Dns => "dns",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Connect => "connect",
            Self::Http2Missing => "no http/2",
            Self::Refused => "refused stream",
            Self::Timeout => "timeout",
            Self::Broken => "connection",
        }
    }

    /// On the way to an access token.
    pub(super) fn token_reason(self) -> Reason {
        match self {
            Self::Dns => "oauth dns",
            Self::Proxy => "oauth proxy",
            Self::Tls => "oauth tls",
            Self::Connect => "oauth connect",
            Self::Timeout => "oauth timeout",
            Self::Http2Missing | Self::Refused | Self::Broken => "oauth connection",
        }
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
