//! Which forward proxy stands between the relay and an address. Nothing is connected here.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

use super::exceptions;
use crate::private::Private;

/// Where the environment names a proxy for `https` addresses, the first that is set and not empty wins. The order is
/// the reference's: `HTTPS_PROXY` before `HTTP_PROXY`, which alone also serves `https`. Not `ALL_PROXY`: it usually names a
/// SOCKS proxy for other programs.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// Addresses that need no proxy.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Which forward proxy to use.
#[derive(Clone, Debug, Default)]
pub enum ProxySettings {
    /// What `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
    /// This one, for every address.
    Fixed(Proxy),
}

impl ProxySettings {
    /// The proxy to reach this `https` address through; `None` is the direct way.
    ///
    /// # Errors
    /// The environment names a proxy that cannot be used. Whoever set it does not want what it was set for to go past it.
    pub fn for_url(&self, url: &Url) -> Result<Option<Proxy>, UnusableProxy> {
        match self {
            Self::Environment => from_variables(url, |name| std::env::var(name).ok()),
            Self::Direct => Ok(None),
            Self::Fixed(proxy) => Ok(Some(proxy.clone())),
        }
    }
}

/// A variable that names no usable proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable}: {error}. Mend or unset it, or set the target's `proxy` to \"none\" (PUSHRELAY_TARGET__<NAME>__PROXY=none) to connect directly"
)]
pub struct UnusableProxy {
    variable: &'static str,
    error: ProxyError,
}

fn from_variables(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, UnusableProxy> {
    let first_set = |names: &[&'static str]| {
        names.iter().find_map(|name| Some((*name, variable(name).filter(|value| !value.trim().is_empty())?)))
    };
    let Some((variable, value)) = first_set(&VARIABLES) else { return Ok(None) };
    if first_set(&EXCEPTIONS).is_some_and(|(_, entries)| exceptions::cover(&entries, url)) {
        return Ok(None);
    }
    Proxy::read(&value).map(|(proxy, _)| Some(proxy)).map_err(|error| UnusableProxy { variable, error })
}

/// A forward proxy that understands CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://host:port` without credentials: safe to show.
    pub address: Url,
    /// What to send as `Proxy-Authorization`.
    pub authorization: Option<Private>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}, authorization: {:?})", self.address, self.authorization)
    }
}

/// Why a text names no usable proxy. Never quotes the text: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL.
    #[error(
        "this is not a proxy address; write it as `http://host:port` or `http://user:password@host:port`, with special characters in the password percent-encoded"
    )]
    Unreadable,
    /// `DOMAIN\user`, as Windows has it.
    #[error(
        "a backslash cannot stand in a proxy address as it is; write it as `%5C`, so `http://DOMAIN%5Cuser:password@host:port`"
    )]
    Backslash,
    /// A scheme other than `http`.
    #[error(
        "a proxy with the scheme `{0}` is not supported; the relay speaks CONNECT to an `http://` proxy (what passes through it is encrypted all the same)"
    )]
    Scheme(String),
    /// A path, query or fragment.
    #[error("a proxy address ends after the port; remove what follows it")]
    Path,
}

impl Proxy {
    /// From `http://host:port`, `http://user:password@host:port` or `host:port`. The port defaults to 80.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        match Self::read(text)? {
            (proxy, false) => Ok(proxy),
            (_, true) => Err(ProxyError::Path),
        }
    }

    /// The proxy, and whether something follows the port. In the environment that is passed over, as other programs do: a variable
    /// that serves them must not stop this one.
    fn read(text: &str) -> Result<(Self, bool), ProxyError> {
        let text = text.trim();
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        // To a URL's reader a backslash is a slash: the domain would be taken for the host.
        if text.contains('\\') {
            return Err(ProxyError::Backslash);
        }
        let mut address = Url::parse(&text).map_err(|_| ProxyError::Unreadable)?;
        if address.scheme() != "http" {
            return Err(ProxyError::Scheme(address.scheme().to_owned()));
        }
        let goes_on = address.path() != "/" || address.query().is_some() || address.fragment().is_some();
        address.set_path("");
        address.set_query(None);
        address.set_fragment(None);
        let authorization = match (address.username(), address.password()) {
            ("", None) => None,
            (user, password) => Some(basic(user, password.unwrap_or_default())),
        };
        // Both fail only for addresses without a host, which an `http` URL always has.
        address.set_username("").map_err(|()| ProxyError::Unreadable)?;
        address.set_password(None).map_err(|()| ProxyError::Unreadable)?;
        Ok((Self { address, authorization }, goes_on))
    }
}

/// RFC 7617. The URL holds both parts percent-encoded.
fn basic(user: &str, password: &str) -> Private {
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    Private::new(format!("Basic {}", STANDARD.encode(pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_address_is_read_with_and_without_scheme_port_and_credentials() {
        let cases = [
            ("http://proxy.example:3128", "http://proxy.example:3128/", None),
            ("proxy.example:3128", "http://proxy.example:3128/", None),
            ("  http://proxy.example  ", "http://proxy.example/", None),
            ("http://[::1]:3128", "http://[::1]:3128/", None),
            // `Aladdin:open sesame` is the example of RFC 7617.
            ("http://Aladdin:open%20sesame@p:1", "http://p:1/", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("Aladdin:open%20sesame@p:1", "http://p:1/", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("http://user@p:1", "http://p:1/", Some("Basic dXNlcjo=")),
            (r"http://CORP%5Cuser:x@p:1", "http://p:1/", Some("Basic Q09SUFx1c2VyOng=")),
        ];
        for (text, address, authorization) in cases {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.address.as_str(), address, "{text}");
            assert_eq!(proxy.authorization.as_ref().map(Private::expose), authorization, "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_quoting_it() {
        let cases = [
            ("", ProxyError::Unreadable),
            ("http://", ProxyError::Unreadable),
            ("http://user:canary@:80", ProxyError::Unreadable),
            ("http://p:port", ProxyError::Unreadable),
            ("socks5://user:canary@p:1080", ProxyError::Scheme("socks5".into())),
            ("https://p:443", ProxyError::Scheme("https".into())),
            ("http://p:1/canary", ProxyError::Path),
            ("http://p:1?canary", ProxyError::Path),
            (r"http://CORP\canary:canary@p:1", ProxyError::Backslash),
            (r"CORP\canary:canary@p:1", ProxyError::Backslash),
        ];
        for (text, expected) in cases {
            let error = Proxy::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("canary"), "{text}: {error}");
        }
    }

    #[test]
    fn a_debug_print_shows_the_address_and_hides_the_credentials() {
        let proxy = Proxy::parse("http://user:canary@proxy.example:3128").unwrap();
        let text = format!("{proxy:?} {:?}", ProxySettings::Fixed(proxy.clone()));
        assert!(text.contains("proxy.example:3128") && !text.contains("canary") && !text.contains("dXNlc"), "{text}");
    }

    #[test]
    fn the_environment_is_asked_in_the_documented_order_and_exceptions_are_honoured() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case<'_>; 13] = [
            (&[], None),
            (&[("HTTPS_PROXY", "http://a:1"), ("HTTP_PROXY", "http://b:1")], Some("a")),
            (&[("HTTP_PROXY", "http://b:1")], Some("b")),
            (&[("https_proxy", "http://c:1"), ("http_proxy", "http://d:1")], Some("c")),
            (&[("ALL_PROXY", "socks5h://e:1")], None),
            (&[("HTTPS_PROXY", ""), ("HTTP_PROXY", "b:1")], Some("b")),
            (&[("HTTPS_PROXY", "http://a:1/some/path?query")], Some("a")),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "push.apple.com")], None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "example.org, .apple.com")], None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "*")], None),
            (&[("HTTPS_PROXY", "http://a:1"), ("no_proxy", "example.org")], Some("a")),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "notapple.com")], Some("a")),
            (&[("HTTPS_PROXY", "socks5://a:1"), ("NO_PROXY", "api.push.apple.com")], None),
        ];
        let apple = url("https://api.push.apple.com:443/");
        for (variables, expected) in cases {
            let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            let proxy = from_variables(&apple, lookup).unwrap();
            assert_eq!(proxy.as_ref().and_then(|proxy| proxy.address.host_str()), expected, "{variables:?}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_never_passed_by() {
        let lookup = |name: &str| (name == "HTTPS_PROXY").then(|| "socks5://user:canary@a:1".to_owned());
        let text = from_variables(&url("https://192.0.2.1"), lookup).unwrap_err().to_string();
        assert!(text.starts_with("HTTPS_PROXY: a proxy with the scheme `socks5` is not supported"), "{text}");
        assert!(!text.contains("canary"));
    }
}
