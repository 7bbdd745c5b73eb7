//! The files of what was sent, in a directory of their own: `NUMBER.sent`, the key of the hashes, and a lock.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{self, HEAD, Head, Record};
use crate::clock::Clock;
use crate::named_file;

/// The directory's name in `data_dir`.
const DIRECTORY: &str = "sent";

const KEY_NAME: &str = "key";
const LOCK_NAME: &str = "lock";
const ENDING: &str = "sent";

/// Bytes of the key of the hashes.
pub(in crate::relay::memory) const KEY_BYTES: usize = 16;

/// The most that is read of what stands where the key should, bytes: enough to see that it is none.
const MAX_KEY_FILE: u64 = 4_096;

/// The most files: each start that sends anything begins one, and a relay that restarts each minute must not fill the directory.
const MAX_FILES: usize = 256;

/// The most that is read of one file, bytes: more than any that is written here.
const MAX_FILE: u64 = 1 << 31;

/// A record's share of a file, bytes, texts and frames included.
const RECORD: u64 = 48;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::relay::memory) struct Bounds {
    /// How long a record is of use.
    pub(in crate::relay::memory) window: Duration,
    /// The most records that are of use.
    pub(in crate::relay::memory) entries: usize,
}

/// Why nothing is kept.
#[derive(Debug, thiserror::Error)]
pub(in crate::relay::memory) enum KeptError {
    /// Reading or making something has failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// How.
        error: io::Error,
    },
    /// Another relay has the directory.
    #[error("{} is in use by another relay; each needs a data_dir of its own", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> KeptError {
    move |error| KeptError::Io { path: path.to_owned(), error }
}

/// An opened directory, before anything is written to it.
#[derive(Debug)]
pub(in crate::relay::memory) struct Kept {
    /// The key of the hashes.
    pub(in crate::relay::memory) key: [u8; KEY_BYTES],
    directory: PathBuf,
    bounds: Bounds,
    lock: File,
    /// Numbers, oldest first.
    files: Vec<u64>,
    /// The number after all that were there, be they removed since.
    next: u64,
}

/// One file that was read: how old it is, and what is in it.
pub(in crate::relay::memory) struct Past {
    /// How long ago it was begun.
    pub(in crate::relay::memory) age: Duration,
    /// In the order in which they were written.
    pub(in crate::relay::memory) records: Vec<Record>,
}

/// Opens the directory in `data_dir`, or makes it.
pub(in crate::relay::memory) fn open(data_dir: &Path, bounds: Bounds) -> Result<Kept, KeptError> {
    let directory = data_dir.join(DIRECTORY);
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(io_error(&directory))?;
    let path = directory.join(LOCK_NAME);
    let lock = ours().write(true).create(true).truncate(false).open(&path).map_err(io_error(&path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(KeptError::Locked { path: directory }),
        Err(TryLockError::Error(error)) => return Err(io_error(&path)(error)),
    }
    let mut files: Vec<u64> = fs::read_dir(&directory)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(io_error(&directory))?
        .iter()
        .filter_map(|entry| number(Path::new(&entry.file_name())))
        .collect();
    files.sort_unstable();
    let next = files.last().map_or(1, |number| number + 1);
    let path = directory.join(KEY_NAME);
    let key = match named_file::read(&path, MAX_KEY_FILE).map(<[u8; KEY_BYTES]>::try_from) {
        Ok(Ok(key)) => key,
        // It may be readable the next time, and what it is the key to may not be removed for that.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&path)(error)),
        found => {
            if found.is_ok() || !files.is_empty() {
                tracing::error!(
                    path = %path.display(),
                    "the key to what was sent is missing or damaged: repeats of what was sent before this start are not known"
                );
            }
            // Without their key they say nothing.
            for number in files.drain(..) {
                let _ = fs::remove_file(name(&directory, number));
            }
            new_key(&path).map_err(io_error(&path))?
        }
    };
    Ok(Kept { key, directory, bounds, lock, files, next })
}

fn new_key(path: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut key).expect("the system has random numbers: TLS could not start without them");
    let mut file = ours().write(true).create(true).truncate(true).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

impl Kept {
    /// Reads file after file, the oldest first, and removes those that are too old. What is cut or altered is told and passed over.
    pub(in crate::relay::memory) fn read(&mut self, clock: &Clock, mut each: impl FnMut(Past)) {
        let (wall, boot) = (clock.unix(), clock.boot());
        let mut rest = Vec::new();
        for number in std::mem::take(&mut self.files) {
            let path = name(&self.directory, number);
            let bytes = match named_file::read(&path, MAX_FILE) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "what was sent cannot be read: its repeats are not known");
                    rest.push(number);
                    continue;
                }
            };
            let Some(head) = Head::decode(&bytes) else {
                tracing::error!(path = %path.display(), "this is no file of what was sent, or it is damaged; it is removed");
                let _ = fs::remove_file(&path);
                continue;
            };
            // By how long the machine has been up, which nobody sets; after a boot of it, by the wall time.
            let age = match (&head.boot, &boot) {
                (Some(then), Some(now)) if then.id == now.id => now.up.saturating_sub(then.up),
                _ => wall.saturating_sub(head.wall),
            };
            let mut left = &bytes[HEAD..];
            let mut records = Vec::new();
            while let Some(batch) = record::batch(&mut left) {
                records.extend(batch);
            }
            if !left.is_empty() {
                tracing::warn!(
                    path = %path.display(),
                    bytes = left.len(),
                    "the end of what was sent is cut or damaged, as after a power cut; it is passed over"
                );
            }
            let youngest = records.iter().filter_map(Record::at).max().unwrap_or_default();
            if age.saturating_sub(Duration::from_millis(youngest.max(0).unsigned_abs().into())) >= self.bounds.window {
                let _ = fs::remove_file(&path);
                continue;
            }
            rest.push(number);
            each(Past { age, records });
        }
        self.files = rest;
    }

    pub(super) fn into_files(self, clock: Clock) -> Files {
        let Self { directory, bounds, lock, files, next, .. } = self;
        // None is continued: their ends may be cut.
        Files {
            directory,
            bounds,
            clock,
            _lock: lock,
            old: files.into_iter().map(|number| (number, None)).collect(),
            next,
            current: None,
        }
    }
}

impl Record {
    fn at(&self) -> Option<i32> {
        match self {
            Self::Settled { at, .. } | Self::Late { at, .. } => Some(*at),
            Self::Received { .. } | Self::Text { .. } => None,
        }
    }
}

/// The files while they are written.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    bounds: Bounds,
    clock: Clock,
    /// Held as long as it is not dropped.
    _lock: File,
    /// Those before the current one, oldest first, with when each was ended; `None` for those of earlier processes.
    old: Vec<(u64, Option<tokio::time::Instant>)>,
    /// Taken by each try: what a failed one left there is in nobody's way.
    next: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    number: u64,
    begun: tokio::time::Instant,
    records: usize,
    /// Its length, as far as it is whole.
    bytes: u64,
}

impl Files {
    /// Whether the next records need a new file.
    pub(super) fn is_over(&self) -> bool {
        self.current.as_ref().is_none_or(|current| {
            let age = self.clock.now().saturating_duration_since(current.begun);
            current.records >= (self.bounds.entries / 4).max(1_024) || age >= self.bounds.window / 4
        })
    }

    /// Begins a new file, and removes those that are of no use. What is still to be synced: the one before, and the directory, so that
    /// the name is there after a power cut.
    pub(super) fn begin(&mut self) -> io::Result<Vec<File>> {
        let now = self.clock.now();
        let directory = File::open(&self.directory)?;
        let mut unsynced: Vec<File> = self.retire().into_iter().collect();
        let number = self.next;
        self.next += 1;
        let path = name(&self.directory, number);
        // What is appended after a cut goes to the end, wherever that is then.
        let mut file = ours().append(true).create_new(true).open(&path)?;
        let head = Head { wall: self.clock.unix(), boot: self.clock.boot() }.encode();
        if let Err(error) = file.write_all(&head) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.current = Some(Current { file, number, begun: now, records: 0, bytes: HEAD as u64 });
        self.tidy(now);
        unsynced.push(directory);
        Ok(unsynced)
    }

    /// Ends the current file. One without a record is removed: a disk that fails again and again must not push out the others.
    fn retire(&mut self) -> Option<File> {
        let Current { file, number, records, .. } = self.current.take()?;
        if records == 0 {
            let _ = fs::remove_file(name(&self.directory, number));
            return None;
        }
        self.old.push((number, Some(self.clock.now())));
        Some(file)
    }

    fn tidy(&mut self, now: tokio::time::Instant) {
        let (directory, bounds) = (&self.directory, self.bounds);
        let (mut files, mut bytes) = (self.old.len(), 0);
        let size = |number: u64| fs::metadata(name(directory, number)).map_or(0, |file| file.len());
        // From the newest on: beyond the bound in bytes nothing is of use any more.
        let useful = RECORD * bounds.entries as u64;
        let mut beyond: Vec<u64> = Vec::new();
        for (number, _) in self.old.iter().rev() {
            if bytes >= useful {
                beyond.push(*number);
            }
            bytes += size(*number);
        }
        self.old.retain(|(number, ended)| {
            let is_old = ended.is_some_and(|ended| now.saturating_duration_since(ended) >= bounds.window);
            let goes = is_old || beyond.contains(number) || files > MAX_FILES;
            if goes {
                files -= 1;
                let _ = fs::remove_file(name(directory, *number));
            }
            !goes
        });
    }

    /// Writes a batch of so many records, all of it or nothing.
    pub(super) fn append(&mut self, records: &[u8], count: usize) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(io::Error::other("no file was begun")) };
        let batch = [&record::frame(records), records].concat();
        match current.file.write_all(&batch) {
            Ok(()) => {
                current.bytes += batch.len() as u64;
                current.records += count;
                Ok(())
            }
            Err(error) => {
                // Its end may be cut, and what follows would not be read. To shorten a file takes no room.
                if current.file.set_len(current.bytes).is_err() {
                    self.retire();
                }
                Err(error)
            }
        }
    }

    /// What is being written, to be synced.
    pub(super) fn unsynced(&self) -> Option<io::Result<File>> {
        self.current.as_ref().map(|current| current.file.try_clone())
    }
}

/// For the relay's user alone.
fn ours() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn name(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}.{ENDING}"))
}

fn number(name: &Path) -> Option<u64> {
    if name.extension()? != ENDING {
        return None;
    }
    // None of ours is near the end of what there are numbers for.
    name.file_stem()?.to_str()?.parse().ok().filter(|number| *number < u64::from(u32::MAX))
}
