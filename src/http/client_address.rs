//! Whose request is it? The address of the client behind the proxies that the operator trusts, and of nobody whom a
//! client could make up.
//!
//! A pure decision from the connection's peer and the request's headers. What the address is used for, others decide.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Whom to believe about where a request comes from.
#[derive(Clone, Debug)]
pub struct ClientAddressSettings {
    /// Addresses of proxies whose word is taken. IPv4 ones are written as IPv4: a peer that the system reports as
    /// IPv4-mapped IPv6 is compared as the IPv4 address that it is.
    pub trusted_proxies: Vec<IpNet>,
    /// Where proxies write whom they serve: a list of addresses to which each proxy appends, as in `X-Forwarded-For`, or
    /// a single address, as in `X-Real-IP`. Not RFC 7239's `Forwarded`, whose form is another.
    pub header: HeaderName,
}

impl Default for ClientAddressSettings {
    /// Nobody is believed.
    fn default() -> Self {
        Self { trusted_proxies: Vec::new(), header: HeaderName::from_static("x-forwarded-for") }
    }
}

impl ClientAddressSettings {
    /// Whether this is one of the trusted proxies.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.iter().any(|proxies| proxies.contains(&address))
    }

    /// The address of the client whose request came over a connection from `peer`.
    ///
    /// That is the peer, unless it is a trusted proxy. Then the header is read from its end, where the nearest proxy has
    /// written, over trusted proxies to the first address that is none. What stands before that one was written by
    /// somebody who is not trusted, and is not read. Nor is what stands before something that is not an address (an empty
    /// entry included): the result is then the last address that was believed.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut entries = self.entries(headers);
        while self.trusts(client) {
            match entries.next().and_then(address) {
                Some(next) => client = next,
                None => break,
            }
        }
        client
    }

    /// What stands between the commas, from the end. Of several lines, a later one was added by a nearer proxy (RFC 9110
    /// § 5.3: their order counts as one list).
    fn entries<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h [u8]> + use<'h> {
        headers.get_all(&self.header).iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
    }

    /// What the header says of the client, read as [`Self::client`] reads it, but as it was written: it need not be an
    /// address. Empty if the header is absent. Only for requests from a trusted peer.
    pub(super) fn entry<'h>(&self, headers: &'h HeaderMap) -> &'h [u8] {
        let mut last: &[u8] = &[];
        for entry in self.entries(headers).map(<[u8]>::trim_ascii) {
            last = entry;
            if !address(entry).is_some_and(|address| self.trusts(address)) {
                break;
            }
        }
        last
    }
}

/// An address as proxies write it: bare, or with a port, and with brackets around IPv6.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) if bare.len() == text.len() || address.is_ipv6() => address,
        Ok(_) => return None,
        Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn settings(trusted: &[&str]) -> ClientAddressSettings {
        ClientAddressSettings {
            trusted_proxies: trusted.iter().map(|proxies| proxies.parse().unwrap()).collect(),
            ..ClientAddressSettings::default()
        }
    }

    fn forwarded(lines: &[&str]) -> HeaderMap {
        let name = HeaderName::from_static("x-forwarded-for");
        lines.iter().map(|line| (name.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn the_client_is_the_first_from_the_end_that_is_no_trusted_proxy() {
        let trusted = settings(&["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7/32"]);
        let cases: &[(&str, &[&str], &str, &str)] = &[
            // Peer, lines of the header, client, why.
            ("203.0.113.5", &[], "203.0.113.5", "no proxy"),
            ("203.0.113.5", &["198.51.100.1"], "203.0.113.5", "who is not trusted is not believed"),
            ("203.0.113.5", &["10.0.0.1"], "203.0.113.5", "nor if it names a proxy of ours"),
            ("10.0.0.1", &[], "10.0.0.1", "a proxy that says nothing"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1", "one proxy"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2"], "198.51.100.1", "two proxies"),
            ("10.0.0.1", &["198.51.100.1,10.0.0.2,192.0.2.7"], "198.51.100.1", "three, without spaces"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1"], "198.51.100.1", "what the client itself wrote is not read"),
            ("10.0.0.1", &["10.9.9.9, 198.51.100.1"], "198.51.100.1", "nor if it pretends to be a proxy"),
            ("10.0.0.1", &["192.0.2.8"], "192.0.2.8", "one address beside a trusted one is a client"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3", "all are trusted: the farthest"),
            ("10.0.0.1", &["6.6.6.6", "198.51.100.1"], "198.51.100.1", "the last line is by the nearest proxy"),
            ("10.0.0.1", &["198.51.100.1", "10.0.0.2"], "198.51.100.1", "the walk goes on in the line before"),
            ("10.0.0.1", &["6.6.6.6, 198.51.100.1", "10.0.0.3, 10.0.0.2"], "198.51.100.1", "both"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1", "with a port"),
            ("10.0.0.1", &["[2001:db8:2::1]"], "2001:db8:2::1", "in brackets"),
            ("10.0.0.1", &["[2001:db8:2::1]:4711"], "2001:db8:2::1", "in brackets, with a port"),
            ("10.0.0.1", &["2001:db8:2::1"], "2001:db8:2::1", "bare IPv6"),
            ("10.0.0.1", &["  198.51.100.1\t"], "198.51.100.1", "with spaces"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1", "IPv4-mapped"),
            ("10.0.0.1", &["[::ffff:198.51.100.1]:4711"], "198.51.100.1", "IPv4-mapped with a port"),
            ("10.0.0.1", &["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1", "an IPv4-mapped proxy"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1", "an IPv4-mapped peer that is a proxy"),
            ("::ffff:203.0.113.5", &["198.51.100.1"], "203.0.113.5", "an IPv4-mapped peer that is none"),
            ("2001:db8:1::9", &["198.51.100.1"], "198.51.100.1", "a proxy with IPv6"),
            ("2001:db8:2::9", &["198.51.100.1"], "2001:db8:2::9", "none with IPv6"),
            ("10.0.0.1", &[""], "10.0.0.1", "an empty header"),
            ("10.0.0.1", &["198.51.100.1", ""], "10.0.0.1", "an empty last line"),
            ("10.0.0.1", &["6.6.6.6, "], "10.0.0.1", "an empty entry ends the walk: a proxy knew no address"),
            ("10.0.0.1", &["6.6.6.6, , 10.0.0.2"], "10.0.0.2", "in the middle, too"),
            ("10.0.0.1", &["6.6.6.6, unknown"], "10.0.0.1", "garbage"),
            ("10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2", "garbage: the last good one"),
            ("10.0.0.1", &["garbage, 198.51.100.1"], "198.51.100.1", "garbage by the client is not read"),
            ("10.0.0.1", &["unix:"], "10.0.0.1", "what nginx writes for a socket"),
            ("10.0.0.1", &["[198.51.100.1]"], "10.0.0.1", "IPv4 has no brackets"),
            ("10.0.0.1", &["[2001:db8:2::1"], "10.0.0.1", "an open bracket"),
            ("10.0.0.1", &["198.51.100.1:"], "10.0.0.1", "a port that is none"),
            ("10.0.0.1", &["198.51.100.1:65536"], "10.0.0.1", "a port that is too large"),
            ("10.0.0.1", &["198.51.100.256"], "10.0.0.1", "a byte that is too large"),
            ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1", "a zone means nothing to another machine"),
            ("10.0.0.1", &["for=198.51.100.1"], "10.0.0.1", "RFC 7239 is another form"),
            ("10.0.0.1", &["198.51.100.1 10.0.0.2"], "10.0.0.1", "no comma"),
            ("10.0.0.1", &["198.51.100.\u{e9}"], "10.0.0.1", "not ASCII"),
        ];
        for (peer, lines, client, why) in cases {
            let found = trusted.client(peer.parse().unwrap(), &forwarded(lines));
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{why}: {lines:?} from {peer}");
        }
    }

    #[test]
    fn without_trusted_proxies_the_client_is_the_peer() {
        let found = ClientAddressSettings::default().client([127, 0, 0, 1].into(), &forwarded(&["6.6.6.6"]));
        assert_eq!(found, IpAddr::from([127, 0, 0, 1]));
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let settings =
            ClientAddressSettings { header: HeaderName::from_static("x-real-ip"), ..settings(&["127.0.0.1/32"]) };
        let mut headers = forwarded(&["6.6.6.6"]);
        let peer = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(settings.client(peer, &headers), peer);
        headers.insert("x-real-ip", HeaderValue::from_static("198.51.100.1"));
        assert_eq!(settings.client(peer, &headers), IpAddr::from([198, 51, 100, 1]));
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_before_its_proxy_it_stays_who_it_is(
            made_up in prop::collection::vec("[ -~]{0,40}", 0..4),
        ) {
            let mut lines: Vec<&str> = made_up.iter().map(String::as_str).collect();
            lines.push("198.51.100.1");
            let client = settings(&["10.0.0.0/8"]).client([10, 0, 0, 1].into(), &forwarded(&lines));
            prop_assert_eq!(client, IpAddr::from([198, 51, 100, 1]));
            // The same on one line.
            let one_line = lines.join(",");
            let client = settings(&["10.0.0.0/8"]).client([10, 0, 0, 1].into(), &forwarded(&[&one_line]));
            prop_assert_eq!(client, IpAddr::from([198, 51, 100, 1]));
        }

        #[test]
        fn what_this_machine_writes_as_an_address_is_read_back(address: IpAddr, port: u16) {
            let expected = Some(address.to_canonical());
            prop_assert_eq!(super::address(address.to_string().as_bytes()), expected);
            prop_assert_eq!(super::address(SocketAddr::new(address, port).to_string().as_bytes()), expected);
        }
    }
}
