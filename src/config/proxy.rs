//! The forward proxy of a target, from text. Nothing given here is ever shown: an address may carry a password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

use super::kind::Fault;
use crate::private::Private;
use crate::sender::network::{Proxy, ProxySettings};

const REMEDY: &str = "write \"environment\", \"none\" or \"http://user:password@host:port\"; \
                      encode special characters of the password, for example `@` as %40";

/// `environment`, `none`, or the address of an HTTP proxy.
pub(super) fn parse(text: &str) -> Result<ProxySettings, Fault> {
    match text {
        "environment" => return Ok(ProxySettings::Environment),
        "none" => return Ok(ProxySettings::Direct),
        _ => {}
    }
    let mut address =
        Url::parse(text).map_err(|error| Fault::new(format!("is not a proxy's address: {error}"), REMEDY))?;
    if address.scheme() != "http" {
        return Err(Fault::new(
            "is not an http:// address; only HTTP proxies that understand CONNECT are spoken to",
            REMEDY,
        ));
    }
    if address.path() != "/" || address.query().is_some() || address.fragment().is_some() {
        return Err(Fault::new("has something behind the host and the port", REMEDY));
    }
    let authorization = authorization(&address)?;
    if address.set_username("").is_err() || address.set_password(None).is_err() {
        return Err(Fault::new("is an address that cannot carry a user name", REMEDY));
    }
    Ok(ProxySettings::Fixed(Proxy { address, authorization }))
}

/// RFC 7617: base64 of `user:password`; the user name cannot hold a colon.
fn authorization(address: &Url) -> Result<Option<Private>, Fault> {
    if address.username().is_empty() && address.password().is_none() {
        return Ok(None);
    }
    let user: Vec<u8> = percent_decode_str(address.username()).collect();
    if user.contains(&b':') {
        return Err(Fault::new("has a colon in the user name, which HTTP cannot send", REMEDY));
    }
    let mut pair = user;
    pair.push(b':');
    pair.extend(percent_decode_str(address.password().unwrap_or_default()));
    Ok(Some(Private::new(format!("Basic {}", STANDARD.encode(pair)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(text: &str) -> Proxy {
        match parse(text) {
            Ok(ProxySettings::Fixed(proxy)) => proxy,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn credentials_leave_the_address_and_become_a_header() {
        let proxy = fixed("http://relay:p%40ss%3Aword@proxy.example:3128");
        assert_eq!(proxy.address.as_str(), "http://proxy.example:3128/");
        assert_eq!(proxy.authorization.unwrap().expose(), format!("Basic {}", STANDARD.encode("relay:p@ss:word")));
    }

    #[test]
    fn a_proxy_without_credentials_sends_none() {
        assert_eq!(fixed("http://10.0.0.1:3128").authorization, None);
        assert!(matches!(parse("none"), Ok(ProxySettings::Direct)));
        assert!(matches!(parse("environment"), Ok(ProxySettings::Environment)));
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_without_being_shown() {
        for text in [
            "https://canary:canary@host:1",
            "socks5://canary:canary@host:1",
            "http://canary:canary@host:1/canary",
            "http://canary%3A:canary@host:1",
            "http://canary:canary@:1",
            "canary",
            "Environment canary",
        ] {
            let fault = parse(text).unwrap_err();
            assert!(!fault.what.contains("canary"), "{}", fault.what);
        }
    }
}
