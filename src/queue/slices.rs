//! What an operator changes, beside a relay that writes to the same file: a few rows in each transaction, and a pause after it that
//! is as long. A push that needs the file meanwhile waits for one slice, however many entries are changed in all.
//!
//! A command that ends early has done what it has told so far, and the rest is as it was: asked again, it goes on.

use std::mem;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::entry::millis;
use super::error::InspectError;
use super::inspect::{COLUMNS, Filter, Inspector, MAX_NAMED, Retried, Shown, State, Which, show};

/// The most rows of one transaction.
const SLICE: usize = 250;

/// The longest that rows are changed in one transaction, so that it is short on a slow disk as well; the `fsync` comes on top.
const SLICE_TIME: Duration = Duration::from_millis(10);

/// The shortest pause between two: the relay looks for the file each millisecond.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

/// The most rows looked at in one reading. No reader is so long that the write-ahead log grows behind it.
const LOOKED_AT: i64 = 5_000;

/// How far a command has come.
#[derive(Debug)]
pub struct Slice<'a> {
    /// The entries that the slice has changed, as they were; none any more when [`MAX_NAMED`] have been named.
    pub named: &'a [Shown],
    /// Changed so far, in all slices.
    pub changed: u64,
}

/// What is done to each.
#[derive(Clone, Copy)]
enum Change {
    /// Made due, if its time is not over by then.
    Retry {
        now: i64,
    },
    Drop,
}

impl Inspector {
    /// Makes entries due now, buried or not. Tells of each slice when it is on the disk.
    pub fn retry(&mut self, which: &Which, tell: &mut dyn FnMut(Slice<'_>)) -> Result<Retried, InspectError> {
        let now = millis(self.clock.unix());
        self.change(which, Change::Retry { now }, tell)
    }

    /// Removes entries, and says how many there were. One that is under way may still arrive. Tells of each slice when it is on
    /// the disk.
    pub fn drop(&mut self, which: &Which, tell: &mut dyn FnMut(Slice<'_>)) -> Result<u64, InspectError> {
        self.change(which, Change::Drop, tell).map(|done| done.due)
    }

    /// How many there are of these; of ids, those that are there.
    pub fn count(&self, which: &Which) -> Result<u64, InspectError> {
        let (mut walk, mut count) = (Walk::over(&self.connection, which)?, 0);
        while let Some(ids) = walk.next(&self.connection)? {
            for id in ids {
                let is_there = match which {
                    Which::Ids(_) => find(&self.connection, id)?.is_some(),
                    Which::Buried | Which::Matching(_) => true,
                };
                count += u64::from(is_there);
            }
        }
        Ok(count)
    }

    /// What was changed is counted as due, whatever was done to it.
    fn change(
        &mut self,
        which: &Which,
        change: Change,
        tell: &mut dyn FnMut(Slice<'_>),
    ) -> Result<Retried, InspectError> {
        let (mut walk, mut done) = (Walk::over(&self.connection, which)?, Retried::default());
        let (mut named, mut all_named, mut pause) = (Vec::new(), 0, None);
        while let Some(ids) = walk.next(&self.connection)? {
            let mut rest = &ids[..];
            while !rest.is_empty() {
                rests(pause);
                let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let began = Instant::now();
                let mut taken = 0;
                for id in rest.iter().take(SLICE) {
                    let room = MAX_NAMED - all_named - named.len();
                    one(&transaction, *id, (which, change), &mut done, (&mut named, room))?;
                    taken += 1;
                    if began.elapsed() >= SLICE_TIME {
                        break;
                    }
                }
                transaction.commit()?;
                pause = Some(began.elapsed().max(LEAST_PAUSE));
                rest = &rest[taken..];
                tell(Slice { named: &named, changed: done.due });
                all_named += named.len();
                named.clear();
            }
        }
        Ok(done)
    }
}

#[allow(clippy::disallowed_methods, reason = "the thread of a command, which has nothing else to do")]
fn rests(pause: Option<Duration>) {
    if let Some(pause) = pause {
        thread::sleep(pause);
    }
}

/// Changes one entry, if it still is as it was asked for, and names it if there is room.
fn one(
    connection: &Connection,
    id: i64,
    (which, change): (&Which, Change),
    done: &mut Retried,
    (named, room): (&mut Vec<Shown>, usize),
) -> rusqlite::Result<()> {
    let wanted = match which {
        Which::Ids(_) => None,
        Which::Buried => Some(State::Buried),
        Which::Matching(filter) => filter.state,
    };
    let Some((state, expires_at)) = find(connection, id)? else {
        done.missing += 1;
        return Ok(());
    };
    if wanted.is_some_and(|wanted| state != wanted.as_str()) {
        // The relay was quicker.
        return Ok(());
    }
    let statement = match change {
        Change::Retry { .. } if state == State::Leased.as_str() => {
            done.under_way += 1;
            return Ok(());
        }
        Change::Retry { now } if expires_at <= now => {
            done.expired += 1;
            return Ok(());
        }
        Change::Retry { .. } => "UPDATE entries SET state = 'ready', wake_at = NULL, buried_at = NULL WHERE id = ?1",
        Change::Drop => "DELETE FROM entries WHERE id = ?1",
    };
    if room > 0 {
        let shown = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM entries WHERE id = ?1"))?
            .query_row([id], show)?;
        named.push(shown);
    }
    connection.prepare_cached(statement)?.execute([id])?;
    done.due += 1;
    Ok(())
}

/// Its state and its end.
fn find(connection: &Connection, id: i64) -> rusqlite::Result<Option<(String, i64)>> {
    connection
        .prepare_cached("SELECT state, expires_at FROM entries WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The ids of what was asked for, a few thousand at a time. What comes after it has begun is not looked at, so that it ends.
enum Walk<'w> {
    /// These, all at once: named by a person, or buried, of which there are no more than 10,000.
    Ids(Vec<i64>),
    /// By their numbers.
    Matching { filter: &'w Filter, after: i64, last: i64 },
}

impl<'w> Walk<'w> {
    fn over(connection: &Connection, which: &'w Which) -> rusqlite::Result<Self> {
        match which {
            Which::Ids(ids) => Ok(Self::Ids(ids.iter().map(|id| id.number()).collect())),
            Which::Buried => buried(connection, &Filter::default()).map(Self::Ids),
            Which::Matching(filter) if filter.state == Some(State::Buried) => buried(connection, filter).map(Self::Ids),
            Which::Matching(filter) => {
                let last = connection
                    .query_row("SELECT max(id) FROM entries", [], |row| row.get::<_, Option<i64>>(0))?
                    .unwrap_or(0);
                Ok(Self::Matching { filter, after: 0, last })
            }
        }
    }

    /// None may be among the next; there are no more if there is `None`.
    fn next(&mut self, connection: &Connection) -> rusqlite::Result<Option<Vec<i64>>> {
        match self {
            Self::Ids(ids) if ids.is_empty() => Ok(None),
            Self::Ids(ids) => Ok(Some(mem::take(ids))),
            Self::Matching { filter: Filter { target, server, state }, after, last } => {
                let mut statement = connection.prepare_cached(
                    "SELECT id, (?3 IS NULL OR target = ?3) AND (?4 IS NULL OR server = ?4) AND (?5 IS NULL OR state = ?5)
                     FROM entries WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?6",
                )?;
                let state = state.map(State::as_str);
                let mut rows = statement.query(params![*after, *last, target, server, state, LOOKED_AT])?;
                let (mut ids, before) = (Vec::new(), *after);
                while let Some(row) = rows.next()? {
                    *after = row.get(0)?;
                    if row.get(1)? {
                        ids.push(*after);
                    }
                }
                Ok((*after > before).then_some(ids))
            }
        }
    }
}

fn buried(connection: &Connection, Filter { target, server, .. }: &Filter) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare(
        "SELECT id FROM entries INDEXED BY entries_buried WHERE buried_at IS NOT NULL
             AND (?1 IS NULL OR target = ?1) AND (?2 IS NULL OR server = ?2) ORDER BY id",
    )?;
    statement.query_map(params![target, server], |row| row.get(0))?.collect()
}
