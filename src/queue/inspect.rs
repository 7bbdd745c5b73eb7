//! The queue for an operator, beside a relay that may be running: look, copy, and, in `slices`, retry and drop. A running relay
//! sees within a second what was changed.
//!
//! Nothing private is shown: no text, and of a device token a few digits of a keyed hash. Each call may wait some seconds
//! while the relay writes; none is for the running relay itself.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::entry::{EntryId, TargetStats, since_epoch};
use super::error::{InspectError, OpenError};
use super::keys::shown;
use super::schema;
use crate::clock::Clock;
use crate::notification::{TargetName, Urgency};

/// The most entries listed at once, whatever is asked for: a terminal's worth a hundred times over.
pub const MAX_LISTED: usize = 10_000;

/// The most entries that a change names, for whoever notes it: beyond them it only counts. At some 300 bytes each they take
/// 30 MB, and as much of a journal, which would otherwise hold nothing else.
pub const MAX_NAMED: usize = 100_000;

/// An open queue.
#[derive(Debug)]
pub struct Inspector {
    pub(super) connection: Connection,
    path: PathBuf,
    pub(super) clock: Clock,
}

/// How an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its time has not come.
    Waiting,
    /// It is due.
    Ready,
    /// A worker has it.
    Leased,
    /// It is not tried until an operator says so.
    Buried,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Ready, Self::Leased, Self::Buried];

    /// For the command line; also how the file has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Leased => "leased",
            Self::Buried => "buried",
        }
    }

    /// The state of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Which entries. All that are asked for must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this target.
    pub target: Option<String>,
    /// Of this chat server.
    pub server: Option<String>,
    /// In this state.
    pub state: Option<State>,
}

/// One entry, with nothing private. Times are since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its number.
    pub id: EntryId,
    /// Where it is to go.
    pub target: TargetName,
    /// Who sent it.
    pub server: String,
    /// The caller's name for it; empty if it asked for no receipt.
    pub ack_id: String,
    /// What it is about.
    pub kind: String,
    /// Who goes first.
    pub urgency: Urgency,
    /// Eight digits that are the same for the same device, and say nothing else about it.
    pub device: String,
    /// How it stands.
    pub state: State,
    /// When the caller asked.
    pub accepted_at: Duration,
    /// From when on nobody wants it.
    pub expires_at: Duration,
    /// When it is due, or its lease ends; `None` if it is due already or buried.
    pub wakes_at: Option<Duration>,
    /// Since when it has been buried.
    pub buried_at: Option<Duration>,
    /// A later one has made it pointless while it was leased: it is not tried again.
    pub superseded: bool,
    /// Attempts made so far.
    pub attempts: u32,
    /// How the last one ended, or why it was buried.
    pub reason: Option<String>,
    /// Its content, bytes.
    pub bytes: u64,
}

/// Which entries to change.
#[derive(Clone, Debug)]
pub enum Which {
    /// These.
    Ids(Vec<EntryId>),
    /// All that are buried.
    Buried,
    /// All of a filter, without a bound.
    Matching(Filter),
}

/// What became of entries that were to be tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// Due now.
    pub due: u64,
    /// Under way already; left alone.
    pub under_way: u64,
    /// Their time is over: trying again would be too late. Left alone.
    pub expired: u64,
    /// There are none with these ids.
    pub missing: u64,
}

pub(super) const COLUMNS: &str =
    "id, target, server, ack_id, kind, urgency, device_key, state, accepted_at, expires_at, wake_at,
    buried_at, superseded, attempts, reason, length(content)";

impl Inspector {
    /// Opens the queue of a directory, which a relay must have made.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self, OpenError> {
        let (connection, path) = schema::beside(directory)?;
        Ok(Self { connection, path, clock })
    }

    /// The oldest entries of a filter, at most `limit` and [`MAX_LISTED`].
    pub fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<Shown>, InspectError> {
        let limit = i64::try_from(limit.min(MAX_LISTED)).unwrap_or(i64::MAX);
        let state = filter.state.map(State::as_str);
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS} FROM entries WHERE (?1 IS NULL OR target = ?1) AND (?2 IS NULL OR server = ?2)
                 AND (?3 IS NULL OR state = ?3) ORDER BY id LIMIT ?4"
        ))?;
        let rows = statement.query_map(params![filter.target, filter.server, state, limit], show)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// One entry.
    pub fn show(&self, id: EntryId) -> Result<Option<Shown>, InspectError> {
        let entry = self
            .connection
            .query_row(&format!("SELECT {COLUMNS} FROM entries WHERE id = ?1"), [id.number()], show)
            .optional()?;
        Ok(entry)
    }

    /// What waits or is buried under this name that a caller gave it, the oldest first, at most `limit`. Looks at every entry,
    /// without its content.
    pub fn named(&self, ack_id: &str, limit: usize) -> Result<Vec<Shown>, InspectError> {
        let limit = i64::try_from(limit.min(MAX_LISTED)).unwrap_or(i64::MAX);
        let mut statement = self
            .connection
            .prepare(&format!("SELECT {COLUMNS} FROM entries WHERE ack_id = ?1 ORDER BY id LIMIT ?2"))?;
        let rows = statement.query_map(params![ack_id, limit], show)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Device tokens found dead too late, whose servers are yet to be told.
    pub fn late_verdicts(&self) -> Result<u64, InspectError> {
        let count: i64 = self.connection.query_row("SELECT count(*) FROM late_verdicts", [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// The file and its write-ahead log, bytes.
    pub fn file_bytes(&self) -> u64 {
        super::file_bytes(&self.path)
    }

    /// Each target's figures, by name. Reads a row for each server that has entries.
    pub fn stats(&self) -> Result<Vec<TargetStats>, InspectError> {
        let mut statement = self.connection.prepare(
            "SELECT target, sum(waiting), sum(buried), (SELECT accepted_at FROM entries INDEXED BY entries_age
                 WHERE entries.target = tallies.target AND buried_at IS NULL ORDER BY accepted_at LIMIT 1)
             FROM tallies WHERE waiting > 0 OR buried > 0 GROUP BY target",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(TargetStats {
                target: TargetName::new(row.get_ref(0)?.as_str()?),
                waiting: row.get::<_, i64>(1)?.unsigned_abs(),
                buried: row.get::<_, i64>(2)?.unsigned_abs(),
                oldest_accepted_at: row.get::<_, Option<i64>>(3)?.map(since_epoch),
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Copies the queue as it is at this moment into a file that is not there yet, synced and for its user alone (0600). It
    /// has texts and device tokens, as the queue has. To restore: stop the relay, put the copy in the place of the file, and
    /// remove the `-wal`, `-shm` and `queue.mark` beside it.
    pub fn snapshot(&self, into: &Path) -> Result<(), InspectError> {
        let at = |source| InspectError::Snapshot { path: into.to_owned(), source };
        let name = into.to_str().ok_or_else(|| at(std::io::Error::other("the path is not UTF-8")))?;
        // SQLite fills an empty file that is there; made here for the mode, and never over another.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(into).map_err(at)?;
        let copied = self.connection.execute("VACUUM INTO ?1", [name]).map_err(InspectError::from).and_then(|_| {
            file.sync_all().map_err(at)?;
            let directory = into.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(at)
        });
        if copied.is_err() {
            // Half a copy is none. The first error is the one to tell.
            let _ = fs::remove_file(into);
        }
        copied
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

pub(super) fn show(row: &Row<'_>) -> rusqlite::Result<Shown> {
    let (urgency, state): (usize, _) = (row.get::<_, u8>(5)?.into(), row.get_ref(7)?.as_str()?);
    Ok(Shown {
        id: EntryId::of(row.get(0)?),
        target: TargetName::new(row.get_ref(1)?.as_str()?),
        server: row.get(2)?,
        ack_id: row.get(3)?,
        kind: row.get(4)?,
        urgency: Urgency::ALL.get(urgency).copied().unwrap_or(Urgency::Badge),
        device: shown(row.get_ref(6)?.as_blob()?),
        state: State::of(state).ok_or(rusqlite::Error::InvalidQuery)?,
        accepted_at: since_epoch(row.get(8)?),
        expires_at: since_epoch(row.get(9)?),
        wakes_at: row.get::<_, Option<i64>>(10)?.map(since_epoch),
        buried_at: row.get::<_, Option<i64>>(11)?.map(since_epoch),
        superseded: row.get(12)?,
        attempts: row.get(13)?,
        reason: row.get(14)?,
        bytes: row.get::<_, i64>(15)?.unsigned_abs(),
    })
}
