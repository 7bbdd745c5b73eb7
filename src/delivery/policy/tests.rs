use proptest::prelude::*;

use super::*;

fn limits() -> DeliverySettings {
    DeliverySettings {
        deadline: Duration::from_secs(30),
        attempt_timeout: Duration::from_secs(8),
        max_attempts: 3,
        first_pause: Duration::from_secs(1),
    }
}

fn retry(scope: Scope, after_seconds: Option<u64>) -> Verdict {
    let after = after_seconds.map(Duration::from_secs);
    Verdict::Retry { reason: "ServiceUnavailable", after, scope, unprocessed: false }
}

fn unreached() -> Verdict {
    Verdict::Retry { reason: "connection refused", after: None, scope: Scope::Target, unprocessed: true }
}

/// Seconds after the Unix epoch.
const NOW: u64 = 1_000_000;

/// Where a push is that has just been tried.
#[derive(Clone, Copy)]
enum Where {
    /// Its caller waits, for so many seconds already of 30; at most three attempts, a first pause of 1 s.
    Direct { attempts: u32, renewed: bool, elapsed: u64 },
    /// In the queue, for so many seconds more.
    Queue { attempts: u32, renewed: bool, expires_in: u64 },
}

const fn direct(attempts: u32, elapsed: u64) -> Where {
    Where::Direct { attempts, renewed: false, elapsed }
}

const fn queue(attempts: u32) -> Where {
    Where::Queue { attempts, renewed: false, expires_in: 14_400 }
}

const fn expires_in(expires_in: u64) -> Where {
    Where::Queue { attempts: 1, renewed: false, expires_in }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Settle,
    /// Another attempt between so many seconds from now, at jitter 0.0, and so many, at jitter 1.0.
    Again(u64, u64),
    /// Another attempt so many seconds from now, at jitter 0.0, or sooner, at jitter 1.0: before its time is over.
    Sooner(u64, u64),
    /// As `Settle` or `Expires`, if the longest pause is drawn; else another attempt after so many seconds.
    AgainUnlessLate(u64),
    Expires,
    Bury,
}

#[test]
fn each_verdict_has_its_decision() {
    use Then::{Again, AgainUnlessLate, Bury, Expires, Settle, Sooner};
    let dead = Verdict::Remove { reason: "Unregistered", ambiguous: false };
    let broken = Verdict::TargetBroken { reason: "BadTopic" };
    let wrong = Verdict::Rejected { reason: "PayloadTooLarge" };
    let renew = Verdict::NewCredential { reason: "ExpiredProviderToken" };
    let trouble = |after| retry(Scope::Target, after);
    let renewed_direct = Where::Direct { attempts: 2, renewed: true, elapsed: 0 };
    let renewed = Where::Queue { attempts: 2, renewed: true, expires_in: 14_400 };
    let table = [
        // ── while a caller waits ──
        ("delivered", Verdict::Delivered, direct(1, 0), Settle),
        ("a dead token", dead.clone(), direct(1, 0), Settle),
        ("a broken target", broken.clone(), direct(1, 0), Settle),
        ("a wrong request", wrong.clone(), direct(1, 0), Settle),
        ("passing trouble", trouble(None), direct(1, 0), Again(0, 1)),
        ("passing trouble again", trouble(None), direct(2, 2), Again(0, 2)),
        ("passing trouble at the last attempt", trouble(None), direct(3, 5), Settle),
        ("no way to the provider", unreached(), direct(1, 0), Again(0, 1)),
        ("a phone that gets too much", retry(Scope::Phone, None), direct(2, 0), Again(0, 2)),
        ("a used up quota", retry(Scope::Quota, None), direct(1, 0), Settle),
        ("a Retry-After", trouble(Some(5)), direct(1, 0), Again(5, 6)),
        ("a Retry-After at the second attempt", trouble(Some(1)), direct(2, 0), Again(1, 3)),
        ("a Retry-After up to the deadline", trouble(Some(20)), direct(1, 10), Settle),
        ("a Retry-After beyond the deadline", trouble(Some(60)), direct(1, 0), Settle),
        ("a Retry-After beyond all bounds", trouble(Some(u64::MAX)), direct(1, 0), Settle),
        ("a pause that may end at the deadline", trouble(None), direct(1, 29), AgainUnlessLate(0)),
        ("no time left at all", trouble(None), direct(1, 30), Settle),
        ("an old provider token", renew.clone(), direct(1, 0), Again(0, 0)),
        ("a fresh provider token refused", renew.clone(), renewed_direct, Settle),
        ("an old provider token at the last attempt", renew.clone(), direct(3, 0), Settle),
        // ── in the queue ──
        ("delivered", Verdict::Delivered, queue(1), Settle),
        ("a dead token", dead, queue(100), Settle),
        ("a wrong request", wrong, queue(1), Settle),
        ("a broken target", broken.clone(), queue(1), Again(0, 30)),
        ("a broken target again", broken.clone(), queue(2), Again(0, 60)),
        ("a target that stays broken", broken.clone(), queue(5), Again(0, 300)),
        ("a target that stays broken for days", broken.clone(), queue(u32::MAX), Again(0, 300)),
        ("no way to the provider", unreached(), queue(1), Again(0, 2)),
        ("still none", unreached(), queue(3), Again(0, 8)),
        ("none for long", unreached(), queue(1_000), Again(0, 300)),
        ("passing trouble", trouble(None), queue(1), Again(0, 20)),
        ("passing trouble again", trouble(None), queue(2), Again(0, 40)),
        ("passing trouble at the last but one", trouble(None), queue(99), Again(0, 300)),
        ("passing trouble at the last attempt", trouble(None), queue(100), Bury),
        ("a Retry-After", trouble(Some(120)), queue(1), Again(120, 140)),
        ("a Retry-After of a day", trouble(Some(86_400)), queue(1), Again(3_600, 3_600)),
        ("a Retry-After beyond all bounds", trouble(Some(u64::MAX)), queue(1), Again(3_600, 3_600)),
        ("a phone that gets too much", retry(Scope::Phone, None), queue(1), Again(0, 10)),
        ("a phone that gets far too much", retry(Scope::Phone, None), queue(8), Again(0, 600)),
        ("such a phone at the last attempt", retry(Scope::Phone, None), queue(100), Bury),
        ("a used up quota", retry(Scope::Quota, None), queue(1), Again(60, 120)),
        ("a used up quota with less", retry(Scope::Quota, Some(5)), queue(1), Again(60, 120)),
        ("a used up quota with more", retry(Scope::Quota, Some(90)), queue(2), Again(90, 210)),
        ("a quota used up for long", retry(Scope::Quota, None), queue(200), Again(60, 660)),
        ("an old provider token", renew.clone(), queue(1), Again(0, 0)),
        ("an old provider token at the last attempt", renew.clone(), queue(100), Again(0, 0)),
        ("a fresh provider token refused", renew.clone(), renewed, Again(0, 60)),
        ("an old provider token, too late", renew, expires_in(0), Expires),
        ("a pause that may end with it", trouble(None), expires_in(20), Again(0, 18)),
        ("hardly any time left", trouble(None), expires_in(1), Again(0, 0)),
        ("a quota that lasts nearly as long", retry(Scope::Quota, None), expires_in(70), Again(60, 63)),
        ("a quota that lasts as long as it", retry(Scope::Quota, None), expires_in(60), Sooner(54, 48)),
        ("a Retry-After that lasts longer than it", trouble(Some(3_000)), expires_in(1_800), Sooner(1_740, 1_680)),
        ("one of a day for what lasts half an hour", trouble(Some(86_400)), expires_in(1_800), Sooner(1_740, 1_680)),
        ("one of an hour for a call", trouble(Some(3_600)), expires_in(30), Sooner(27, 24)),
        ("one of nearly an hour", trouble(Some(3_595)), queue(1), Again(3_595, 3_600)),
        ("one of a day for one phone", retry(Scope::Phone, Some(86_400)), queue(1), Again(3_600, 3_600)),
        ("one of a day for the quota", retry(Scope::Quota, Some(86_400)), queue(1), Again(3_600, 3_600)),
        ("one of a day, and no time for more", trouble(Some(86_400)), expires_in(1), Again(0, 0)),
        ("a broken target, too late", broken, expires_in(0), Expires),
        (
            "too often and too late",
            trouble(None),
            Where::Queue { attempts: 100, renewed: false, expires_in: 0 },
            Expires,
        ),
        ("too late, but there", Verdict::Delivered, expires_in(0), Settle),
    ];
    for (what, verdict, place, expected) in table {
        assert_eq!(decided(&verdict, place), expected, "{what}");
    }
}

#[test]
fn an_outage_buries_nothing_however_long_it_lasts() {
    let now = Duration::from_secs(NOW);
    let expires_at = now + Duration::from_secs(86_400);
    let queued = Queued { attempts: 1_000, credential_renewed: false, others_arrive: false, now, expires_at };
    for scope in [Scope::Target, Scope::Phone] {
        let verdict = retry(scope, None);
        assert!(matches!(later(&verdict, queued, 0.5), Later::At(_)), "{verdict:?}");
    }
}

/// At both ends of the jitter.
fn decided(verdict: &Verdict, place: Where) -> Then {
    let at = |jitter| match place {
        Where::Direct { attempts, renewed, elapsed } => {
            let elapsed = Duration::from_secs(elapsed);
            match next(verdict, Tried { attempts, credential_renewed: renewed, elapsed }, &limits(), jitter) {
                Next::Settle => Err(Then::Settle),
                Next::Attempt { after } => Ok(after.as_secs()),
            }
        }
        Where::Queue { attempts, renewed, expires_in } => {
            let now = Duration::from_secs(NOW);
            let expires_at = now + Duration::from_secs(expires_in);
            match later(
                verdict,
                Queued { attempts, credential_renewed: renewed, others_arrive: true, now, expires_at },
                jitter,
            ) {
                Later::Settle => Err(Then::Settle),
                Later::At(at) => Ok(at.as_secs() - NOW),
                Later::Expires => Err(Then::Expires),
                Later::Bury(reason) => {
                    assert_eq!(Some(reason), verdict.reason());
                    Err(Then::Bury)
                }
            }
        }
    };
    match (at(0.0), at(1.0)) {
        (Ok(most), Ok(least)) if most > least => Then::Sooner(most, least),
        (Ok(least), Ok(most)) => Then::Again(least, most),
        (Ok(least), Err(Then::Settle | Then::Expires)) => Then::AgainUnlessLate(least),
        (Err(one), Err(other)) => {
            assert_eq!(one, other);
            one
        }
        other => panic!("{other:?}"),
    }
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let scope = prop_oneof![Just(Scope::Target), Just(Scope::Phone), Just(Scope::Quota)];
    let retry = (scope, proptest::option::of(0..100_000u64), any::<bool>()).prop_map(|(scope, after, unprocessed)| {
        Verdict::Retry { reason: "x", after: after.map(Duration::from_secs), scope, unprocessed }
    });
    prop_oneof![
        4 => retry,
        1 => Just(Verdict::TargetBroken { reason: "x" }),
        1 => Just(Verdict::NewCredential { reason: "x" }),
    ]
}

proptest! {
    #[test]
    fn no_attempt_while_a_caller_waits_comes_before_retry_after_nor_after_the_end(
        verdict in any_verdict(), attempts in 1..500u32, renewed: bool, elapsed in 0..40u64, jitter in 0.0..1.0f64,
    ) {
        let asked = match &verdict { Verdict::Retry { after, .. } => after.unwrap_or_default(), _ => Duration::ZERO };
        let elapsed = Duration::from_secs(elapsed);
        let tried = Tried { attempts, credential_renewed: renewed, elapsed };
        if let Next::Attempt { after } = next(&verdict, tried, &limits(), jitter) {
            prop_assert!(after >= asked && elapsed + after < limits().deadline && attempts < limits().max_attempts);
        }
    }

    #[test]
    fn whatever_a_provider_says_what_waits_is_tried_within_the_hour_and_before_its_time_is_over(
        verdict in any_verdict(), attempts in 1..100u32, renewed: bool, expires_in_ms in 1_000..700_000_000u64,
        jitter in 0.0..1.0f64,
    ) {
        let asked = match &verdict { Verdict::Retry { after, .. } => after.unwrap_or_default(), _ => Duration::ZERO };
        let now = Duration::from_secs(NOW);
        let expires_in = Duration::from_millis(expires_in_ms);
        let queued = Queued { attempts, credential_renewed: renewed, others_arrive: true, now, expires_at: now + expires_in };
        let Later::At(at) = later(&verdict, queued, jitter) else {
            return Err(TestCaseError::fail("it is tried no more"));
        };
        let wait = at.saturating_sub(now);
        prop_assert!(wait <= LONGEST_HOLD.min(expires_in.saturating_sub(LEAST_LEFT)), "{:?} of {:?}", wait, expires_in);
        // Not sooner than it was asked for, unless that is one of the two.
        let kept = asked.min(LONGEST_HOLD);
        prop_assert!(wait >= kept || kept > expires_in.saturating_sub((expires_in / 10).clamp(LEAST_LEFT, LONGEST_REMAINDER)));
    }
}
