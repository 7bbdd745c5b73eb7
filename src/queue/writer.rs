//! The one thread that writes. It takes all commands that wait into one transaction, so that one fsync serves them all, and
//! answers when that has been committed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};
use tokio::sync::OwnedSemaphorePermit;

use super::changes::{Changes, Effects};
use super::command::{Answer, Command};
use super::entry::millis;
use super::error::QueueError;
use super::keys::DeviceKey;
use super::leasing::Turns;
use super::mark::Mark;
use super::shared::Shared;
use super::shares::Shares;
use super::spare::Spare;
use super::steady::Steady;
use super::tallies::Change;
use super::watch::Watch;
use super::withdrawal::Undo;
use super::{Limits, reasons, schema};
use crate::notification::TargetName;

/// The most commands in one transaction: at some 50 µs each (benches/queue.rs), the last one waits 13 ms for those before it.
const MAX_GROUP: usize = 256;

/// How long it is idle before it looks whether the command line has changed something.
const IDLE: Duration = Duration::from_secs(1);

/// How often the old is swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What lives no longer than this is a call: 10 min, the most that `ttl.call` may be.
const WORTH_MINUTES: Duration = Duration::from_secs(10 * 60);

/// A worker that has entries looks at them every few seconds; a target at which none has looked for so many sweeps has none.
const ORPHANED_AFTER: u64 = 10;

/// How often the file is told the time, while anything is written. What has passed since then is known from the machine.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Free pages given back to the disk per sweep: 16 MB, some ten milliseconds.
const PAGES_GIVEN_BACK: u32 = 4_096;

/// A command, and its place in the channel.
pub(super) type Parcel = (Command, Option<OwnedSemaphorePermit>);

/// The thread's belongings.
pub(super) struct Writer {
    pub connection: Connection,
    /// Dropped last: the next relay finds a file that nobody uses.
    pub lock: File,
    pub shared: Arc<Shared>,
    pub limits: Limits,
    pub clock: Arc<Steady>,
    /// `PRAGMA data_version` when the entries were last counted: it changes when another process has written.
    pub counted_at: Option<i64>,
    /// When the file was last told the time, since the Unix epoch; `None` before the first.
    pub noted_at: Option<Duration>,
    /// Since the Unix epoch.
    pub next_sweep: Duration,
    pub shares: Shares,
    pub turns: Turns,
    /// What was committed after whoever asked had given up; at most a group's.
    pub withdrawn: Vec<Undo>,
    pub directory: PathBuf,
    pub mark: Mark,
    /// `None` until there is something to watch.
    pub watch: Option<Watch>,
    /// `None` until the rest is there.
    pub spare: Option<Spare>,
}

impl Writer {
    /// What a relay finds when it starts: nobody holds a lease, and what was to be told still is. `unsure` is the wall time, since
    /// the Unix epoch, if it is not known how much time has passed since the last process.
    pub(super) fn prepare(&mut self, unsure: Option<Duration>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "DELETE FROM entries WHERE state = 'leased' AND superseded = 1;
             UPDATE entries SET state = 'ready', wake_at = NULL WHERE state = 'leased';",
        )?;
        if let Some(wall) = unsure {
            // Accepted after now: the clock was ahead then, or is behind now. What is due is not known any more, so all of it is;
            // and what is worth minutes only is over, the sooner the better.
            transaction.execute(
                "UPDATE entries SET state = 'ready', wake_at = NULL WHERE state = 'waiting' AND accepted_at > ?1",
                [millis(wall)],
            )?;
            transaction.execute(
                "UPDATE entries SET expires_at = ?1 WHERE accepted_at > ?1 AND expires_at - accepted_at <= ?2",
                [millis(wall), millis(WORTH_MINUTES)],
            )?;
        }
        schema::note_moment(&transaction, &self.clock.moment())?;
        {
            let mut statement =
                transaction.prepare("SELECT device_key, reason FROM late_verdicts ORDER BY at LIMIT ?1")?;
            let mut rows = statement.query([i64::try_from(self.limits.max_late_verdicts).unwrap_or(i64::MAX)])?;
            while let Some(row) = rows.next()? {
                self.shared.late.remember(DeviceKey(row.get(0)?), reasons::known(row.get_ref(1)?.as_str()?));
            }
        }
        {
            let mut statement =
                transaction.prepare("SELECT identity FROM entries WHERE identity IS NOT NULL AND buried_at IS NULL")?;
            let identities = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            self.shared.earlier.fill(identities);
        }
        transaction.commit()?;
        // Counts, since nothing has been counted yet, and sweeps.
        self.transact(&mut [])?;
        self.sweep()
    }

    /// From here on the file and its log are there, and are said to be.
    pub(super) fn begin(&mut self, file: &Path) -> std::io::Result<()> {
        self.watch = Some(Watch::begin(file)?);
        self.mark.write(&self.directory)?;
        self.spare = Some(Spare::open(&self.directory)?);
        Ok(())
    }

    /// Until it is told to close, or nobody is left who could tell it anything.
    pub(super) fn run(mut self, commands: &Receiver<Parcel>) {
        loop {
            match commands.recv_timeout(IDLE) {
                Ok((first, permit)) => {
                    drop(permit);
                    let (group, close) = gather(first, commands);
                    self.serve(group);
                    if let Some(answer) = close {
                        self.close();
                        return answer.done();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.watch_files();
                    complain(self.look());
                }
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
            if self.clock.now() >= self.next_sweep {
                complain(self.sweep());
            }
        }
    }

    /// Does a group in one transaction. If that fails, each on its own: on a full disk, what makes room still can, and one bad
    /// entry does not cost its neighbours. Not if another process holds the file: each would wait for it as long again.
    fn serve(&mut self, mut group: Vec<Command>) {
        // What is there already is still sent: it can be read for as long as the file is open.
        if let Some(refusal) = self.refusal(&group) {
            let (enqueues, others) = group.into_iter().partition(|command| matches!(command, Command::Enqueue(..)));
            let enqueues: Vec<_> = enqueues;
            for command in enqueues {
                self.shared.commands.fetch_add(1, Ordering::Relaxed);
                command.answer(Some(&refusal));
            }
            group = others;
        }
        let failure = match self.transact(&mut group) {
            Err(error) if group.len() > 1 && error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                for mut command in group {
                    let failure = self.transact(slice::from_mut(&mut command)).err();
                    self.answer(command, failure.as_ref());
                }
                return self.undo();
            }
            result => result.err(),
        };
        for command in group {
            self.answer(command, failure.as_ref());
        }
        self.undo();
    }

    /// Why nothing new is put into the queue now.
    fn refusal(&mut self, group: &[Command]) -> Option<QueueError> {
        if let Some(path) = self.watch_files() {
            return Some(QueueError::Gone { path });
        }
        let enqueues = group.iter().any(|command| matches!(command, Command::Enqueue(..)));
        (enqueues && self.spare.as_mut().is_some_and(|spare| !spare.make())).then_some(QueueError::NoSpace)
    }

    /// Whether it is worth another try: the disk is full, and there was room to give up.
    fn makes_room(&mut self, error: &rusqlite::Error) -> bool {
        if error.sqlite_error_code() != Some(ErrorCode::DiskFull) || self.is_at_its_bound() {
            return false;
        }
        let made = self.spare.as_mut().is_some_and(Spare::give_up);
        if made {
            tracing::error!(
                "the disk that holds the queue is full: what waits is sent in the room that was kept, and nothing new is put there"
            );
        }
        made
    }

    /// The file may not grow, whatever room there is.
    fn is_at_its_bound(&self) -> bool {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        matches!((number("page_count"), number("max_page_count")), (Ok(pages), Ok(most)) if pages >= most)
    }

    /// The file that is gone. Two system calls, beside a group's fsync.
    fn watch_files(&self) -> Option<PathBuf> {
        let missing = self.watch.as_ref().and_then(Watch::missing);
        if self.shared.set_gone(missing) {
            if let Some(path) = missing {
                let error = QueueError::Gone { path: path.to_owned() };
                tracing::error!(%error, "the queue on disk is gone");
            } else {
                tracing::info!("the queue on disk is back");
            }
        }
        missing.map(Path::to_owned)
    }

    fn answer(&mut self, command: Command, failure: Option<&rusqlite::Error>) {
        self.shared.commands.fetch_add(1, Ordering::Relaxed);
        self.withdrawn.extend(command.answer(failure.map(QueueError::from).as_ref()));
    }

    /// Each transaction undoes what was withdrawn before it does anything else: where this one fails, nothing is leased until
    /// one succeeds.
    fn undo(&mut self) {
        if !self.withdrawn.is_empty() {
            complain(self.transact(&mut []));
        }
    }

    /// All of it or nothing. With nothing to do, it counts again if another process has written.
    fn transact(&mut self, commands: &mut [Command]) -> rusqlite::Result<()> {
        match self.within(|changes| commands.iter_mut().try_for_each(|command| command.apply(changes))) {
            Err(error) if self.makes_room(&error) => {
                self.within(|changes| commands.iter_mut().try_for_each(|command| command.apply(changes)))
            }
            result => result,
        }
    }

    fn sweep(&mut self) -> rusqlite::Result<()> {
        self.next_sweep = self.clock.now() + SWEEP_EVERY;
        let orphans = self.orphans();
        self.within(|changes| {
            for target in &orphans {
                let count = changes.expire_orphans(target)?;
                if count > 0 {
                    let target = target.as_str();
                    tracing::warn!(
                        target,
                        count,
                        "notifications for a target that is not served any more have expired"
                    );
                }
            }
            changes.sweep()
        })?;
        // One step gives one page back.
        let mut statement =
            self.connection.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    /// Targets that have entries and no worker.
    fn orphans(&self) -> Vec<TargetName> {
        let tallies = &self.shared.tallies;
        let mut orphans = tallies.names();
        orphans.retain(|target| {
            let tally = tallies.of(target.as_str());
            tally.swept() >= ORPHANED_AFTER && tally.waiting() > 0
        });
        orphans
    }

    fn look(&mut self) -> rusqlite::Result<()> {
        if Some(data_version(&self.connection)?) == self.counted_at { Ok(()) } else { self.transact(&mut []) }
    }

    fn within(&mut self, work: impl FnOnce(&mut Changes<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        let withdrawn = std::mem::take(&mut self.withdrawn);
        let result = self.commit(|changes| {
            withdrawn.iter().try_for_each(|undo| changes.undo(undo))?;
            work(changes)
        });
        if result.is_err() {
            self.withdrawn = withdrawn;
        }
        result
    }

    fn commit(&mut self, work: impl FnOnce(&mut Changes<'_>) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        let before = self.connection.total_changes();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Nobody else writes from here on: what is counted stays true until this has been committed.
        let version = data_version(&transaction)?;
        let is_counted_anew = self.counted_at != Some(version);
        if is_counted_anew {
            count(&transaction, &self.shared, &mut self.shares)?;
            self.counted_at = Some(version);
        }
        let now = millis(self.clock.now());
        let effects = Effects::default();
        let mut changes = Changes {
            connection: &transaction,
            shared: &self.shared,
            limits: &self.limits,
            shares: &self.shares,
            turns: &mut self.turns,
            now,
            effects,
        };
        work(&mut changes)?;
        changes.trim()?;
        // One row more in a transaction that has to be synced anyway, and not in each.
        let time = self.clock.now();
        let is_due = self.noted_at.is_none_or(|at| time.saturating_sub(at) >= NOTE_EVERY);
        let notes = is_due && transaction.total_changes() != before;
        if notes {
            schema::note_moment(&transaction, &self.clock.moment())?;
        }
        let effects = changes.effects;
        let oldest: Vec<_> = effects
            .tallies
            .keys()
            .map(|target| Ok((target.clone(), oldest(&transaction, target)?)))
            .collect::<rusqlite::Result<_>>()?;
        transaction.commit()?;
        if notes {
            self.noted_at = Some(time);
        }
        if self.connection.total_changes() != before {
            self.shared.commits.fetch_add(1, Ordering::Relaxed);
        }
        for (target, millis) in oldest {
            self.shared.tallies.set_oldest(&target, millis);
        }
        for (server, change) in &effects.shares {
            self.shares.change(server, *change);
        }
        take_place(&self.shared, effects);
        if is_counted_anew {
            self.shared.tallies.wake_those_with_work();
        }
        Ok(())
    }

    /// What is committed is on the disk already; this only leaves one tidy file.
    fn close(self) {
        // All of it into the file, then the mark says so, and only then does the log go, with the last connection.
        let checkpoint = self.connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| row.get::<_, i64>(0));
        let is_whole = matches!(checkpoint, Ok(0)) && self.watch.as_ref().is_none_or(|watch| watch.missing().is_none());
        complain(checkpoint.map(drop));
        let mark = Mark { is_closed: true, ..self.mark };
        if !is_whole || mark.write(&self.directory).is_err() {
            complain(schema::leave_the_log(&self.connection));
        }
        complain(self.connection.close().map_err(|(_, error)| error));
        drop(self.lock);
    }
}

/// The first command and those that wait behind it, up to the bound or to the one that closes.
fn gather(first: Command, commands: &Receiver<Parcel>) -> (Vec<Command>, Option<Answer<()>>) {
    let mut group = Vec::new();
    let mut next = Some(first);
    while let Some(command) = next {
        match command {
            Command::Close(answer) => return (group, Some(answer)),
            command => group.push(command),
        }
        if group.len() == MAX_GROUP {
            break;
        }
        next = commands.try_recv().ok().map(|(command, _permit)| command);
    }
    (group, None)
}

/// Memory follows the disk.
fn take_place(shared: &Shared, effects: Effects) {
    for (target, change) in &effects.tallies {
        shared.tallies.change(target, *change);
    }
    for (device, reason) in effects.dead {
        shared.late.remember(device, reason);
    }
    for device in effects.forgotten {
        shared.late.take(device);
    }
    for target in &effects.woken {
        shared.tallies.of(target).work.notify_one();
    }
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// Reads one row for each target and server with entries, 10,000 in some ten milliseconds; only when another process has written.
fn count(connection: &Connection, shared: &Shared, by_server: &mut Shares) -> rusqlite::Result<()> {
    let mut counted: BTreeMap<String, Change> = BTreeMap::new();
    by_server.clear();
    let mut statement = connection.prepare_cached("SELECT target, server, waiting, buried FROM tallies")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (waiting, buried): (i64, i64) = (row.get(2)?, row.get(3)?);
        let change = counted.entry(row.get(0)?).or_default();
        change.waiting += waiting;
        change.buried += buried;
        by_server.change(row.get_ref(1)?.as_str()?, waiting + buried);
    }
    shared.tallies.replace(&counted);
    for target in shared.tallies.names() {
        shared.tallies.set_oldest(target.as_str(), oldest(connection, target.as_str())?);
    }
    Ok(())
}

fn oldest(connection: &Connection, target: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT accepted_at FROM entries INDEXED BY entries_age WHERE target = ?1 AND buried_at IS NULL
             ORDER BY accepted_at LIMIT 1",
        )?
        .query_row([target], |row| row.get(0))
        .optional()
}

/// For what nobody waits for. It is tried again.
fn complain(result: rusqlite::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "The queue's file could not be tended; it is tried again. See to the disk that holds it.");
    }
}
