//! What a target's recent attempts say about it. Remembers only the newest of each sort; decides nothing about sending.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::outcome::{Reason, Scope, Verdict};

/// Attempts in a row that must meet passing trouble before the target counts as unable to deliver: more than one push
/// makes by default, since a single one can have bad luck.
const TROUBLE_IN_A_ROW: u32 = 5;

/// How long what the attempts said holds without a further one: 60 s. Whoever takes a relay that is not ready out of service
/// also takes away the pushes that would show that its provider is back: it must become ready again by itself.
const HOLDS: Duration = Duration::from_secs(60);

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub struct LastAttempt {
    /// `delivered`, `remove`, `retry`, … (see [`Verdict::label`]).
    pub verdict: &'static str,
    /// The provider's word, unless delivered.
    pub reason: Option<Reason>,
    /// Age in seconds.
    pub seconds_ago: u64,
}

/// The memory of one target.
#[derive(Debug)]
pub(super) struct Health {
    clock: Clock,
    trouble_in_a_row: AtomicU32,
    /// A lock taken once per attempt for a few stores: some 20 ns beside an attempt's tens of microseconds.
    last: Mutex<Option<Last>>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    verdict: &'static str,
    reason: Option<Reason>,
    broken: bool,
    /// When the provider last took a push, or refused it for its own sake.
    well_at: Option<Instant>,
    at: Instant,
}

impl Health {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, trouble_in_a_row: AtomicU32::new(0), last: Mutex::new(None) }
    }

    /// Takes note of a verdict. One that does not `count` is of a push that was tried before, and says little about others.
    pub(super) fn record(&self, verdict: &Verdict, counts: bool) {
        let now = self.clock.now();
        match verdict {
            Verdict::Retry { scope: Scope::Phone | Scope::Quota, .. } => {}
            Verdict::Retry { .. } | Verdict::TargetBroken { .. } if !counts => {}
            Verdict::Retry { .. } | Verdict::TargetBroken { .. } => {
                // Wraps after four thousand million failures without one success; it then reads as healthy for five.
                self.trouble_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.trouble_in_a_row.store(0, Ordering::Relaxed),
        }
        let is_broken = matches!(verdict, Verdict::TargetBroken { .. });
        let mut guard = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let well_at = match verdict {
            Verdict::Delivered | Verdict::Remove { .. } | Verdict::Rejected { .. } => Some(now),
            _ => guard.and_then(|last| last.well_at),
        };
        // While others succeed it is that push's own trouble.
        let is_alone = well_at.is_none_or(|at| now.saturating_duration_since(at) >= HOLDS)
            || self.trouble_in_a_row.load(Ordering::Relaxed) >= TROUBLE_IN_A_ROW;
        let broken = is_broken && is_alone;
        *guard = Some(Last { verdict: verdict.label(), reason: verdict.reason(), broken, well_at, at: now });
    }

    /// Knows nothing again, as at the start.
    pub(super) fn forget(&self) {
        self.trouble_in_a_row.store(0, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// Whether the last attempt was refused for the sake of credentials, topic or project, however long ago.
    pub(super) fn is_broken(&self) -> bool {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some_and(|last| last.broken)
    }

    pub(super) fn last(&self) -> Option<LastAttempt> {
        let last = (*self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner))?;
        let seconds_ago = self.clock.now().saturating_duration_since(last.at).as_secs();
        Some(LastAttempt { verdict: last.verdict, reason: last.reason, seconds_ago })
    }

    /// Why the target cannot deliver, if its attempts of the last minute say so.
    pub(super) fn problem(&self) -> Option<String> {
        let last = (*self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner))?;
        if self.clock.now().saturating_duration_since(last.at) >= HOLDS {
            return None;
        }
        let reason = last.reason.unwrap_or("unknown");
        let trouble = self.trouble_in_a_row.load(Ordering::Relaxed);
        if last.broken {
            Some(format!("the provider does not accept this target's credentials or topic: {reason}"))
        } else if trouble >= TROUBLE_IN_A_ROW {
            Some(format!("the last {trouble} attempts met trouble: {reason}"))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble() -> Verdict {
        Verdict::Retry { reason: "connect_refused", after: None, scope: Scope::Target, unprocessed: true }
    }

    #[test]
    fn a_target_is_well_until_its_attempts_say_otherwise_and_again_after_a_success() {
        let health = Health::new(Clock::System);
        assert!(health.problem().is_none());
        for _ in 0..TROUBLE_IN_A_ROW - 1 {
            health.record(&trouble(), true);
        }
        assert!(health.problem().is_none(), "a few failures are no outage");
        health.record(&trouble(), true);
        assert_eq!(health.problem().unwrap(), "the last 5 attempts met trouble: connect_refused");
        health.record(&Verdict::Delivered, true);
        assert!(health.problem().is_none());
    }

    #[test]
    fn a_phone_that_gets_too_much_says_nothing_about_the_target() {
        let health = Health::new(Clock::System);
        for _ in 0..10 {
            health.record(
                &Verdict::Retry { reason: "TooManyRequests", after: None, scope: Scope::Phone, unprocessed: true },
                true,
            );
        }
        assert!(health.problem().is_none());
    }

    #[test]
    fn refused_credentials_are_that_pushs_own_trouble_while_others_succeed_and_the_targets_if_they_do_not() {
        let health = Health::new(Clock::System);
        let broken = Verdict::TargetBroken { reason: "BadTopic" };
        for _ in 0..20 {
            health.record(&Verdict::Delivered, true);
            health.record(&broken, true);
            assert!(health.problem().is_none() && !health.is_broken());
        }
        // One that is tried again and again.
        (0..20).for_each(|_| health.record(&broken, false));
        assert!(health.problem().is_none());
        (0..TROUBLE_IN_A_ROW).for_each(|_| health.record(&broken, true));
        assert!(health.problem().unwrap().ends_with("BadTopic") && health.is_broken());
    }

    #[tokio::test]
    async fn a_target_that_nobody_tries_becomes_ready_again_by_itself() {
        for bad in [Verdict::TargetBroken { reason: "InvalidProviderToken" }, trouble()] {
            let clock = Clock::manual(1_000);
            let health = Health::new(clock.clone());
            for _ in 0..TROUBLE_IN_A_ROW {
                health.record(&bad, true);
            }
            clock.advance(HOLDS.saturating_sub(Duration::from_secs(1)));
            assert!(health.problem().is_some(), "{bad:?}");
            clock.advance(Duration::from_secs(1));
            assert_eq!(health.problem(), None, "{bad:?}");
            assert_eq!(health.last().unwrap().seconds_ago, HOLDS.as_secs(), "the attempt itself is not forgotten");
            health.record(&bad, true);
            assert!(health.problem().is_some(), "{bad:?} again");
        }
    }

    #[test]
    fn a_refused_credential_is_a_problem_at_once() {
        let health = Health::new(Clock::System);
        let broken = Verdict::TargetBroken { reason: "InvalidProviderToken" };
        health.record(&broken, true);
        assert!(health.problem().unwrap().ends_with("InvalidProviderToken"));
        assert_eq!(health.last().unwrap().verdict, "target_broken");
        assert!(health.is_broken());
        health.record(&Verdict::Delivered, true);
        assert!(!health.is_broken());
        health.forget();
        health.record(&broken, true);
        assert!(health.is_broken());
        health.forget();
        assert!(!health.is_broken() && health.problem().is_none() && health.last().is_none());
    }
}
