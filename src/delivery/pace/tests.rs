use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

const DELIVERED: Attempt = Attempt { verdict: Verdict::Delivered, answered: true, provider_id: None };

fn refused(after_seconds: Option<u64>, scope: Scope) -> Attempt {
    let after = after_seconds.map(Duration::from_secs);
    Attempt::answered(Verdict::Retry { reason: "QUOTA_EXCEEDED", after, scope, unprocessed: false })
}

fn quota(after_seconds: u64) -> Attempt {
    refused(Some(after_seconds), Scope::Quota)
}

/// After a minute of so many a second.
fn busy(per_second: u32, start: Instant) -> (Pace, Instant) {
    let pace = Pace::new(Stop::Whole, start);
    for second in 0..60 {
        (0..per_second).for_each(|_| pace.admit(start + SECOND * second).unwrap());
    }
    (pace, start + 60 * SECOND)
}

/// An attempt that took no time.
fn at(now: Instant) -> Range<Instant> {
    now..now
}

/// Enough answers for a cut.
fn cut(pace: &Pace, after_seconds: u64, now: Instant) -> Turn {
    (1..IN_A_ROW).for_each(|_| assert_eq!(pace.record(&quota(after_seconds), at(now)), Turn::None));
    pace.record(&quota(after_seconds), at(now))
}

/// How many of pushes that come all the time pass in so many seconds.
fn pass(pace: &Pace, from: Instant, seconds: u32) -> u32 {
    let ticks = seconds * 1_000;
    (0..ticks).map(|tick| u32::from(pace.admit(from + Duration::from_millis(tick.into())).is_ok())).sum()
}

#[test]
fn nothing_is_slowed_down_until_the_quota_is_met() {
    let (pace, now) = busy(1_000, Instant::now());
    let others = [
        DELIVERED,
        refused(Some(60), Scope::Phone),
        refused(Some(60), Scope::Target),
        Attempt::answered(Verdict::TargetBroken { reason: "NOT_FOUND" }),
    ];
    for attempt in others.iter().cycle().take(100) {
        assert_eq!(pace.record(attempt, at(now)), Turn::None);
        assert_eq!(pace.admit(now), Ok(()));
    }
    assert_eq!(pace.state(now), PaceState { per_second: None, resumes_in: Duration::ZERO });
}

#[test]
fn one_phone_that_gets_too_much_does_not_hold_the_others_back() {
    let (pace, now) = busy(10, Instant::now());
    for _ in 0..100 {
        (1..IN_A_ROW).for_each(|_| assert_eq!(pace.record(&quota(60), at(now)), Turn::None));
        assert_eq!(pace.record(&DELIVERED, at(now)), Turn::None);
    }
    assert_eq!(pace.admit(now), Ok(()));
}

#[test]
fn what_was_never_sent_says_nothing_about_the_quota() {
    let (pace, now) = busy(10, Instant::now());
    let unsent =
        Attempt { verdict: Verdict::Rejected { reason: "PayloadTooLarge" }, answered: false, provider_id: None };
    for _ in 1..IN_A_ROW {
        pace.record(&quota(60), at(now));
        pace.record(&unsent, at(now));
    }
    assert!(matches!(pace.record(&quota(60), at(now)), Turn::Slowed { .. }));
}

#[test]
fn nothing_passes_until_retry_after_and_then_half_of_what_did() {
    // (Retry-After, seconds until something passes)
    for (after, expected) in [(Some(60), 60), (Some(0), 0), (Some(7), 7), (None, 60), (Some(u64::MAX), 3_600)] {
        let (pace, now) = busy(20, Instant::now());
        let attempt = refused(after, Scope::Quota);
        (1..IN_A_ROW).for_each(|_| _ = pace.record(&attempt, at(now)));
        let pause = SECOND * expected;
        let Turn::Slowed { per_second, pause: told } = pace.record(&attempt, at(now)) else { panic!("{after:?}") };
        assert_eq!(told, pause, "{after:?}");
        assert!((9.0..12.0).contains(&per_second), "{per_second}");
        if expected > 0 {
            assert_eq!(pace.admit(now), Err(pause), "{after:?}");
            assert_eq!(pace.admit(now + SECOND * (expected - 1)), Err(SECOND), "{after:?}");
            assert_eq!(pace.state(now + SECOND).resumes_in, SECOND * (expected - 1), "{after:?}");
        }
        let passed = pass(&pace, now + pause, 9);
        assert!((9 * 9..=9 * 12).contains(&passed), "{passed} in 9 s, {after:?}");
    }
}

#[test]
fn a_burst_of_answers_is_one_cut_and_the_next_one_halves_again() {
    let (pace, now) = busy(80, Instant::now());
    let Turn::Slowed { per_second: first, .. } = cut(&pace, 30, now) else { panic!() };
    for late in 0..30 {
        assert_eq!(cut(&pace, 30 - late, now + SECOND * u32::try_from(late).unwrap()), Turn::None, "{late} s later");
    }
    assert_eq!(pace.state(now).per_second, Some(first));
    let Turn::Slowed { per_second: second, .. } = cut(&pace, 30, now + 30 * SECOND) else { panic!() };
    assert!((second - first / 2.0).abs() < 0.01, "{first} {second}");
}

#[test]
fn a_longer_wait_that_is_asked_for_meanwhile_holds() {
    let (pace, now) = busy(80, Instant::now());
    cut(&pace, 5, now);
    cut(&pace, 60, now + SECOND);
    assert_eq!(pace.admit(now + 5 * SECOND), Err(56 * SECOND));
}

#[test]
fn a_short_retry_after_does_not_make_stragglers_count() {
    let (pace, now) = busy(80, Instant::now());
    cut(&pace, 0, now);
    assert_eq!(cut(&pace, 0, now + 9 * SECOND), Turn::None);
    assert!(matches!(cut(&pace, 0, now + 10 * SECOND), Turn::Slowed { .. }));
}

#[test]
fn the_limit_never_falls_below_one_a_second() {
    let pace = Pace::new(Stop::Whole, Instant::now());
    let mut now = Instant::now();
    for _ in 0..5 {
        let Turn::Slowed { per_second, .. } = cut(&pace, 60, now) else { panic!() };
        assert!((per_second - 1.0).abs() < f64::EPSILON, "{per_second}");
        now += 60 * SECOND;
    }
    let passed = pass(&pace, now, 5);
    assert!((5..=6).contains(&passed), "{passed}");
}

#[test]
fn the_limit_grows_every_ten_seconds_and_is_lifted_at_twice_the_rate() {
    let (pace, now) = busy(80, Instant::now());
    let Turn::Slowed { per_second: half, .. } = cut(&pace, 60, now) else { panic!() };
    let resumes = now + 60 * SECOND;
    // (seconds after that, limit as a multiple of the first)
    for (seconds, multiple) in [(0, 1.0), (9, 1.0), (10, 1.05), (200, 2.0), (599, 3.95)] {
        let limit = pace.state(resumes + SECOND * seconds).per_second.unwrap();
        assert!((limit / half - multiple).abs() < 0.001, "{seconds} s: {limit}");
    }
    let lifted = resumes + 600 * SECOND;
    assert_eq!(pace.record(&DELIVERED, at(lifted - SECOND)), Turn::None);
    assert_eq!(pace.state(lifted).per_second, None);
    (0..10_000).for_each(|_| pace.admit(lifted).unwrap());
    assert_eq!(pace.record(&DELIVERED, at(lifted)), Turn::Lifted);
    assert_eq!(pace.record(&DELIVERED, at(lifted)), Turn::None);
    assert_eq!(pace.admit(lifted), Ok(()));
}

#[test]
fn whoever_waits_as_long_as_told_passes() {
    let (pace, now) = busy(80, Instant::now());
    cut(&pace, 60, now);
    let mut now = now;
    let mut passed = 0;
    for _ in 0..200 {
        match pace.admit(now) {
            Ok(()) => passed += 1,
            Err(wait) => {
                now += wait;
                pace.admit(now).unwrap();
                passed += 1;
            }
        }
    }
    assert_eq!(passed, 200);
}

proptest! {
    #[test]
    fn no_second_has_more_than_the_limit_and_what_may_come_early(
        rate in 1..300u32, waits in proptest::collection::vec(0..50u64, 1..400),
    ) {
        let (pace, now) = busy(rate, Instant::now());
        cut(&pace, 1, now);
        let mut at = now + SECOND;
        let mut passed: Vec<Instant> = Vec::new();
        for wait in waits {
            at += Duration::from_millis(wait);
            if pace.admit(at).is_ok() {
                passed.push(at);
            }
        }
        let limit = pace.state(at).per_second.unwrap();
        for (index, first) in passed.iter().enumerate() {
            let inside = passed[index..].iter().take_while(|at| **at < *first + SECOND).count();
            prop_assert!(inside as f64 <= limit * 1.1 + 2.0, "{} at {}", inside, limit);
        }
    }
}

/// Five quota answers of attempts that ended then, where nothing can wait on disk.
fn stopped_with_probes(now: Instant) -> Pace {
    let pace = Pace::new(Stop::Probed, now);
    assert!(matches!(cut(&pace, 60, now), Turn::Slowed { .. }));
    pace
}

#[test]
fn without_a_disk_one_passes_each_second_of_a_stop() {
    let now = Instant::now();
    let pace = stopped_with_probes(now);
    assert_eq!(pace.admit(now), Err(SECOND));
    assert_eq!(pass(&pace, now, 10), 9, "none in the first second");
}

#[test]
fn without_a_disk_the_first_that_is_taken_ends_stop_and_limit() {
    let now = Instant::now();
    let pace = stopped_with_probes(now);
    // It was sent before.
    assert_eq!(pace.record(&DELIVERED, now..now + SECOND), Turn::None);
    // What meets the quota, or nobody, says nothing else.
    for attempt in [quota(60), refused(None, Scope::Target), Attempt::unanswered(quota(60).verdict)] {
        assert_eq!(pace.record(&attempt, now + SECOND..now + SECOND), Turn::None);
    }
    assert_eq!(pace.record(&DELIVERED, now + SECOND..now + 2 * SECOND), Turn::Lifted);
    (0..1_000).for_each(|_| pace.admit(now + 2 * SECOND).unwrap());
    assert_eq!(pace.state(now + 2 * SECOND).per_second, None);
}

#[test]
fn with_a_disk_a_stop_is_one() {
    let (pace, now) = busy(20, Instant::now());
    cut(&pace, 60, now);
    assert_eq!(pass(&pace, now, 59), 0);
    assert_eq!(pace.record(&DELIVERED, now + SECOND..now + 2 * SECOND), Turn::None);
    assert_eq!(pace.admit(now + 2 * SECOND), Err(58 * SECOND));
}
