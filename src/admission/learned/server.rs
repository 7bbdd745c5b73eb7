//! One server in memory: counters that all workers share, and what its signatures have told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::budget::PerSecond;
use super::keys::Keys;
use super::observation::Sent;
use super::state::StoredServer;

/// Seconds between two log lines about signatures that speak against one server's key.
const LOG_EVERY_SECONDS: u64 = 60;

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) first_seen: u64,
    pub(super) last_seen: AtomicU64,
    pub(super) pushes: AtomicU64,
    pub(super) unsigned: AtomicU64,
    pub(super) unsigned_tests: AtomicU64,
    pub(super) unusable: AtomicU64,
    pub(super) comparisons: PerSecond,
    pub(super) recoveries: PerSecond,
    pub(super) last_logged: AtomicU64,
    pub(super) keys: Mutex<Keys>,
}

impl Server {
    /// Counts a push.
    pub(super) fn count(&self, sent: Sent<'_>, now: u64) {
        self.last_seen.fetch_max(now, Ordering::Relaxed);
        self.pushes.fetch_add(1, Ordering::Relaxed);
        let counter = match sent {
            Sent::Unsigned => &self.unsigned,
            Sent::UnsignedTest => &self.unsigned_tests,
            Sent::Unusable => &self.unusable,
            Sent::Signed(_) => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A copy, to be kept or shown.
    pub(super) fn stored(&self) -> StoredServer {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoredServer {
            first_seen: self.first_seen,
            last_seen: read(&self.last_seen),
            pushes: read(&self.pushes),
            unsigned: read(&self.unsigned),
            unsigned_tests: read(&self.unsigned_tests),
            unusable: read(&self.unusable),
            keys: self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl From<StoredServer> for Server {
    fn from(stored: StoredServer) -> Self {
        Self {
            first_seen: stored.first_seen,
            last_seen: stored.last_seen.into(),
            pushes: stored.pushes.into(),
            unsigned: stored.unsigned.into(),
            unsigned_tests: stored.unsigned_tests.into(),
            unusable: stored.unusable.into(),
            keys: Mutex::new(stored.keys),
            ..Self::default()
        }
    }
}

/// Whether the last line was long enough ago; if so, this is the next one.
pub(super) fn is_due(last: &AtomicU64, now: u64) -> bool {
    let due = |last: u64| (last == 0 || now.abs_diff(last) >= LOG_EVERY_SECONDS).then_some(now);
    last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
}
