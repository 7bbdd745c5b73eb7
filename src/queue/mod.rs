//! The durable queue: what survives a crash. It keeps notifications on disk (`SQLite`, one file), hands out what is due, and
//! forgets what is settled, expired or made pointless by a later one; and it keeps late verdicts until they are told.
//!
//! It decides nothing about when to try again (callers pass times), makes no attempts, and knows no provider. Whoever
//! awaits [`Queue::enqueue`] and gets an answer may power off: it has been committed and synced.
//!
//! The file holds device tokens and texts in the clear, since they are to be sent. It and its directory are for the relay's
//! user alone, and nothing that this module prints shows them.
//!
//! `writer` is the one thread that writes; `changes` and `leasing` are what it does to the rows; `schema` is the file, `mark`, `wal` and `watch` see whether it is all there;
//! `record` the form of a notification in it; `supersede` the rule of what replaces what; `inspect` and `slices` are for the command line.

mod changes;
mod command;
mod earlier;
mod entry;
mod error;
pub mod inspect;
mod keys;
mod late;
mod leasing;
mod mark;
mod reasons;
mod record;
mod schema;
mod shared;
mod shares;
mod slices;
mod spare;
mod steady;
mod supersede;
mod tallies;
mod wal;
mod watch;
mod withdrawal;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

pub use entry::{Enqueued, EntryId, Lease, Leased, NewEntry, Removed, Settled, Settlement, Stats, TargetStats};
pub use error::{InspectError, OpenError, QueueError};
pub use mark::companions;
pub use schema::FILE_NAME;
pub use slices::Slice;

use crate::clock::Clock;
use crate::notification::{DeviceToken, Notification, ServerId, TargetName};
use crate::outcome::Reason;
use changes::{NewRow, Superseding};
use command::{Answer, Answered, Command};
use entry::millis;
use keys::Hashes;
use leasing::Turns;
use mark::Mark;
use shared::Shared;
use shares::Shares;
use steady::Steady;
use supersede::Scope;
use writer::{Parcel, Writer};

/// The most commands that wait for the writer, sixteen groups. Whoever comes when it is full waits for a place and is not
/// turned away: callers are bounded by the requests in flight and each has its own deadline, while an error would make the
/// relay answer FAIL for what the disk takes a few milliseconds later.
const MAX_WAITING_COMMANDS: usize = 4_096;

/// How long a caller waits for the disk: 4 s, which together with the 25 s that a push may take is below the 30 s that
/// Mattermost waits. A disk that hangs must not hold every push that needs it, and with them the places of all others.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where the queue is and how large it may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// The directory of the file, for the queue alone; made if it is not there. On a local disk.
    pub directory: PathBuf,
    /// The most entries, buried ones included. A million take about a gigabyte.
    pub max_entries: u64,
    /// The largest file, bytes, rounded down to pages; the write-ahead log beside it comes on top, usually 4 MB. `None` is as
    /// large as the disk.
    pub max_bytes: Option<u64>,
}

/// The bounds, those included that nobody has to set.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// [`QueueSettings::max_entries`].
    max_entries: u64,
    /// The most buried entries: nobody looks through more.
    max_buried: i64,
    /// How long one stays buried: a weekend and a working week.
    buried_kept: Duration,
    /// The most late verdicts, some 16 MB of file and memory.
    max_late_verdicts: usize,
    /// How long one waits to be told. A server that has not sent to a device for so long need not be told either.
    late_verdicts_kept: Duration,
}

impl Limits {
    fn of(settings: &QueueSettings) -> Self {
        Self {
            max_entries: settings.max_entries,
            max_buried: 10_000,
            buried_kept: Duration::from_secs(7 * 24 * 60 * 60),
            max_late_verdicts: 100_000,
            late_verdicts_kept: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

/// The queue. Clones share it.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    commands: Sender<Parcel>,
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
    steady: Arc<Steady>,
    hashes: Hashes,
    path: PathBuf,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Queue {
    /// Opens the queue of a directory, or makes it, and starts its writer. Reads the whole file to check it, which takes seconds
    /// per gigabyte: for the start of the process, not for a request. Leases of an earlier process are over.
    pub fn open(settings: &QueueSettings, clock: Clock) -> Result<Self, OpenError> {
        Self::open_within(settings, clock, Limits::of(settings))
    }

    fn open_within(settings: &QueueSettings, clock: Clock, limits: Limits) -> Result<Self, OpenError> {
        let open = || schema::open(&settings.directory, settings.max_bytes);
        let opened = match open() {
            Err(OpenError::DiskFull { .. }) if spare::give_up_in(&settings.directory) => open(),
            opened => opened,
        };
        let schema::Opened { connection, path, hashes, id, lock } = opened?;
        let shared = Arc::new(Shared::default());
        let last = schema::moment(&connection).map_err(OpenError::sqlite(&path))?;
        let (begin, is_time_known) = steady::begin(clock.unix(), clock.boot().as_ref(), last.as_ref());
        let wall = clock.unix();
        let steady = Arc::new(Steady::new(clock, begin));
        let mut writer = Writer {
            connection,
            lock,
            shared: Arc::clone(&shared),
            limits,
            next_sweep: steady.now(),
            clock: Arc::clone(&steady),
            noted_at: None,
            counted_at: None,
            shares: Shares::default(),
            turns: Turns::default(),
            withdrawn: Vec::new(),
            directory: settings.directory.clone(),
            mark: Mark { id, is_closed: false },
            watch: None,
            spare: None,
        };
        writer.prepare((!is_time_known).then_some(wall)).map_err(OpenError::sqlite(&path))?;
        writer.begin(&path).map_err(OpenError::io(&path))?;
        let (commands, receiver) = mpsc::channel();
        thread::Builder::new()
            .name("queue-writer".into())
            .spawn(move || writer.run(&receiver))
            .map_err(OpenError::io(&path))?;
        let places = Arc::new(Semaphore::new(MAX_WAITING_COMMANDS));
        Ok(Self(Arc::new(Inner { commands, places, shared, steady, hashes, path })))
    }

    /// The time that entries' times are compared with, since the Unix epoch: wall time, but it never goes back.
    pub fn now(&self) -> Duration {
        self.0.steady.now()
    }

    /// Keeps a notification. Once this has answered, it survives a crash and a power cut. With an error, or if the caller stops
    /// waiting before, it is not kept: what comes to the disk later all the same is taken back before it is tried. Only a crash
    /// between the two, which follow each other at once, keeps it.
    pub async fn enqueue(&self, entry: NewEntry<'_>) -> Result<Enqueued, QueueError> {
        let row = Box::new(self.row(&entry));
        self.ask_soon(|answer| Command::Enqueue(row, None, answer)).await
    }

    fn row(&self, entry: &NewEntry<'_>) -> NewRow {
        let notification = entry.notification;
        let Notification { server_id, target, device, ack_id, .. } = notification;
        NewRow {
            target: target.clone(),
            server: server_id.as_str().to_owned(),
            ack_id: ack_id.clone(),
            urgency: entry.urgency,
            identity: self.0.hashes.identity(server_id, ack_id, device),
            device: self.0.hashes.device(server_id, target, device),
            scope: Scope::of(notification),
            accepted_at: millis(entry.accepted_at),
            expires_at: millis(entry.expires_at),
            due_at: millis(entry.due_at),
            attempts: entry.attempts,
            reason: entry.reason,
            content: record::encode(notification),
        }
    }

    /// At most `limit` entries of a target that are due, for the caller alone until `until` (since the Unix epoch): the most
    /// urgent first, among those the one that expires first, then the oldest. With a limit of 0 it only removes what is
    /// expired. An entry that is not settled until then is handed out again.
    pub async fn lease(&self, target: &TargetName, limit: usize, until: Duration) -> Result<Lease, QueueError> {
        let target = target.clone();
        self.ask(|answer| Command::Lease { target, limit, ends_before: None, until, answer }).await
    }

    /// The same of what is over before `ends_before`: what ends first, first.
    pub async fn lease_ending(
        &self,
        target: &TargetName,
        limit: usize,
        ends_before: Duration,
        until: Duration,
    ) -> Result<Lease, QueueError> {
        let (target, ends_before) = (target.clone(), Some(ends_before));
        self.ask(|answer| Command::Lease { target, limit, ends_before, until, answer }).await
    }

    /// Says what became of a leased entry.
    pub async fn settle(&self, id: EntryId, settlement: Settlement) -> Result<Settled, QueueError> {
        self.ask(|answer| Command::Settle(id, settlement, answer)).await
    }

    /// Removes what a notification makes pointless that was accepted then and has been sent without being queued.
    /// [`Queue::enqueue`] does so by itself. Costs nothing for one that replaces nothing, or when the target has no entries.
    pub async fn supersede(&self, by: &Notification, accepted_at: Duration) -> Result<Vec<Removed>, QueueError> {
        self.replace(by, accepted_at, None).await
    }

    /// Has what a notification makes pointless wait until then, while it is being sent: if it arrives, they are superseded, and
    /// if it does not, they were not lost for it.
    pub async fn hold_back(&self, by: &Notification, accepted_at: Duration, until: Duration) -> Result<(), QueueError> {
        self.replace(by, accepted_at, Some(until)).await.map(drop)
    }

    async fn replace(
        &self,
        by: &Notification,
        accepted_at: Duration,
        hold: Option<Duration>,
    ) -> Answered<Vec<Removed>> {
        let scope = Scope::of(by);
        if !scope.replaces_any() || self.waiting(&by.target) + self.buried(&by.target) == 0 {
            return Ok(Vec::new());
        }
        let device = self.0.hashes.device(&by.server_id, &by.target, &by.device);
        let by = Superseding { device, scope, accepted_at: millis(accepted_at), hold_until: hold.map(millis) };
        self.ask_soon(|answer| Command::Supersede(by, answer)).await
    }

    /// Whether the provider has said, too late for the caller to hear, that a token is dead. Told once. It is off the disk
    /// soon after: a crash in between tells it again, which does no harm.
    pub fn take_dead(&self, server: &ServerId, target: &TargetName, token: &DeviceToken) -> Option<Reason> {
        if self.0.shared.late.is_empty() {
            return None;
        }
        let device = self.0.hashes.device(server, target, token);
        let reason = self.0.shared.late.take(device)?;
        // Needs no place in the channel: there are no more of these than late verdicts. A closed queue has nobody to tell.
        let _ = self.0.commands.send((Command::Forget(device), None));
        Some(reason)
    }

    /// Whether this request waited when the file was opened. What has become of it since is not told: it was taken, and is or
    /// was dealt with.
    pub fn had(&self, notification: &Notification) -> bool {
        let earlier = &self.0.shared.earlier;
        if earlier.is_empty() {
            return false;
        }
        let Notification { server_id, ack_id, device, .. } = notification;
        self.0.hashes.identity(server_id, ack_id, device).is_some_and(|identity| earlier.has(identity))
    }

    /// The file or its log, if it was found removed or replaced when it was last looked at: within a second, or at the last entry.
    pub fn gone(&self) -> Option<PathBuf> {
        self.0.shared.gone()
    }

    /// How many entries of a target are to be sent, those that are leased included.
    pub fn waiting(&self, target: &TargetName) -> u64 {
        self.0.shared.tallies.find(target.as_str()).map_or(0, |tally| tally.waiting())
    }

    fn buried(&self, target: &TargetName) -> u64 {
        self.0.shared.tallies.find(target.as_str()).map_or(0, |tally| tally.buried())
    }

    /// Returns when there is something for a target's worker to look at: a new entry, a new time, or one that the command line
    /// has made due; at once if that was since the last wait. For one worker per target: each piece of news wakes one.
    pub async fn wait_for_work(&self, target: &TargetName) {
        self.0.shared.tallies.of(target.as_str()).work.notified().await;
    }

    /// The queue in figures.
    pub fn stats(&self) -> Stats {
        let shared = &self.0.shared;
        Stats {
            targets: shared.tallies.stats(),
            late_verdicts: shared.late.len() as u64,
            file_bytes: file_bytes(&self.0.path),
            commits: shared.commits.load(Ordering::Relaxed),
            commands: shared.commands.load(Ordering::Relaxed),
        }
    }

    /// Finishes what was asked before, tidies the file and lets go of it. Later calls, and those of clones, answer
    /// [`QueueError::Closed`].
    pub async fn close(&self) {
        // Closed already is closed.
        let _ = self.ask(Command::Close).await;
    }

    /// Asks the writer for somebody who is waiting for an answer.
    async fn ask_soon<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Answered<T> {
        self.ask_within(PATIENCE, command).await
    }

    async fn ask_within<T>(&self, within: Duration, command: impl FnOnce(Answer<T>) -> Command) -> Answered<T> {
        let (late, end) = (QueueError::Slow { within }, Instant::now() + within);
        let Ok(sent) = timeout_at(end, self.send(command)).await else { return Err(late) };
        let mut answered = sent?;
        if let Ok(result) = timeout_at(end, &mut answered).await {
            return result.unwrap_or(Err(QueueError::Closed));
        }
        // From here on the writer knows that nobody listens; what it has said before still counts.
        answered.close();
        answered.try_recv().unwrap_or(Err(late))
    }

    /// Asks the writer.
    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Answered<T> {
        self.send(command).await?.await.unwrap_or(Err(QueueError::Closed))
    }

    /// Puts a command before the writer. What is made of those that are never taken: [`QueueError::Closed`].
    async fn send<T>(
        &self,
        command: impl FnOnce(Answer<T>) -> Command,
    ) -> Result<oneshot::Receiver<Answered<T>>, QueueError> {
        let place = Arc::clone(&self.0.places).acquire_owned().await.map_err(|_| QueueError::Closed)?;
        let (answer, answered) = Answer::pair();
        self.0.commands.send((command(answer), Some(place))).map_err(|_| QueueError::Closed)?;
        Ok(answered)
    }
}

/// Holds a directory as a relay that works on its queue does, so that none starts there; an error if one runs. For whoever
/// replaces the file.
pub fn hold(directory: &Path) -> Result<fs::File, OpenError> {
    schema::hold(directory)
}

/// `SQLite`'s log beside a file.
fn wal_of(file: &Path) -> PathBuf {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// The file and its write-ahead log. What cannot be read counts as nothing.
fn file_bytes(path: &Path) -> u64 {
    [path, &*wal_of(path)].iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
}
