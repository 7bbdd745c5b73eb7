//! The command line beside a running relay.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::queue::inspect::{Filter, Inspector, Retried, Shown, State, Which};

impl Case {
    fn inspect(&self) -> Inspector {
        Inspector::open(self.directory.path(), self.clock.clone()).unwrap()
    }

    /// One buried, one leased, one to come, and one due.
    async fn with_one_of_each() -> Self {
        let case = Self::open();
        case.put(&message("buried")).await;
        let id = case.lease().await.entries[0].id;
        case.queue.settle(id, Settlement::Bury { reason: "BadTopic" }).await.unwrap();
        case.put(&message("leased")).await;
        case.lease().await;
        case.queue.enqueue(NewEntry { due_at: at(100), ..entry(&message("waiting")) }).await.unwrap();
        case.put(&message("ready")).await;
        case
    }
}

/// And what was named.
fn retry(inspector: &mut Inspector, which: &Which) -> (Retried, Vec<Shown>) {
    let mut named = Vec::new();
    (inspector.retry(which, &mut |slice| named.extend_from_slice(slice.named)).unwrap(), named)
}

fn drop_all(inspector: &mut Inspector, which: &Which) -> (u64, Vec<Shown>) {
    let mut named = Vec::new();
    (inspector.drop(which, &mut |slice| named.extend_from_slice(slice.named)).unwrap(), named)
}

fn all() -> Filter {
    Filter::default()
}

#[tokio::test]
async fn entries_are_listed_with_their_state_and_nothing_private() {
    let case = Case::with_one_of_each().await;
    let listed = case.inspect().list(&all(), 100).unwrap();
    let states: Vec<_> = listed.iter().map(|entry| (entry.ack_id.as_str(), entry.state.as_str())).collect();
    assert_eq!(states, ["buried", "leased", "waiting", "ready"].map(|word| (word, word)));
    assert_eq!((listed[0].reason.as_deref(), listed[0].buried_at), (Some("BadTopic"), Some(at(0))));
    assert_eq!((listed[1].wakes_at, listed[2].wakes_at), (Some(at(60)), Some(at(100))));
    assert_eq!(listed[0].device.len(), 8);
    assert_eq!(listed[0].device, listed[3].device);
    let printed = format!("{listed:?}");
    assert!(!printed.contains("canary"), "{printed}");
    assert_eq!(case.inspect().show(listed[2].id).unwrap().as_ref(), Some(&listed[2]));
    assert_eq!(case.inspect().show(EntryId::of(99)).unwrap(), None);
}

#[tokio::test]
async fn a_filter_holds_in_all_its_parts() {
    let case = Case::with_one_of_each().await;
    let count = |filter: Filter, limit| case.inspect().list(&filter, limit).unwrap().len();
    assert_eq!(count(Filter { state: Some(State::Buried), ..all() }, 100), 1);
    assert_eq!(count(Filter { target: Some("apple_rn".into()), server: Some("server".into()), ..all() }, 100), 4);
    assert_eq!(count(Filter { target: Some("other".into()), ..all() }, 100), 0);
    assert_eq!(count(Filter { server: Some("other".into()), ..all() }, 100), 0);
    assert_eq!(count(all(), 3), 3);
}

#[tokio::test]
async fn what_is_retried_is_leased_by_the_running_relay() {
    let case = Case::with_one_of_each().await;
    let mut inspector = case.inspect();
    let (retried, named) = retry(&mut inspector, &Which::Buried);
    assert_eq!(retried, Retried { due: 1, ..Retried::default() });
    assert_eq!((named.len(), named[0].ack_id.as_str(), named[0].state), (1, "buried", State::Buried), "as it was");
    let every = inspector.list(&all(), 100).unwrap().iter().map(|entry| entry.id).chain([EntryId::of(99)]).collect();
    let (retried, named) = retry(&mut inspector, &Which::Ids(every));
    assert_eq!(retried, Retried { due: 3, under_way: 1, expired: 0, missing: 1 });
    assert_eq!(named.len(), 3, "what is left alone is not named");
    assert_eq!(case.leased().await, ["buried", "waiting", "ready"]);
    assert_eq!((case.waiting(), case.buried()), (4, 0));
}

#[tokio::test]
async fn an_idle_relay_notices_within_a_second_that_something_was_made_due() {
    let case = Case::open();
    case.put(&message("a")).await;
    case.queue.wait_for_work(&target()).await;
    let id = case.lease().await.entries[0].id;
    case.queue.settle(id, Settlement::Bury { reason: "BadTopic" }).await.unwrap();
    retry(&mut case.inspect(), &Which::Buried);
    case.queue.wait_for_work(&target()).await;
    assert_eq!((case.waiting(), case.buried()), (1, 0));
    assert_eq!(case.leased().await, ["a"]);
}

#[tokio::test]
async fn what_is_too_late_is_not_retried() {
    let case = Case::with_one_of_each().await;
    case.clock.advance(Duration::from_secs(3_600));
    let retried = retry(&mut case.inspect(), &Which::Buried);
    assert_eq!(retried, (Retried { expired: 1, ..Retried::default() }, Vec::new()));
}

#[tokio::test]
async fn what_is_dropped_is_gone_and_the_relay_counts_again() {
    let case = Case::with_one_of_each().await;
    let mut inspector = case.inspect();
    let leased = inspector.list(&Filter { state: Some(State::Leased), ..all() }, 1).unwrap()[0].id;
    let (dropped, named) = drop_all(&mut inspector, &Which::Ids(vec![leased, EntryId::of(99)]));
    assert_eq!((dropped, named.len(), named[0].id), (1, 1, leased));
    assert_eq!(drop_all(&mut inspector, &Which::Buried).0, 1);
    assert_eq!(case.queue.settle(leased, Settlement::Done).await, Ok(Settled::Gone));
    assert_eq!((case.waiting(), case.buried()), (2, 0));
    assert_eq!(inspector.stats().unwrap(), case.queue.stats().targets);
}

#[tokio::test]
async fn the_inspectors_figures_are_the_relays() {
    let case = Case::with_one_of_each().await;
    let stats = case.inspect().stats().unwrap();
    assert_eq!((stats[0].waiting, stats[0].buried, stats[0].oldest_accepted_at), (3, 1, Some(at(0))));
    assert_eq!(stats, case.queue.stats().targets);
}

#[tokio::test]
async fn a_snapshot_of_a_running_queue_opens_as_a_queue() {
    let case = Case::with_one_of_each().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let into = elsewhere.path().join(FILE_NAME);
    case.inspect().snapshot(&into).unwrap();
    assert_eq!(fs::metadata(&into).unwrap().permissions().mode() & 0o777, 0o600);
    let copy = Queue::open(&settings(elsewhere.path()), case.clock.clone()).unwrap();
    assert_eq!(ids(&copy.lease(&target(), 100, at(60)).await.unwrap()), ["leased", "ready"]);
    assert_eq!(copy.enqueue(entry(&message("ready"))).await, Ok(Enqueued::AlreadyThere), "its key came along");
}

#[tokio::test]
async fn a_snapshot_never_replaces_a_file() {
    let case = Case::open();
    let into = case.directory.path().join("taken");
    fs::write(&into, "theirs").unwrap();
    let error = case.inspect().snapshot(&into).unwrap_err().to_string();
    assert!(error.contains("not there yet"), "{error}");
    assert_eq!(fs::read_to_string(&into).unwrap(), "theirs");
}

#[tokio::test]
async fn without_a_queue_there_is_nothing_to_inspect_and_none_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let error = Inspector::open(directory.path(), Clock::manual(START)).unwrap_err();
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn many_are_changed_a_few_at_a_time_and_the_relay_comes_in_between() {
    const MANY: u64 = 6_000;
    let case = Case::open();
    let phone = |n: u64| DeviceToken::new(format!("phone-{n}")).unwrap();
    let messages: Vec<_> = (0..MANY).map(|n| Notification { device: phone(n), ..message(&n.to_string()) }).collect();
    let later = |message| NewEntry { due_at: at(100), ..entry(message) };
    let stored = messages.iter().map(|message| case.queue.enqueue(later(message)));
    assert!(futures_util::future::join_all(stored).await.iter().all(Result::is_ok));
    let mut inspector = case.inspect();
    let (mut slices, mut named, mut others) = (Vec::new(), 0, 0);
    let retried = inspector
        .retry(&Which::Matching(all()), &mut |slice| {
            slices.push(slice.named.len());
            named += slice.named.len() as u64;
            assert_eq!(slice.changed, named);
            // Another process writes between any two slices, and what comes later is not touched.
            let late = "INSERT INTO entries SELECT NULL, target, server, ack_id, kind, urgency, NULL, device_key, channel, thread,
                crt, collapse_id, accepted_at, expires_at, state, wake_at, buried_at, superseded, attempts, reason, content
                FROM entries WHERE id = (SELECT max(id) FROM entries)";
            others += case.file().execute(late, []).unwrap();
        })
        .unwrap();
    assert_eq!((retried, named), (Retried { due: MANY, ..Retried::default() }, MANY));
    assert!(slices.len() >= 24 && slices.iter().all(|slice| *slice <= 250), "{slices:?}");
    assert_eq!(
        case.inspect().count(&Which::Matching(Filter { state: Some(State::Waiting), ..all() })).unwrap(),
        others as u64
    );
    let ready = Which::Matching(Filter { state: Some(State::Ready), ..all() });
    assert_eq!(drop_all(&mut inspector, &ready).0, MANY);
    assert_eq!(case.inspect().count(&Which::Matching(all())).unwrap(), others as u64);
}
