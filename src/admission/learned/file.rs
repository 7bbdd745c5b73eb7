//! What was learned, on disk: one JSON file, replaced as a whole, so that a reader finds the old state or the new one.
//!
//! It holds server ids, counters and public keys; no device token and no text of a push. It is for this program only;
//! `version` changes when its meaning does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::keys::{Keys, LearnedKey, MAX_SUSPECTS, Suspect};
use crate::admission::key::VerifyingKey;
use crate::admission::recovery::{MAX_CANDIDATES, SPKI_BYTES};
use crate::notification::ServerId;

/// Its name in the data directory.
pub const FILE_NAME: &str = "learned.json";

/// Written first, then renamed. Always the same name: what a killed process has left is written over.
const TEMPORARY_NAME: &str = "learned.json.tmp";

/// The form of the file.
const VERSION: u32 = 1;

/// The longest file read, bytes. Ten thousand servers with every candidate take about 25 MB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Everything that is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) servers: Vec<(ServerId, StoredServer)>,
    pub(super) beyond_bound: u64,
    pub(super) unusable_ids: u64,
}

/// What is kept of one server. Times in unix seconds.
#[derive(Debug)]
pub(super) struct StoredServer {
    pub(super) first_seen: u64,
    pub(super) last_seen: u64,
    pub(super) pushes: u64,
    pub(super) unsigned: u64,
    pub(super) unsigned_tests: u64,
    pub(super) unusable: u64,
    pub(super) keys: Keys,
}

/// Why the file was not read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk.
    #[error("{path} cannot be read: {source}; it must be readable for the user that runs the relay")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Of a later release.
    #[error("{path} has version {version}, which a later release has written; this one knows version {VERSION} only")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Not what was written. It is still in its place.
    #[error("{path} is damaged: {what}; restore it, or remove it to learn anew")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Not what was written. It has been renamed.
    #[error(
        "{path} is damaged: {what}; it is kept as {aside}. Restore {path}, or start again without it to learn anew"
    )]
    SetAside {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// Its new name.
        aside: PathBuf,
    },
}

/// Why the file was not written.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written: {source}; what was learned since the last time is in memory only")]
pub struct SaveError {
    /// The file, or the temporary one beside it.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// Where the file is.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
}

impl Place {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Replaces the file: complete and on the disk under another name first, then renamed.
    pub(super) fn write(&self, state: &State) -> Result<(), SaveError> {
        let temporary = self.directory.join(TEMPORARY_NAME);
        let path = self.directory.join(FILE_NAME);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| SaveError { path, source }
        };
        write_new(&temporary, &Document::from(state)).map_err(at(&temporary))?;
        fs::rename(&temporary, &path).map_err(at(&path))?;
        // The new name must reach the disk as well.
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(at(&self.directory))
    }
}

fn write_new(path: &Path, document: &Document) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, document)?;
    writer.write_all(b"\n")?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Reads the file; one that is damaged is renamed.
pub(super) fn load(directory: &Path) -> Result<State, LoadError> {
    read(directory).map_err(|error| match error {
        LoadError::Damaged { path, what } => set_aside(path, what),
        other => other,
    })
}

fn set_aside(path: PathBuf, what: String) -> LoadError {
    // Numbered, and never over an older one; whoever collects a hundred has seen the message often enough.
    let names = (1..100).map(|number| path.with_file_name(format!("{FILE_NAME}.damaged-{number}")));
    for aside in names {
        if aside.symlink_metadata().is_ok() {
            continue;
        }
        return match fs::rename(&path, &aside) {
            Ok(()) => LoadError::SetAside { path, what, aside },
            Err(_) => LoadError::Damaged { path, what },
        };
    }
    LoadError::Damaged { path, what }
}

/// Reads the file and leaves it alone. None is none: nothing has been learned yet.
pub(super) fn read(directory: &Path) -> Result<State, LoadError> {
    let path = directory.join(FILE_NAME);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        Err(source) => return Err(LoadError::Unreadable { path, source }),
    }
    match parse(&bytes) {
        Ok(state) => Ok(state),
        Err(Wrong::Newer(version)) => Err(LoadError::Newer { path, version }),
        Err(Wrong::Damaged(what)) => Err(LoadError::Damaged { path, what }),
    }
}

enum Wrong {
    Newer(u32),
    Damaged(String),
}

fn damaged(what: impl Into<String>) -> Wrong {
    Wrong::Damaged(what.into())
}

fn parse(bytes: &[u8]) -> Result<State, Wrong> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(damaged(format!("it has more than {MAX_FILE_BYTES} bytes")));
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
struct Document {
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
            beyond_bound: state.beyond_bound,
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
        Ok(Self { servers, beyond_bound: document.beyond_bound, unusable_ids: document.unusable_ids })
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
