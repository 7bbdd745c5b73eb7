//! What was believed, over restarts: a file of the relay's own, and beside it one that only the command line writes, in which
//! an operator lets more through. Both are replaced as a whole and on the disk before anybody relies on them. Neither holds a
//! device token. Decides nothing.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What the relay writes, in its data directory.
const LEDGER: &str = "removals.json";

/// What the command line writes.
const GRANTS: &str = "removals-allowed.json";

/// The form of both.
const VERSION: u32 = 1;

/// The longest file read, bytes: a thousand targets take a few hundred thousand.
const MAX_BYTES: u64 = 4 << 20;

/// The most device tokens that an operator lets through at a time.
pub const MOST_ALLOWED: u64 = 100_000;

/// How long it holds, seconds: a day.
pub const ALLOWED_FOR_S: u64 = 24 * 60 * 60;

/// What is kept of each target, by its name. Those that are no longer configured stay: to take a target out and put it back
/// is no new beginning.
pub type Ledger = BTreeMap<String, Record>;

/// What operators let through, by target.
pub type Grants = BTreeMap<String, Grant>;

/// What is kept of one target's guard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Ambiguous removals believed since the last delivery.
    pub since_delivery: u64,
    /// Those of the last day, by the hour since the Unix epoch.
    pub believed: Vec<(u64, u64)>,
    /// Deliveries of the last day, in the same way; written now and then.
    pub delivered: Vec<(u64, u64)>,
    /// What an operator let through, as far as the relay has taken note of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Grant>,
}

/// An operator's word that so many are really dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Tells one from the next: when it was given, milliseconds since the Unix epoch.
    pub id: u64,
    /// How many are (still) let through.
    pub left: u64,
    /// Until when, seconds since the Unix epoch.
    pub until: u64,
}

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk, or something in the file's place that is no file.
    #[error("{path}: {source}; it must be a file that the relay's user may read and write")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not what was written.
    #[error(
        "{path} is damaged or of a later release: {what}; restore it, or remove it if the relay's targets are right"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<T> {
    version: u32,
    targets: BTreeMap<String, T>,
}

/// What the relay has kept; empty if there is none yet.
pub fn read(directory: &Path) -> Result<Ledger, LedgerError> {
    read_document(&directory.join(LEDGER))
}

/// Replaces it.
pub fn write(directory: &Path, ledger: &Ledger) -> Result<(), LedgerError> {
    write_document(directory, LEDGER, ledger)
}

/// What operators have let through; empty if there is none yet.
pub fn read_grants(directory: &Path) -> Result<Grants, LedgerError> {
    read_document(&directory.join(GRANTS))
}

/// Replaces it.
pub fn write_grants(directory: &Path, grants: &Grants) -> Result<(), LedgerError> {
    write_document(directory, GRANTS, grants)
}

fn read_document<T: DeserializeOwned>(path: &Path) -> Result<BTreeMap<String, T>, LedgerError> {
    let disk = |source| LedgerError::Disk { path: path.to_owned(), source };
    // Looked at first: to open a FIFO would wait for its writer.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(disk(io::Error::other("it is not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(disk(error)),
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(disk)?;
    parse(&bytes).map_err(|what| LedgerError::Damaged { path: path.to_owned(), what })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<BTreeMap<String, T>, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    let Document { version, targets } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version == VERSION { Ok(targets) } else { Err(format!("its version is {version}, not {VERSION}")) }
}

fn write_document<T: Serialize + Clone>(
    directory: &Path,
    name: &str,
    targets: &BTreeMap<String, T>,
) -> Result<(), LedgerError> {
    let (path, temporary) = (directory.join(name), directory.join(format!("{name}.tmp")));
    let disk = |source| LedgerError::Disk { path: path.clone(), source };
    let document = Document { version: VERSION, targets: targets.clone() };
    let text = serde_json::to_vec(&document).map_err(|error| disk(error.into()))?;
    let replaced = || {
        DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        // The new name must reach the disk as well.
        File::open(directory)?.sync_all()
    };
    replaced().map_err(disk)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("not/there/yet");
        assert_eq!(read(&directory).unwrap(), Ledger::new());
        let grant = Grant { id: 7, left: 100, until: 1_800_000_000 };
        let record = Record { since_delivery: 3, believed: vec![(5, 3)], delivered: vec![(4, 9)], grant: Some(grant) };
        let ledger = Ledger::from([("apple_rn".to_owned(), record), ("old".to_owned(), Record::default())]);
        write(&directory, &ledger).unwrap();
        assert_eq!(read(&directory).unwrap(), ledger);
        let grants = Grants::from([("apple_rn".to_owned(), grant)]);
        write_grants(&directory, &grants).unwrap();
        assert_eq!(read_grants(&directory).unwrap(), grants);
    }

    #[test]
    fn what_is_not_such_a_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        for text in
            ["", "{", "[]", r#"{"version":2,"targets":{}}"#, r#"{"version":1}"#, r#"{"version":1,"targets":{"a":5}}"#]
        {
            fs::write(folder.path().join(LEDGER), text).unwrap();
            assert!(read(folder.path()).unwrap_err().to_string().contains(LEDGER), "{text}");
        }
        fs::create_dir(folder.path().join(GRANTS)).unwrap();
        assert!(read_grants(folder.path()).unwrap_err().to_string().contains("not a regular file"));
        assert!(write_grants(folder.path(), &Grants::new()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse::<Record>(&bytes);
        }
    }
}
