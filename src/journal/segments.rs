//! The journal's files: lines are appended to the newest, a new one is begun each hour or when it is large enough, and the
//! oldest are deleted. Used by one thread. Another process may append to the same files: whole lines go out in one write.
//!
//! A segment is called after the second in which it was begun, `1800000000.jsonl`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::JournalSettings;
use crate::clock::Clock;

/// How long a segment is appended to.
const SPAN: Duration = Duration::from_secs(60 * 60);

/// In how many segments `max_bytes` are kept, so that what goes at once is a small part.
const SEGMENTS: u64 = 24;

/// Nothing secret is in it, but who is notified how often is nobody else's business.
const MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

const SUFFIX: &str = ".jsonl";

/// Where lines are appended.
#[derive(Debug)]
pub(super) struct Segments {
    settings: JournalSettings,
    clock: Clock,
    /// The newest, once it could be opened.
    open: Option<Open>,
    /// Bytes of all segments, as far as this process knows.
    total: u64,
    /// Lines lost since writing began to fail; `None` while it does not.
    failing: Option<u64>,
}

#[derive(Debug)]
struct Open {
    file: File,
    began: Duration,
    bytes: u64,
}

/// A segment on disk.
#[derive(Debug)]
pub(super) struct Segment {
    /// Since the Unix epoch, whole seconds.
    began: Duration,
    pub(super) path: PathBuf,
    bytes: u64,
}

impl Segments {
    /// Continues the newest segment or begins one. That it cannot is said in the log.
    pub(super) fn open(settings: JournalSettings, clock: Clock) -> Self {
        let mut segments = Self { settings, clock, open: None, total: 0, failing: None };
        if let Err(error) = segments.ready(0) {
            segments.failed(&error, 0);
        }
        segments
    }

    /// For a process beside the one whose journal it is. Opens nothing yet.
    pub(super) fn beside(settings: JournalSettings, clock: Clock) -> Self {
        Self { settings, clock, open: None, total: 0, failing: None }
    }

    /// Writes whole lines. A segment that it begins belongs to whom the directory belongs to: the relay goes on with it.
    pub(super) fn append_beside(&mut self, lines: &[u8]) -> io::Result<()> {
        let directory = fs::metadata(&self.settings.directory)?;
        let open = self.ready(u64::try_from(lines.len()).unwrap_or(u64::MAX))?;
        if open.file.metadata()?.uid() != directory.uid() {
            // Only root can, and only root has to.
            let _ = fchown(&open.file, Some(directory.uid()), Some(directory.gid()));
        }
        self.try_append(lines, &mut 0)
    }

    /// Writes whole lines, and returns how many were lost.
    pub(super) fn append(&mut self, lines: &[u8]) -> u64 {
        let mut written = 0;
        match self.try_append(lines, &mut written) {
            Ok(()) => {
                if let Some(lost) = self.failing.take() {
                    tracing::info!(lines = lost, "the journal can be written again; so many lines are missing");
                }
                0
            }
            Err(error) => {
                // It may end within a line now, which is looked at when it is opened again.
                self.open = None;
                let lost = count_lines(&lines[written..]);
                self.failed(&error, lost);
                lost
            }
        }
    }

    /// Deletes what is too old while nothing is written.
    pub(super) fn tidy(&mut self) {
        // What cannot be listed now can be later.
        let _ = self.delete_old(0);
    }

    fn failed(&mut self, error: &io::Error, lost: u64) {
        if self.failing.is_none() {
            tracing::error!(
                directory = %self.settings.directory.display(),
                %error,
                "the journal cannot be written: notifications are delivered as ever, but `pushrelay trace` will not know of \
                 them; make the directory writable or give it room"
            );
        }
        *self.failing.get_or_insert(0) += lost;
    }

    fn try_append(&mut self, lines: &[u8], written: &mut usize) -> io::Result<()> {
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let open = self.ready(length)?;
        while *written < lines.len() {
            match open.file.write(&lines[*written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => *written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        open.bytes += length;
        self.total += length;
        Ok(())
    }

    /// The segment that so many bytes go to, with room made for them.
    fn ready(&mut self, room: u64) -> io::Result<&mut Open> {
        let now = self.clock.unix();
        let most = self.settings.max_bytes / SEGMENTS;
        let is_full = |bytes: u64| bytes > 0 && bytes + room > most;
        self.open.take_if(|open| is_full(open.bytes) || is_over(open.began, now));
        let is_too_much = self.total.saturating_add(room) > self.settings.max_bytes;
        let newest = if self.open.is_none() || is_too_much { self.delete_old(room)? } else { None };
        if self.open.is_none() {
            let usable = newest.as_ref().filter(|newest| !is_full(newest.bytes) && !is_over(newest.began, now));
            let began = match (usable, &newest) {
                (Some(usable), _) => usable.began,
                // Later than the newest, even if the clock was set back a little.
                (None, Some(newest)) => whole_seconds(now).max(newest.began + Duration::from_secs(1)),
                (None, None) => whole_seconds(now),
            };
            let open = Open::at(&self.settings.directory, began)?;
            self.total += open.bytes - usable.map_or(0, |usable| usable.bytes).min(open.bytes);
            self.open = Some(open);
        }
        Ok(self.open.as_mut().expect("was opened if it was not open"))
    }

    /// Deletes what is too old, and the oldest until there is room for so many bytes. The newest that is left.
    fn delete_old(&mut self, room: u64) -> io::Result<Option<Segment>> {
        let now = self.clock.unix();
        let JournalSettings { directory, keep, max_bytes } = &self.settings;
        let mut segments = match list(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        self.total = segments.iter().map(|segment| segment.bytes).sum();
        // One that begins far in the future was named by a clock that was wrong, and would never be old.
        let is_old = |segment: &Segment| {
            segment.began.saturating_add(SPAN).saturating_add(*keep) <= now || segment.began > now.saturating_add(SPAN)
        };
        let mut kept = Vec::with_capacity(segments.len());
        let count = segments.len();
        for (at, segment) in segments.drain(..).enumerate() {
            let is_newest = at + 1 == count;
            let is_too_much = self.total.saturating_add(room) > *max_bytes && !is_newest;
            if !is_old(&segment) && !is_too_much {
                kept.push(segment);
                continue;
            }
            match fs::remove_file(&segment.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => self.total -= segment.bytes,
            }
            self.open.take_if(|open| open.began == segment.began);
        }
        Ok(kept.pop())
    }
}

impl Open {
    /// Opens or creates a segment, and the directory. One that ends within a line gets its end.
    fn at(directory: &Path, began: Duration) -> io::Result<Self> {
        let path = directory.join(format!("{:010}{SUFFIX}", began.as_secs()));
        let open = || OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(&path);
        let mut file = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
                open()?
            }
            file => file?,
        };
        let mut bytes = file.metadata()?.len();
        if bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                bytes += 1;
            }
        }
        Ok(Self { file, began, bytes })
    }
}

/// Whether a new segment is to be begun. One from the future, by a clock that was set back, counts as over.
fn is_over(began: Duration, now: Duration) -> bool {
    began.saturating_add(SPAN) <= now || began > now.saturating_add(SPAN)
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// The segments, the oldest first. Other files are none of ours.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(began) = entry.file_name().to_str().and_then(began) else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => {
                segments.push(Segment { began, path: entry.path(), bytes: metadata.len() });
            }
            Ok(_) => {}
            // Deleted between the two.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    segments.sort_by_key(|segment| segment.began);
    Ok(segments)
}

/// When a segment of that name was begun; `None` if no segment has such a name.
fn began(name: &str) -> Option<Duration> {
    let seconds = name.strip_suffix(SUFFIX)?;
    let is_ours = seconds.len() >= 10 && seconds.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| seconds.parse().ok().map(Duration::from_secs)).flatten()
}

/// How many lines there are; each has its end.
#[allow(clippy::naive_bytecount, reason = "only for lines that are lost")]
fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count().try_into().unwrap_or(u64::MAX)
}
