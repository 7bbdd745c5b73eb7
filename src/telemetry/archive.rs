//! What becomes of a log file that is full: its name, its compression, and its end when there are too many. All of it on
//! a thread of its own, because compressing 100 MB and bringing it to the disk takes long and whoever writes lines must not
//! wait. The directory is the only state: what an earlier run left half done is found there and finished. Touches nothing but files
//! named as [`Names::rotated`] names them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::clock::Clock;

/// What a log file and its archives may be at most: a group may read them, for a log collector; others may not.
pub(super) const MODE: u32 = 0o640;

/// The least time between two lines on standard error: a disk that is nearly full fails a hundred times a second.
const COMPLAINTS_EVERY: Duration = Duration::from_secs(60);

/// Of 100 MiB of lines the fastest makes 10.5 MB in 0.12 s of CPU time, the usual level 6 makes 9.2 MB in 0.89 s: a seventh
/// of the time, on a machine whose cores are for notifications.
fn level() -> Compression {
    Compression::fast()
}

/// Bytes read at a time while compressing.
const CHUNK_BYTES: usize = 64 * 1024;

/// How rotated files are named, as the reference names them: `push_proxy-2026-11-24T18-43-01.123.log`, with `.gz` when
/// compressed.
#[derive(Clone, Debug)]
pub(super) struct Names {
    directory: PathBuf,
    /// `push_proxy-`
    prefix: OsString,
    /// `.log`, or nothing.
    extension: OsString,
}

/// When a file was rotated, UTC, as it stands in its name. Sorts by time.
type Stamp = String;

/// What the directory has of one rotated file.
#[derive(Debug, Default)]
struct Rotated {
    plain: Option<PathBuf>,
    compressed: Option<PathBuf>,
}

impl Names {
    /// For the rotated files of this log; `None` if the path does not end in the name of a file.
    pub(super) fn of(log: &Path) -> Option<Self> {
        let (stem, parent) = (log.file_stem()?, log.parent()?);
        let mut prefix = stem.to_owned();
        prefix.push("-");
        let mut extension = OsString::new();
        if let Some(name) = log.extension() {
            extension.push(".");
            extension.push(name);
        }
        let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        Some(Self { directory: directory.to_owned(), prefix, extension })
    }

    /// The name for a file that was rotated at this time since the Unix epoch.
    pub(super) fn rotated(&self, at: Duration) -> PathBuf {
        let time = humantime::format_rfc3339_millis(UNIX_EPOCH + at).to_string();
        let mut name = self.prefix.clone();
        name.push(time.trim_end_matches('Z').replace(':', "-"));
        name.push(&self.extension);
        self.directory.join(name)
    }

    /// The time in a rotated file's name, and what follows the name that [`Names::rotated`] gave it.
    fn parse<'a>(&self, name: &'a OsStr) -> Option<(Stamp, &'a [u8])> {
        const SHAPE: &[u8] = b"0000-00-00T00-00-00.000";
        let rest = name.as_encoded_bytes().strip_prefix(self.prefix.as_encoded_bytes())?;
        let (stamp, rest) = rest.split_at_checked(SHAPE.len())?;
        let fits = |(byte, shape): (&u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
        if !stamp.iter().zip(SHAPE).all(fits) {
            return None;
        }
        let rest = rest.strip_prefix(self.extension.as_encoded_bytes())?;
        Some((String::from_utf8_lossy(stamp).into_owned(), rest))
    }

    /// All rotated files, the oldest first.
    fn scan(&self) -> io::Result<BTreeMap<Stamp, Rotated>> {
        let mut found = BTreeMap::<Stamp, Rotated>::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            match self.parse(&name) {
                Some((stamp, b"")) => found.entry(stamp).or_default().plain = Some(entry.path()),
                Some((stamp, b".gz")) => found.entry(stamp).or_default().compressed = Some(entry.path()),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Removes what interrupted compressions left.
    fn remove_partial(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let rest = self.parse(&name).map(|(_, rest)| rest);
            if rest.is_some_and(|rest| rest.starts_with(b".gz.") && rest.ends_with(b".partial")) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes the oldest, so that at most `keep` rotated files stay.
    fn prune(&self, keep: usize) -> io::Result<()> {
        let found = self.scan()?;
        let excess = found.len().saturating_sub(keep);
        found
            .values()
            .take(excess)
            .flat_map(|file| [&file.plain, &file.compressed])
            .flatten()
            .try_for_each(|p| remove(p))
    }

    /// Replaces a rotated file by its compressed form. At no moment is there neither.
    fn compress(&self, plain: &Path) -> io::Result<()> {
        let mut input = match File::open(plain) {
            // Meanwhile too old to be kept.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            input => input?,
        };
        let mut compressed = plain.as_os_str().to_owned();
        compressed.push(".gz");
        let mut prefix = PathBuf::from(&compressed).file_name().unwrap_or_default().to_owned();
        prefix.push(".");
        let mode = input.metadata()?.permissions().mode() & MODE;
        // Removed when it is dropped, so that a failure leaves nothing behind.
        let partial = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".partial")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(&self.directory)?;
        let mut encoder = GzEncoder::new(partial, level());
        io::copy(&mut io::BufReader::with_capacity(CHUNK_BYTES, &mut input), &mut encoder)?;
        let partial = encoder.finish()?;
        partial.as_file().sync_all()?;
        partial.persist(&compressed).map_err(|error| error.error)?;
        // The new name must be on the disk before the old one goes.
        File::open(&self.directory)?.sync_all()?;
        remove(plain)
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The thread that looks after rotated files. It ends when this is dropped, after the work it has.
#[derive(Debug)]
pub(super) struct Archive(Arc<Shared>);

/// Tells the thread that there is something to do.
#[derive(Clone, Debug)]
pub(super) struct Archivist(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A file was rotated.
    rotated: bool,
    /// A line for standard error; the first since the last was said.
    complaint: Option<String>,
    /// The thread is at it.
    busy: bool,
    ending: bool,
}

impl State {
    fn has_work(&self) -> bool {
        self.rotated || self.complaint.is_some()
    }
}

impl Archive {
    /// Starts the thread, and with what earlier runs left. It keeps `keep` rotated files and complains to `stderr`, which
    /// may block: then only archiving waits.
    pub(super) fn start(
        names: Names,
        keep: u32,
        clock: Clock,
        stderr: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.state().rotated = true;
        let working = Arc::clone(&shared);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        let work = move || working.run(&names, keep, Complaints { stderr, clock, said: None });
        thread::Builder::new().name("log-archive".to_owned()).spawn(work)?;
        Ok(Self(shared))
    }

    /// For whoever writes the log.
    pub(super) fn archivist(&self) -> Archivist {
        Archivist(Arc::clone(&self.0))
    }

    /// Waits until nothing is left to do, but no longer than this; says whether that is so.
    pub(super) fn wait(&self, until: Instant) -> bool {
        let patience = until.saturating_duration_since(Instant::now());
        let working = |state: &mut State| state.busy || state.has_work();
        let waited = self.0.changed.wait_timeout_while(self.0.state(), patience, working);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        self.0.state().ending = true;
        self.0.changed.notify_all();
    }
}

impl Archivist {
    /// A file was rotated.
    pub(super) fn rotated(&self) {
        self.0.state().rotated = true;
        self.0.changed.notify_all();
    }

    /// Something an operator should know, and that the log itself may be unable to tell. Most are swallowed if many come.
    pub(super) fn complain(&self, complaint: String) {
        self.0.state().complaint.get_or_insert(complaint);
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change to the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, names: &Names, keep: usize, mut complaints: Complaints<impl Write>) {
        let mut outcome = names.remove_partial();
        loop {
            let nothing = |state: &mut State| !state.has_work() && !state.ending;
            let mut state = self.changed.wait_while(self.state(), nothing).unwrap_or_else(PoisonError::into_inner);
            if !state.has_work() {
                return;
            }
            let (rotated, complaint) = (std::mem::take(&mut state.rotated), state.complaint.take());
            state.busy = true;
            drop(state);
            if let Some(complaint) = complaint {
                complaints.say(&complaint);
            }
            if rotated {
                // Done even if the partial ones could not be removed.
                outcome = outcome.and(tidy(names, keep));
            }
            if let Err(error) = std::mem::replace(&mut outcome, Ok(())) {
                let place = names.directory.display();
                complaints.say(&format!("rotated log files in `{place}` cannot be compressed or removed: {error}"));
            }
            self.state().busy = false;
            self.changed.notify_all();
        }
    }
}

/// Compresses what is not, and removes what is too old, even if some of it cannot be done.
fn tidy(names: &Names, keep: usize) -> io::Result<()> {
    let mut outcome = names.prune(keep);
    for plain in names.scan()?.into_values().filter_map(|file| file.plain) {
        // A file compressed before its time came again is compressed again: the reference leaves half ones behind.
        outcome = outcome.and(names.compress(&plain));
        // More may have come while that one was compressed.
        outcome = outcome.and(names.prune(keep));
    }
    outcome
}

/// Lines on standard error, not too many.
struct Complaints<W> {
    stderr: W,
    clock: Clock,
    /// When the last one was, on the clock that never goes back.
    said: Option<tokio::time::Instant>,
}

impl<W: Write> Complaints<W> {
    fn say(&mut self, complaint: &str) {
        let now = self.clock.now();
        if self.said.is_none_or(|said| now - said >= COMPLAINTS_EVERY) {
            self.said = Some(now);
            // There is no other place to say so.
            let _ = writeln!(self.stderr, "pushrelay: {complaint}");
        }
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
pub(super) mod tests;
