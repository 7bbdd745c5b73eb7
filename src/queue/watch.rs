//! Whether the files that are written to are still those at their path. A file that was removed can be written to for as long as
//! it is open, and what is in it is gone with the process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{wal, wal_of};

/// The files as they were opened.
#[derive(Debug)]
pub(super) struct Watch([Watched; 2]);

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// It was never shorter.
    least_bytes: u64,
}

impl Watch {
    /// Once both are there: the log is with the first commit.
    pub(super) fn begin(file: &Path) -> std::io::Result<Self> {
        let watched = |path: PathBuf, least_bytes| {
            let found = fs::metadata(&path)?;
            Ok::<_, std::io::Error>(Watched { path, device: found.dev(), inode: found.ino(), least_bytes })
        };
        Ok(Self([watched(file.to_owned(), 1)?, watched(wal_of(file), wal::HEADER_BYTES)?]))
    }

    /// The first that is not there any more. Two system calls.
    pub(super) fn missing(&self) -> Option<&Path> {
        let is_there = |watched: &&Watched| {
            fs::metadata(&watched.path).is_ok_and(|found| {
                (found.dev(), found.ino()) == (watched.device, watched.inode) && found.len() >= watched.least_bytes
            })
        };
        self.0.iter().find(|watched| !is_there(watched)).map(|watched| &*watched.path)
    }
}
