//! Names as hashes: what a caller's id and a device token are looked up by, so that no column but the content holds a token.
//!
//! HMAC-SHA-256 under a key that is drawn when the file is made and kept in it, cut to 128 bits: two of a million entries
//! share one with a chance of about 10^12 / 2^129 = 10^-27, and nobody can search for such a pair without the file.

use std::fmt;

use aws_lc_rs::hmac;

use crate::notification::{DeviceToken, ServerId, TargetName};

/// The key's length, bytes.
pub(super) const KEY_BYTES: usize = 32;

/// One device of one server at one target.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DeviceKey(pub(super) [u8; 16]);

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", shown(&self.0))
    }
}

/// The first 32 bits in hexadecimal: enough to see that two entries are for the same device, and nothing about which.
pub(super) fn shown(key: &[u8]) -> String {
    format!("{:08x}", u32::from_be_bytes(key.first_chunk().copied().unwrap_or_default()))
}

/// The file's key.
#[derive(Clone)]
pub(super) struct Hashes(hmac::Key);

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashes([private])")
    }
}

impl Hashes {
    pub(super) fn of(key: &[u8; KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// One request: the same one asked for twice is stored once. `None` without an id to know it by.
    pub(super) fn identity(&self, server: &ServerId, ack_id: &str, device: &DeviceToken) -> Option<[u8; 16]> {
        (!ack_id.is_empty()).then(|| self.hash("identity", [server.as_str(), ack_id, &device.phone()]))
    }

    pub(super) fn device(&self, server: &ServerId, target: &TargetName, device: &DeviceToken) -> DeviceKey {
        DeviceKey(self.hash("device", [server.as_str(), target.as_str(), &device.phone()]))
    }

    /// Each part behind its length, so that no two triples run into the same bytes.
    fn hash(&self, what: &str, parts: [&str; 3]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in std::iter::once(what).chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        *tag.as_ref().first_chunk().expect("a SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(hashes: &Hashes, server: &str, id: &str, device: &str) -> [u8; 16] {
        hashes.identity(&ServerId::new(server).unwrap(), id, &DeviceToken::new(device).unwrap()).unwrap()
    }

    #[test]
    fn every_part_of_a_request_and_its_place_and_the_key_make_the_identity() {
        let hashes = Hashes::of(&[1; KEY_BYTES]);
        let one = identity(&hashes, "server", "id", "device");
        assert_eq!(one, identity(&hashes, "server", "id", "device"));
        for (server, id, device) in [
            ("server2", "id", "device"),
            ("server", "id2", "device"),
            ("server", "id", "device2"),
            ("serveri", "d", "device"),
            ("server", "idd", "evice"),
            ("id", "server", "device"),
        ] {
            assert_ne!(one, identity(&hashes, server, id, device), "{server} {id} {device}");
        }
        assert_ne!(one, identity(&Hashes::of(&[2; KEY_BYTES]), "server", "id", "device"));
    }

    #[test]
    fn an_identity_and_a_device_of_the_same_words_differ_and_an_empty_id_makes_none() {
        let hashes = Hashes::of(&[1; KEY_BYTES]);
        let (server, token) = (ServerId::new("s").unwrap(), DeviceToken::new("d").unwrap());
        let device = hashes.device(&server, &TargetName::new("t"), &token);
        assert_ne!(Some(device.0), hashes.identity(&server, "t", &token));
        assert_eq!(hashes.identity(&server, "", &token), None);
        assert_eq!(format!("{device:?} {hashes:?}").len(), "DeviceKey(01234567) Hashes([private])".len());
    }
}
