//! The mark beside the file, `queue.mark`: that there is a queue, which one, and whether it was closed. The file alone cannot say
//! that it is gone. A line of text: the queue's id, which is in the file too, and `open` or `closed`.
//!
//! Read before `SQLite` sees the file, because it takes an empty one for a new one and removes the log beside it. Directories
//! of releases before the mark have none, and get one.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::{wal, wal_of};

/// Its name. Whoever accepts that what waited is lost removes it.
const MARK_NAME: &str = "queue.mark";

/// The longest that is read of it, bytes: a valid one has 40.
const MAX_BYTES: u64 = 256;

/// Digits of an id.
const ID_DIGITS: usize = 32;

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub id: String,
    /// Everything is in the file itself, so that the log may be missing.
    pub is_closed: bool,
}

impl Mark {
    /// `None` for what is not a mark.
    fn parse(text: &str) -> Option<Self> {
        let (id, state) = text.trim_end().split_once(' ')?;
        let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_closed = match state {
            "open" => false,
            "closed" => true,
            _ => return None,
        };
        is_id.then(|| Self { id: id.to_owned(), is_closed })
    }

    /// The mark of a directory; `None` if there is none.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, OpenError> {
        let path = directory.join(MARK_NAME);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => {}
            Err(error) => return Err(OpenError::io(&path)(error)),
        }
        let found = Self::parse(&text).map(Some);
        found.ok_or_else(|| lost(directory, "the mark beside it cannot be read"))
    }

    /// Writes it in one step, synced.
    pub(super) fn write(&self, directory: &Path) -> std::io::Result<()> {
        let (path, new) = (directory.join(MARK_NAME), directory.join(format!("{MARK_NAME}.new")));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{} {}", self.id, if self.is_closed { "closed" } else { "open" })?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    }

    /// Whether the file that was opened is the one that this mark is of.
    pub(super) fn check(&self, directory: &Path, id: Option<&str>) -> Result<(), OpenError> {
        if id == Some(&*self.id) {
            Ok(())
        } else {
            Err(lost(directory, "it is not the file that the mark beside it is of"))
        }
    }
}

/// Looks at the files before `SQLite` does: is everything there that was said to be on disk?
pub(super) fn look(directory: &Path, file: &Path, mark: Option<&Mark>) -> Result<(), OpenError> {
    let log = wal_of(file);
    let (file_bytes, log_bytes) = (length(file)?, length(&log)?);
    match what_is_missing(mark, file_bytes, log_bytes) {
        Some(what) => return Err(lost(directory, what)),
        None if log_bytes == 0 => return Ok(()),
        None => {}
    }
    let is_open = mark.is_some_and(|mark| !mark.is_closed);
    match wal::damage(&log, is_open).map_err(OpenError::io(&log))? {
        None => Ok(()),
        Some(what) => Err(OpenError::Damaged { path: log, what, mark: directory.join(MARK_NAME) }),
    }
}

/// Sizes in bytes, 0 for a file that is not there.
fn what_is_missing(mark: Option<&Mark>, file: u64, log: u64) -> Option<&'static str> {
    match (mark, file, log) {
        (Some(_), 0, _) => Some("it is empty or missing, and the mark beside it says that there was a queue"),
        // The file has its first page before there is a log.
        (None, 0, 1..) => Some("it is empty or missing, and its -wal is not"),
        (Some(Mark { is_closed: false, .. }), _, 0..wal::HEADER_BYTES) => {
            Some("its -wal is empty or missing, and the relay that wrote it was not stopped in order")
        }
        _ => None,
    }
}

fn lost(directory: &Path, what: &'static str) -> OpenError {
    OpenError::Lost { path: directory.join(super::FILE_NAME), what, mark: directory.join(MARK_NAME) }
}

fn length(path: &Path) -> Result<u64, OpenError> {
    match fs::metadata(path) {
        Ok(file) => Ok(file.len()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(OpenError::io(path)(error)),
    }
}

/// The files of a directory that belong to the queue's file, and to no other that is put in its place.
pub fn companions(directory: &Path) -> [PathBuf; 3] {
    let file = directory.join(super::FILE_NAME);
    let mut index = file.clone().into_os_string();
    index.push("-shm");
    [wal_of(&file), index.into(), directory.join(MARK_NAME)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(directory.path()).unwrap(), None);
        for is_closed in [false, true] {
            let mark = Mark { id: "0123456789abcdef0123456789abcdef".into(), is_closed };
            mark.write(directory.path()).unwrap();
            assert_eq!(Mark::read(directory.path()).unwrap(), Some(mark));
        }
        for bad in
            ["", "x open", "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef ajar", "\u{fffd}"]
        {
            fs::write(directory.path().join(MARK_NAME), bad).unwrap();
            assert!(matches!(Mark::read(directory.path()), Err(OpenError::Lost { .. })), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_is_told_from_what_was_never_there() {
        let mark = |is_closed| Some(Mark { id: String::new(), is_closed });
        let cases = [
            (None, 0, 0, true),
            (None, 4_096, 0, true),
            (None, 4_096, 4_152, true),
            (None, 0, 4_152, false),
            (mark(true), 4_096, 0, true),
            (mark(true), 4_096, 4_152, true),
            (mark(true), 0, 0, false),
            (mark(true), 0, 4_152, false),
            (mark(false), 4_096, 4_152, true),
            (mark(false), 4_096, 0, false),
            (mark(false), 4_096, 31, false),
            (mark(false), 0, 4_152, false),
        ];
        for (mark, file, log, is_whole) in cases {
            assert_eq!(what_is_missing(mark.as_ref(), file, log).is_none(), is_whole, "{mark:?} {file} {log}");
        }
    }
}
