//! What goes into the queue, what comes out, and what may become of it.

use std::time::Duration;

use crate::notification::{Notification, TargetName, Urgency};
use crate::outcome::Reason;

/// One entry's number. Never given twice by one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub(super) i64);

impl EntryId {
    /// The id of a number, as the command line reads it.
    pub fn of(number: i64) -> Self {
        Self(number)
    }

    /// The number, for logs and the command line.
    pub fn number(self) -> i64 {
        self.0
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What is to be kept. Times are since the Unix epoch, and kept to the millisecond.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    /// What is to be sent.
    pub notification: &'a Notification,
    /// Who goes first.
    pub urgency: Urgency,
    /// When the caller asked.
    pub accepted_at: Duration,
    /// From when on nobody wants it.
    pub expires_at: Duration,
    /// Not before.
    pub due_at: Duration,
    /// Attempts made so far.
    pub attempts: u32,
    /// How the last one ended, if there was one.
    pub reason: Option<Reason>,
}

/// What became of an entry that was to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is on the disk.
    Stored {
        /// The earlier ones that it made pointless; they are gone.
        superseded: Vec<Removed>,
    },
    /// The same request, by server, id and device, is in the queue already. Nothing was changed.
    AlreadyThere,
    /// One that was accepted after it waits already and makes it pointless. It was not kept.
    Pointless,
}

/// An entry that left the queue without being sent; enough to count it and to tell which one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its number.
    pub id: EntryId,
    /// Where it was to go.
    pub target: TargetName,
    /// Who sent it.
    pub server: String,
    /// The caller's name for it.
    pub ack_id: String,
    /// What it was about: the word of its kind for logs.
    pub kind: String,
    /// When the caller asked, since the Unix epoch.
    pub accepted_at: Duration,
    /// Attempts made.
    pub attempts: u32,
    /// How the last one ended, if there was one.
    pub reason: Option<Reason>,
}

/// What a worker got.
#[derive(Debug, Default)]
pub struct Lease {
    /// To be sent now, the most urgent first. Each is to be settled.
    pub entries: Vec<Leased>,
    /// Nobody wants them any more. They are gone.
    pub expired: Vec<Removed>,
    /// Made pointless while they were leased, and the lease is over. They are gone.
    pub superseded: Vec<Removed>,
    /// Could not be read. They are buried.
    pub undecodable: Vec<Removed>,
    /// When it is worth asking again, since the Unix epoch: the next one is due, or a lease ends. Now or earlier if there
    /// are more already. `None` until there is work (`Queue::wait_for_work`).
    pub next_due: Option<Duration>,
}

/// One entry in a worker's hand.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Its number, to settle it by.
    pub id: EntryId,
    /// What is to be sent.
    pub notification: Notification,
    /// Who goes first.
    pub urgency: Urgency,
    /// When the caller asked, since the Unix epoch.
    pub accepted_at: Duration,
    /// From when on nobody wants it, since the Unix epoch.
    pub expires_at: Duration,
    /// Attempts made so far.
    pub attempts: u32,
}

/// What became of a leased entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The provider took it. What was said of its token before is forgotten.
    Delivered,
    /// It will never be delivered, and nobody has to look.
    Done,
    /// The provider says that the token is dead. Done, and its server is told at its next request for the device.
    Dead {
        /// The provider's word.
        reason: Reason,
        /// Whether what else waits for the device goes, too.
        others: bool,
    },
    /// Another attempt later.
    Later {
        /// Not before, since the Unix epoch. If that is after its end, it is removed at its end.
        due_at: Duration,
        /// Attempts made so far, the last one included.
        attempts: u32,
        /// How the last one ended.
        reason: Reason,
    },
    /// No more attempts until an operator says so.
    Bury {
        /// Why.
        reason: Reason,
    },
}

/// What a settlement did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As asked.
    Written,
    /// It was to be tried again, and a later notification has made it pointless meanwhile: it is gone.
    Superseded,
    /// As asked, and these went with it.
    WithOthers(Vec<Removed>),
    /// There is no such entry any more: an operator has dropped it.
    Gone,
}

/// The queue in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Each target that had entries since the queue was opened, by name.
    pub targets: Vec<TargetStats>,
    /// Late verdicts that wait to be told.
    pub late_verdicts: u64,
    /// The file and its write-ahead log, bytes.
    pub file_bytes: u64,
    /// Transactions that changed something, since the queue was opened.
    pub commits: u64,
    /// Commands that were answered, since the queue was opened. Divided by `commits`: what group commit saves.
    pub commands: u64,
}

/// One target's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStats {
    /// Its name.
    pub target: TargetName,
    /// Entries to be sent, those that are leased included.
    pub waiting: u64,
    /// Entries that wait for an operator.
    pub buried: u64,
    /// When the oldest one to be sent was accepted, since the Unix epoch.
    pub oldest_accepted_at: Option<Duration>,
}

/// Milliseconds since the Unix epoch, as the file has them. What does not fit is the end of time.
pub(super) fn millis(since_epoch: Duration) -> i64 {
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// The other way; before the epoch is the epoch.
pub(super) fn since_epoch(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
