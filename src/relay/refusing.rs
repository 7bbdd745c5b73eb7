//! Whether the queue takes what is to wait, and if not, why: for the push itself, for readiness, and for one line a minute.
//!
//! It is taken to refuse for a while after it has, unless it takes or notes something meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::outcome::Reason;
use crate::queue::QueueError;

/// How long a queue that has refused something is taken to refuse more: longer than most scrapers take from one look to the next.
const REFUSES_FOR: Duration = Duration::from_secs(60);

/// How often the same operation's failures have a line.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Why the queue takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuses {
    /// It holds as many entries as it may.
    Full,
    /// Its disk is full, or its file has reached its bound.
    Disk,
    /// It cannot be written, or it is not there any more.
    Unusable,
}

impl Refuses {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Full, Self::Disk, Self::Unusable];

    /// The word for the log, the API, readiness and the metric.
    pub fn reason(self) -> Reason {
        match self {
            Self::Full => "queue_full",
            Self::Disk => "disk_full",
            Self::Unusable => "queue_unusable",
        }
    }

    /// For people, after "the relay's queue" or the like.
    pub fn words(self) -> &'static str {
        match self {
            Self::Full => "is full",
            Self::Disk => "has no room on its disk",
            Self::Unusable => "cannot be written",
        }
    }

    /// `None` for what is no trouble of the queue.
    pub(super) fn of(error: &QueueError) -> Option<Self> {
        match error {
            QueueError::Full { .. } => Some(Self::Full),
            QueueError::NoSpace => Some(Self::Disk),
            QueueError::Gone { .. } | QueueError::Disk { .. } | QueueError::Slow { .. } => Some(Self::Unusable),
            QueueError::Share { .. } | QueueError::Closed => None,
        }
    }
}

/// How the queue is to whoever looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// There is none.
    Absent,
    /// It takes what is to wait.
    Takes,
    /// It does not.
    Refuses(Refuses),
}

impl QueueState {
    /// Why it takes nothing, if there is one that does not.
    pub fn refuses(self) -> Option<Refuses> {
        match self {
            Self::Refuses(why) => Some(why),
            Self::Absent | Self::Takes => None,
        }
    }
}

/// What is known. Times are the queue's.
#[derive(Debug, Default)]
pub(super) struct Refusing {
    /// Milliseconds; 0 while it takes everything: all that a push looks at.
    until: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    why: Option<Refuses>,
    /// By operation, which are few fixed words: when it was last said, and how many failed since.
    said: BTreeMap<&'static str, (Duration, u64)>,
}

impl Refusing {
    /// It has refused.
    pub(super) fn note(&self, why: Refuses, now: Duration) {
        self.state().why = Some(why);
        let until = u64::try_from((now + REFUSES_FOR).as_millis()).unwrap_or(u64::MAX);
        self.until.store(until, Ordering::Relaxed);
    }

    /// It takes again.
    pub(super) fn clear(&self) {
        if self.until.load(Ordering::Relaxed) != 0 {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// Why it takes nothing now.
    pub(super) fn now(&self, now: Duration) -> Option<Refuses> {
        let until = self.until.load(Ordering::Relaxed);
        if until == 0 || Duration::from_millis(until) <= now { None } else { self.state().why }
    }

    /// Whether this failure is to have a line, and how many it stands for.
    pub(super) fn say(&self, operation: &'static str, now: Duration) -> Option<u64> {
        let mut state = self.state();
        let Some((at, unsaid)) = state.said.get_mut(operation) else {
            state.said.insert(operation, (now, 0));
            return Some(1);
        };
        *unsaid += 1;
        if now.saturating_sub(*at) < SAY_EVERY {
            return None;
        }
        *at = now;
        Some(std::mem::take(unsaid))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // At worst a panic has lost one count.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_800_000_000 + seconds)
    }

    #[test]
    fn each_operation_has_one_line_a_minute_that_counts_the_others() {
        let refusing = Refusing::default();
        assert_eq!(refusing.say("enqueue", at(0)), Some(1));
        assert_eq!(refusing.say("settle", at(1)), Some(1));
        for second in 1..60 {
            assert_eq!(refusing.say("enqueue", at(second)), None);
        }
        assert_eq!(refusing.say("enqueue", at(60)), Some(60));
        assert_eq!(refusing.say("enqueue", at(61)), None);
    }

    #[test]
    fn it_refuses_for_a_minute_after_it_has_unless_it_takes_something() {
        let refusing = Refusing::default();
        assert_eq!(refusing.now(at(0)), None);
        refusing.note(Refuses::Full, at(0));
        assert_eq!(refusing.now(at(59)), Some(Refuses::Full));
        assert_eq!(refusing.now(at(60)), None);
        refusing.note(Refuses::Disk, at(60));
        refusing.clear();
        assert_eq!(refusing.now(at(60)), None);
    }
}
