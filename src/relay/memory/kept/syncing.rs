//! Has files synced by a thread of its own: however long the disk takes for that, what comes meanwhile is written, which is all that a
//! killed process needs. Writes nothing.

use std::fs::File;
use std::io;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

use super::Complaints;

/// Files that wait to be synced: one as it is written, and three times what the beginning of a new one leaves.
const WAITING: usize = 7;

/// The side of the writer.
#[derive(Debug)]
pub(super) struct Syncing {
    files: SyncSender<File>,
    thread: JoinHandle<()>,
}

impl Syncing {
    pub(super) fn start() -> io::Result<Self> {
        let (files, given) = mpsc::sync_channel::<File>(WAITING);
        let mut complaints = Complaints::default();
        let thread = thread::Builder::new().name("memory-sync".into()).spawn(move || {
            for file in given {
                if let Err(error) = file.sync_data() {
                    complaints.say(&error, 0);
                }
            }
        })?;
        Ok(Self { files, thread })
    }

    /// `false` if so many wait that this one is not taken.
    pub(super) fn offer(&self, file: File) -> bool {
        !matches!(self.files.try_send(file), Err(TrySendError::Full(_)))
    }

    /// Waits for a place.
    pub(super) fn add(&self, file: File) {
        // It ends before this one only by a panic, which has been told where it happened.
        let _ = self.files.send(file);
    }

    /// Waits until all is synced.
    pub(super) fn finish(self) {
        drop(self.files);
        let _ = self.thread.join();
    }
}
