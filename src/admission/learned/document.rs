//! The form of what is kept: JSON, and what is checked when it is read. No file is touched here.
//!
//! It holds server ids, counters and public keys; no device token and no text of a push. It is for this program only, and
//! `version` changes when its meaning does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::keys::{Keys, LearnedKey, MAX_SUSPECTS, Suspect};
use super::state::{State, StoredServer};
use crate::admission::key::VerifyingKey;
use crate::admission::recovery::{MAX_CANDIDATES, SPKI_BYTES};
use crate::notification::ServerId;

/// The form of the file.
pub(super) const VERSION: u32 = 1;

/// Why bytes are not what was written.
pub(super) enum Wrong {
    /// It has this version, of a later release.
    Newer(u32),
    /// This is wrong with it.
    Damaged(String),
}

fn damaged(what: impl Into<String>) -> Wrong {
    Wrong::Damaged(what.into())
}

/// Reads what [`Document`] has written.
pub(super) fn parse(bytes: &[u8]) -> Result<State, Wrong> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    // The version first: the rest of another version may mean anything.
    let json = |error: serde_json::Error| damaged(error.to_string());
    let Versioned { version } = serde_json::from_slice(bytes).map_err(json)?;
    match version {
        VERSION => {}
        0 => return Err(damaged("its version is 0")),
        newer => return Err(Wrong::Newer(newer)),
    }
    let document: Document = serde_json::from_slice(bytes).map_err(json)?;
    State::try_from(document)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    version: u32,
    beyond_bound: u64,
    unusable_ids: u64,
    servers: Vec<ServerEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerEntry {
    id: String,
    first_seen: u64,
    last_seen: u64,
    pushes: u64,
    unsigned: u64,
    unsigned_tests: u64,
    unusable: u64,
    mismatches: u64,
    last_mismatch: Option<u64>,
    learned: Option<LearnedEntry>,
    suspects: Vec<SuspectEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LearnedEntry {
    /// Base64 of SPKI DER, as Mattermost publishes it.
    key: String,
    signatures: u64,
    last_seen: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SuspectEntry {
    candidates: Vec<String>,
    signatures: u64,
    in_a_row: u64,
    first_seen: u64,
    last_seen: u64,
}

impl From<&State> for Document {
    fn from(state: &State) -> Self {
        Self {
            version: VERSION,
            beyond_bound: state.forgotten,
            unusable_ids: state.unusable_ids,
            servers: state.servers.iter().map(|(id, server)| ServerEntry::new(id, server)).collect(),
        }
    }
}

impl ServerEntry {
    fn new(id: &ServerId, server: &StoredServer) -> Self {
        let learned = server.keys.learned.as_ref().map(|learned| LearnedEntry {
            key: STANDARD.encode(learned.key.spki_der()),
            signatures: learned.signatures,
            last_seen: learned.last_seen,
        });
        let suspects = server.keys.suspects.iter().map(|suspect| SuspectEntry {
            candidates: suspect.candidates.iter().map(|der| STANDARD.encode(der)).collect(),
            signatures: suspect.signatures,
            in_a_row: suspect.in_a_row,
            first_seen: suspect.first_seen,
            last_seen: suspect.last_seen,
        });
        Self {
            id: id.as_str().to_owned(),
            first_seen: server.first_seen,
            last_seen: server.last_seen,
            pushes: server.pushes,
            unsigned: server.unsigned,
            unsigned_tests: server.unsigned_tests,
            unusable: server.unusable,
            mismatches: server.keys.mismatches,
            last_mismatch: server.keys.last_mismatch,
            learned,
            suspects: suspects.collect(),
        }
    }
}

impl TryFrom<Document> for State {
    type Error = Wrong;

    fn try_from(document: Document) -> Result<Self, Wrong> {
        let servers: Vec<_> = document.servers.into_iter().map(server).collect::<Result<_, _>>()?;
        // They are written in order, so equal ones would stand together.
        if let Some([(id, _), _]) = servers.windows(2).find(|pair| matches!(pair, [(a, _), (b, _)] if a >= b)) {
            return Err(damaged(format!("the server after {id} is not in order or is there twice")));
        }
        Ok(Self { servers, forgotten: document.beyond_bound, unusable_ids: document.unusable_ids })
    }
}

fn server(entry: ServerEntry) -> Result<(ServerId, StoredServer), Wrong> {
    let id = ServerId::new(&entry.id)
        .filter(|_| super::is_usable(&entry.id))
        .ok_or_else(|| damaged(format!("{:?} is no server id", entry.id)))?;
    let wrong = |what: &str| damaged(format!("the entry of server {id} {what}"));
    let learned = entry.learned.map(|learned| {
        let key = VerifyingKey::from_text(&learned.key).map_err(|_| wrong("has a learned key that is none"))?;
        Ok(LearnedKey { key, signatures: learned.signatures, last_seen: learned.last_seen })
    });
    if entry.suspects.len() > MAX_SUSPECTS {
        return Err(wrong("has too many suspects"));
    }
    let suspects = entry.suspects.into_iter().map(|suspect| {
        // Whether it is a point of the curve, a look at it will show: ten thousand servers' candidates are many.
        let candidate = |text: &String| <[u8; SPKI_BYTES]>::try_from(STANDARD.decode(text).ok()?).ok();
        let candidates: Option<Vec<_>> = suspect.candidates.iter().map(candidate).collect();
        let candidates = candidates
            .filter(|candidates| (1..=MAX_CANDIDATES).contains(&candidates.len()))
            .ok_or_else(|| wrong("has a suspect without proper candidates"))?;
        Ok(Suspect {
            candidates,
            signatures: suspect.signatures,
            in_a_row: suspect.in_a_row,
            first_seen: suspect.first_seen,
            last_seen: suspect.last_seen,
        })
    });
    let keys = Keys {
        learned: learned.transpose()?,
        suspects: suspects.collect::<Result<_, _>>()?,
        mismatches: entry.mismatches,
        last_mismatch: entry.last_mismatch,
    };
    let stored = StoredServer {
        first_seen: entry.first_seen,
        last_seen: entry.last_seen,
        pushes: entry.pushes,
        unsigned: entry.unsigned,
        unsigned_tests: entry.unsigned_tests,
        unusable: entry.unusable,
        keys,
    };
    Ok((id, stored))
}
