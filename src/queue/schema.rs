//! The file: where it is, its lock, its form, and how a connection to it is set up.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::error::OpenError;
use super::keys::{Hashes, KEY_BYTES};
use super::mark::{self, Mark};
use super::steady::Moment;
use crate::clock::Boot;

/// The queue's name in its directory.
pub const FILE_NAME: &str = "queue.sqlite3";

/// The lock's name beside it. A file of its own: `SQLite`'s locks belong to `SQLite`.
const LOCK_NAME: &str = "queue.lock";

/// `PRAGMA application_id`, "PRLQ": tells a queue from another program's database.
const APPLICATION_ID: i64 = 0x5052_4c51;

/// `PRAGMA user_version`.
pub(super) const VERSION: i64 = 2;

/// The first release's files, which lack what [`SINCE_2`] makes.
const FIRST_VERSION: i64 = 1;

/// How often one process looks whether the other has done writing, and how many times: some 10 s. The command line writes for some
/// ten milliseconds at a time (`slices`), and `SQLite`'s own waiting would sleep for up to 100 ms and miss its pauses.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
const BUSY_TRIES: i32 = 9_000;

/// Pages kept in memory, KiB. The two hashed indexes of a million entries are about 60 MB, and the part of them that a burst
/// touches should not be read again for each entry.
const CACHE_KIB: i64 = 32 * 1024;

/// Pages in the write-ahead log, 1 MB, from which on a command carries them over into the file. Sooner than the relay's 1,000, so
/// that the command does it, in its pauses, and no push waits for that.
const PAGES_BESIDE: i64 = 256;

/// What the write-ahead log is cut to when it has grown behind a long reader, bytes.
const WAL_BYTES: i64 = 64 * 1024 * 1024;

/// `wake_at` is the one time that a sleeping entry wakes at: when it is due, or when its lease ends. An entry that has woken
/// is `ready` and has none. So leasing never walks over entries that are not due: it wakes those whose time has come
/// (`entries_asleep`, by time), removes those that are over (`entries_ready`, by their end), then takes from those that are
/// ready (`entries_turns`, by server and then by end: the servers take turns). Each costs one step down a tree per entry moved,
/// however many there are: with one index for both, either all that are not due would be passed over, or all that are due be
/// sorted.
///
/// `content` comes last, so that reading the rest of a row never follows its overflow pages.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    target      TEXT    NOT NULL,
    server      TEXT    NOT NULL,
    ack_id      TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    urgency     INTEGER NOT NULL CHECK (urgency BETWEEN 0 AND 2),
    identity    BLOB,
    device_key  BLOB    NOT NULL,
    channel     TEXT    NOT NULL,
    thread      TEXT    NOT NULL,
    crt         INTEGER NOT NULL,
    collapse_id TEXT,
    accepted_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('waiting', 'ready', 'leased', 'buried')),
    wake_at     INTEGER CHECK ((wake_at IS NOT NULL) = (state IN ('waiting', 'leased'))),
    buried_at   INTEGER CHECK ((buried_at IS NOT NULL) = (state = 'buried')),
    superseded  INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL,
    reason      TEXT,
    content     BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX entries_identity ON entries (identity) WHERE identity IS NOT NULL;
CREATE INDEX entries_device ON entries (device_key);
CREATE INDEX entries_ready  ON entries (target, urgency, expires_at) WHERE state = 'ready';
CREATE INDEX entries_asleep ON entries (target, urgency, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX entries_age    ON entries (target, accepted_at) WHERE buried_at IS NULL;
CREATE INDEX entries_buried ON entries (buried_at) WHERE buried_at IS NOT NULL;

CREATE TABLE late_verdicts (
    device_key BLOB PRIMARY KEY,
    reason     TEXT    NOT NULL,
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX late_verdicts_age ON late_verdicts (at);
";

/// What the second version added. `entries_turns` gives each server its turn; `tallies` counts, so that no process ever walks
/// a million entries to know how many there are. Triggers keep it, whoever writes: the relay, the command line, or a person with
/// another program. A server that has no entry any more keeps a row of zeros until the next sweep.
const SINCE_2: &str = "
CREATE INDEX entries_turns ON entries (target, urgency, server, expires_at) WHERE state = 'ready';

CREATE TABLE tallies (
    target  TEXT    NOT NULL,
    server  TEXT    NOT NULL,
    waiting INTEGER NOT NULL,
    buried  INTEGER NOT NULL,
    PRIMARY KEY (target, server)
) STRICT, WITHOUT ROWID;

INSERT INTO tallies
    SELECT target, server, sum(buried_at IS NULL), sum(buried_at IS NOT NULL) FROM entries GROUP BY target, server;

CREATE TRIGGER entries_come AFTER INSERT ON entries BEGIN
    INSERT INTO tallies VALUES (new.target, new.server, new.buried_at IS NULL, new.buried_at IS NOT NULL)
        ON CONFLICT DO UPDATE SET waiting = waiting + excluded.waiting, buried = buried + excluded.buried;
END;

CREATE TRIGGER entries_go AFTER DELETE ON entries BEGIN
    UPDATE tallies SET waiting = waiting - (old.buried_at IS NULL), buried = buried - (old.buried_at IS NOT NULL)
        WHERE target = old.target AND server = old.server;
END;

CREATE TRIGGER entries_turn_over AFTER UPDATE OF buried_at ON entries
    WHEN (old.buried_at IS NULL) <> (new.buried_at IS NULL) BEGIN
    UPDATE tallies SET waiting = waiting + (new.buried_at IS NULL) - (old.buried_at IS NULL),
            buried = buried + (new.buried_at IS NOT NULL) - (old.buried_at IS NOT NULL)
        WHERE target = new.target AND server = new.server;
END;
";

/// An open file that no other relay has.
#[derive(Debug)]
pub(super) struct Opened {
    pub connection: Connection,
    pub path: PathBuf,
    pub hashes: Hashes,
    /// The id that the file's mark has.
    pub id: String,
    /// Held as long as it is not dropped.
    pub lock: File,
}

/// Opens the file for the one relay that works on it; makes it where there is none.
pub(super) fn open(directory: &Path, max_bytes: Option<u64>) -> Result<Opened, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(OpenError::io(directory))?;
    let lock = lock(&directory.join(LOCK_NAME))?;
    let path = directory.join(FILE_NAME);
    let mark = Mark::read(directory)?;
    mark::look(directory, &path, mark.as_ref())?;
    // Made here and not by SQLite, for the mode; its -wal and -shm take theirs from it.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(OpenError::io(&path))?;
    // The names of the new files must reach the disk before anything that is said to be in them.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(OpenError::io(directory))?;
    let connection = connect(&path)?;
    prepare(&connection, &path)?;
    let sqlite = OpenError::sqlite(&path);
    let id = id(&connection).map_err(sqlite)?;
    if let Some(mark) = mark {
        mark.check(directory, id.as_deref())?;
    }
    let id = id.map_or_else(|| give_id(&connection), Ok).map_err(sqlite)?;
    begin_the_log(&connection).map_err(sqlite)?;
    // Last: a file that has reached its bound must still be brought up to date.
    bound(&connection, max_bytes).map_err(sqlite)?;
    let hashes = key(&connection, &path)?;
    Ok(Opened { connection, path, hashes, id, lock })
}

/// The lock alone.
pub(super) fn hold(directory: &Path) -> Result<File, OpenError> {
    lock(&directory.join(LOCK_NAME))
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(OpenError::io(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io(path)(error)),
    }
}

/// A connection that makes no file and has looked at nothing yet.
fn connect(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_handler(Some(wait_for_the_other))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    connect().map_err(OpenError::sqlite(path))
}

#[allow(clippy::disallowed_methods, reason = "the writer's own thread, or that of a command: neither can go on")]
fn wait_for_the_other(tries: i32) -> bool {
    thread::sleep(BUSY_PAUSE);
    tries < BUSY_TRIES
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = OpenError::sqlite(path);
    let version = version(connection, path)?;
    if version == 0 {
        // Has to be said before the first table: what an outage has filled is given back afterwards.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(sqlite)?;
    }
    settings(connection).map_err(sqlite)?;
    if version == 0 {
        create(connection).map_err(sqlite)?;
    }
    check(connection, path)?;
    if version == FIRST_VERSION {
        bring_up_to_date(connection).map_err(sqlite)?;
    }
    Ok(())
}

/// The file's version, 0 for an empty one; an error for a file that is not ours or is of a later release.
fn version(connection: &Connection, path: &Path) -> Result<i64, OpenError> {
    let sqlite = OpenError::sqlite(path);
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sqlite);
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION_ID, version) if version > VERSION => {
            Err(OpenError::TooNew { path: path.to_owned(), version, known: VERSION })
        }
        (APPLICATION_ID, version) => Ok(version),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    // Texts and tokens of entries that are gone are written over where that costs no further page.
    connection.pragma_update(None, "secure_delete", "FAST")
}

fn bound(connection: &Connection, max_bytes: Option<u64>) -> rusqlite::Result<()> {
    if let Some(bytes) = max_bytes {
        let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from((bytes / u64::from(page)).max(1)).unwrap_or(i64::MAX);
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(())
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    let mut key = [0; KEY_BYTES];
    aws_lc_rs::rand::fill(&mut key).expect("the system has random numbers: TLS could not start without them");
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(SINCE_2)?;
    transaction.execute("INSERT INTO meta (name, value) VALUES ('hash_key', ?1)", [&key[..]])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// All of it or nothing: a relay that is killed here finds the file as it was. Some seconds for a million entries.
fn bring_up_to_date(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(SINCE_2)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Reads the whole file, which takes seconds per gigabyte: better at the start than at some entry later.
fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(OpenError::sqlite(path))?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Corrupt { path: path.to_owned(), what: verdict }) }
}

fn key(connection: &Connection, path: &Path) -> Result<Hashes, OpenError> {
    let key: Option<[u8; KEY_BYTES]> = connection
        .query_row("SELECT value FROM meta WHERE name = 'hash_key'", [], |row| row.get(0))
        .optional()
        .map_err(OpenError::sqlite(path))?;
    let key = key.ok_or_else(|| OpenError::Corrupt { path: path.to_owned(), what: "its key is missing".into() })?;
    Ok(Hashes::of(&key))
}

/// The file's own name, which its mark has too; `None` in files of releases before the mark.
fn id(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT value FROM meta WHERE name = 'id'", [], |row| row.get::<_, Vec<u8>>(0))
        .optional()
        .map(|id| id.map(|id| String::from_utf8_lossy(&id).into_owned()))
}

fn give_id(connection: &Connection) -> rusqlite::Result<String> {
    let sql = "INSERT INTO meta (name, value) VALUES ('id', CAST(lower(hex(randomblob(16))) AS BLOB))";
    connection.execute(sql, [])?;
    Ok(id(connection)?.unwrap_or_default())
}

/// Writes what was never written before, so that there is a log, which the mark says then. `SQLite` writes no page that stays as it
/// was.
fn begin_the_log(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES ('start', randomblob(16))
               ON CONFLICT DO UPDATE SET value = excluded.value";
    connection.execute(sql, []).map(drop)
}

/// Leaves the log where it is when this connection is the last to go: after a crash it is what the mark says must be there.
pub(super) fn leave_the_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// What the last process noted of its time; `None` in files that have never seen one note it.
pub(super) fn moment(connection: &Connection) -> rusqlite::Result<Option<Moment>> {
    let noted =
        connection.query_row("SELECT value FROM meta WHERE name = 'moment'", [], |row| row.get::<_, Vec<u8>>(0));
    Ok(noted.optional()?.and_then(|noted| read_moment(&noted)))
}

/// Notes the time, for the process that comes after this one.
pub(super) fn note_moment(connection: &Connection, moment: &Moment) -> rusqlite::Result<()> {
    let (up, id) = moment.boot.as_ref().map_or((0, ""), |boot| (boot.up.as_millis(), &*boot.id));
    let noted = format!("{} {up} {id}", moment.time.as_millis());
    connection
        .prepare_cached("INSERT INTO meta (name, value) VALUES ('moment', ?1) ON CONFLICT DO UPDATE SET value = ?1")?
        .execute([noted.as_bytes()])
        .map(drop)
}

/// Milliseconds since the Unix epoch, milliseconds since the boot, and which boot. One that cannot be read is none: it only helps.
fn read_moment(noted: &[u8]) -> Option<Moment> {
    let mut parts = std::str::from_utf8(noted).ok()?.splitn(3, ' ');
    let mut millis = || Some(Duration::from_millis(parts.next()?.parse().ok()?));
    let (time, up) = (millis()?, millis()?);
    let id = parts.next().filter(|id| !id.is_empty());
    Some(Moment { time, boot: id.map(|id| Boot { id: id.into(), up }) })
}

/// A connection beside a relay that may be running: makes nothing, changes nothing of the file's form.
pub(super) fn beside(directory: &Path) -> Result<(Connection, PathBuf), OpenError> {
    let path = directory.join(FILE_NAME);
    // SQLite would take an empty file for a new one, and remove the log beside it.
    if !fs::exists(&path).map_err(OpenError::io(&path))? || fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
        return Err(OpenError::Missing { path });
    }
    let connection = connect(&path)?;
    leave_the_log(&connection).map_err(OpenError::sqlite(&path))?;
    match version(&connection, &path)? {
        VERSION => {}
        // A relay that was stopped between making the file and its tables.
        0 => return Err(OpenError::Missing { path }),
        version => return Err(OpenError::TooOld { path, version }),
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(OpenError::sqlite(&path))?;
    connection.pragma_update(None, "wal_autocheckpoint", PAGES_BESIDE).map_err(OpenError::sqlite(&path))?;
    Ok((connection, path))
}
