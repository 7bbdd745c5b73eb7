//! What signatures say about the key of one server: from candidates to a learned key, and what contradicts it.
//!
//! The decisions of `learned` about keys, without its counters, budgets and files. It checks signatures and changes
//! itself; it never replaces a learned key by another.

use crate::admission::key::VerifyingKey;
use crate::admission::recovery::{self, MAX_CANDIDATES, SPKI_BYTES};
use crate::admission::signature::SignedParts;

/// Signers remembered per server beside the learned key, each with its candidates. Two honest keys in turn need one;
/// the rest keeps a stranger's first signature from pushing an honest one out. The one not seen for longest gives way.
pub(super) const MAX_SUSPECTS: usize = 3;

/// Signatures in a row by one other key, with none of the learned key in between, that look like a rotation and not like
/// somebody else among the server's pushes. Only a word for the operator: nothing is adopted because of it.
pub(super) const ROTATION_SIGNATURES: u64 = 10;

/// The key a server signs with, as far as signatures can tell.
#[derive(Clone, Debug)]
pub(super) struct LearnedKey {
    pub(super) key: VerifyingKey,
    /// Signatures seen of it, the two it was learned from among them.
    pub(super) signatures: u64,
    /// When the last of them came, unix seconds.
    pub(super) last_seen: u64,
}

/// Somebody who signs under this server's id and is not the learned key.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    /// What it may sign with: one of these, at most [`MAX_CANDIDATES`], as SPKI DER. Parsed only when looked at: ten
    /// thousand servers times their suspects would be much memory as parsed keys.
    pub(super) candidates: Vec<[u8; SPKI_BYTES]>,
    /// Signatures seen of it.
    pub(super) signatures: u64,
    /// How many of them since the learned key last signed.
    pub(super) in_a_row: u64,
    /// When the first of them came, unix seconds.
    pub(super) first_seen: u64,
    /// When the last of them came, unix seconds.
    pub(super) last_seen: u64,
}

impl Suspect {
    /// Its key, once a second signature has left one.
    pub(super) fn key(&self) -> Option<VerifyingKey> {
        let [only] = self.candidates.as_slice() else { return None };
        VerifyingKey::from_spki_der(only).ok()
    }

    /// Whether it looks like the key that has replaced the learned one.
    pub(super) fn looks_like_rotation(&self) -> bool {
        self.candidates.len() == 1 && self.in_a_row >= ROTATION_SIGNATURES
    }

    /// Whether one of its candidates made this signature; those that did not are struck off then.
    fn narrow(&mut self, parts: &SignedParts<'_>) -> bool {
        let is_good = |der: &[u8]| VerifyingKey::from_spki_der(der).is_ok_and(|key| parts.is_by(&key));
        let good: Vec<_> = self.candidates.iter().filter(|der| is_good(*der)).copied().collect();
        if good.is_empty() {
            return false;
        }
        self.candidates = good;
        true
    }

    fn count(&mut self, now: u64) {
        self.signatures += 1;
        self.in_a_row += 1;
        self.last_seen = self.last_seen.max(now);
    }
}

/// What one signature has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It leaves a few candidates: the first one of its signer.
    Narrowed,
    /// It leaves one: the key is learned.
    Learned,
    /// It is by the learned key.
    Confirmed,
    /// It was seen before, or in another form: it tells nothing.
    Nothing,
    /// It is not by the learned key.
    Mismatch,
    /// It is not by the learned key, and by the same as all lately.
    Rotation,
    /// No key can have made it.
    Impossible,
}

/// The state of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub(super) learned: Option<LearnedKey>,
    pub(super) suspects: Vec<Suspect>,
    /// Signatures not made by the learned key.
    pub(super) mismatches: u64,
    /// When the last of them came, unix seconds.
    pub(super) last_mismatch: Option<u64>,
}

impl Keys {
    /// Looks at a signature when a key is learned. `may_recover` is asked only if it is not by that key; without it the
    /// mismatch is counted and its signer is left unknown.
    pub(super) fn compare(&mut self, parts: &SignedParts<'_>, now: u64, may_recover: impl FnOnce() -> bool) -> Finding {
        let Some(learned) = &mut self.learned else { return Finding::Nothing };
        if parts.is_by(&learned.key) {
            learned.signatures += 1;
            learned.last_seen = learned.last_seen.max(now);
            self.suspects.iter_mut().for_each(|suspect| suspect.in_a_row = 0);
            return Finding::Confirmed;
        }
        self.mismatches += 1;
        self.last_mismatch = self.last_mismatch.max(Some(now));
        if !may_recover() {
            return Finding::Mismatch;
        }
        // One suspect's turn ends another's.
        match self.signer(parts, now) {
            Some(at) => {
                for (other, suspect) in self.suspects.iter_mut().enumerate() {
                    if other != at {
                        suspect.in_a_row = 0;
                    }
                }
                if self.suspects[at].looks_like_rotation() { Finding::Rotation } else { Finding::Mismatch }
            }
            None => Finding::Mismatch,
        }
    }

    /// Looks at a signature while no key is learned.
    pub(super) fn learn(&mut self, parts: &SignedParts<'_>, now: u64) -> Finding {
        let Some(at) = self.signer(parts, now) else { return Finding::Impossible };
        let suspect = &self.suspects[at];
        let Some(key) = suspect.key() else {
            return if suspect.signatures == 1 { Finding::Narrowed } else { Finding::Nothing };
        };
        let suspect = self.suspects.remove(at);
        self.learned = Some(LearnedKey { key, signatures: suspect.signatures, last_seen: suspect.last_seen });
        // Whoever else has signed until now was not this key either.
        for other in &mut self.suspects {
            other.in_a_row = 0;
            self.mismatches += other.signatures;
            self.last_mismatch = self.last_mismatch.max(Some(other.last_seen));
        }
        Finding::Learned
    }

    /// Where among the suspects the maker of this signature is, a new one if need be. `None`: no key can have made it.
    fn signer(&mut self, parts: &SignedParts<'_>, now: u64) -> Option<usize> {
        if let Some(at) = self.suspects.iter_mut().position(|suspect| suspect.narrow(parts)) {
            self.suspects[at].count(now);
            return Some(at);
        }
        let candidates = recovery::candidates(parts.signed(), parts.signature());
        // An honest signature leaves two at least. One that leaves one was made so on purpose, and would be taken for the
        // second of its signer when it comes again.
        if !(2..=MAX_CANDIDATES).contains(&candidates.len()) {
            return None;
        }
        if self.suspects.len() == MAX_SUSPECTS {
            let oldest = self.suspects.iter().enumerate().min_by_key(|(_, suspect)| suspect.last_seen)?.0;
            self.suspects.remove(oldest);
        }
        self.suspects.push(Suspect {
            candidates: candidates.iter().filter_map(|key| key.spki_der().try_into().ok()).collect(),
            signatures: 1,
            in_a_row: 1,
            first_seen: now,
            last_seen: now,
        });
        Some(self.suspects.len() - 1)
    }
}
