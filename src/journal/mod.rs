//! What happened to each notification of the last day, for `pushrelay trace`: lines in memory, appended to files by a thread
//! of its own.
//!
//! Whoever notes something formats a line and copies it into a buffer; no lock that it takes is ever held while the disk is
//! waited for. The journal is not the queue: nothing is synchronised, a process that is killed loses what it noted in the
//! last moment, and where the disk fails lines are dropped and counted. It never decides anything, and it holds no device
//! token and no text: only ids, names from the configuration and words from fixed tables can be noted.

mod line;
mod read;
mod segments;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::clock::Clock;
use crate::telemetry::log::Subject;
pub use line::{Event, Line, Told};
pub use read::{MOST_LINES, ReadError, read};
use segments::Segments;

/// How long lines are gathered before they are written: nobody traces what happened a quarter of a second ago, and the
/// thread wakes four times a second at most unless [`ENOUGH`] comes earlier.
const GATHER: Duration = Duration::from_millis(250);

/// Bytes that are worth writing at once.
const ENOUGH: usize = 64 * 1024;

/// Bytes of lines that wait for the disk, and as many again may be on their way to it. At 250 bytes a line and 4,000
/// notifications a second they outlast a disk that stops for four seconds.
const WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of buffer kept for the next lines after a burst.
const KEPT_BYTES: usize = 4 * ENOUGH;

/// How often old segments are looked for when nothing happens.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// A line's room at first, bytes; it has around 250.
const LINE_BYTES: usize = 512;

/// Where the journal is and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// A directory of its own. Made if it is not there.
    pub directory: PathBuf,
    /// How long a line is kept at least, if `max_bytes` allows; it is gone an hour later.
    pub keep: Duration,
    /// Bytes of all segments together; the oldest go first. At least [`JournalSettings::LEAST_BYTES`].
    pub max_bytes: u64,
}

impl JournalSettings {
    /// The name of the journal's directory in the relay's `data_dir`.
    pub const DIRECTORY: &'static str = "journal";

    /// The least `max_bytes`: twice what can be written at once, so that the bound holds.
    pub const LEAST_BYTES: u64 = 16 << 20;
}

/// Takes notes. Clones are the same journal; its thread ends with the last of them, after it has written what waits.
#[derive(Clone)]
pub struct Journal(Arc<Hand>);

/// The side of those who note. Apart from what the thread holds, so that its end can be noticed.
struct Hand {
    shared: Arc<Shared>,
    clock: Clock,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines that the thread has not taken yet; at most [`WAITING_BYTES`].
    waiting: Vec<u8>,
    /// Since the start.
    dropped: u64,
    /// How often somebody asked for everything to be written, and how many of these wishes are fulfilled.
    asked: u64,
    fulfilled: u64,
    /// No further line will come.
    ending: bool,
}

thread_local! {
    /// Where a line is formatted before it is copied: a lock held while it is formatted would be held ten times as long.
    static DRAFT: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(LINE_BYTES));
}

impl Journal {
    /// Begins or continues a journal. A directory that cannot be written is no error but a line in the log: it is tried
    /// again with each write, and until then lines are dropped and counted.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(settings: JournalSettings, clock: Clock) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut segments = Segments::open(settings, clock.clone());
        let writing = Arc::clone(&shared);
        thread::Builder::new().name("journal".to_owned()).spawn(move || writing.write_out(&mut segments))?;
        Ok(Self(Arc::new(Hand { shared, clock })))
    }

    /// Notes what happened. Texts of callers are cut to what a log line shows of them. What has no `ack_id` cannot be asked
    /// for later and is not noted.
    pub fn note(&self, subject: &Subject<'_>, event: &Event<'_>) {
        if subject.ack_id.is_empty() {
            return;
        }
        let at = self.0.clock.unix();
        DRAFT.with_borrow_mut(|draft| {
            draft.clear();
            line::write(draft, at, subject, event);
            self.0.shared.take_in(draft);
        });
    }

    /// Writes what was noted until now, and says whether that was done within `patience`. Blocks: for the end of a process.
    pub fn flush(&self, patience: Duration) -> bool {
        let shared = &self.0.shared;
        let mut state = shared.state();
        state.asked += 1;
        let wish = state.asked;
        shared.changed.notify_all();
        let waited = shared.changed.wait_timeout_while(state, patience, |state| state.fulfilled < wish);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Lines dropped since the start: the disk was too slow, full, or not to be written.
    pub fn dropped(&self) -> u64 {
        self.0.shared.state().dropped
    }
}

/// Notes what a command did beside a relay that may be running, in the order given. Blocks for the disk. Deletes nothing for
/// its age or size: only the relay knows how much it is to keep. Without the directory nothing is noted: its relay keeps no
/// journal.
///
/// # Errors
/// The journal cannot be written; some of the lines may be in it.
pub fn note_beside<'a>(
    directory: &Path,
    clock: &Clock,
    notes: impl IntoIterator<Item = (Subject<'a>, Event<'a>)>,
) -> io::Result<()> {
    let mut notes = notes.into_iter().filter(|(subject, _)| !subject.ack_id.is_empty()).peekable();
    if notes.peek().is_none() || !directory.try_exists()? {
        return Ok(());
    }
    let settings = JournalSettings { directory: directory.to_owned(), keep: Duration::MAX, max_bytes: u64::MAX };
    let mut segments = Segments::beside(settings, clock.clone());
    let (at, mut lines) = (clock.unix(), Vec::with_capacity(LINE_BYTES));
    while let Some((subject, event)) = notes.next() {
        line::write(&mut lines, at, &subject, &event);
        if lines.len() >= ENOUGH || notes.peek().is_none() {
            segments.append_beside(&lines)?;
            lines.clear();
        }
    }
    Ok(())
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.shared.state().ending = true;
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl State {
    /// Somebody waits for the thread, or for its end.
    fn is_urgent(&self) -> bool {
        self.ending || self.fulfilled < self.asked
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change to the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, line: &[u8]) {
        let mut state = self.state();
        let (before, after) = (state.waiting.len(), state.waiting.len() + line.len());
        if after > WAITING_BYTES {
            state.dropped += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        if before == 0 || (before < ENOUGH && after >= ENOUGH) {
            self.changed.notify_all();
        }
    }

    fn write_out(&self, segments: &mut Segments) {
        let mut taken = Vec::new();
        loop {
            let nothing = |state: &mut State| state.waiting.is_empty() && !state.is_urgent();
            let waited = self.changed.wait_timeout_while(self.state(), TIDY_EVERY, nothing);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !state.waiting.is_empty() {
                let few = |state: &mut State| state.waiting.len() < ENOUGH && !state.is_urgent();
                let gathered = self.changed.wait_timeout_while(state, GATHER, few);
                state = gathered.unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut state.waiting, &mut taken);
            let (wishes, ending) = (state.asked, state.ending);
            drop(state);
            let mut lost = 0;
            if !taken.is_empty() {
                lost = segments.append(&taken);
            } else if !ending {
                segments.tidy();
            }
            taken.clear();
            taken.shrink_to(KEPT_BYTES);
            let mut state = self.state();
            state.dropped += lost;
            state.fulfilled = wishes;
            drop(state);
            self.changed.notify_all();
            if ending {
                return;
            }
        }
    }
}
