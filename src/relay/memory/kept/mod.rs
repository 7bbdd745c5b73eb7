//! What was sent, on disk: appended to files by a thread of its own, and read at the next start.
//!
//! Whoever settles a request copies some forty bytes into a buffer. The thread writes what has gathered, a hundred times a second at
//! the most, and a second thread has it synced once a second: what comes while that takes long is written meanwhile. So a process that
//! is killed forgets what it settled in its last moment ([`GATHER`], and as long as the system takes to be handed the bytes), and a
//! power cut the last second, or since the sync began that it cut. Nothing waits for the disk, and a disk that fails stops nothing: the
//! memory goes on in RAM, and what could not be kept is counted and told.
//!
//! Files hold keyed hashes, times, and outcomes with our own texts: no token, no id and no text of a caller. Each process begins a
//! file of its own, so that nothing is ever written behind a cut end. Files go when all in them is older than the window, or for the
//! bounds below.

mod files;
mod record;
mod syncing;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::notification::Platform;
use files::Files;
pub(super) use files::{Bounds, Kept, Past, open};
pub(in crate::relay::memory) use record::Record;
use syncing::Syncing;

use super::identity::{AckKey, Identity};
use super::texts::Texts;

/// How long records are gathered before they are written: what a process that is killed forgets. The thread wakes a hundred times a
/// second at the most, whatever comes.
const GATHER: Duration = Duration::from_millis(10);

/// How often what is written is synced: what a power cut forgets.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The most records that wait for the disk, 3 MB: a disk that stops for a second at 65,000 pushes a second. Later ones are not kept.
const MAX_WAITING: usize = 65_536;

/// Between two log lines about a disk that fails, and two tries to begin a new file.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
const BEGIN_EVERY: Duration = Duration::from_secs(1);

/// Why nothing is written between two tries.
const BEGUN_OF_LATE: &str = "a new file could not be begun less than a second ago";

/// What is to be kept. Times are the memory's milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    Settled { identity: Identity, ack: AckKey, claimed: u64, outcome: Option<u16>, receipt: Option<Platform> },
    Late { ack: AckKey, at: u64, platform: Platform },
    Received { ack: AckKey },
}

/// The side of those who settle.
#[derive(Debug)]
pub(super) struct Log {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    notes: Vec<Note>,
    /// Not kept since the start: too many waited, or the disk failed.
    unkept: u64,
    is_closing: bool,
}

impl Log {
    /// Begins to write. `now` is the memory's time at this moment, milliseconds.
    pub(super) fn start(kept: Kept, texts: Arc<Texts>, clock: Clock, now: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            shared: Arc::clone(&shared),
            syncing: Syncing::start()?,
            files: kept.into_files(clock.clone()),
            texts,
            started: (clock.now(), now),
            clock,
            said: HashSet::new(),
            begun: 0,
            unsynced: None,
            complaints: Complaints::default(),
            failed: None,
        };
        let thread = thread::Builder::new().name("memory-writer".into()).spawn(move || writer.run())?;
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }

    /// Has this kept. Never waits for the disk.
    pub(super) fn note(&self, note: Note) {
        let mut waiting = self.shared.lock();
        if waiting.notes.len() >= MAX_WAITING {
            waiting.unkept += 1;
            return;
        }
        let is_first = waiting.notes.is_empty();
        waiting.notes.push(note);
        drop(waiting);
        if is_first {
            self.shared.wake.notify_one();
        }
    }

    /// How many records could not be kept since the start.
    pub(super) fn unkept(&self) -> u64 {
        self.shared.lock().unkept
    }

    /// Writes and syncs what waits, and ends. Blocks for as long as the disk takes. What comes later is not kept.
    pub(super) fn close(&self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A panic of the thread has been told where it happened.
            let _ = writer.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's belongings.
struct Writer {
    shared: Arc<Shared>,
    files: Files,
    syncing: Syncing,
    texts: Arc<Texts>,
    clock: Clock,
    /// One moment on the clock and in the memory's milliseconds.
    started: (tokio::time::Instant, u64),
    /// The numbers of outcomes that the current file explains.
    said: HashSet<u16>,
    /// When the current file was begun, the memory's milliseconds.
    begun: u64,
    /// Since when something is written that is not given to be synced.
    unsynced: Option<Instant>,
    complaints: Complaints,
    /// When a new file could not be begun.
    failed: Option<Instant>,
}

/// What is said of a disk that fails: a line a minute.
#[derive(Debug, Default)]
struct Complaints(Option<Instant>);

impl Complaints {
    fn say(&mut self, error: &io::Error, count: u64) {
        if self.0.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.0 = Some(Instant::now());
            tracing::error!(
                %error,
                count,
                "what was sent cannot be written to `data_dir`: after a restart repeats of it will be sent again; is the disk full?"
            );
        }
    }
}

impl Writer {
    fn run(mut self) {
        loop {
            let (notes, is_closing) = self.wait();
            if !notes.is_empty() {
                let count = notes.len() as u64;
                if let Err(error) = self.write(&notes) {
                    self.shared.lock().unkept += count;
                    self.complaints.say(&error, count);
                }
            }
            if self.unsynced.is_some_and(|since| is_closing || since.elapsed() >= SYNC_EVERY) {
                self.have_synced(is_closing);
            }
            if is_closing && notes.is_empty() {
                return self.syncing.finish();
            }
        }
    }

    /// Gives what is being written to be synced. If the disk is still at earlier ones, this has its turn at the next look.
    fn have_synced(&mut self, waits: bool) {
        let is_given = match self.files.unsynced() {
            Some(Ok(file)) if waits => {
                self.syncing.add(file);
                true
            }
            Some(Ok(file)) => self.syncing.offer(file),
            Some(Err(error)) => {
                self.complaints.say(&error, 0);
                true
            }
            None => true,
        };
        if is_given {
            self.unsynced = None;
        }
    }

    /// What has gathered, and whether it is the end. Empty when there is something to sync.
    fn wait(&self) -> (Vec<Note>, bool) {
        let mut waiting = self.shared.lock();
        while waiting.notes.is_empty() && !waiting.is_closing {
            // Unsynced bytes are looked after even if nothing comes.
            let (again, timed_out) =
                self.shared.wake.wait_timeout(waiting, SYNC_EVERY).unwrap_or_else(PoisonError::into_inner);
            waiting = again;
            if timed_out.timed_out() && self.unsynced.is_some() {
                return (Vec::new(), false);
            }
        }
        if !waiting.is_closing {
            let gathered = self.shared.wake.wait_timeout_while(waiting, GATHER, |waiting| !waiting.is_closing);
            waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        (std::mem::take(&mut waiting.notes), waiting.is_closing)
    }

    fn write(&mut self, notes: &[Note]) -> io::Result<()> {
        let now = self.now();
        if self.files.is_over() {
            if self.failed.is_some_and(|at| at.elapsed() < BEGIN_EVERY) {
                return Err(io::Error::other(BEGUN_OF_LATE));
            }
            self.failed = Some(Instant::now());
            for file in self.files.begin()? {
                self.syncing.add(file);
            }
            self.failed = None;
            self.said.clear();
            self.begun = now;
        }
        let mut bytes = Vec::with_capacity(notes.len() * 34);
        for note in notes {
            self.encode(note, &mut bytes);
        }
        if let Err(error) = self.files.append(&bytes, notes.len()) {
            // Nothing of it is there, the texts neither.
            self.said.clear();
            return Err(error);
        }
        self.unsynced.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn encode(&mut self, note: &Note, bytes: &mut Vec<u8>) {
        // A file is begun for the first that is written, which was claimed before.
        let since = |at: u64| i32::try_from(at.cast_signed() - self.begun.cast_signed()).unwrap_or(i32::MAX);
        let record = match *note {
            Note::Settled { identity, ack, claimed, outcome, receipt } => {
                if let Some(number) = outcome.filter(|number| self.said.insert(*number))
                    && let Some(text) = self.texts.text(number)
                {
                    Record::Text { number, text }.encode(bytes);
                }
                Record::Settled { identity: identity.bytes(), ack: ack.bytes(), at: since(claimed), outcome, receipt }
            }
            Note::Late { ack, at, platform } => Record::Late { ack: ack.bytes(), at: since(at), platform },
            Note::Received { ack } => Record::Received { ack: ack.bytes() },
        };
        record.encode(bytes);
    }

    #[allow(clippy::cast_possible_truncation, reason = "2^64 ms")]
    fn now(&self) -> u64 {
        let (at, millis) = self.started;
        millis + self.clock.now().saturating_duration_since(at).as_millis() as u64
    }
}
