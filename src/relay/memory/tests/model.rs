//! The memory beside a simple model of it: a map with times.

use std::collections::HashMap;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

/// One step of a caller, a phone or the clock.
#[derive(Clone, Debug)]
enum Step {
    Claim(u8, u8, u8),
    /// Ends the n-th request in flight; `None` drops it.
    End(usize, Option<Verdict>),
    Receipt(u8),
    Advance(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop::sample::select(vec![
        Verdict::Delivered,
        Verdict::Remove { reason: "Unregistered", ambiguous: false },
        REJECTED,
        BUSY,
    ]);
    prop_oneof![
        5 => (0..2_u8, 0..4_u8, 0..2_u8).prop_map(|(server, id, device)| Step::Claim(server, id, device)),
        4 => (0..8_usize, prop::option::weighted(0.9, verdict)).prop_map(|(n, verdict)| Step::End(n, verdict)),
        3 => (0..4_u8).prop_map(Step::Receipt),
        1 => (0..1_000_u32).prop_map(Step::Advance),
    ]
}

fn outcome_of(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Delivered => Outcome::Delivered,
        Verdict::Remove { .. } => Outcome::Remove,
        Verdict::Rejected { .. } => failed("refused"),
        _ => failed("try again later"),
    }
}

type Name = (u8, u8, u8);

/// A request in flight, and who waits for it.
struct Flight<'a> {
    name: Name,
    claimed: u64,
    pending: Pending<'a>,
    waiting: Vec<Again<'a>>,
}

proptest! {
    #[test]
    fn it_answers_as_a_map_with_times_would(steps in prop::collection::vec(step(), 1..200)) {
        const SHORT: u64 = 1_500;
        let clock = Clock::manual(1_700_000_000);
        let settings = MemorySettings { window: Duration::from_millis(SHORT), entries: 10_000 };
        let memory = Memory::new(settings, clock.clone());
        let mut now = 0_u64;
        let mut in_flight: Vec<Flight<'_>> = Vec::new();
        let mut decided: HashMap<Name, (u64, Outcome)> = HashMap::new();
        let mut sent: HashMap<u8, (u64, Platform, bool)> = HashMap::new();
        let wait = |again: Again<'_>| again.outcome(Duration::ZERO).now_or_never();
        for step in steps {
            match step {
                Step::Claim(server, id, device) => {
                    let name = (server, id, device);
                    let flying = in_flight.iter().position(|flight| flight.name == name);
                    let known = decided.get(&name).filter(|(at, _)| now - at < SHORT);
                    match memory.claim(&server.to_string(), &id.to_string(), &device.to_string()) {
                        Claim::First(pending) => {
                            prop_assert!(flying.is_none() && known.is_none());
                            in_flight.push(Flight { name, claimed: now, pending, waiting: Vec::new() });
                        }
                        Claim::Again(again) if again.is_in_flight() => {
                            prop_assert!(known.is_none());
                            in_flight[flying.unwrap()].waiting.push(again);
                        }
                        Claim::Again(again) => {
                            prop_assert_eq!(wait(again), known.map(|(_, outcome)| Ok(outcome.clone())));
                        }
                    }
                }
                Step::End(_, _) if in_flight.is_empty() => {}
                Step::End(n, verdict) => {
                    let Flight { name, claimed, pending, waiting } = in_flight.swap_remove(n % in_flight.len());
                    let platform = if name.2 == 0 { Platform::Apple } else { Platform::Android };
                    let expected = match verdict {
                        None => {
                            drop(pending);
                            Err(NoOutcome::Lost)
                        }
                        Some(verdict) => {
                            let outcome = outcome_of(&verdict);
                            pending.settle(&verdict, &outcome, Some(platform));
                            if is_remembered(&verdict) {
                                decided.insert(name, (claimed, outcome.clone()));
                            }
                            if verdict == Verdict::Delivered {
                                let known = sent.get(&name.1).is_some_and(|(at, ..)| now - at < SHORT);
                                if !known {
                                    sent.insert(name.1, (now, platform, false));
                                }
                            }
                            Ok(outcome)
                        }
                    };
                    for again in waiting {
                        prop_assert_eq!(wait(again), Some(expected.clone()));
                    }
                }
                Step::Receipt(id) => {
                    let expected = match sent.get_mut(&id) {
                        Some((at, platform, counted)) if now - *at < SHORT => {
                            let first = !std::mem::replace(counted, true);
                            let after = Duration::from_millis(now - *at);
                            if first { Receipt::Sent { platform: *platform, after } } else { Receipt::Again }
                        }
                        _ => Receipt::Unknown,
                    };
                    prop_assert_eq!(memory.receipt(&id.to_string()), expected);
                }
                Step::Advance(by) => {
                    now += u64::from(by);
                    clock.advance(Duration::from_millis(u64::from(by)));
                }
            }
            prop_assert_eq!(memory.state().in_flight, in_flight.len());
        }
    }
}
