//! What to do after an attempt: pure, so that every case is in one table.

use std::time::Duration;

use super::DeliverySettings;
use crate::outcome::Verdict;

/// The longest pause of our own choosing. A provider may ask for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// What has been tried so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Attempts made, the one just ended included; at least 1.
    pub attempts: u32,
    /// Whether an earlier attempt already ended in [`Verdict::NewCredential`].
    pub credential_renewed: bool,
    /// Time since the notification was admitted.
    pub elapsed: Duration,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The last verdict stands.
    Settle,
    /// Another attempt, after this pause.
    Attempt {
        /// How long to wait first.
        after: Duration,
    },
}

/// Decides. `jitter` is a random number in `0.0..1.0`: it spreads the callers of a provider that just came back.
pub fn next(verdict: &Verdict, tried: Tried, limits: &DeliverySettings, jitter: f64) -> Next {
    let pause = match verdict {
        Verdict::Delivered | Verdict::Remove { .. } | Verdict::TargetBroken { .. } | Verdict::Rejected { .. } => {
            return Next::Settle;
        }
        // A fresh credential is worth one attempt at once; refused again, the fault is not its age.
        Verdict::NewCredential { .. } if tried.credential_renewed => return Next::Settle,
        Verdict::NewCredential { .. } => Duration::ZERO,
        Verdict::Retry { after, .. } => {
            back_off(limits.first_pause, tried.attempts, jitter).max(after.unwrap_or_default())
        }
    };
    // A pause that ends at the deadline leaves no time to try: better to answer now.
    if tried.attempts >= limits.max_attempts || tried.elapsed.saturating_add(pause) >= limits.deadline {
        Next::Settle
    } else {
        Next::Attempt { after: pause }
    }
}

/// Between half and all of the doubled pause ("equal jitter"): enough spread, and never a retry at once.
fn back_off(first: Duration, attempts: u32, jitter: f64) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    let pause = first.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Scope;

    fn limits() -> DeliverySettings {
        DeliverySettings {
            deadline: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(8),
            max_attempts: 3,
            first_pause: Duration::from_secs(1),
        }
    }

    fn retry(after_seconds: Option<u64>) -> Verdict {
        Verdict::Retry {
            reason: "ServiceUnavailable",
            after: after_seconds.map(Duration::from_secs),
            scope: Scope::Target,
            unprocessed: false,
        }
    }

    #[test]
    fn each_verdict_has_its_decision() {
        let attempt = |milliseconds| Next::Attempt { after: Duration::from_millis(milliseconds) };
        let renew = Verdict::NewCredential { reason: "ExpiredProviderToken" };
        // (what, verdict, attempts, credential renewed before, elapsed seconds, decision at jitter 1.0)
        let table = [
            ("delivered", Verdict::Delivered, 1, false, 0, Next::Settle),
            ("a dead token", Verdict::Remove { reason: "Unregistered", ambiguous: false }, 1, false, 0, Next::Settle),
            ("a broken target", Verdict::TargetBroken { reason: "BadTopic" }, 1, false, 0, Next::Settle),
            ("a wrong request", Verdict::Rejected { reason: "PayloadTooLarge" }, 1, false, 0, Next::Settle),
            ("passing trouble", retry(None), 1, false, 0, attempt(1_000)),
            ("passing trouble again", retry(None), 2, false, 2, attempt(2_000)),
            ("passing trouble at the last attempt", retry(None), 3, false, 5, Next::Settle),
            ("a Retry-After above the pause", retry(Some(5)), 1, false, 0, attempt(5_000)),
            ("a Retry-After below the pause", retry(Some(1)), 2, false, 0, attempt(2_000)),
            ("a Retry-After up to the deadline", retry(Some(20)), 1, false, 10, Next::Settle),
            ("a Retry-After beyond the deadline", retry(Some(60)), 1, false, 0, Next::Settle),
            ("a Retry-After beyond all bounds", retry(Some(u64::MAX)), 1, false, 0, Next::Settle),
            ("a pause that would end at the deadline", retry(None), 1, false, 29, Next::Settle),
            ("an old provider token", renew.clone(), 1, false, 0, attempt(0)),
            ("a fresh provider token refused", renew.clone(), 2, true, 0, Next::Settle),
            ("an old provider token at the last attempt", renew, 3, false, 0, Next::Settle),
        ];
        for (what, verdict, attempts, credential_renewed, seconds, expected) in table {
            let tried = Tried { attempts, credential_renewed, elapsed: Duration::from_secs(seconds) };
            assert_eq!(next(&verdict, tried, &limits(), 1.0), expected, "{what}");
        }
    }

    #[test]
    fn the_pause_is_spread_between_half_and_all_of_it_and_has_a_ceiling() {
        assert_eq!(back_off(Duration::from_secs(1), 1, 0.0), Duration::from_millis(500));
        assert_eq!(back_off(Duration::from_secs(1), 1, 1.0), Duration::from_secs(1));
        assert_eq!(back_off(Duration::from_secs(1), 2, 0.5), Duration::from_millis(1_500));
        assert_eq!(back_off(Duration::from_secs(1), u32::MAX, 1.0), LONGEST_PAUSE);
    }
}
