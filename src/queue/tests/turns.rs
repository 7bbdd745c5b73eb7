//! One server's backlog holds up nobody: its neighbours have their turns, and their places.

use std::collections::BTreeMap;

use super::*;
use crate::queue::inspect::Inspector;

/// A message of another server, with a phone of its own.
fn from(server: &str, ack_id: &str) -> Notification {
    Notification { server_id: ServerId::new(server).unwrap(), ..message(ack_id) }
}

impl Case {
    /// `count` messages of a server, wanted until then.
    async fn fill(&self, server: &str, count: usize, expires_at: Duration) {
        for n in 0..count {
            let message = from(server, &format!("{server}-{n}"));
            self.queue.enqueue(NewEntry { expires_at, ..entry(&message) }).await.unwrap();
        }
    }

    /// How many of each server one lease has.
    async fn leased_by_server(&self, limit: usize) -> BTreeMap<String, usize> {
        let lease = self.queue.lease(&target(), limit, at(60)).await.unwrap();
        let mut counted = BTreeMap::new();
        for entry in lease.entries {
            *counted.entry(entry.notification.server_id.as_str().to_owned()).or_default() += 1;
        }
        counted
    }
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.into_iter().map(|(server, count)| (server.to_owned(), count)).collect()
}

#[tokio::test]
async fn a_backlog_with_an_early_end_leaves_its_neighbours_half_of_each_lease() {
    let case = Case::open();
    case.fill("b", 100, at(60)).await;
    case.fill("a", 15, at(3_600)).await;
    assert_eq!(case.leased_by_server(20).await, counts([("a", 10), ("b", 10)]));
    assert_eq!(
        case.leased_by_server(20).await,
        counts([("a", 5), ("b", 15)]),
        "what one does not use is for the other"
    );
}

#[tokio::test]
async fn leases_of_one_entry_as_probes_are_go_round_the_servers() {
    let case = Case::open();
    for (server, count) in [("c", 9), ("a", 2), ("b", 9)] {
        case.fill(server, count, at(3_600)).await;
    }
    let mut turns = String::new();
    for _ in 0..9 {
        turns += case.leased_by_server(1).await.keys().next().unwrap();
    }
    assert_eq!(turns, "abcabcbcb");
}

#[tokio::test]
async fn with_more_servers_than_a_lease_has_room_for_each_has_its_turn() {
    let case = Case::open();
    for n in 0..10 {
        case.fill(&format!("s{n}"), 3, at(3_600)).await;
    }
    let mut had = BTreeMap::new();
    for _ in 0..5 {
        let leased = case.leased_by_server(4).await;
        assert_eq!(leased.len(), 4, "{leased:?}");
        for (server, count) in leased {
            *had.entry(server).or_insert(0) += count;
        }
    }
    assert!(had.len() == 10 && had.values().all(|count| *count == 2), "{had:?}");
}

#[tokio::test]
async fn what_is_more_urgent_goes_first_whoever_sent_it() {
    let case = Case::open();
    case.fill("a", 3, at(60)).await;
    let call = from("b", "call");
    case.queue.enqueue(NewEntry { urgency: Urgency::Call, ..entry(&call) }).await.unwrap();
    assert_eq!(case.leased_by_server(1).await, counts([("b", 1)]));
    assert_eq!(case.leased_by_server(2).await, counts([("a", 2)]));
}

#[tokio::test]
async fn a_server_that_fills_the_queue_leaves_places_to_those_that_come_after_it() {
    let case = Case::with(|settings| settings.max_entries = 340);
    case.fill("b", 320, at(3_600)).await;
    let refused = case.queue.enqueue(entry(&from("b", "one-more"))).await.unwrap_err();
    assert_eq!(refused, QueueError::Share { held: 320, free: 20 });
    assert!(refused.to_string().contains("places that are left are for others"), "{refused}");
    case.fill("a", 15, at(3_600)).await;
    // What takes another's place needs none.
    let badge = |ack_id| Notification { kind: PushKind::from_wire("update_badge"), ..from("a", ack_id) };
    assert!(matches!(case.put(&badge("1")).await, Enqueued::Stored { .. }));
    assert!(matches!(case.put(&badge("2")).await, Enqueued::Stored { .. }));
    // As it drains it gets places again, and not before it has its share only.
    for entry in case.queue.lease(&target(), 100, at(60)).await.unwrap().entries {
        case.queue.settle(entry.id, Settlement::Done).await.unwrap();
    }
    case.fill("b", 1, at(3_600)).await;
}

#[tokio::test]
async fn the_shares_are_known_after_a_restart_and_after_an_operator_has_dropped_some() {
    let mut settings = settings(Path::new(""));
    let case = Case::with(|own| own.max_entries = 34);
    case.fill("b", 32, at(3_600)).await;
    case.queue.close().await;
    (settings.directory, settings.max_entries) = (case.directory.path().to_owned(), 34);
    let case = Case { queue: Queue::open(&settings, case.clock.clone()).unwrap(), ..case };
    let more = from("b", "more");
    assert_eq!(case.queue.enqueue(entry(&more)).await, Err(QueueError::Share { held: 32, free: 2 }));
    case.file().execute("DELETE FROM entries WHERE id <= 2", []).unwrap();
    assert!(matches!(case.put(&more).await, Enqueued::Stored { .. }));
}

/// The tables as the first release made them.
const FIRST_TABLES: &str = include_str!("first_tables.sql");

#[tokio::test]
async fn a_file_of_the_first_release_is_brought_up_to_date_and_keeps_what_it_had() {
    let case = Case::open();
    case.fill("b", 3, at(60)).await;
    case.fill("a", 2, at(3_600)).await;
    let id = case.queue.lease(&target(), 1, at(60)).await.unwrap().entries[0].id;
    case.queue.settle(id, Settlement::Bury { reason: "BadTopic" }).await.unwrap();
    case.queue.close().await;
    // As the first release would have written it, and with no more room than it takes.
    let old = tempfile::tempdir().unwrap();
    let file = rusqlite::Connection::open(old.path().join(FILE_NAME)).unwrap();
    file.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    file.execute_batch(FIRST_TABLES).unwrap();
    file.execute("ATTACH ?1 AS new", [case.directory.path().join(FILE_NAME).to_str().unwrap()]).unwrap();
    file.execute_batch(
        "INSERT INTO meta SELECT * FROM new.meta; INSERT INTO entries SELECT * FROM new.entries;
         INSERT INTO late_verdicts SELECT * FROM new.late_verdicts;
         PRAGMA main.application_id = 0x50524c51; PRAGMA main.user_version = 1;",
    )
    .unwrap();
    drop(file);
    let beside = Inspector::open(old.path(), case.clock.clone()).unwrap_err();
    assert!(matches!(beside, OpenError::TooOld { version: 1, .. }), "{beside}");
    let settings = QueueSettings { max_bytes: Some(4_096), ..settings(old.path()) };
    let queue = Queue::open(&settings, case.clock.clone()).unwrap();
    assert_eq!((queue.waiting(&target()), queue.buried(&target())), (4, 1));
    let case = Case { queue, directory: old, ..case };
    assert_eq!(case.leased_by_server(3).await.len(), 2);
    let case = case.reopen().await;
    assert_eq!(case.file().pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap(), 2);
    assert_eq!(case.waiting(), 4);
}
