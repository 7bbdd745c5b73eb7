use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn breaker(failures: u32, clock: &Clock) -> Breaker {
    let settings = BreakerSettings { failures, first_pause: SECOND, longest_pause: Duration::from_secs(60) };
    Breaker { jitter: || 0.0, ..Breaker::new(settings, clock.clone()) }
}

fn delivered() -> Attempt {
    Attempt::answered(Verdict::Delivered)
}

fn trouble(scope: Scope, after_seconds: Option<u64>) -> Attempt {
    let after = after_seconds.map(Duration::from_secs);
    Attempt::answered(Verdict::Retry { reason: "ServiceUnavailable", after, scope, unprocessed: false })
}

fn down() -> Attempt {
    trouble(Scope::Target, None)
}

fn broken() -> Attempt {
    Attempt::answered(Verdict::TargetBroken { reason: "InvalidProviderToken" })
}

fn no_way() -> Attempt {
    let (reason, after, scope) = ("connect_refused", None, Scope::Target);
    Attempt::unanswered(Verdict::Retry { reason, after, scope, unprocessed: true })
}

fn third_party() -> Attempt {
    Attempt::answered(Verdict::Rejected { reason: "THIRD_PARTY_AUTH_ERROR" })
}

fn stale() -> Attempt {
    Attempt::answered(Verdict::NewCredential { reason: "ExpiredProviderToken" })
}

/// What happens to a breaker that opens after three failures in a row, with pauses from 1 s to 60 s.
#[derive(Clone, Debug)]
enum Step {
    /// An attempt that was let through when all was well ends.
    Ends(Attempt),
    /// So many of them do.
    End(u32, Attempt),
    /// So many do, each at a push that was tried often before.
    Again(u32, Attempt),
    /// A push asks, is the probe, and ends so.
    Probe(Attempt),
    /// The same with a push that was tried often before.
    AgainProbed(Attempt),
    /// A push asks, is the probe, and is given up.
    GivenUp,
    Wait(u64),
    Reset,
}

use Step::{Again, AgainProbed, End, Ends, GivenUp, Probe as Probed, Reset, Wait};

#[test]
fn each_course_of_events_ends_in_its_state() {
    use Position::{Closed, HalfOpen, Open};
    // (what, steps, position, seconds until the next probe)
    let table = [
        ("nothing happened", vec![], Closed, 0),
        ("a few failures", vec![End(2, down())], Closed, 0),
        ("failures in a row", vec![End(3, down())], Open, 1),
        ("a success between", vec![End(2, down()), Ends(delivered()), End(2, down())], Closed, 0),
        ("a dead token between", vec![End(2, down()), Ends(removal()), End(2, down())], Closed, 0),
        ("a refused push between", vec![End(2, down()), Ends(rejected(true)), End(2, down())], Closed, 0),
        ("a push that was not sent between", vec![End(2, down()), Ends(rejected(false)), Ends(down())], Open, 1),
        ("an old token between", vec![End(2, down()), Ends(stale()), Ends(down())], Open, 1),
        ("phones that get too much", vec![End(9, trouble(Scope::Phone, None))], Closed, 0),
        ("a used up quota", vec![End(9, trouble(Scope::Quota, Some(60)))], Closed, 0),
        ("refused credentials", vec![End(3, broken())], Open, 5),
        ("one refusal is that push's", vec![Ends(broken())], Closed, 0),
        ("refusals with a success between", vec![End(2, broken()), Ends(delivered()), End(2, broken())], Closed, 0),
        ("refused credentials, not even sent", vec![Ends(Attempt { answered: false, ..broken() })], Open, 5),
        ("old credentials", vec![End(9, stale())], Closed, 0),
        ("a Retry-After", vec![End(2, down()), Ends(trouble(Scope::Target, Some(30)))], Open, 30),
        ("a small Retry-After", vec![End(2, down()), Ends(trouble(Scope::Target, Some(0)))], Open, 1),
        ("an endless Retry-After", vec![End(2, down()), Ends(trouble(Scope::Target, Some(u64::MAX)))], Open, 3_600),
        ("stragglers do not add to the pause", vec![End(9, down())], Open, 1),
        ("a straggler with news", vec![End(3, down()), Ends(broken())], Open, 5),
        ("trouble does not hide what must be mended", vec![End(3, broken()), End(9, down())], Open, 5),
        ("a straggler that succeeds", vec![End(3, down()), Ends(delivered())], Closed, 0),
        ("the pause is over", vec![End(3, down()), Wait(1)], HalfOpen, 0),
        ("a probe succeeds", vec![End(3, down()), Wait(1), Probed(delivered())], Closed, 0),
        ("a probe finds a dead token", vec![End(3, down()), Wait(1), Probed(removal())], Closed, 0),
        ("a probe fails", vec![End(3, down()), Wait(1), Probed(down())], Open, 2),
        ("a second one fails", vec![End(3, down()), Wait(1), Probed(down()), Wait(2), Probed(down())], Open, 4),
        ("a probe is told to wait", vec![End(3, down()), Wait(1), Probed(trouble(Scope::Target, Some(90)))], Open, 90),
        ("a probe is given up", vec![End(3, down()), Wait(1), GivenUp], HalfOpen, 0),
        ("the next one is it", vec![End(3, down()), Wait(1), GivenUp, Probed(delivered())], Closed, 0),
        ("a probe with an old token", vec![End(3, broken()), Wait(5), Probed(stale())], HalfOpen, 0),
        ("a probe that was not sent", vec![End(3, broken()), Wait(5), Probed(rejected(false))], HalfOpen, 0),
        ("credentials again refused", vec![End(3, broken()), Wait(5), Probed(broken())], Open, 10),
        (
            "credentials refused all day",
            [vec![End(3, broken())], vec![vec![Wait(60), Probed(broken())]; 9].concat()].concat(),
            Open,
            60,
        ),
        ("new credentials", vec![End(3, broken()), Reset], HalfOpen, 0),
        ("new credentials that are no better", vec![End(3, broken()), Wait(5), Reset, Probed(broken())], Open, 5),
        ("new credentials begin the count anew", vec![End(2, down()), Reset, End(2, down())], Closed, 0),
        ("one push that meets trouble for ever", vec![End(2, down()), Again(100, down())], Closed, 0),
        ("one that finds no way", vec![Again(3, no_way())], Open, 1),
        ("one that finds the credentials refused", vec![Ends(delivered()), Again(100, broken())], Closed, 0),
        ("one that finds them refused, and nothing was taken yet", vec![Again(3, broken())], Open, 5),
        ("a probe that was tried before", vec![End(3, down()), Wait(1), AgainProbed(down())], Open, 1),
        ("phones whose key the project lacks", vec![End(2, third_party()), Ends(delivered())], Closed, 0),
        ("nothing but such phones", vec![End(3, third_party())], Open, 5),
        ("the pause begins anew", vec![End(3, down()), Wait(1), Probed(delivered()), End(3, down())], Open, 1),
    ];
    for (what, steps, position, next_try) in table {
        let clock = Clock::manual(1_000);
        let breaker = breaker(3, &clock);
        for step in steps {
            take(&breaker, &clock, step);
        }
        let state = breaker.state();
        assert_eq!((state.position, state.next_try_in), (position, SECOND * next_try), "{what}");
        assert_eq!(state.cause.is_some(), position != Closed, "{what}");
        match (position, breaker.admit()) {
            (Closed, Pass::Closed) | (HalfOpen, Pass::Probe(_)) => {}
            (Open, Pass::Refused(refused)) => assert_eq!(refused.retry_in, SECOND * next_try, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

fn removal() -> Attempt {
    Attempt::answered(Verdict::Remove { reason: "Unregistered", ambiguous: false })
}

fn rejected(answered: bool) -> Attempt {
    Attempt { verdict: Verdict::Rejected { reason: "PayloadTooLarge" }, answered, provider_id: None }
}

fn take(breaker: &Breaker, clock: &Clock, step: Step) {
    let probe = |breaker| match Breaker::admit(breaker) {
        Pass::Probe(probe) => probe,
        other => panic!("{other:?}"),
    };
    match step {
        Ends(attempt) => _ = breaker.record(&attempt, clock.now()..clock.now(), 1),
        End(times, attempt) => (0..times).for_each(|_| _ = breaker.record(&attempt, clock.now()..clock.now(), 1)),
        Again(times, attempt) => {
            (0..times).for_each(|_| _ = breaker.record(&attempt, clock.now()..clock.now(), 3));
        }
        Probed(attempt) => _ = probe(breaker).report(&attempt, 1),
        AgainProbed(attempt) => _ = probe(breaker).report(&attempt, 3),
        GivenUp => drop(probe(breaker)),
        Wait(seconds) => clock.advance(SECOND * u32::try_from(seconds).unwrap()),
        Reset => breaker.reset(),
    }
}

#[test]
fn refused_credentials_open_it_soon_where_nothing_succeeds_beside_them_and_late_where_something_does() {
    // Ten failures in a row say that it is the target. (what, seconds since a success, answer, how many it takes)
    let unasked = Attempt { answered: false, ..broken() };
    for (what, succeeded, attempt, expected) in [
        ("nothing was ever taken", None, broken(), 3),
        ("something just now", Some(0), broken(), 10),
        ("within the minute", Some(58), broken(), 10),
        ("before the minute", Some(61), broken(), 3),
        ("what is known without asking", Some(0), unasked, 1),
        ("trouble", None, down(), 10),
        ("a phone's key", None, third_party(), 10),
    ] {
        let clock = Clock::manual(1_000);
        let breaker = breaker(10, &clock);
        if let Some(seconds) = succeeded {
            breaker.record(&delivered(), clock.now()..clock.now(), 1);
            clock.advance(Duration::from_secs(seconds));
        }
        let took = (1..=20).find(|_| {
            breaker.record(&attempt, clock.now()..clock.now(), 1);
            breaker.state().position != Position::Closed
        });
        assert_eq!(took, Some(expected), "{what}");
    }
}

#[test]
fn each_change_is_told_once() {
    let clock = Clock::manual(1_000);
    let breaker = breaker(2, &clock);
    assert_eq!(breaker.record(&delivered(), clock.now()..clock.now(), 1), Turn::None);
    assert_eq!(breaker.record(&down(), clock.now()..clock.now(), 1), Turn::None);
    let opened = Turn::Opened { reason: "ServiceUnavailable", why: Why::Trouble, pause: SECOND };
    assert_eq!(breaker.record(&down(), clock.now()..clock.now(), 1), opened);
    assert_eq!(breaker.record(&down(), clock.now()..clock.now(), 1), Turn::None);
    clock.advance(SECOND);
    let Pass::Probe(probe) = breaker.admit() else { panic!("the pause is over") };
    assert_eq!(probe.report(&down(), 1), Turn::None, "it was open for that before");
    clock.advance(2 * SECOND);
    let Pass::Probe(probe) = breaker.admit() else { panic!("the pause is over") };
    let opened = Turn::Opened { reason: "InvalidProviderToken", why: Why::Credentials, pause: 5 * SECOND };
    assert_eq!(probe.report(&broken(), 1), opened, "now somebody must act");
    assert_eq!(breaker.state().opened, 1, "it has been open all along");
    clock.advance(5 * SECOND);
    let Pass::Probe(probe) = breaker.admit() else { panic!("the pause is over") };
    assert_eq!(probe.report(&delivered(), 1), Turn::Closed { was_open_for: 8 * SECOND });
    assert_eq!(breaker.record(&delivered(), clock.now()..clock.now(), 1), Turn::None);
}

#[test]
fn what_was_under_way_when_the_trouble_began_is_the_same_failure() {
    let clock = Clock::manual(1_000);
    let breaker = breaker(3, &clock);
    let began = clock.now();
    clock.advance(SECOND);
    // A connection broke with a hundred pushes on it.
    let lost = Attempt { answered: false, ..down() };
    for _ in 0..100 {
        assert_eq!(breaker.record(&lost, began..clock.now(), 1), Turn::None);
    }
    assert_eq!(breaker.record(&down(), clock.now()..clock.now(), 1), Turn::None);
    assert!(
        matches!(breaker.record(&down(), clock.now()..clock.now(), 1), Turn::Opened { .. }),
        "those that follow tell that it lasts"
    );
}

#[test]
fn who_is_refused_is_told_what_the_others_met() {
    let clock = Clock::manual(1_000);
    let breaker = breaker(1, &clock);
    breaker.record(&broken(), clock.now()..clock.now(), 1);
    let Pass::Refused(refused) = breaker.admit() else { panic!("open") };
    assert_eq!(refused, Refused { opened_by: broken().verdict, retry_in: 5 * SECOND });
    clock.advance(5 * SECOND);
    let probe = breaker.admit();
    assert!(matches!(probe, Pass::Probe(_)));
    let Pass::Refused(refused) = breaker.admit() else { panic!("the probe is out") };
    assert_eq!(refused.retry_in, SECOND);
}

#[test]
fn without_a_number_of_failures_it_never_opens() {
    let clock = Clock::manual(1_000);
    let breaker = breaker(0, &clock);
    for attempt in [down(), broken()] {
        for _ in 0..100 {
            assert_eq!(breaker.record(&attempt, clock.now()..clock.now(), 1), Turn::None);
        }
        assert!(matches!(breaker.admit(), Pass::Closed));
    }
}

#[test]
fn a_probe_that_comes_back_late_does_not_speak_for_the_next_one() {
    let clock = Clock::manual(1_000);
    let breaker = breaker(1, &clock);
    breaker.record(&down(), clock.now()..clock.now(), 1);
    clock.advance(SECOND);
    let Pass::Probe(late) = breaker.admit() else { panic!("the pause is over") };
    // A straggler closes it, and it opens anew for another cause.
    breaker.record(&delivered(), clock.now()..clock.now(), 1);
    breaker.record(&broken(), clock.now()..clock.now(), 1);
    clock.advance(5 * SECOND);
    let Pass::Probe(next) = breaker.admit() else { panic!("the pause is over") };
    assert_eq!(late.report(&down(), 1), Turn::None);
    assert_eq!(breaker.state().cause, Some((Why::Credentials, "InvalidProviderToken")));
    assert!(matches!(breaker.admit(), Pass::Refused(_)), "the next one is still out");
    drop(next);
    assert!(matches!(breaker.admit(), Pass::Probe(_)));
}

#[test]
fn our_pause_is_never_longer_and_the_providers_never_shorter_than_it_says() {
    // (pause, Retry-After, jitter, milliseconds)
    for (pause, retry_after, jitter, expected) in [
        (8, 0, 0.0, 8_000),
        (8, 0, 1.0, 6_000),
        (8, 8, 0.0, 8_000),
        (8, 8, 1.0, 10_000),
        (8, 2, 1.0, 6_000),
        (8, 3_600, 1.0, 3_600_000),
        (8, 0, f64::INFINITY, 6_000),
    ] {
        let waited = wait(Duration::from_secs(pause), Duration::from_secs(retry_after), jitter);
        assert_eq!(waited, Duration::from_millis(expected), "{pause} {retry_after} {jitter}");
    }
}

/// What may happen, one thing after another.
#[derive(Clone, Copy, Debug)]
enum Event {
    Asks,
    Ends(usize),
    ProbeReports(usize),
    ProbeIsDropped,
    Wait(u64),
    Reset,
}

fn ends() -> [Attempt; 7] {
    [delivered(), removal(), down(), broken(), stale(), rejected(false), trouble(Scope::Target, Some(7))]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Asks),
        3 => (0..7usize).prop_map(Event::Ends),
        2 => (0..7usize).prop_map(Event::ProbeReports),
        1 => Just(Event::ProbeIsDropped),
        3 => (1..90_000u64).prop_map(Event::Wait),
        1 => Just(Event::Reset),
    ]
}

proptest! {
    #[test]
    fn one_probe_at_a_time_and_always_one_after_the_pause(
        failures in 1..4u32, events in proptest::collection::vec(event(), 0..60),
    ) {
        let clock = Clock::manual(1_000);
        let breaker = breaker(failures, &clock);
        let mut probe: Option<Probe<'_>> = None;
        // A probe is of the time in which it was handed out: after a success it is of no matter.
        let mut probe_counts = false;
        for event in events {
            match event {
                Event::Asks => match breaker.admit() {
                    Pass::Closed => prop_assert_eq!(breaker.state().position, Position::Closed),
                    Pass::Probe(new) => {
                        prop_assert!(!probe_counts, "a second probe");
                        prop_assert_eq!(breaker.state().position, Position::HalfOpen);
                        probe = Some(new);
                        probe_counts = true;
                    }
                    Pass::Refused(refused) => {
                        let open = breaker.state().position == Position::Open;
                        prop_assert!(open || probe_counts, "refused without a cause");
                        prop_assert!(refused.retry_in > Duration::ZERO);
                    }
                },
                Event::Ends(which) => {
                    let attempt = &ends()[which];
                    let before = breaker.state();
                    breaker.record(attempt, clock.now()..clock.now(), 1);
                    if Evidence::of(attempt) == Evidence::Well {
                        prop_assert_eq!(breaker.state().position, Position::Closed);
                    }
                    let reopened = breaker.state().cause != before.cause;
                    probe_counts &= breaker.state().position != Position::Closed && !reopened;
                }
                Event::ProbeReports(which) => if let Some(probe) = probe.take() {
                    let attempt = &ends()[which];
                    probe.report(attempt, 1);
                    match Evidence::of(attempt) {
                        Evidence::Well => prop_assert_eq!(breaker.state().position, Position::Closed),
                        Evidence::Bad(_) if probe_counts => prop_assert_eq!(breaker.state().position, Position::Open),
                        _ => {}
                    }
                    probe_counts = false;
                },
                Event::ProbeIsDropped => {
                    probe = None;
                    probe_counts = false;
                }
                Event::Wait(milliseconds) => clock.advance(Duration::from_millis(milliseconds)),
                Event::Reset => breaker.reset(),
            }
            prop_assert!(breaker.state().next_try_in <= Duration::from_secs(60));
        }
        drop(probe);
        let state = breaker.state();
        clock.advance(state.next_try_in);
        match breaker.admit() {
            Pass::Closed => prop_assert_eq!(state.position, Position::Closed),
            Pass::Probe(_) => prop_assert!(state.position != Position::Closed),
            Pass::Refused(refused) => prop_assert!(false, "{:?} after {:?}", refused, state),
        }
    }
}
