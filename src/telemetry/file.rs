//! The log file: whole lines appended to it, and a new one begun when it is full, moved away or deleted. What becomes of
//! the full one is [`super::archive`]'s. Never stops the relay: what cannot be written is counted and left.
//!
//! Written here because no crate does it all: `file-rotate` compresses on the thread that writes, and `logroller` names
//! files otherwise than the reference, brings `chrono` and `regex`, and neither finds out that its file was moved away or
//! recovers from a full disk without splitting a line. Only gzip comes from a crate: `flate2`, on its Rust backend.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::archive::{Archive, Archivist, MODE, Names};
use super::log::LogError;
use super::sink::count_lines;
use crate::clock::Clock;

/// What the directories made for a log may be at most, so that the group that may read the file can reach it.
const DIRECTORY_MODE: u32 = 0o750;

/// How often it is looked up whether the path still leads to the open file, and a rotation that failed is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The least time between two lines that say how many are missing.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// A log file and the ones before it.
#[derive(Clone, Debug)]
pub struct LogFileSettings {
    /// Its directory is made if there is none. Rotated files stand beside it.
    pub path: PathBuf,
    /// A line that would make it larger goes to a new file. A single longer line is written all the same, alone.
    pub max_bytes: u64,
    /// How many rotated files are kept, those that an earlier run or the reference left included; the oldest are deleted.
    /// `u32::MAX` keeps all, as the reference does.
    pub keep: u32,
}

/// Where the lines go. Used by one thread.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    names: Names,
    archivist: Archivist,
    clock: Clock,
    open: Open,
    /// When the path was last looked up.
    looked: Instant,
    /// Until when a rotation that failed is not tried again.
    rotation_waits: Option<Instant>,
    /// The time in the last rotated file's name: the next one's is later, whatever the clock does.
    rotated: Duration,
    /// Whether the last write failed.
    failing: bool,
    /// Lines lost that no line has told of.
    untold: u64,
    told: Option<Instant>,
}

impl LogFile {
    /// Opens or creates it, and starts the thread that looks after rotated files.
    pub(super) fn open(
        settings: &LogFileSettings,
        clock: Clock,
        stderr: impl Write + Send + 'static,
    ) -> Result<(Self, Archive), LogError> {
        let refused = |error: &io::Error| LogError::file(&settings.path, error);
        let no_file = || refused(&ErrorKind::IsADirectory.into());
        Names::of(&settings.path).ok_or_else(no_file)?;
        let open = Open::at(&settings.path, MODE).map_err(|error| refused(&error))?;
        // Behind a symbolic link it is the file that is rotated, not the link.
        let path = match fs::canonicalize(&settings.path) {
            Ok(path) if open.is_regular => path,
            _ => settings.path.clone(),
        };
        let names = Names::of(&path).ok_or_else(no_file)?;
        let archive =
            Archive::start(names.clone(), settings.keep, clock.clone(), stderr).map_err(LogError::NoThread)?;
        let file = Self {
            path,
            max_bytes: settings.max_bytes,
            names,
            archivist: archive.archivist(),
            looked: clock.now(),
            clock,
            open,
            rotation_waits: None,
            rotated: Duration::ZERO,
            failing: false,
            untold: 0,
            told: None,
        };
        Ok((file, archive))
    }

    /// Writes whole lines, and returns how many were lost.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        let mut rest = lines;
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => {
                    if !self.failing {
                        let place = self.path.display();
                        self.archivist.complain(format!(
                            "cannot write the log file `{place}`: {error}; lines are dropped until that is over"
                        ));
                    }
                    break;
                }
            }
        }
        self.failing = !rest.is_empty();
        let lost = if self.failing { count_lines(rest) } else { 0 };
        self.untold += lost;
        if self.untold > 0 && !self.failing {
            self.tell();
        }
        lost
    }

    /// Leaves a line in the log where others are missing.
    fn tell(&mut self) {
        let now = self.clock.now();
        if self.told.is_none_or(|told| now - told >= REPORT_EVERY) {
            tracing::warn!(
                lines = self.untold,
                "the log file could not be written for a while; lines are missing here"
            );
            (self.told, self.untold) = (Some(now), 0);
        }
    }

    /// Writes at least one line, and no more than go into one file.
    fn write_some(&mut self, lines: &[u8]) -> io::Result<usize> {
        let now = self.clock.now();
        if now - self.looked >= LOOK_EVERY {
            self.look(now);
        }
        let first = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
        if self.is_full_for(first) && self.rotation_waits.is_none_or(|until| now >= until) {
            // Another process may have rotated it, or a person.
            self.look(now);
            if self.is_full_for(first) {
                self.rotation_waits = self.rotate().err().map(|error| {
                    let place = self.path.display();
                    self.archivist.complain(format!(
                        "cannot rotate the log file `{place}`: {error}; it grows on until that is over"
                    ));
                    now + LOOK_EVERY
                });
            }
        }
        let grows_on = !self.open.is_regular || self.rotation_waits.is_some_and(|until| now < until);
        let room = if grows_on { u64::MAX } else { self.max_bytes.saturating_sub(self.open.bytes) };
        self.open.append(&lines[..first.max(whole_lines(lines, room))])
    }

    fn is_full_for(&self, line: usize) -> bool {
        let line = u64::try_from(line).unwrap_or(u64::MAX);
        self.open.is_regular && self.open.bytes > 0 && self.open.bytes.saturating_add(line) > self.max_bytes
    }

    /// Finds out whether the path still leads to the open file. If not, or if that cannot be written, opens what is there
    /// or creates it.
    fn look(&mut self, now: Instant) {
        self.looked = now;
        match fs::metadata(&self.path) {
            Ok(found) if self.open.is(&found) && !self.failing => self.open.bytes = found.len(),
            Ok(_) => self.reopen(),
            Err(error) if error.kind() == ErrorKind::NotFound => self.reopen(),
            // Nothing is known, so nothing is done.
            Err(_) => {}
        }
    }

    fn reopen(&mut self) {
        match Open::at(&self.path, self.open.mode) {
            Ok(open) => self.open = open,
            // Lines are better in a file that was moved away than nowhere.
            Err(error) => {
                let place = self.path.display();
                self.archivist.complain(format!("cannot open the log file `{place}` again: {error}"));
            }
        }
    }

    /// Moves the full file aside and begins a new one. If it fails, everything is as before.
    fn rotate(&mut self) -> io::Result<()> {
        let mut at = self.clock.unix().max(self.rotated + Duration::from_millis(1));
        let rotated = loop {
            let name = self.names.rotated(at);
            let mut compressed = name.as_os_str().to_owned();
            compressed.push(".gz");
            if !name.try_exists()? && !Path::new(&compressed).try_exists()? {
                break name;
            }
            at += Duration::from_millis(1);
        };
        fs::rename(&self.path, &rotated)?;
        match Open::at(&self.path, self.open.mode) {
            Ok(open) => self.open = open,
            Err(error) => {
                // If not even this works, the next look finds the path empty and creates the file.
                let _ = fs::rename(&rotated, &self.path);
                return Err(error);
            }
        }
        self.rotated = at;
        self.archivist.rotated();
        Ok(())
    }
}

/// A file that is open for appending.
#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    mode: u32,
    /// Something else (`/dev/stdout`, a pipe) is never rotated.
    is_regular: bool,
    bytes: u64,
    /// It ends within a line: a process was killed while it wrote.
    is_torn: bool,
}

/// Whether the path stands for a stream of the process: where `/dev/stdout` leads is not ours to rename.
fn is_stream(path: &Path) -> bool {
    ["/dev", "/proc"].into_iter().any(|streams| path.starts_with(streams))
}

impl Open {
    /// Opens or creates it, and its directory.
    fn at(path: &Path, mode: u32) -> io::Result<Self> {
        // Opening it would wait for a reader, for ever if there is none.
        if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
            return Err(io::Error::new(ErrorKind::Unsupported, "it is a named pipe"));
        }
        let open = || OpenOptions::new().append(true).create(true).mode(mode).open(path);
        let file = match (open(), path.parent()) {
            (Err(error), Some(parent)) if error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(parent)?;
                open()?
            }
            (file, _) => file?,
        };
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            // An operator who made it tighter finds the next one as tight.
            mode: metadata.permissions().mode() & MODE,
            is_regular: metadata.is_file() && !is_stream(path),
            bytes: metadata.len(),
            is_torn: metadata.is_file() && ends_within_a_line(path),
            file,
        })
    }

    fn is(&self, found: &Metadata) -> bool {
        (self.device, self.inode) == (found.dev(), found.ino())
    }

    /// Writes as many of these whole lines as the disk takes; an error if it takes none.
    fn append(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.append_with(lines, write_until_failure)
    }

    fn append_with(
        &mut self,
        lines: &[u8],
        write: impl FnOnce(&mut File, &[u8]) -> (usize, Option<io::Error>),
    ) -> io::Result<usize> {
        if self.is_torn {
            self.file.write_all(b"\n")?;
            self.bytes += 1;
            self.is_torn = false;
        }
        let (taken, failure) = write(&mut self.file, lines);
        let whole = failure.as_ref().map_or(taken, |_| whole_lines(&lines[..taken], u64::MAX));
        self.bytes += u64::try_from(whole).unwrap_or(u64::MAX);
        if taken > whole && self.is_regular {
            self.is_torn = self.cut(taken - whole).is_err();
        }
        match failure {
            // What it is shows again with the next line.
            Some(error) if whole == 0 => Err(error),
            _ => Ok(whole),
        }
    }

    /// Takes the last bytes back, which are the beginning of a line.
    fn cut(&self, bytes: usize) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        self.file.set_len(length.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX)))
    }
}

/// Whether the last byte is that of an unfinished line. A file that may not be read counts as whole.
fn ends_within_a_line(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last().is_ok_and(|last| last != b'\n')
}

/// How many bytes of whole lines, each with its end, there are within the first `room` bytes.
fn whole_lines(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// How many bytes went out, and what stopped them.
fn write_until_failure<W: Write>(output: &mut W, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut taken = 0;
    while taken < bytes.len() {
        match output.write(&bytes[taken..]) {
            Ok(0) => return (taken, Some(ErrorKind::WriteZero.into())),
            Ok(written) => taken += written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (taken, Some(error)),
        }
    }
    (taken, None)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
