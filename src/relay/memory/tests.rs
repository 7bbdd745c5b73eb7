mod kept;
mod model;

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::poll;
use tokio::sync::Notify;

use super::*;
use crate::outcome::Scope;

const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
const ALMOST_THE_WINDOW: Duration = Duration::from_millis(24 * 60 * 60 * 1_000 - 1);
const SOON: Duration = Duration::from_secs(30);
const REJECTED: Verdict = Verdict::Rejected { reason: "BadCollapseId" };
const BUSY: Verdict =
    Verdict::Retry { reason: "ServiceUnavailable", after: None, scope: Scope::Target, unprocessed: false };

fn memory() -> (Memory, Clock) {
    memory_of(1_000_000)
}

fn memory_of(entries: usize) -> (Memory, Clock) {
    let clock = Clock::manual(1_700_000_000);
    (Memory::new(MemorySettings { window: WINDOW, entries }, clock.clone()), clock)
}

fn failed(text: &'static str) -> Outcome {
    Outcome::Failed { text: text.into() }
}

fn first<'a>(memory: &'a Memory, server: &str, id: &str, device: &str) -> Pending<'a> {
    match memory.claim(server, id, device) {
        Claim::First(pending) => pending,
        Claim::Again(again) => panic!("{again:?}"),
    }
}

fn again<'a>(memory: &'a Memory, server: &str, id: &str, device: &str) -> Again<'a> {
    match memory.claim(server, id, device) {
        Claim::Again(again) => again,
        Claim::First(pending) => panic!("{pending:?}"),
    }
}

fn send(memory: &Memory, server: &str, id: &str, device: &str) {
    first(memory, server, id, device).settle(&Verdict::Delivered, &Outcome::Delivered, Some(Platform::Apple));
}

#[test]
fn what_will_not_change_is_remembered_and_what_may_pass_is_not() {
    let table = [
        (Verdict::Delivered, true),
        (Verdict::Remove { reason: "Unregistered", ambiguous: false }, true),
        (Verdict::Remove { reason: "BadDeviceToken", ambiguous: true }, false),
        (REJECTED, true),
        (BUSY, false),
        (Verdict::Retry { reason: "connect_refused", after: None, scope: Scope::Target, unprocessed: true }, false),
        // The phone may have been woken: the module's header says why it is forgotten all the same.
        (Verdict::Retry { reason: "timeout", after: None, scope: Scope::Target, unprocessed: false }, false),
        (Verdict::NewCredential { reason: "ExpiredProviderToken" }, false),
        (Verdict::TargetBroken { reason: "BadTopic" }, false),
    ];
    for (verdict, expected) in table {
        assert_eq!(is_remembered(&verdict), expected, "{verdict:?}");
    }
}

#[tokio::test]
async fn a_repeat_gets_the_outcome_of_the_first() {
    let (memory, _) = memory();
    let endings = [
        ("delivered", Verdict::Delivered, Outcome::Delivered),
        ("remove", Verdict::Remove { reason: "Unregistered", ambiguous: false }, Outcome::Remove),
        ("rejected", REJECTED, failed("APNs refused this notification (BadCollapseId)")),
    ];
    for (id, verdict, outcome) in endings {
        first(&memory, "chat", id, "phone").settle(&verdict, &outcome, None);
        for _ in 0..3 {
            let repeat = again(&memory, "chat", id, "phone");
            assert!(!repeat.is_in_flight());
            assert_eq!(repeat.outcome(Duration::ZERO).await, Ok(outcome.clone()));
        }
    }
}

#[test]
fn a_repeat_after_a_failure_that_may_pass_is_sent() {
    let (memory, _) = memory();
    for verdict in [BUSY, Verdict::TargetBroken { reason: "BadTopic" }] {
        first(&memory, "chat", "id", "phone").settle(&verdict, &failed("try again later"), None);
    }
    send(&memory, "chat", "id", "phone");
    again(&memory, "chat", "id", "phone");
}

#[test]
fn a_repeat_after_the_window_is_sent() {
    let (memory, clock) = memory();
    send(&memory, "chat", "id", "phone");
    clock.advance(ALMOST_THE_WINDOW);
    again(&memory, "chat", "id", "phone");
    clock.advance(Duration::from_millis(1));
    send(&memory, "chat", "id", "phone");
    again(&memory, "chat", "id", "phone");
}

#[test]
fn the_window_begins_with_the_request_and_not_with_its_answer() {
    let (memory, clock) = memory();
    let slow = first(&memory, "chat", "id", "phone");
    clock.advance(ALMOST_THE_WINDOW);
    slow.settle(&Verdict::Delivered, &Outcome::Delivered, None);
    again(&memory, "chat", "id", "phone");
    clock.advance(Duration::from_millis(1));
    send(&memory, "chat", "id", "phone");
}

#[test]
fn the_same_id_of_another_server_or_for_another_device_is_another_request() {
    let (memory, _) = memory();
    send(&memory, "chat", "id", "phone");
    send(&memory, "other chat", "id", "phone");
    send(&memory, "chat", "id", "other phone");
    send(&memory, "chat", "other id", "phone");
    again(&memory, "chat", "id", "phone");
}

#[test]
fn requests_without_an_id_are_always_sent() {
    let (memory, _) = memory();
    let one = first(&memory, "chat", "", "phone");
    send(&memory, "chat", "", "phone");
    drop(one);
    send(&memory, "chat", "", "phone");
    let state = memory.state();
    assert_eq!((state.requests, state.receipts, state.in_flight), (0, 0, 0));
    assert_eq!(memory.receipt(""), Receipt::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_concurrent_duplicates_one_is_sent_and_all_get_its_outcome() {
    const CALLERS: usize = 200;
    for outcome in [Outcome::Delivered, failed("APNs could not take it now: try again later")] {
        let memory = Arc::new(Memory::new(MemorySettings::default(), Clock::System));
        let (claimed, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all_claimed = Arc::new(Notify::new());
        let verdict = if outcome == Outcome::Delivered { Verdict::Delivered } else { BUSY };
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (memory, verdict, outcome) = (Arc::clone(&memory), verdict.clone(), outcome.clone());
                let (claimed, sent, all_claimed) = (Arc::clone(&claimed), Arc::clone(&sent), Arc::clone(&all_claimed));
                tokio::spawn(async move {
                    let claim = memory.claim("chat", "id", "phone");
                    if claimed.fetch_add(1, Ordering::SeqCst) + 1 == CALLERS {
                        all_claimed.notify_one();
                    }
                    match claim {
                        Claim::First(pending) => {
                            sent.fetch_add(1, Ordering::SeqCst);
                            all_claimed.notified().await;
                            pending.settle(&verdict, &outcome, Some(Platform::Apple));
                            Ok(outcome)
                        }
                        Claim::Again(again) => again.outcome(SOON).await,
                    }
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(outcome.clone()));
        }
        assert_eq!(sent.load(Ordering::SeqCst), 1);
        assert_eq!(memory.state().in_flight, 0);
    }
}

#[test]
fn threads_that_race_for_one_name_send_it_once() {
    const ROUNDS: usize = 2_000;
    let (memory, _) = memory();
    let sent: Vec<_> = (0..ROUNDS).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (id, sent) in sent.iter().enumerate() {
                    if let Claim::First(pending) = memory.claim("chat", &id.to_string(), "phone") {
                        sent.fetch_add(1, Ordering::SeqCst);
                        pending.settle(&Verdict::Delivered, &Outcome::Delivered, Some(Platform::Apple));
                    }
                }
            });
        }
    });
    assert!(sent.iter().all(|sent| sent.load(Ordering::SeqCst) == 1));
    let state = memory.state();
    assert_eq!((state.requests, state.receipts, state.in_flight), (ROUNDS, ROUNDS, 0));
}

#[tokio::test]
async fn whoever_waits_for_a_request_that_is_given_up_is_told_and_the_next_one_is_sent() {
    let (memory, _) = memory();
    let given_up = first(&memory, "chat", "id", "phone");
    let (one, other) = (again(&memory, "chat", "id", "phone"), again(&memory, "chat", "id", "phone"));
    assert!(one.is_in_flight());
    drop(given_up);
    assert_eq!(one.outcome(SOON).await, Err(NoOutcome::Lost));
    assert_eq!(other.outcome(SOON).await, Err(NoOutcome::Lost));
    assert_eq!(memory.receipt("id"), Receipt::Unknown);
    send(&memory, "chat", "id", "phone");
}

#[tokio::test]
async fn a_panic_while_sending_leaves_no_one_waiting() {
    let (memory, _) = memory();
    let memory = Arc::new(memory);
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let sender = tokio::spawn({
        let memory = Arc::clone(&memory);
        async move {
            let _pending = first(&memory, "chat", "id", "phone");
            gone.await.expect("the attempt fails here");
        }
    });
    tokio::task::yield_now().await;
    let waiting = again(&memory, "chat", "id", "phone");
    drop(go);
    assert_eq!(waiting.outcome(SOON).await, Err(NoOutcome::Lost));
    assert!(sender.await.unwrap_err().is_panic());
    send(&memory, "chat", "id", "phone");
}

#[tokio::test]
async fn a_duplicate_waits_until_its_own_deadline_and_no_longer() {
    let (memory, clock) = memory();
    let slow = first(&memory, "chat", "id", "phone");
    let (short, long) = (again(&memory, "chat", "id", "phone"), again(&memory, "chat", "id", "phone"));
    let (short, long) = (short.outcome(Duration::from_secs(5)), long.outcome(Duration::from_secs(10)));
    tokio::pin!(short, long);
    assert!(poll!(&mut short).is_pending());
    assert!(poll!(&mut long).is_pending());
    clock.advance(Duration::from_secs(5));
    assert_eq!(short.await, Err(NoOutcome::Late));
    assert!(poll!(&mut long).is_pending());
    slow.settle(&Verdict::Delivered, &Outcome::Delivered, None);
    assert_eq!(long.await, Ok(Outcome::Delivered));
}

#[tokio::test]
async fn an_outcome_that_is_there_counts_even_when_the_time_is_up() {
    let (memory, clock) = memory();
    let pending = first(&memory, "chat", "id", "phone");
    let waiting = again(&memory, "chat", "id", "phone").outcome(Duration::from_secs(1));
    tokio::pin!(waiting);
    assert!(poll!(&mut waiting).is_pending());
    clock.advance(Duration::from_secs(2));
    pending.settle(&REJECTED, &failed("refused"), None);
    assert_eq!(waiting.await, Ok(failed("refused")));
}

#[test]
fn a_request_in_flight_for_longer_than_the_window_is_still_not_sent_twice() {
    let (memory, clock) = memory();
    let endless = first(&memory, "chat", "id", "phone");
    clock.advance(3 * WINDOW);
    assert!(again(&memory, "chat", "id", "phone").is_in_flight());
    endless.settle(&Verdict::Delivered, &Outcome::Delivered, None);
    send(&memory, "chat", "id", "phone");
}

#[test]
fn a_receipt_counts_once_and_only_for_what_was_delivered() {
    let (memory, clock) = memory();
    let delivered = first(&memory, "chat", "apple", "phone");
    assert_eq!(memory.receipt("apple"), Receipt::Unknown, "still on its way");
    delivered.settle(&Verdict::Delivered, &Outcome::Delivered, Some(Platform::Apple));
    clock.advance(Duration::from_millis(1_234));
    let android = Some(Platform::Android);
    first(&memory, "chat", "android", "phone").settle(&Verdict::Delivered, &Outcome::Delivered, android);
    first(&memory, "chat", "refused", "phone").settle(&REJECTED, &failed("refused"), android);
    first(&memory, "chat", "busy", "phone").settle(&BUSY, &failed("busy"), android);
    first(&memory, "chat", "webhook", "phone").settle(&Verdict::Delivered, &Outcome::Delivered, None);

    let after = Duration::from_millis(1_234);
    assert_eq!(memory.receipt("apple"), Receipt::Sent { platform: Platform::Apple, after });
    assert_eq!(memory.receipt("apple"), Receipt::Again);
    assert_eq!(memory.receipt("android"), Receipt::Sent { platform: Platform::Android, after: Duration::ZERO });
    for unknown in ["refused", "busy", "webhook", "forged", ""] {
        assert_eq!(memory.receipt(unknown), Receipt::Unknown, "{unknown}");
    }
}

#[test]
fn a_receipt_after_the_window_is_unknown() {
    let (memory, clock) = memory();
    send(&memory, "chat", "one", "phone");
    send(&memory, "chat", "two", "phone");
    clock.advance(ALMOST_THE_WINDOW);
    assert!(matches!(memory.receipt("one"), Receipt::Sent { .. }));
    clock.advance(Duration::from_millis(1));
    assert_eq!(memory.receipt("one"), Receipt::Unknown);
    assert_eq!(memory.receipt("two"), Receipt::Unknown);
}

#[test]
fn another_server_that_sends_the_same_id_makes_no_second_receipt_count() {
    let (memory, _) = memory();
    send(&memory, "chat", "id", "phone");
    assert!(matches!(memory.receipt("id"), Receipt::Sent { .. }));
    send(&memory, "other chat", "id", "phone");
    assert_eq!(memory.receipt("id"), Receipt::Again);
}

#[test]
fn three_million_requests_stay_within_the_bound_and_the_memory_says_how_far_it_reaches() {
    const IDS: u64 = 3_000_000;
    const BOUND: usize = 200_000;
    let (memory, clock) = memory_of(BOUND);
    // 1,000 a second for 3,000 s: the bound is good for 150 to 200 s of it.
    for n in 0..IDS {
        send(&memory, "chat", &n.to_string(), "phone");
        if n % 1_000 == 999 {
            clock.advance(Duration::from_secs(1));
        }
        if n % 250_000 == 249_999 {
            let state = memory.state();
            assert!(state.requests <= BOUND && state.receipts <= BOUND, "{state:?}");
            assert!(n < 500_000 || state.requests > BOUND * 2 / 3, "{state:?}");
        }
    }
    let state = memory.state();
    let reach = state.window_held.as_secs();
    // Shards fill at random: some of fourteen are ahead of the mean by a few hundredths.
    assert!((135..=200).contains(&reach), "{state:?}");
    assert_eq!(state.dropped_early, 2 * IDS - (state.requests + state.receipts) as u64);
    for n in IDS - (reach - 1) * 1_000..IDS {
        again(&memory, "chat", &n.to_string(), "phone");
    }
    send(&memory, "chat", "0", "phone");
}

#[test]
fn a_young_memory_reaches_back_to_its_start_and_an_idle_one_is_empty_again() {
    let (memory, clock) = memory();
    assert_eq!(memory.state().window_held, Duration::ZERO);
    send(&memory, "chat", "id", "phone");
    clock.advance(Duration::from_secs(90));
    assert_eq!(memory.state().window_held, Duration::from_secs(90));
    clock.advance(WINDOW);
    let idle = MemoryState { requests: 0, receipts: 0, in_flight: 0, window_held: WINDOW, dropped_early: 0, unkept: 0 };
    assert_eq!(memory.state(), idle);
}

#[test]
fn the_bound_holds_for_any_setting() {
    for entries in [0, 1, 4, 5, 1_000, 14_336, 14_337, 1_000_000, 10_000_000] {
        let (memory, _) = memory_of(entries);
        let most = memory.requests.len() * LIVE * memory.limits.per_table;
        assert!(most <= entries.max(LIVE), "{entries}: {most}");
        assert!(most + LIVE + entries / 100 > entries, "{entries}: {most}");
        assert!(memory.limits.per_table <= TABLE_ENTRIES, "{entries}");
    }
}

#[test]
fn an_entry_is_as_small_as_the_stated_figures_have_it() {
    assert_eq!(size_of::<(Identity, Decided)>(), 24);
    assert_eq!(size_of::<(AckKey, Sent)>(), 16);
    let full: HashedMap<AckKey, Sent> =
        HashedMap::with_capacity_and_hasher(TABLE_ENTRIES, BuildHasherDefault::default());
    assert_eq!(full.capacity(), TABLE_ENTRIES, "the standard map fills seven eighths of a power of two");
}

#[test]
fn a_debug_print_shows_nothing_of_a_request() {
    let (memory, _) = memory();
    let pending = first(&memory, "canary-server", "canary-id", "canary-token");
    let printed = format!("{memory:?} {pending:?} {:?}", again(&memory, "canary-server", "canary-id", "canary-token"));
    assert!(!printed.contains("canary"), "{printed}");
}
