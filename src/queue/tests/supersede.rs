//! What a later notification does to earlier ones. The rule itself has its table beside it.

use std::sync::Arc;

use super::*;
use crate::message;

#[tokio::test]
async fn a_later_badge_replaces_the_earlier_one_of_the_same_device_only() {
    let case = Case::open();
    case.put(&push("old", "update_badge")).await;
    let others = [
        Notification { device: DeviceToken::new("other").unwrap(), ..push("device", "update_badge") },
        Notification { server_id: ServerId::new("other").unwrap(), ..push("server", "update_badge") },
        message("message"),
    ];
    for other in &others {
        case.put(other).await;
    }
    let Enqueued::Stored { superseded } = case.put(&push("new", "update_badge")).await else { panic!("not stored") };
    assert_eq!(acks(&superseded), ["old"]);
    assert_eq!((&superseded[0].kind[..], superseded[0].accepted_at), ("update_badge", at(0)));
    assert_eq!(case.waiting(), 4);
    // The servers take turns; within each it goes by age.
    assert_eq!(case.leased().await, ["server", "device", "message", "new"]);
}

#[tokio::test]
async fn a_push_that_is_sent_at_once_replaces_what_is_queued() {
    let case = Case::open();
    assert_eq!(case.queue.supersede(&push("x", "session"), at(0)).await, Ok(Vec::new()));
    case.put(&message("a")).await;
    assert_eq!(case.queue.supersede(&message("x"), at(0)).await, Ok(Vec::new()));
    let gone = case.queue.supersede(&push("x", "clear"), at(0)).await.unwrap();
    assert_eq!((acks(&gone), case.waiting()), (vec!["a"], 0));
}

#[tokio::test]
async fn a_push_that_comes_to_the_disk_late_replaces_nothing_that_was_accepted_after_it() {
    for (kind, later) in [("update_badge", "update_badge"), ("clear", "message"), ("session", "message")] {
        let case = Case::open();
        let (early, late) = (push("early", kind), Notification { ack_id: "late".into(), ..push("late", later) });
        let accepted = |notification, seconds| NewEntry { accepted_at: at(seconds), ..entry(notification) };
        case.queue.enqueue(accepted(&late, 1)).await.unwrap();
        let expected = if kind == later { Enqueued::Pointless } else { Enqueued::Stored { superseded: Vec::new() } };
        assert_eq!(case.queue.enqueue(accepted(&early, 0)).await, Ok(expected), "{kind}");
        assert!(case.leased().await.contains(&"late".to_owned()), "{kind}");
    }
}

#[tokio::test]
async fn a_message_that_comes_to_the_disk_after_the_wipe_that_followed_it_is_not_kept() {
    for later in ["clear", "session"] {
        let case = Case::open();
        case.queue.enqueue(NewEntry { accepted_at: at(1), ..entry(&push("late", later)) }).await.unwrap();
        assert_eq!(case.put(&message("early")).await, Enqueued::Pointless, "{later}");
        assert_eq!(case.leased().await, ["late"]);
    }
}

#[tokio::test]
async fn what_is_held_back_waits_for_its_replacement_and_comes_back_if_that_does_not_arrive() {
    let case = Case::open();
    case.put(&push("old", "update_badge")).await;
    case.put(&message("message")).await;
    case.queue.hold_back(&push("new", "update_badge"), at(0), at(30)).await.unwrap();
    assert_eq!(case.leased().await, ["message"]);
    case.clock.advance(Duration::from_secs(30));
    assert_eq!(case.leased().await, ["old"]);
}

#[tokio::test]
async fn a_wipe_removes_what_is_buried_too() {
    let case = Case::open();
    case.put(&message("a")).await;
    let id = case.lease().await.entries[0].id;
    case.queue.settle(id, Settlement::Bury { reason: "BadTopic" }).await.unwrap();
    assert_eq!(acks(&case.queue.supersede(&push("x", "session"), at(0)).await.unwrap()), ["a"]);
    assert_eq!((case.waiting(), case.buried()), (0, 0));
}

#[tokio::test]
async fn what_is_under_way_is_left_alone_and_not_tried_again() {
    let later = || Settlement::Later { due_at: at(5), attempts: 2, reason: "ServiceUnavailable" };
    let bury = || Settlement::Bury { reason: "BadTopic" };
    for (what, settlement, settled) in [
        ("later", later(), Settled::Superseded),
        ("bury", bury(), Settled::Superseded),
        ("done", Settlement::Done, Settled::Written),
    ] {
        let case = Case::open();
        case.put(&push("old", "update_badge")).await;
        let id = case.lease().await.entries[0].id;
        let stored = case.put(&push("new", "update_badge")).await;
        assert_eq!(stored, Enqueued::Stored { superseded: Vec::new() }, "{what}");
        assert_eq!(case.queue.settle(id, settlement).await, Ok(settled), "{what}");
        assert_eq!(case.leased().await, ["new"], "{what}");
    }
}

#[tokio::test]
async fn what_was_superseded_while_leased_is_gone_when_its_lease_is_over_or_the_relay_starts_again() {
    let case = Case::open();
    case.put(&push("old", "update_badge")).await;
    case.lease().await;
    case.put(&push("new", "update_badge")).await;
    case.clock.advance(Duration::from_secs(60));
    let lease = case.lease().await;
    assert_eq!((ids(&lease), acks(&lease.superseded)), (vec!["new".to_owned()], vec!["old"]));

    case.put(&push("newer", "update_badge")).await;
    let case = case.reopen().await;
    assert_eq!(case.leased().await, ["newer"]);
    assert_eq!(case.waiting(), 1);
}

#[tokio::test]
async fn a_native_message_replaces_the_earlier_one_with_its_collapse_id() {
    let case = Case::open();
    let native = |id: &str, collapse_id: Option<&str>| {
        let message = message::Message {
            id: id.into(),
            push: message::Push::Background,
            data: Vec::new(),
            collapse_id: collapse_id.map(Into::into),
            ttl_seconds: None,
            priority: message::Priority::High,
            apns: serde_json::Map::new(),
            fcm: serde_json::Map::new(),
        };
        let device = DeviceToken::new("canary-token").unwrap();
        Notification::of_message(&Arc::new(message), &ServerId::new("server").unwrap(), &target(), device)
    };
    for (id, collapse_id) in [("1", Some("x")), ("2", Some("y")), ("3", None), ("4", Some("x"))] {
        case.put(&native(id, collapse_id)).await;
    }
    assert_eq!(case.leased().await, ["2", "3", "4"]);
}
