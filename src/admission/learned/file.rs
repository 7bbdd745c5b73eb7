//! What was learned, on disk: one file (`document` is its form), replaced as a whole, so that a reader finds the old state
//! or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::document::{Document, VERSION, Wrong, parse};
use super::state::State;
use crate::named_file;

/// Its name in the data directory.
pub const FILE_NAME: &str = "learned.json";

/// Written first, then renamed. Always the same name: what a killed process has left is written over.
const TEMPORARY_NAME: &str = "learned.json.tmp";

/// The longest file read, bytes. Ten thousand servers with every candidate take about 25 MB.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

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
    let read = named_file::open(&path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        Err(source) => return Err(LoadError::Unreadable { path, source }),
    }
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(LoadError::Damaged { path, what: format!("it has more than {MAX_FILE_BYTES} bytes") });
    }
    match parse(&bytes) {
        Ok(state) => Ok(state),
        Err(Wrong::Newer(version)) => Err(LoadError::Newer { path, version }),
        Err(Wrong::Damaged(what)) => Err(LoadError::Damaged { path, what }),
    }
}
