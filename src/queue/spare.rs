//! Room on the disk that is kept for what waits: a file of zeros beside the queue's, given up when the disk is full, so that what
//! became of what waits can still be noted. Until it can be made again, nothing new is put into the queue.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Its name.
const NAME: &str = "queue.spare";

/// 16 MB: the log grows to 4 MB before it is written over from its start, and the file by no more than was in the log.
const BYTES: u64 = 16 * 1024 * 1024;

/// The file.
#[derive(Debug)]
pub(super) struct Spare {
    file: File,
    is_there: bool,
}

impl Spare {
    /// Of a directory; made in full if there is room.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut spare = Self { file, is_there: false };
        spare.make();
        Ok(spare)
    }

    /// Says whether the room is kept. A file system that cannot keep any has none to give up either.
    pub(super) fn make(&mut self) -> bool {
        if !self.is_there {
            let made = fallocate(&self.file, FallocateFlags::empty(), 0, BYTES);
            self.is_there = !matches!(made, Err(Errno::NOSPC | Errno::DQUOT));
            if !self.is_there {
                // What was kept of it in part is of more use to what waits.
                self.give_up();
            }
        }
        self.is_there
    }

    /// Gives the room back. Says whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        let was_there = std::mem::take(&mut self.is_there);
        self.file.set_len(0).is_ok() && was_there
    }
}

/// The same before a queue is open. Says whether there was any.
pub(super) fn give_up_in(directory: &Path) -> bool {
    let file = OpenOptions::new().write(true).open(directory.join(NAME));
    file.is_ok_and(|file| file.metadata().is_ok_and(|found| found.len() > 0) && file.set_len(0).is_ok())
}
