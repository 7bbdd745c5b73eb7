use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn nonzero(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

/// So many per second, all of them at once if need be.
fn per_second(count: u32) -> Rate {
    Rate::new(nonzero(count), SECOND, nonzero(count))
}

fn rates(rate: Rate, max_keys: usize) -> (Rates, Clock) {
    let clock = Clock::manual(1_000);
    (Rates::new(rate, max_keys, clock.clone()), clock)
}

#[test]
fn a_burst_is_allowed_at_once_and_then_one_by_one_as_the_bucket_refills() {
    let (rates, clock) = rates(per_second(4), 100);
    for count in [3, 2, 1, 0] {
        let full_after = Duration::from_millis(250) * (4 - count);
        assert_eq!(rates.check("a"), Ok(Remaining { count, full_after }));
    }
    let wait = Wait { next_after: Duration::from_millis(250), full_after: SECOND };
    assert_eq!(rates.check("a"), Err(wait));
    clock.advance(Duration::from_millis(249));
    assert_eq!(rates.check("a").unwrap_err().next_after, Duration::from_millis(1));
    clock.advance(Duration::from_millis(1));
    assert_eq!(rates.check("a").unwrap().count, 0);
    assert!(rates.check("a").is_err());
    clock.advance(SECOND);
    assert_eq!(rates.check("a").unwrap().count, 3);
}

#[test]
fn a_key_does_not_slow_another() {
    let (rates, _clock) = rates(per_second(1), 100);
    assert!(rates.check("a").is_ok());
    assert!(rates.check("a").is_err());
    assert!(rates.check("b").is_ok());
}

#[test]
fn a_denied_attempt_costs_nothing() {
    let (rates, clock) = rates(Rate::new(nonzero(1), SECOND, nonzero(1)), 100);
    rates.check("a").unwrap();
    for _ in 0..1_000 {
        assert_eq!(rates.check("a").unwrap_err().next_after, SECOND);
    }
    clock.advance(SECOND);
    assert!(rates.check("a").is_ok());
}

#[test]
fn a_wait_is_told_in_whole_seconds_and_never_as_none() {
    let cases = [(0, 1), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (59_999, 60), (60_000, 60)];
    for (milliseconds, seconds) in cases {
        let wait = Wait { next_after: Duration::from_millis(milliseconds), full_after: Duration::ZERO };
        assert_eq!(wait.seconds(), seconds, "{milliseconds} ms");
    }
}

#[test]
fn no_rate_overflows_the_arithmetic() {
    let year = MAX_FILL;
    let cases = [
        // Count, per, burst, and the burst that is left.
        (u32::MAX, SECOND, u32::MAX, u32::MAX),
        (1, SECOND, u32::MAX, 365 * 86_400),
        (1, Duration::from_mins(1), u32::MAX, 365 * 24 * 60),
        (1, year, 10, 1),
        (1, Duration::MAX, 10, 1),
        (u32::MAX, Duration::ZERO, 1, 1),
    ];
    for (count, per, burst, left) in cases {
        let rate = Rate::new(nonzero(count), per, nonzero(burst));
        assert_eq!(rate.burst(), left, "{count} per {per:?}, {burst} at once");
        let (rates, clock) = rates(rate, 100);
        assert_eq!(rates.check("a").unwrap().count, left - 1);
        clock.advance(year * 20);
        assert_eq!(rates.check("a").unwrap().count, left - 1);
        if left == 1 && per > SECOND {
            assert_eq!(rates.check("a").unwrap_err().next_after, year);
        }
    }
}

#[test]
fn a_million_random_keys_do_not_take_more_than_their_room() {
    for max_keys in [2, 3, 1_000, 50_000] {
        let (rates, _clock) = rates(per_second(1), max_keys);
        let mut most = 0;
        for key in 0..1_000_000_u32 {
            rates.check(key).unwrap();
            if key.is_multiple_of(9_973) {
                most = most.max(rates.remembered());
            }
        }
        assert!(most <= max_keys, "{most} of {max_keys}");
        // The two generations of a shard are between half full and full.
        assert!(most >= max_keys / 3, "{most} of {max_keys}");
        // Nor do the tables grow while keys come and go.
        for shard in rates.buckets.shards.iter() {
            let shard = lock(shard);
            for table in [&shard.current, &shard.previous] {
                assert!(table.capacity() <= 2 * rates.buckets.generation + 1, "{}", table.capacity());
            }
        }
    }
}

#[test]
fn whoever_keeps_trying_is_not_forgotten_among_strangers() {
    let (rates, _clock) = rates(per_second(1), 1_000);
    rates.check("busy").unwrap();
    // 100 strangers are far fewer than one generation.
    for stranger in 0..100_000_u32 {
        rates.check(stranger).unwrap();
        if stranger.is_multiple_of(100) {
            assert!(rates.check("busy").is_err(), "after {stranger} strangers");
        }
    }
}

#[test]
fn whoever_is_forgotten_starts_anew() {
    let (rates, _clock) = rates(per_second(1), 1_000);
    rates.check("quiet").unwrap();
    for stranger in 0..10_000_u32 {
        rates.check(stranger).unwrap();
    }
    assert!(rates.check("quiet").is_ok());
}

#[test]
fn many_threads_together_are_allowed_no_more_than_one() {
    let (rates, _clock) = rates(per_second(1_000), 100_000);
    let allowed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..1_000).filter(|_| rates.check("shared").is_ok()).count())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(allowed, 1_000);
}

#[test]
fn shards_are_as_many_as_the_keys_can_fill() {
    for (max_keys, shards, generation) in
        [(0, 1, 1), (1, 1, 1), (2, 1, 1), (256, 1, 128), (511, 1, 255), (512, 2, 128), (50_000, 64, 390)]
    {
        let buckets = Buckets::new(max_keys);
        assert_eq!((buckets.shards.len(), buckets.generation), (shards, generation), "{max_keys}");
    }
}

proptest! {
    #[test]
    fn in_any_time_no_more_is_allowed_than_the_burst_and_what_came_since(
        count in 1_u32..50,
        burst in 1_u32..50,
        pauses in prop::collection::vec(0_u64..200, 1..200),
    ) {
        let rate = Rate::new(nonzero(count), SECOND, nonzero(burst));
        let (rates, clock) = rates(rate, 100);
        let (mut allowed, mut passed) = (0_u128, Duration::ZERO);
        for pause in pauses {
            clock.advance(Duration::from_millis(pause));
            passed += Duration::from_millis(pause);
            allowed += u128::from(rates.check("a").is_ok());
            let most = u128::from(burst) + passed.as_nanos() / rate.interval.as_nanos();
            prop_assert!(allowed <= most, "{allowed} of {most} after {passed:?}");
        }
    }
}
