-- The tables of version 1, as the first release made them. They never change.

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
