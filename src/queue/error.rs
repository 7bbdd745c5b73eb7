//! What can go wrong with the file, each with the operator's next step. No error quotes what is stored.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

/// Why the queue was not opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another relay works on it.
    #[error(
        "{path} is held by another process: two relays cannot share a queue; stop the other one, or give this one a directory of its own"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Not what was written.
    #[error(
        "{path} is damaged: {what}; stop the relay, then restore the file from a snapshot, or move it and its -wal and -shm away to begin with an empty queue"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What `SQLite` says.
        what: String,
    },
    /// A database, and not a queue.
    #[error("{path} is another program's database; give the queue a directory of its own")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Not what was written: part of the log.
    #[error(
        "{path} is damaged: {what}, and what waited there cannot all be read; stop the relay, then restore the queue from a backup; or, to \
         begin with an empty queue, move queue.sqlite3, its -wal and -shm, and {mark} away"
    )]
    Damaged {
        /// The log.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
        /// The mark.
        mark: PathBuf,
    },
    /// Not what it was said to be: it is gone, or another.
    #[error(
        "{path} has lost what was acknowledged: {what}; is the right disk mounted, and was everything copied? Put the file and its -wal \
         back, or restore them from a backup; or, to accept the loss and go on with what is there, remove {mark}"
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
        /// The mark, which says that there was more.
        mark: PathBuf,
    },
    /// Of a later release.
    #[error(
        "{path} has version {version}, which a later release has written; this one knows up to version {known}: start the later release again"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The latest that is known.
        known: i64,
    },
    /// Of an earlier release; only whoever reads beside a relay meets it.
    #[error("{path} has version {version} of an earlier release; start the relay once to bring it up to date")]
    TooOld {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// There is none.
    #[error("there is no queue at {path}; a relay with a queue makes it when it starts")]
    Missing {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// No space.
    #[error("{path} cannot be written: the disk is full; make space on it and start again")]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The file system.
    #[error("{path} cannot be used: {source}; it must be readable and writable for the user that runs the relay")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Anything else that `SQLite` says.
    #[error(
        "{path} cannot be opened: {what}; it must be on a local disk, and readable and writable for the user that runs the relay"
    )]
    Database {
        /// The file.
        path: PathBuf,
        /// What `SQLite` says.
        what: String,
    },
}

impl OpenError {
    /// Whether the next try may do better though nobody looks after the file: another process ends, the disk has room again
    /// or is mounted.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::DiskFull { .. } | Self::Io { .. } | Self::Database { .. })
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self + Copy + use<'_> {
        move |error| {
            let (path, what) = (path.to_owned(), error.to_string());
            match error.sqlite_error_code() {
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt { path, what },
                Some(ErrorCode::DiskFull) => Self::DiskFull { path },
                _ => Self::Database { path, what },
            }
        }
    }
}

/// Why something was not done. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// There are as many entries as there may be.
    #[error("the queue holds its {max} entries; raise its bound, or find out why a provider takes nothing")]
    Full {
        /// The bound.
        max: u64,
    },
    /// Its server has so many that the places which are left are for others.
    #[error(
        "{held} notifications of this server wait, and the {free} places that are left are for others; raise the queue's bound, or find out why a provider takes nothing"
    )]
    Share {
        /// Its entries.
        held: u64,
        /// The places that are left.
        free: u64,
    },
    /// No space for it: on the disk, or within the file's bound.
    #[error(
        "the queue cannot grow: the disk is full, or the file has reached its bound; make space, or raise the bound"
    )]
    NoSpace,
    /// The file is not there any more, or another is in its place: what is written would be gone with the process.
    #[error(
        "{path} was removed or replaced while the relay ran: nothing more is put there; put it back, or stop the relay, which \
         loses what waited there, and start it again"
    )]
    Gone {
        /// The file or its log.
        path: PathBuf,
    },
    /// The disk, or another process that holds the file for too long.
    #[error("the queue could not be written: {what}; see to the disk that holds it")]
    Disk {
        /// What `SQLite` says.
        what: String,
    },
    /// The disk takes longer than a caller can be kept waiting. What was asked is not done, or is undone.
    #[error("the disk that holds the queue has not answered within {} s; see to the disk", .within.as_secs())]
    Slow {
        /// How long it was waited for.
        within: Duration,
    },
    /// The queue has been closed.
    #[error("the queue is closed; the relay is stopping")]
    Closed,
}

impl From<&rusqlite::Error> for QueueError {
    fn from(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            _ => Self::Disk { what: error.to_string() },
        }
    }
}

/// Why the command line's work on the queue was not done.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// `SQLite`.
    #[error(
        "the queue could not be read or changed: {what}; try again: what was done before this stays done, and is not done twice"
    )]
    Database {
        /// What it says.
        what: String,
    },
    /// The copy.
    #[error("{path} cannot be written: {source}; name a file that is not there yet, on a disk with space")]
    Snapshot {
        /// The copy's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl From<rusqlite::Error> for InspectError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database { what: error.to_string() }
    }
}
