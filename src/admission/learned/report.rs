//! What was learned, as people ask for it, and the one decision: which key may be proposed.

use std::collections::HashMap;

use super::state::{State, StoredServer};
use crate::admission::key::VerifyingKey;
use crate::notification::ServerId;

/// All servers, by id.
#[derive(Clone, Debug)]
pub struct Report {
    /// Each server that is kept.
    pub servers: Vec<ServerReport>,
    /// Servers that were forgotten to make room for others.
    pub forgotten: u64,
    /// Pushes with a server id that is not kept.
    pub unusable_ids: u64,
}

/// One server. Times in unix seconds; a push is in one of `signed`, `unsigned`, `unsigned_tests` and `unusable`.
#[derive(Clone, Debug)]
pub struct ServerReport {
    /// What it calls itself. Without control characters, but chosen by whoever sends.
    pub id: ServerId,
    /// When the first push came.
    pub first_seen: u64,
    /// When the last push came.
    pub last_seen: u64,
    /// All pushes.
    pub pushes: u64,
    /// With a signature that can be read and is for the push, by whatever key.
    pub signed: u64,
    /// Without a signature, tests apart.
    pub unsigned: u64,
    /// Tests without a signature, which is how Mattermost sends them.
    pub unsigned_tests: u64,
    /// With a signature that cannot be used: unreadable, not ES256, for another push or device, or untimely.
    pub unusable: u64,
    /// What is known about the key.
    pub key: KeyStanding,
    /// Signatures that were looked at and not made by the learned key.
    pub mismatches: u64,
    /// When the last of them came.
    pub last_mismatch: Option<u64>,
    /// The key that may have replaced the learned one.
    pub rotation: Option<Rotation>,
    /// The key, if it may be proposed.
    pub adoptable: Result<VerifyingKey, NotAdoptable>,
}

/// What is known about a server's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyStanding {
    /// No usable signature yet.
    Unknown,
    /// Signatures, and none that has left one key yet.
    Narrowed {
        /// How many keys can have made the last signature.
        candidates: usize,
    },
    /// Two signatures have left one.
    Learned {
        /// It.
        key: VerifyingKey,
        /// How many signatures of it were looked at.
        signatures: u64,
        /// When the last of them came.
        last_seen: u64,
    },
}

/// A key that signs in place of the learned one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// It.
    pub key: VerifyingKey,
    /// How many signatures of it were looked at since the learned key last signed.
    pub signatures: u64,
    /// When the first of its signatures came.
    pub first_seen: u64,
    /// When the last of them came.
    pub last_seen: u64,
}

/// Why no key is proposed. `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdoptable {
    /// Never seen.
    #[error("no push with this server id has been seen")]
    UnknownServer,
    /// No signature to learn from.
    #[error("no push of this server had a signature to learn from: enrol it by its address instead")]
    NoSignature,
    /// One signature fits two keys.
    #[error("one signature leaves several keys: wait for the server's next push")]
    OneSignature,
    /// Another key has signed as well.
    #[error(
        "another key has signed under this server id too, and which one is the server's cannot be told from here: \
         enrol it by its address, which compares with the key it publishes"
    )]
    Contested,
    /// Another server has the same key.
    #[error(
        "the same key signs under another server id, so one of the two may be sending the other's signatures: \
         enrol both by their addresses"
    )]
    Shared,
}

pub(super) fn report(state: &State) -> Report {
    let mut owners: HashMap<&[u8], usize> = HashMap::new();
    for (_, server) in &state.servers {
        if let Some(learned) = &server.keys.learned {
            *owners.entry(learned.key.spki_der()).or_default() += 1;
        }
    }
    let is_shared = |key: &VerifyingKey| owners.get(key.spki_der()).is_some_and(|owners| *owners > 1);
    Report {
        servers: state.servers.iter().map(|(id, server)| server_report(id, server, is_shared)).collect(),
        forgotten: state.forgotten,
        unusable_ids: state.unusable_ids,
    }
}

fn server_report(id: &ServerId, server: &StoredServer, is_shared: impl Fn(&VerifyingKey) -> bool) -> ServerReport {
    let keys = &server.keys;
    let last_suspect = keys.suspects.iter().max_by_key(|suspect| suspect.last_seen);
    let key = match (&keys.learned, last_suspect) {
        (Some(learned), _) => KeyStanding::Learned {
            key: learned.key.clone(),
            signatures: learned.signatures,
            last_seen: learned.last_seen,
        },
        (None, Some(suspect)) => KeyStanding::Narrowed { candidates: suspect.candidates.len() },
        (None, None) => KeyStanding::Unknown,
    };
    let adoptable = match &key {
        KeyStanding::Unknown => Err(NotAdoptable::NoSignature),
        KeyStanding::Narrowed { .. } => Err(NotAdoptable::OneSignature),
        KeyStanding::Learned { .. } if keys.mismatches > 0 => Err(NotAdoptable::Contested),
        KeyStanding::Learned { key, .. } if is_shared(key) => Err(NotAdoptable::Shared),
        KeyStanding::Learned { key, .. } => Ok(key.clone()),
    };
    let rotation = keys.suspects.iter().filter(|suspect| suspect.looks_like_rotation()).find_map(|suspect| {
        Some(Rotation {
            key: suspect.key()?,
            signatures: suspect.in_a_row,
            first_seen: suspect.first_seen,
            last_seen: suspect.last_seen,
        })
    });
    let not_signed = server.unsigned.saturating_add(server.unsigned_tests).saturating_add(server.unusable);
    ServerReport {
        id: id.clone(),
        first_seen: server.first_seen,
        last_seen: server.last_seen,
        pushes: server.pushes,
        signed: server.pushes.saturating_sub(not_signed),
        unsigned: server.unsigned,
        unsigned_tests: server.unsigned_tests,
        unusable: server.unusable,
        key,
        mismatches: keys.mismatches,
        last_mismatch: keys.last_mismatch,
        rotation,
        adoptable,
    }
}
