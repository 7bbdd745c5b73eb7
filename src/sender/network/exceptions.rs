//! `NO_PROXY`: which addresses are reached without a proxy. Read as Go's `httpproxy` reads it, which is what operators of the
//! reference know, and which other programs in Go beside it obey. Whether there is a proxy at all is decided elsewhere.
//!
//! Different from Go: `[::1]` without a port counts, and a proxy is asked for loopback addresses, too, unless they are named.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// Whether `exceptions`, entries with commas between, cover the address.
pub(super) fn cover(exceptions: &str, url: &Url) -> bool {
    let Some(host) = url.host() else { return false };
    let port = url.port_or_known_default();
    exceptions.split(',').filter_map(Entry::parse).any(|entry| entry.covers(&host, port))
}

/// One of `NO_PROXY`'s entries.
enum Entry {
    /// `*`
    All,
    /// `192.0.2.0/24`
    Network(IpNet),
    /// `192.0.2.7`, `192.0.2.7:443`, `[2001:db8::1]:443`
    Address { address: IpAddr, port: Port },
    /// `example.com`, `.example.com`, `*.example.com`, each with or without a port. `suffix` begins with a dot.
    Domain { suffix: String, itself: bool, port: Port },
}

/// An entry's port. One that is no number covers nothing, as in Go: no address has such a port.
#[derive(Clone, Copy)]
enum Port {
    Any,
    This(u16),
    None,
}

impl Port {
    fn parse(text: &str) -> Self {
        match text {
            "" => Self::Any,
            _ => text.parse().map_or(Self::None, Self::This),
        }
    }

    fn covers(self, port: Option<u16>) -> bool {
        match self {
            Self::Any => true,
            Self::This(this) => Some(this) == port,
            Self::None => false,
        }
    }
}

impl Entry {
    /// `None` for an entry that names nothing.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        if text == "*" {
            return Some(Self::All);
        }
        if let Ok(network) = text.parse() {
            return Some(Self::Network(network));
        }
        let (host, port) = split(&text);
        if host.is_empty() {
            return None;
        }
        let port = Port::parse(port);
        if let Ok(address) = host.parse() {
            return Some(Self::Address { address, port });
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let (name, itself) = host.strip_prefix('.').map_or((host, true), |name| (name, false));
        Some(Self::Domain { suffix: format!(".{}", ascii(name)), itself, port })
    }

    fn covers(&self, host: &Host<&str>, port: Option<u16>) -> bool {
        let address = match host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address)),
        };
        match (self, host) {
            (Self::All, _) => true,
            (Self::Network(network), _) => address.is_some_and(|address| network.contains(&address)),
            (Self::Address { address: this, port: its }, _) => address == Some(*this) && its.covers(port),
            (Self::Domain { suffix, itself, port: its }, Host::Domain(name)) => {
                (name.ends_with(suffix.as_str()) || *itself && *name == &suffix[1..]) && its.covers(port)
            }
            (Self::Domain { .. }, _) => false,
        }
    }
}

/// Host and port; the port is empty if there is none. An IPv6 address loses its brackets.
fn split(text: &str) -> (&str, &str) {
    if let Some((inside, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (inside, rest.strip_prefix(':').unwrap_or(rest));
    }
    match text.split_once(':') {
        // A second colon makes it an IPv6 address, and no port can follow that without brackets.
        Some((host, port)) if !port.contains(':') => (host, port),
        _ => (text, ""),
    }
}

/// A name as it stands in an address: `xn--…` for what is not ASCII.
fn ascii(name: &str) -> String {
    if name.is_ascii() {
        return name.to_owned();
    }
    match Host::parse(name) {
        Ok(Host::Domain(ascii)) => ascii,
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by `no_proxy_vectors.go` with Go's own package.
    #[derive(serde::Deserialize)]
    struct Vectors {
        addresses: Vec<String>,
        cases: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        no_proxy: String,
        direct: Vec<String>,
    }

    #[test]
    fn every_entry_covers_what_go_has_it_cover() {
        let vectors: Vectors =
            serde_json::from_str(include_str!("../../../tests/fixtures/no_proxy_vectors.json")).unwrap();
        assert!(vectors.cases.len() > 50 && vectors.addresses.len() > 10, "the vectors are not whole");
        for Case { no_proxy, direct } in &vectors.cases {
            let covered: Vec<_> =
                vectors.addresses.iter().filter(|address| cover(no_proxy, &address.parse().unwrap())).collect();
            assert_eq!(covered, direct.iter().collect::<Vec<_>>(), "NO_PROXY={no_proxy:?}");
        }
    }

    #[test]
    fn where_go_is_not_followed_the_entry_means_what_it_says() {
        let cases = [
            ("[::1]", "https://[::1]:2197/", true),
            ("::1", "https://[::1]:2197/", true),
            ("127.0.0.0/8", "https://127.0.0.1:2197/", true),
            ("localhost:2197", "https://localhost:2197/", true),
            ("localhost:443", "https://localhost:2197/", false),
            // Go asks no proxy for a loopback address. A proxy that is set is asked here, unless the address is named.
            ("example.com", "https://127.0.0.1:2197/", false),
            ("", "https://localhost/", false),
        ];
        for (exceptions, address, expected) in cases {
            assert_eq!(cover(exceptions, &address.parse().unwrap()), expected, "NO_PROXY={exceptions} {address}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(exceptions in ".{0,60}") {
            for address in ["https://api.push.apple.com/", "https://192.0.2.7/", "https://[2001:db8::1]:2197/"] {
                cover(&exceptions, &address.parse().unwrap());
            }
        }
    }
}
