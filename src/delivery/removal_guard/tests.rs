use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// When these tests begin, since the Unix epoch: at the beginning of an hour.
const UNIX: Duration = Duration::from_secs(500_000 * HOUR);

/// Five minutes by half minutes, 20 and half.
fn settings() -> RemovalGuardSettings {
    RemovalGuardSettings { count: 20, share_percent: 50, window: 300 * SECOND }
}

fn guard(start: Instant) -> RemovalGuard {
    RemovalGuard::new(settings(), start, UNIX)
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

/// What happens.
#[derive(Clone)]
enum Step {
    /// So many verdicts at so many seconds after the start, and how many of them are withheld.
    Verdicts(u64, u32, Attempt, u32),
    /// The relay ends at that second, and another begins.
    Restart(u64),
    /// An operator lets so many through at that second.
    Allow(u64, u64),
    /// The file of the relay before is damaged.
    Damaged(u64),
}

use Step::{Allow, Damaged, Restart, Verdicts};

#[test]
fn each_bound_holds_by_itself() {
    let quiet = Seen { since_delivery: 0, believed: 0, delivered: 0, ambiguous: 1, decided: 1 };
    let busy = Seen { believed: 499, delivered: 10_000, ambiguous: 30, decided: 60, ..quiet };
    let table = [
        ("the first of all", quiet, true),
        ("the twentieth without a delivery", Seen { since_delivery: 19, believed: 19, ..quiet }, true),
        ("the next", Seen { since_delivery: 20, believed: 20, ..quiet }, false),
        ("the next, a day later", Seen { since_delivery: 20, ..quiet }, false),
        ("a day later, and something was delivered", Seen { delivered: 1, ..quiet }, true),
        ("twenty in a day in which something was delivered", Seen { believed: 20, delivered: 1, ..quiet }, false),
        ("twenty in a day with 420", Seen { believed: 20, delivered: 420, ..quiet }, true),
        ("one in twenty of a day", busy, true),
        ("one more", Seen { believed: 500, ..busy }, false),
        ("many in the window, and more than half", Seen { decided: 59, ..busy }, false),
        ("few in the window, and all of it", Seen { ambiguous: 20, decided: 20, ..busy }, true),
    ];
    for (what, seen, expected) in table {
        assert_eq!(is_believed(&settings(), seen), expected, "{what}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn each_course_of_verdicts_has_its_rulings() {
    let rejected = Attempt::answered(Verdict::Rejected { reason: "PayloadTooLarge" });
    let unasked = Attempt { answered: false, ..ambiguous() };
    let a = ambiguous;
    let table: Vec<(&str, Vec<Step>)> = vec![
        ("fast: a new relay with a wrong certificate", vec![Verdicts(0, 100, a(), 80)]),
        ("fast: a busy target whose topic is changed", {
            vec![Verdicts(0, 10_000, DELIVERED, 0), Verdicts(1, 100, a(), 80), Verdicts(DAY + HOUR, 100, a(), 100)]
        }),
        ("slow: one every 16 s", (0..40).map(|i| Verdicts(i * 16, 1, a(), u32::from(i >= 20))).collect()),
        ("slow: one a day, for two months", (0..60).map(|i| Verdicts(i * DAY, 1, a(), u32::from(i >= 20))).collect()),
        ("a thousand dead phones, in a word that means nothing else", vec![Verdicts(0, 1_000, dead(), 0)]),
        ("dead phones are dead, whatever else goes on", vec![Verdicts(0, 100, a(), 80), Verdicts(1, 100, dead(), 0)]),
        ("they do not make others believed", {
            vec![Verdicts(0, 20, a(), 0), Verdicts(1, 100, dead(), 0), Verdicts(2, 1, a(), 1)]
        }),
        ("what decides nothing does not", vec![Verdicts(0, 1_000, rejected, 0), Verdicts(1, 21, a(), 1)]),
        ("what was never asked is not counted", vec![Verdicts(0, 100, unasked, 0), Verdicts(1, 20, a(), 0)]),
        ("mixed: one delivered after each twenty", {
            let day = [Verdicts(0, 1, DELIVERED, 0), Verdicts(0, 20, a(), 0), Verdicts(1, 1, DELIVERED, 0)];
            day.into_iter().chain([Verdicts(2, 20, a(), 20)]).collect()
        }),
        ("mixed: the same on the next day", {
            vec![
                Verdicts(0, 20, a(), 0),
                Verdicts(DAY, 1, DELIVERED, 0),
                Verdicts(DAY, 1, a(), 1),
                Verdicts(DAY + HOUR, 21, a(), 1),
            ]
        }),
        ("mixed: a large healthy fleet has one in twenty", {
            let round = |i: u64| [Verdicts(i * 60, 400, DELIVERED, 0), Verdicts(i * 60, 10, a(), 0)];
            let rest = [Verdicts(6_000, 10_000, DELIVERED, 0), Verdicts(6_000, 20, a(), 0)];
            (0..100).flat_map(round).chain(rest).collect()
        }),
        ("mixed: and no more than that", {
            let round = |i: u64| [Verdicts(i * 60, 40, DELIVERED, 0), Verdicts(i * 60, 4, a(), 0)];
            // 200 deliveries and 20 removals, then 20 more would be one in ten.
            (0..5).flat_map(round).chain([Verdicts(400, 20, DELIVERED, 0), Verdicts(400, 4, a(), 4)]).collect()
        }),
        ("restarts: six, with thirty phones each", {
            let round = |i: u64| [Verdicts(i * 60, 30, a(), if i == 0 { 10 } else { 30 }), Restart(i * 60 + 1)];
            (0..6).flat_map(round).collect()
        }),
        ("restarts: one after each", {
            (0..40).flat_map(|i| [Verdicts(i, 1, a(), u32::from(i >= 20)), Restart(i)]).collect()
        }),
        ("restarts: days apart", { vec![Verdicts(0, 20, a(), 0), Restart(3 * DAY), Verdicts(3 * DAY, 5, a(), 5)] }),
        ("restarts: what was delivered is known", {
            let round =
                |i: u64| [Verdicts(i * 60, 100, DELIVERED, 0), Verdicts(i * 60, 5, a(), 0), Restart(i * 60 + 1)];
            (0..20).flat_map(round).collect()
        }),
        ("the file is damaged", {
            vec![
                Damaged(0),
                Verdicts(1, 1, a(), 1),
                Verdicts(2, 1, DELIVERED, 0),
                Verdicts(3, 1, a(), 1),
                Verdicts(DAY + 2 * HOUR, 20, a(), 0),
            ]
        }),
        ("credentials changed: there is no step for it, since it changes nothing", {
            vec![Verdicts(0, 30, a(), 10), Restart(60), Verdicts(61, 30, a(), 30)]
        }),
        ("recovery: what is mended is believed again after a day", {
            vec![
                Verdicts(0, 100, a(), 80),
                Verdicts(HOUR, 300, DELIVERED, 0),
                Verdicts(HOUR, 1, a(), 1),
                Verdicts(DAY + HOUR, 14, a(), 0),
            ]
        }),
        ("recovery: at once where so much is delivered", {
            vec![Verdicts(0, 100, a(), 80), Verdicts(HOUR, 2_000, DELIVERED, 0), Verdicts(HOUR, 20, a(), 0)]
        }),
        ("an operator lets some through, over a restart, and they use nothing up", {
            vec![
                Verdicts(0, 21, a(), 1),
                Allow(10, 50),
                Verdicts(11, 30, a(), 0),
                Restart(12),
                Verdicts(13, 30, a(), 10),
                Verdicts(14, 1, DELIVERED, 0),
                Verdicts(DAY + HOUR, 1, a(), 0),
            ]
        }),
        ("an operator's word holds for a day", {
            vec![Verdicts(0, 21, a(), 1), Allow(10, 50), Verdicts(DAY + 10, 1, a(), 1)]
        }),
    ];
    for (what, steps) in table {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut guard = guard(start);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Verdicts(seconds, times, attempt, expected) => {
                    let rulings = (0..times).map(|_| guard.decide(&attempt, at(seconds)).0);
                    let withheld = rulings.filter(|ruling| *ruling == Ruling::Withheld).count();
                    assert_eq!(withheld, expected as usize, "{what}, step {number}");
                }
                Restart(seconds) => {
                    let record = guard.record();
                    let unix = UNIX + Duration::from_secs(seconds);
                    guard = RemovalGuard::new(settings(), at(seconds), unix);
                    guard.restore(&record, at(seconds));
                }
                Allow(seconds, left) => {
                    let until = UNIX.as_secs() + seconds + ledger::ALLOWED_FOR_S;
                    let grant = Grant { id: seconds, left, until };
                    assert!(guard.allow(grant, at(seconds)), "{what}");
                    assert!(!guard.allow(grant, at(seconds)), "{what}: once");
                }
                Damaged(seconds) => guard.distrust(at(seconds)),
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_over_a_restart_makes_no_room() {
    let start = Instant::now();
    for set_by in [-30 * 86_400_i64, -7_200, 7_200, 30 * 86_400] {
        let before = guard(start);
        (0..20).for_each(|_| _ = before.decide(&ambiguous(), start));
        let unix = UNIX.as_secs().checked_add_signed(set_by).unwrap();
        let after = RemovalGuard::new(settings(), start, Duration::from_secs(unix));
        after.restore(&before.record(), start);
        assert_eq!(after.decide(&ambiguous(), start).0, Ruling::Withheld, "{set_by} s");
    }
}

#[test]
fn what_could_not_be_written_down_was_not_used_up() {
    let start = Instant::now();
    let guard = guard(start);
    // Fewer than the window takes, which has seen them all the same.
    for _ in 0..20 {
        assert_eq!(guard.decide(&ambiguous(), start).0, Ruling::Believed { allowed: false });
        guard.take_back(false, start);
    }
    assert_eq!((guard.state(start).believed, guard.record().since_delivery), (0, 0));
    assert!(guard.allow(Grant { id: 1, left: 1, until: u64::MAX }, start));
    for _ in 0..3 {
        assert_eq!(guard.decide(&ambiguous(), start).0, Ruling::Believed { allowed: true });
        guard.take_back(true, start);
    }
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
    assert_eq!(state, GuardState { believed: 20, delivered: 0, active: Some(withholding) });
    assert_eq!(turns(1, dead(), DAY), [], "however long it lasts");
    // A twentieth of this is one more than were believed.
    assert_eq!(turns(419, DELIVERED, 20), []);
    assert_eq!(turns(1, ambiguous(), 21), []);
    assert_eq!(turns(1, DELIVERED, 22), []);
    assert!(guard.state(start + 50 * SECOND).active.is_some(), "not at the first good moment");
    assert_eq!(turns(1, DELIVERED, 52), [Turn::Ended { lasted: 52 * SECOND, withheld: 81 }]);
    assert_eq!(turns(9, DELIVERED, 53), []);
    assert_eq!(guard.state(start + 53 * SECOND).active, None);
}

proptest! {
    #[test]
    fn whatever_comes_and_however_often_it_begins_anew_no_more_is_believed_than_was_promised(
        count in 1..30u32,
        steps in proptest::collection::vec((0..8u8, 0..20_000u64), 1..400),
    ) {
        let start = Instant::now();
        let settings = RemovalGuardSettings { count, share_percent: 50, window: 100 * SECOND };
        let mut guard = RemovalGuard::new(settings.clone(), start, UNIX);
        let (mut believed, mut delivered, mut since_delivery): (Vec<u64>, Vec<u64>, u32) = Default::default();
        let mut second = 0;
        for (step, pause) in steps {
            second += pause;
            let now = start + Duration::from_secs(second);
            match step {
                0 => {
                    guard.decide(&DELIVERED, now);
                    delivered.push(second);
                    since_delivery = 0;
                }
                1 => _ = guard.decide(&dead(), now),
                2 => {
                    let record = guard.record();
                    guard = RemovalGuard::new(settings.clone(), now, UNIX + Duration::from_secs(second));
                    guard.restore(&record, now);
                }
                _ => if guard.decide(&ambiguous(), now).0 != Ruling::Withheld {
                    believed.push(second);
                    since_delivery += 1;
                    // By hand: the day that ends now.
                    let of_the_day = |all: &[u64]| all.iter().filter(|at| second - **at <= DAY).count() as u64;
                    let most = u64::from(count).max(of_the_day(&delivered) / 20);
                    prop_assert!(of_the_day(&believed) <= most);
                    prop_assert!(since_delivery <= count);
                }
            }
        }
    }
}
