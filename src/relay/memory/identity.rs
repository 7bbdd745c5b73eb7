//! Names as numbers: keyed hashes stand for callers' ids and device tokens, so that no token outlives its notification.
//!
//! The hash is `SipHash` under a random key that nobody is shown: drawn when the process starts, or kept with what was sent in
//! `data_dir`, so that the next process knows it again.
//! Two of them over different beginnings make 128 bits. Two of a million remembered requests share an identity with a chance of about
//! 10^12 / 2^129 = 10^-27, and nobody can search for such a pair without the key; if it came about all the same, one push
//! would be answered with the outcome of another. A receipt's 64 bits: a pair among a million with a chance of 3 × 10^-8,
//! and then one receipt is not counted.

use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use siphasher::sip::SipHasher13;

/// A table over keys that are hashes already.
pub(super) type HashedMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<AsItIs>>;

/// One request: server, id and device in 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity([u64; 2]);

/// What a phone's receipt names: the id alone, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AckKey(u64);

/// The key.
pub(super) struct Hashes([u8; 16]);

impl fmt::Debug for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashes([private])")
    }
}

/// What each hash begins with: under one key, these make three functions of it that say nothing about each other.
const IDENTITY: [u8; 2] = [0, 1];
const ACK: u8 = 2;

impl Hashes {
    /// Under a key that no other process has.
    pub(super) fn new() -> Self {
        let mut key = [0; 16];
        aws_lc_rs::rand::fill(&mut key).expect("the system has random numbers: TLS could not start without them");
        Self(key)
    }

    pub(super) fn of(key: [u8; 16]) -> Self {
        Self(key)
    }

    pub(super) fn identity(&self, server: &str, id: &str, device: &str) -> Identity {
        Identity(IDENTITY.map(|half| self.hash(half, &[server, id, device])))
    }

    pub(super) fn ack(&self, id: &str) -> AckKey {
        AckKey(self.hash(ACK, &[id]))
    }

    /// Each text ends with a byte that UTF-8 does not have, so no two triples run into the same bytes. Written out, since the
    /// standard library does not promise that its own way of hashing texts stays as it is, and these hashes outlive the program.
    fn hash(&self, what: u8, texts: &[&str]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&[what]);
        for text in texts {
            hasher.write(text.as_bytes());
            hasher.write(&[0xff]);
        }
        hasher.finish()
    }
}

impl Identity {
    pub(super) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0[0].to_le_bytes());
        bytes[8..].copy_from_slice(&self.0[1].to_le_bytes());
        bytes
    }

    pub(super) fn of(bytes: [u8; 16]) -> Self {
        let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Self([half(0), half(8)])
    }

    /// Which of so many shards.
    pub(super) fn shard(self, shards: usize) -> usize {
        share(self.0[1], shards)
    }
}

impl AckKey {
    pub(super) fn bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    pub(super) fn of(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    /// Which of so many shards. The map picks slots by the lowest and tells neighbours apart by the highest bits: these are
    /// the ones between.
    pub(super) fn shard(self, shards: usize) -> usize {
        share(self.0 << 16, shards)
    }
}

/// `word` of 2^64, as a share of `shards`.
fn share(word: u64, shards: usize) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "the product's upper half is below `shards`")]
    let index = ((u128::from(word) * shards as u128) >> 64) as usize;
    index
}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

impl Hash for AckKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Takes the one word it is given for the hash.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not used by the two keys above; right for any other all the same.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_request_and_its_place_make_the_identity() {
        let hashes = Hashes::new();
        let one = hashes.identity("server", "id", "device");
        assert_eq!(one, hashes.identity("server", "id", "device"));
        for (server, id, device) in [
            ("server2", "id", "device"),
            ("server", "id2", "device"),
            ("server", "id", "device2"),
            ("serveri", "d", "device"),
            ("server", "iddevice", ""),
            ("id", "server", "device"),
        ] {
            assert_ne!(one, hashes.identity(server, id, device), "{server} {id} {device}");
        }
    }

    #[test]
    fn the_next_process_with_the_same_key_knows_a_request_again() {
        let hashes = Hashes::of([7; 16]);
        let (identity, ack) = (hashes.identity("server", "id", "device"), hashes.ack("id"));
        assert_eq!(Identity::of(identity.bytes()), identity);
        assert_eq!(AckKey::of(ack.bytes()), ack);
        // These numbers are on disks: another way of hashing would forget what was sent at an upgrade.
        assert_eq!(identity, Identity([409_918_634_004_427_492, 7_199_152_588_907_776_954]));
        assert_eq!(ack, AckKey(6_155_860_001_123_255_104));
    }

    #[test]
    fn another_process_hashes_the_same_request_to_something_else() {
        let (one, other) = (Hashes::new(), Hashes::new());
        assert_ne!(one.identity("server", "id", "device"), other.identity("server", "id", "device"));
        assert_ne!(one.ack("id"), other.ack("id"));
    }

    #[test]
    fn the_halves_of_an_identity_are_independent() {
        let Identity([first, second]) = Hashes::new().identity("server", "id", "device");
        assert_ne!(first, second);
    }

    #[test]
    fn shards_get_equal_shares() {
        const SHARDS: usize = 7;
        const EACH: u32 = 1_000;
        let hashes = Hashes::new();
        let (mut identities, mut acks) = ([0; SHARDS], [0; SHARDS]);
        for n in 0..EACH * 7 {
            let id = n.to_string();
            identities[hashes.identity("server", &id, "device").shard(SHARDS)] += 1;
            acks[hashes.ack(&id).shard(SHARDS)] += 1;
        }
        // Eight standard deviations (29): random keys do not make this test fail by chance.
        for count in identities.into_iter().chain(acks) {
            assert!((EACH - 240..EACH + 240).contains(&count), "{count}");
        }
    }
}
