//! How hard the relay tries where there is no queue to fall back on: what is not delivered while its caller waits is lost.
//! Pure, so that every case is in one table.
//!
//! The measure is `mattermost-push-proxy`, which pauses for 1 s and then 2 s, tries Apple three times and Google up to
//! fifteen times: trouble that passes within 2.5 s costs it nothing. No pause here is shorter than there, so that none of the
//! attempts is wasted on the same moment; what is drawn on top keeps those who failed together from coming back together.

use std::time::Duration;

use super::DeliverySettings;
use super::breaker::BreakerSettings;
use super::policy::{Next, Tried};
use crate::notification::Platform;
use crate::outcome::{Attempt, Scope, Verdict};

/// Each attempt after the first counts as so many where the provider has certainly not taken the notification: 15 attempts
/// where 3 are configured, as many as the reference makes at Google (3 × 5).
const MORE_ATTEMPTS: u32 = 7;

/// The longest pause of a breaker for which pushes wait: 2 s. Longer ones would outlast their callers, and one push in two
/// seconds harms no provider.
const LONGEST_BREAKER_PAUSE: Duration = Duration::from_secs(2);

/// How long a push waits for a target that probably stays as it is: 6 s, in which three probes end. Wrong credentials may be
/// right in a moment, and a way out that refuses may be back; but callers send only so many pushes at once, and those to
/// other targets should not have to wait behind these.
const WAITS_FOR_PROBES: Duration = Duration::from_secs(6);

/// The breaker of a target whose pushes wait for it.
pub fn breaker(settings: &BreakerSettings) -> BreakerSettings {
    BreakerSettings {
        first_pause: settings.first_pause.min(LONGEST_BREAKER_PAUSE),
        longest_pause: settings.longest_pause.min(LONGEST_BREAKER_PAUSE),
        ..*settings
    }
}

/// How long after its admission a push may still wait for a target whose breaker was opened by `opened_by`.
pub fn patience(opened_by: &Verdict, platform: Platform, deadline: Duration) -> Duration {
    let is_short = match opened_by {
        Verdict::Retry { unprocessed, .. } => *unprocessed && platform == Platform::Apple,
        _ => true,
    };
    if is_short { deadline.min(WAITS_FOR_PROBES) } else { deadline }
}

/// Decides while a caller waits. `jitter` is a random number in `0.0..1.0`.
pub fn next(attempt: &Attempt, platform: Platform, tried: Tried, limits: &DeliverySettings, jitter: f64) -> Next {
    let pause = match &attempt.verdict {
        Verdict::Delivered | Verdict::Remove { .. } | Verdict::TargetBroken { .. } | Verdict::Rejected { .. } => {
            return Next::Settle;
        }
        // A fresh credential is worth one attempt at once; refused again, the fault is not its age.
        Verdict::NewCredential { .. } if tried.credential_renewed => return Next::Settle,
        Verdict::NewCredential { .. } => Duration::ZERO,
        Verdict::Retry { after, .. } => {
            // The first once, then always twice as long.
            let own = if tried.attempts > 1 { limits.first_pause.saturating_mul(2) } else { limits.first_pause };
            let drawn = own.mul_f64(jitter.clamp(0.0, 1.0) / 4.0);
            own.max(after.unwrap_or_default()).saturating_add(drawn)
        }
    };
    // A pause that ends at the deadline leaves no time to try: better to answer now.
    let is_too_late = tried.elapsed.saturating_add(pause) >= limits.deadline;
    if is_too_late || tried.attempts >= most_attempts(attempt, platform, limits.max_attempts) {
        Next::Settle
    } else {
        Next::Attempt { after: pause }
    }
}

/// What may have arrived although no answer came is not sent more often than configured: each time wakes the phone. Nor is what
/// concerns one phone or the quota, which more attempts make worse, nor what finds no way to Apple: the reference gives up then,
/// and its callers get on.
fn most_attempts(attempt: &Attempt, platform: Platform, configured: u32) -> u32 {
    match attempt.verdict {
        Verdict::Retry { scope: Scope::Target, unprocessed, .. }
            if attempt.answered || (unprocessed && platform == Platform::Android) =>
        {
            configured.saturating_sub(1).saturating_mul(MORE_ATTEMPTS).saturating_add(1)
        }
        _ => configured,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> DeliverySettings {
        DeliverySettings {
            deadline: Duration::from_secs(25),
            attempt_timeout: Duration::from_secs(8),
            max_attempts: 3,
            first_pause: Duration::from_secs(1),
        }
    }

    fn retry(scope: Scope, after: Option<u64>, unprocessed: bool) -> Verdict {
        Verdict::Retry { reason: "x", after: after.map(Duration::from_secs), scope, unprocessed }
    }

    /// Milliseconds until the next attempt, at both ends of the jitter; `None` if there is none.
    fn pauses(attempt: &Attempt, platform: Platform, attempts: u32, elapsed: u64) -> Option<(u128, u128)> {
        let tried = Tried { attempts, credential_renewed: false, elapsed: Duration::from_secs(elapsed) };
        let at = |jitter| match next(attempt, platform, tried, &limits(), jitter) {
            Next::Settle => None,
            Next::Attempt { after } => Some(after.as_millis()),
        };
        Some((at(0.0)?, at(1.0)?))
    }

    #[test]
    fn each_end_of_an_attempt_has_its_decision() {
        use Platform::{Android, Apple};
        let lost = || Attempt::unanswered(retry(Scope::Target, None, false));
        let no_way = |after| Attempt::unanswered(retry(Scope::Target, after, true));
        let trouble = |after| Attempt::answered(retry(Scope::Target, after, false));
        let quota = |after| Attempt::answered(retry(Scope::Quota, after, false));
        let phone = || Attempt::answered(retry(Scope::Phone, None, false));
        let broken = || Attempt::answered(Verdict::TargetBroken { reason: "x" });
        let (first, then) = (Some((1_000, 1_250)), Some((2_000, 2_500)));
        // (what, attempt, platform, attempts, seconds since its admission, pause in milliseconds)
        let table = [
            ("delivered", Attempt::answered(Verdict::Delivered), Apple, 1, 0, None),
            ("refused credentials", broken(), Apple, 1, 0, None),
            ("a broken connection", lost(), Apple, 1, 0, first),
            ("another one", lost(), Apple, 2, 1, then),
            ("a third one", lost(), Apple, 3, 3, None),
            ("one at Google", lost(), Android, 3, 3, None),
            ("no way to Apple", no_way(None), Apple, 2, 1, then),
            ("still none", no_way(None), Apple, 3, 3, None),
            ("no way to Google", no_way(None), Android, 14, 20, then),
            ("none for long", no_way(None), Android, 15, 20, None),
            ("no way to an access token", no_way(Some(4)), Android, 3, 3, Some((4_000, 4_500))),
            ("Apple in trouble", trouble(None), Apple, 1, 0, first),
            ("in trouble for long", trouble(None), Apple, 14, 20, then),
            ("up to the last attempt", trouble(None), Android, 15, 20, None),
            ("up to the deadline", trouble(None), Android, 5, 23, None),
            ("a Retry-After", trouble(Some(5)), Android, 1, 0, Some((5_000, 5_250))),
            ("a Retry-After beyond the deadline", trouble(Some(25)), Android, 1, 0, None),
            ("a Retry-After beyond all bounds", trouble(Some(u64::MAX)), Android, 1, 0, None),
            ("a quota", quota(Some(1)), Android, 1, 0, first),
            ("a quota again", quota(None), Android, 2, 1, then),
            ("a quota for long", quota(None), Android, 3, 3, None),
            ("a phone that gets too much", phone(), Apple, 3, 3, None),
        ];
        for (what, attempt, platform, attempts, elapsed, expected) in table {
            assert_eq!(pauses(&attempt, platform, attempts, elapsed), expected, "{what}");
        }
    }

    #[test]
    fn whoever_wants_one_attempt_gets_one() {
        let limits = DeliverySettings { max_attempts: 1, ..limits() };
        let attempt = Attempt::answered(retry(Scope::Target, None, false));
        let tried = Tried { attempts: 1, credential_renewed: false, elapsed: Duration::ZERO };
        assert_eq!(next(&attempt, Platform::Android, tried, &limits, 0.5), Next::Settle);
    }

    #[test]
    fn a_push_waits_as_long_as_its_caller_does_for_what_passes_and_some_seconds_for_what_may() {
        let deadline = Duration::from_secs(25);
        let (broken, lost, no_way) = (
            Verdict::TargetBroken { reason: "x" },
            retry(Scope::Target, None, false),
            retry(Scope::Target, None, true),
        );
        let table = [
            (&lost, Platform::Apple, 25),
            (&lost, Platform::Android, 25),
            (&no_way, Platform::Android, 25),
            (&no_way, Platform::Apple, 6),
            (&broken, Platform::Apple, 6),
            (&broken, Platform::Android, 6),
        ];
        for (opened_by, platform, seconds) in table {
            assert_eq!(patience(opened_by, platform, deadline).as_secs(), seconds, "{opened_by:?} {platform:?}");
            assert_eq!(patience(opened_by, platform, Duration::from_secs(3)).as_secs(), 3);
        }
    }

    proptest! {
        /// Whenever a push comes, however the pauses are drawn.
        #[test]
        fn trouble_of_two_and_a_half_seconds_leaves_an_attempt_to_each_push(
            comes_ms in 0..2_500u64, answered: bool, unprocessed: bool, is_apple: bool,
            jitter in proptest::array::uniform3(0.0..1.0f64),
        ) {
            let platform = if is_apple { Platform::Apple } else { Platform::Android };
            let verdict = retry(Scope::Target, None, unprocessed);
            let attempt = Attempt { verdict, answered, provider_id: None };
            let mut elapsed = Duration::ZERO;
            for (tries, jitter) in (1..).zip(jitter) {
                if comes_ms + u64::try_from(elapsed.as_millis()).unwrap() > 2_500 {
                    return Ok(());
                }
                let tried = Tried { attempts: tries, credential_renewed: false, elapsed };
                match next(&attempt, platform, tried, &limits(), jitter) {
                    Next::Attempt { after } => elapsed += after,
                    Next::Settle => break,
                }
            }
            prop_assert!(comes_ms + u64::try_from(elapsed.as_millis()).unwrap() > 2_500, "{:?}", elapsed);
        }
    }
}
