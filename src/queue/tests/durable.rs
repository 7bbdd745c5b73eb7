//! What survives, what is kept once, and what a lease is.

use super::*;

#[tokio::test]
async fn what_was_enqueued_is_leased_with_everything_it_had() {
    let case = Case::open();
    assert_eq!(case.put(&message("a")).await, Enqueued::Stored { superseded: Vec::new() });
    assert_eq!(case.waiting(), 1);
    let lease = case.lease().await;
    let [entry] = &lease.entries[..] else { panic!("{lease:?}") };
    assert_eq!((entry.attempts, entry.accepted_at, entry.expires_at), (1, at(0), at(3_600)));
    assert_eq!(entry.notification.content.mattermost().message.expose(), "canary-text");
    assert_eq!(case.queue.settle(entry.id, Settlement::Done).await, Ok(Settled::Written));
    assert_eq!(case.waiting(), 0);
    assert_eq!(case.queue.settle(entry.id, Settlement::Done).await, Ok(Settled::Gone));
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_committed_and_frees_the_leases() {
    let case = Case::open();
    for id in ["a", "b", "c"] {
        case.put(&message(id)).await;
    }
    let lease = case.lease().await;
    case.queue.settle(lease.entries[0].id, Settlement::Done).await.unwrap();
    // What a crash leaves: the file and its log as they are while the relay still holds them.
    let crashed = tempfile::tempdir().unwrap();
    for name in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal")] {
        fs::copy(case.directory.path().join(&name), crashed.path().join(&name)).unwrap();
    }
    let queue = Queue::open(&settings(crashed.path()), case.clock.clone()).unwrap();
    assert_eq!(queue.waiting(&target()), 2);
    let lease = queue.lease(&target(), 100, at(60)).await.unwrap();
    assert_eq!(ids(&lease), ["b", "c"]);
    assert_eq!(queue.stats().targets[0].oldest_accepted_at, Some(at(0)));
}

#[tokio::test]
async fn a_clock_set_back_over_a_restart_leaves_each_entry_the_time_it_had_and_no_more() {
    for (set_by, passed, expected) in [
        (-2, 5, &["call", "message"][..]),
        (-3_600, 5, &["call", "message"]),
        (-3_600, 31, &["message"]),
        (-2, 3_601, &[]),
    ] {
        let case = Case::open();
        let call = message("call");
        let call = NewEntry { urgency: Urgency::Call, expires_at: at(30), ..entry(&call) };
        case.queue.enqueue(call).await.unwrap();
        case.put(&message("message")).await;
        case.clock.set_wall(set_by);
        let case = case.reopen().await;
        case.clock.advance(Duration::from_secs(passed));
        assert_eq!(case.leased().await, expected, "set by {set_by} s, {passed} s later");
    }
}

#[tokio::test]
async fn a_closed_queue_answers_that_it_is_and_lets_go_of_its_file() {
    let case = Case::open();
    case.put(&message("a")).await;
    let old = case.queue.clone();
    let case = case.reopen().await;
    assert_eq!(old.enqueue(entry(&message("b"))).await, Err(QueueError::Closed));
    old.close().await;
    assert_eq!(case.leased().await, ["a"]);
}

#[tokio::test]
async fn leases_go_by_urgency_then_by_the_earliest_end_then_by_age() {
    let case = Case::open();
    let (badge, first, second, soon, call) =
        (message("badge"), message("first"), message("second"), message("soon"), message("call"));
    for new in [
        NewEntry { urgency: Urgency::Badge, expires_at: at(10), ..entry(&badge) },
        entry(&first),
        entry(&second),
        NewEntry { expires_at: at(60), ..entry(&soon) },
        NewEntry { urgency: Urgency::Call, expires_at: at(9_000), ..entry(&call) },
    ] {
        case.queue.enqueue(new).await.unwrap();
    }
    let lease = case.queue.lease(&target(), 2, at(60)).await.unwrap();
    assert_eq!(ids(&lease), ["call", "soon"]);
    assert_eq!(lease.next_due, Some(at(0)), "there are more");
    assert_eq!(case.leased().await, ["first", "second", "badge"]);
}

#[tokio::test]
async fn a_lease_is_for_one_worker_until_it_is_over() {
    let case = Case::open();
    case.put(&message("a")).await;
    let lease = case.queue.lease(&target(), 1, at(60)).await.unwrap();
    assert_eq!((lease.entries.len(), lease.next_due), (1, Some(at(60))));
    case.clock.advance(Duration::from_secs(59));
    assert_eq!(case.leased().await, [""; 0]);
    case.clock.advance(Duration::from_secs(1));
    assert_eq!(case.leased().await, ["a"]);
}

#[tokio::test]
async fn another_targets_entries_are_not_leased() {
    let case = Case::open();
    case.put(&Notification { target: TargetName::new("android_rn"), ..message("a") }).await;
    assert_eq!(case.leased().await, [""; 0]);
    assert_eq!((case.waiting(), case.queue.waiting(&TargetName::new("android_rn"))), (0, 1));
}

#[tokio::test]
async fn what_is_to_be_tried_later_comes_when_it_is_due_with_what_was_learned() {
    let case = Case::open();
    case.put(&message("a")).await;
    let id = case.lease().await.entries[0].id;
    let later = Settlement::Later { due_at: at(30), attempts: 7, reason: "ServiceUnavailable" };
    assert_eq!(case.queue.settle(id, later).await, Ok(Settled::Written));
    let lease = case.lease().await;
    assert_eq!((lease.entries.len(), lease.next_due), (0, Some(at(30))));
    case.clock.advance(Duration::from_secs(30));
    let lease = case.lease().await;
    assert_eq!((lease.entries[0].id, lease.entries[0].attempts), (id, 7));
}

#[tokio::test]
async fn an_expired_entry_is_removed_and_told_whether_it_was_due_or_not() {
    let case = Case::open();
    let (due, later) = (message("due"), message("later"));
    case.queue.enqueue(NewEntry { expires_at: at(10), ..entry(&due) }).await.unwrap();
    case.queue.enqueue(NewEntry { expires_at: at(10), due_at: at(900), ..entry(&later) }).await.unwrap();
    case.clock.advance(Duration::from_secs(9));
    let lease = case.queue.lease(&target(), 0, at(60)).await.unwrap();
    assert_eq!((lease.entries.len(), lease.expired.len()), (0, 0));
    case.clock.advance(Duration::from_secs(1));
    let lease = case.queue.lease(&target(), 0, at(60)).await.unwrap();
    assert_eq!(acks(&lease.expired), ["due", "later"]);
    assert_eq!((&lease.expired[0].server[..], &lease.expired[0].kind[..]), ("server", "message"));
    assert_eq!((case.waiting(), lease.next_due), (0, None));
}

#[tokio::test]
async fn what_expires_says_how_often_it_was_tried_and_why_in_vain() {
    let case = Case::open();
    case.put(&message("a")).await;
    let id = case.lease().await.entries[0].id;
    let later = Settlement::Later { due_at: at(30), attempts: 7, reason: "ServiceUnavailable" };
    case.queue.settle(id, later).await.unwrap();
    case.clock.advance(Duration::from_secs(3_600));
    let expired = case.lease().await.expired;
    assert_eq!((expired[0].attempts, expired[0].reason), (7, Some("ServiceUnavailable")));
}

#[tokio::test]
async fn the_same_request_is_kept_once_and_one_without_an_id_each_time() {
    let case = Case::open();
    case.put(&message("a")).await;
    assert_eq!(case.put(&message("a")).await, Enqueued::AlreadyThere);
    let other = DeviceToken::new("other").unwrap();
    assert_ne!(case.put(&Notification { device: other, ..message("a") }).await, Enqueued::AlreadyThere);
    assert_eq!(case.waiting(), 2);
    for _ in 0..2 {
        assert_ne!(case.put(&message("")).await, Enqueued::AlreadyThere);
    }
    let case = case.reopen().await;
    assert_eq!(case.put(&message("a")).await, Enqueued::AlreadyThere);
    assert_eq!(case.waiting(), 4);
}

#[tokio::test]
async fn a_buried_request_that_is_asked_for_again_is_tried_again() {
    let case = Case::open();
    case.put(&message("a")).await;
    let id = case.lease().await.entries[0].id;
    case.queue.settle(id, Settlement::Bury { reason: "BadTopic" }).await.unwrap();
    assert_eq!((case.waiting(), case.buried()), (0, 1));
    assert_eq!(case.leased().await, [""; 0]);
    assert_eq!(case.put(&message("a")).await, Enqueued::Stored { superseded: Vec::new() });
    assert_eq!((case.waiting(), case.buried()), (1, 0));
    assert_eq!(case.leased().await, ["a"]);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_buried_and_does_not_stop_the_others() {
    let case = Case::open();
    case.put(&message("bad")).await;
    case.put(&message("good")).await;
    case.file().execute("UPDATE entries SET content = x'01ff' WHERE ack_id = 'bad'", []).unwrap();
    let lease = case.lease().await;
    assert_eq!((ids(&lease), acks(&lease.undecodable)), (vec!["good".to_owned()], vec!["bad"]));
    assert_eq!((case.waiting(), case.buried()), (1, 1));
    case.clock.advance(Duration::from_secs(61));
    assert!(case.lease().await.undecodable.is_empty());
}

#[tokio::test]
async fn a_worker_is_woken_by_news_even_if_it_was_not_waiting_just_then() {
    let case = Case::open();
    case.put(&message("a")).await;
    case.queue.wait_for_work(&target()).await;
    let idle = case.queue.clone();
    let (target, due_at) = (target(), at(9));
    let waiting = idle.wait_for_work(&target);
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let id = case.lease().await.entries[0].id;
    assert!(futures_util::poll!(&mut waiting).is_pending());
    case.queue.settle(id, Settlement::Later { due_at, attempts: 2, reason: "x" }).await.unwrap();
    waiting.await;
}

#[tokio::test]
async fn concurrent_callers_share_their_commits() {
    const CALLERS: u64 = 300;
    let case = Case::open();
    // Whoever holds the file makes them meet in the channel.
    let file = case.file();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = case.queue.stats();
    let messages: Vec<_> = (0..CALLERS).map(|n| message(&n.to_string())).collect();
    let callers = futures_util::future::join_all(messages.iter().map(|message| case.queue.enqueue(entry(message))));
    let callers = tokio::task::unconstrained(callers);
    tokio::pin!(callers);
    assert!(futures_util::poll!(&mut callers).is_pending());
    file.execute_batch("ROLLBACK").unwrap();
    assert!(callers.await.iter().all(Result::is_ok));
    let after = case.queue.stats();
    assert_eq!((after.commands - before.commands, case.waiting()), (CALLERS, CALLERS));
    assert!(after.commits - before.commits <= 3, "{} commits", after.commits - before.commits);
}
