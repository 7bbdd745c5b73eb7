use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Five minutes by half minutes, more than 20 and more than half.
fn guard(start: Instant) -> RemovalGuard {
    RemovalGuard::new(RemovalGuardSettings { count: 20, share_percent: 50, window: 300 * SECOND }, start)
}

const fn ambiguous() -> Attempt {
    Attempt {
        verdict: Verdict::Remove { reason: "BadDeviceToken", ambiguous: true },
        answered: true,
        provider_id: None,
    }
}

const fn dead() -> Attempt {
    Attempt { verdict: Verdict::Remove { reason: "Unregistered", ambiguous: false }, answered: true, provider_id: None }
}

const DELIVERED: Attempt = Attempt { verdict: Verdict::Delivered, answered: true, provider_id: None };

/// So many of them at so many seconds after the start, and how many of those are withheld.
type Step = (u64, u32, Attempt, u64);

#[test]
fn each_course_of_verdicts_has_its_rulings() {
    let rejected = Attempt::answered(Verdict::Rejected { reason: "PayloadTooLarge" });
    let unasked = Attempt { answered: false, ..ambiguous() };
    // A hundred ambiguous ones, with something else after each twenty: never more than the count in a row.
    let hundred = |other: Attempt| {
        vec![(1, 20, ambiguous(), 0), (1, 1, other, 0)].into_iter().cycle().take(10).collect::<Vec<_>>()
    };
    let table: [(&str, Vec<Step>); 18] = [
        ("a new relay with a wrong certificate", vec![(0, 20, ambiguous(), 0), (0, 80, ambiguous(), 80)]),
        ("a healthy fleet", [vec![(0, 1_000, DELIVERED, 0)], hundred(DELIVERED), hundred(dead())].concat()),
        ("a busy one whose topic is changed", vec![(0, 10_000, DELIVERED, 0), (1, 100, ambiguous(), 80)]),
        ("one whose topic is mended", {
            vec![(0, 10_000, DELIVERED, 0), (1, 100, ambiguous(), 80), (2, 1, DELIVERED, 0), (2, 20, ambiguous(), 0)]
        }),
        ("a thousand dead phones", vec![(0, 1_000, dead(), 0)]),
        ("dead phones are dead, whatever else goes on", vec![(0, 100, ambiguous(), 80), (1, 100, dead(), 0)]),
        ("exactly the count", vec![(0, 20, ambiguous(), 0)]),
        ("one above the count", vec![(0, 21, ambiguous(), 1)]),
        ("many, exactly half", [vec![(0, 96, DELIVERED, 0)], hundred(DELIVERED)].concat()),
        (
            "many, one above half",
            [vec![(0, 96, DELIVERED, 0)], hundred(DELIVERED), vec![(1, 2, ambiguous(), 1)]].concat(),
        ),
        (
            "clear removals count as well",
            [vec![(0, 96, dead(), 0)], hundred(dead()), vec![(1, 2, ambiguous(), 1)]].concat(),
        ),
        ("what decides nothing does not", vec![(0, 1_000, rejected, 0), (1, 21, ambiguous(), 1)]),
        ("what was never asked is not counted", vec![(0, 100, unasked, 0), (1, 20, ambiguous(), 0)]),
        ("a slow trickle", (0..100).map(|i| (i * 20, 1, ambiguous(), 0)).collect()),
        ("a trickle of two in half a minute, then of three", {
            let slow = (0..20).map(|i| (i * 30, 2, ambiguous(), 0));
            // 18 of the nine parts before, then 3: the 21st is one too many; after that 19 and 3: two.
            slow.chain([(600, 3, ambiguous(), 1), (630, 3, ambiguous(), 2)]).collect()
        }),
        ("the last moment of the window", vec![(0, 20, ambiguous(), 0), (299, 1, ambiguous(), 1)]),
        ("after the window", vec![(0, 100, ambiguous(), 80), (300, 20, ambiguous(), 0)]),
        (
            "successes return",
            vec![
                (0, 100, ambiguous(), 80),
                (60, 99, DELIVERED, 0),
                (60, 1, ambiguous(), 1),
                (61, 2, DELIVERED, 0),
                (61, 1, ambiguous(), 1),
                (62, 2, DELIVERED, 0),
                (62, 1, ambiguous(), 0),
            ],
        ),
    ];
    for (what, steps) in table {
        let start = Instant::now();
        let guard = guard(start);
        for (step, (seconds, times, attempt, expected)) in steps.into_iter().enumerate() {
            let now = start + Duration::from_secs(seconds);
            let rulings = (0..times).map(|_| guard.decide(&attempt, now).0);
            let withheld = rulings.filter(|ruling| *ruling != Ruling::Stands).count();
            assert_eq!(withheld as u64, expected, "{what}, step {step}");
        }
    }
}

#[test]
fn in_a_mixed_fleet_the_share_decides() {
    // (ambiguous among ten, whether removals are withheld in the end)
    for (among_ten, withheld) in [(1, false), (3, false), (4, false), (6, true), (9, true)] {
        let start = Instant::now();
        let guard = guard(start);
        for i in 0..1_000u32 {
            let attempt = if i % 10 < among_ten { ambiguous() } else { DELIVERED };
            guard.decide(&attempt, start + i * SECOND / 10);
        }
        let (ruling, _) = guard.decide(&ambiguous(), start + 100 * SECOND);
        assert_eq!(ruling != Ruling::Stands, withheld, "{among_ten} in ten");
    }
}

#[test]
fn a_withheld_removal_says_what_it_was_weighed_against() {
    let start = Instant::now();
    let guard = guard(start);
    (0..10).for_each(|_| _ = guard.decide(&DELIVERED, start));
    (0..20).for_each(|_| assert_eq!(guard.decide(&ambiguous(), start), (Ruling::Stands, Turn::None)));
    let began = Turn::Began { reason: "BadDeviceToken" };
    assert_eq!(guard.decide(&ambiguous(), start), (Ruling::Withheld { ambiguous: 21, decided: 31 }, began));
    assert_eq!(guard.decide(&ambiguous(), start), (Ruling::Withheld { ambiguous: 22, decided: 32 }, Turn::None));
}

#[test]
fn the_beginning_and_the_end_are_told_once() {
    let start = Instant::now();
    let guard = guard(start);
    let turns = |times: u32, attempt: Attempt, seconds: u64| {
        let now = start + Duration::from_secs(seconds);
        let turns = (0..times).map(|_| guard.decide(&attempt, now).1);
        turns.filter(|turn| *turn != Turn::None).collect::<Vec<_>>()
    };
    assert_eq!(turns(100, ambiguous(), 0), [Turn::Began { reason: "BadDeviceToken" }]);
    let state = guard.state(start + 10 * SECOND);
    let withholding = Withholding { lasts: 10 * SECOND, withheld: 80, reason: "BadDeviceToken" };
    assert_eq!(state, GuardState { ambiguous: 100, decided: 100, active: Some(withholding) });
    // At the threshold verdicts of both kinds follow each other.
    assert_eq!(turns(100, DELIVERED, 20), []);
    for _ in 0..20 {
        assert_eq!(turns(1, ambiguous(), 21), []);
        assert_eq!(turns(1, DELIVERED, 21), []);
    }
    assert!(guard.state(start + 50 * SECOND).active.is_some());
    assert_eq!(turns(1, DELIVERED, 52), [Turn::Ended { lasted: 52 * SECOND, withheld: 100 }]);
    assert_eq!(turns(9, DELIVERED, 53), []);
    assert_eq!(guard.state(start + 53 * SECOND).active, None);
}

#[test]
fn it_ends_by_itself_when_the_window_has_passed() {
    let start = Instant::now();
    let guard = guard(start);
    (0..100).for_each(|_| _ = guard.decide(&ambiguous(), start));
    assert!(guard.state(start + 299 * SECOND).active.is_some());
    assert_eq!(guard.state(start + 300 * SECOND), GuardState { ambiguous: 0, decided: 0, active: None });
    let later = start + 400 * SECOND;
    assert_eq!(guard.decide(&dead(), later).1, Turn::Ended { lasted: 400 * SECOND, withheld: 80 });
}

proptest! {
    #[test]
    fn a_removal_is_withheld_only_beyond_the_count_and_then_by_their_share_or_by_how_many_came_in_a_row(
        count in 0..30u32, share_percent in 0..=100u32, verdicts in proptest::collection::vec((0..5u8, 0..20u64), 1..300),
    ) {
        let start = Instant::now();
        let settings = RemovalGuardSettings { count, share_percent, window: 100 * SECOND };
        let guard = RemovalGuard::new(settings, start);
        let mut seen: Vec<(u64, bool)> = Vec::new();
        let (mut second, mut in_a_row) = (0, 0);
        for (verdict, pause) in verdicts {
            second += pause;
            let attempt = match verdict { 0..3 => ambiguous(), 3 => DELIVERED, _ => dead() };
            seen.push((second, verdict < 3));
            in_a_row = if verdict < 3 { in_a_row + 1 } else { 0 };
            let (ruling, _) = guard.decide(&attempt, start + Duration::from_secs(second));
            // By hand: what lies in this part of ten seconds and the nine before.
            let inside: Vec<bool> = seen.iter().filter(|(at, _)| second / 10 - at / 10 < 10).map(|(_, is)| *is).collect();
            let (of_them, all) = (inside.iter().filter(|is| **is).count() as u64, inside.len() as u64);
            let exceeded = of_them > u64::from(count)
                && (of_them * 100 > all * u64::from(share_percent) || in_a_row > u64::from(count));
            let expected = if verdict < 3 && exceeded {
                Ruling::Withheld { ambiguous: of_them, decided: all }
            } else {
                Ruling::Stands
            };
            prop_assert_eq!(ruling, expected);
        }
    }
}
