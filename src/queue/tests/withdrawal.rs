//! What its caller has given up is not on the disk, whenever that was.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::*;
use crate::queue::inspect::{Filter, Inspector};

/// The names of all that is there.
fn present(case: &Case) -> BTreeSet<String> {
    let listed = Inspector::open(case.directory.path(), case.clock.clone()).unwrap().list(&Filter::default(), 10_000);
    listed.unwrap().into_iter().map(|entry| entry.ack_id).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_while_another_process_held_the_file_never_comes_to_the_disk() {
    let case = Case::open();
    let file = case.file();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    let late = case.queue.enqueue(entry(&message("late"))).await;
    assert_eq!(late, Err(QueueError::Slow { within: PATIENCE }));
    file.execute_batch("ROLLBACK").unwrap();
    assert_eq!(case.leased().await, [""; 0]);
    tokio::time::resume();
    // Its sender asks again, and it is a first time.
    assert_eq!(case.put(&message("late")).await, Enqueued::Stored { superseded: Vec::new() });
    assert_eq!(case.leased().await, ["late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_caller_that_gives_up_at_whatever_moment_finds_all_as_it_was() {
    const CALLERS: u32 = 400;
    let case = Case::open();
    let badge = |ack_id: &str, phone: u32| Notification {
        device: DeviceToken::new(format!("phone-{phone}")).unwrap(),
        ..push(ack_id, "update_badge")
    };
    for phone in 0..CALLERS {
        case.put(&badge(&format!("old-{phone}"), phone)).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for phone in 0..CALLERS {
        let (queue, badge) = (case.queue.clone(), badge(&format!("new-{phone}"), phone));
        // From before it is taken to after the commit, which takes some milliseconds.
        let patience = Duration::from_micros(u64::from(phone) * 40);
        tasks.spawn(async move {
            let row = Box::new(queue.row(&entry(&badge)));
            let heard = queue.ask_within(patience, |answer| Command::Enqueue(row, None, answer)).await;
            let name = if heard.is_ok() { "new" } else { "old" };
            format!("{name}-{phone}")
        });
    }
    let expected: BTreeSet<_> = tasks.join_all().await.into_iter().collect();
    // Behind whatever is still to be undone.
    case.put(&message("last")).await;
    let mut present = present(&case);
    assert!(present.remove("last"));
    assert_eq!(present, expected);
    assert_eq!(case.waiting(), u64::from(CALLERS) + 1);
    let given_up = expected.iter().filter(|name| name.starts_with("old")).count();
    assert!(given_up > 0, "nobody gave up");
}

/// Every row, whole, and the counts.
fn dump(connection: &rusqlite::Connection) -> String {
    let mut dump = String::new();
    for table in ["entries", "tallies"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                write!(dump, "{:?} ", row.get_ref(column).unwrap()).unwrap();
            }
            dump.push('\n');
        }
    }
    dump
}

#[tokio::test]
async fn what_is_undone_gives_back_what_it_had_replaced_as_it_was() {
    let case = Case::open();
    case.put(&push("buried", "session")).await;
    let id = case.lease().await.entries[0].id;
    case.queue.settle(id, Settlement::Bury { reason: "BadTopic" }).await.unwrap();
    case.put(&push("leased", "update_badge")).await;
    case.lease().await;
    case.queue.enqueue(NewEntry { due_at: at(100), ..entry(&push("waiting", "clear")) }).await.unwrap();
    // A request that is asked for again, and ends the session.
    let row = case.queue.row(&entry(&push("buried", "session")));
    case.queue.close().await;
    let opened = schema::open(case.directory.path(), None).unwrap();
    let before = dump(&opened.connection);
    let limits = Limits::of(&settings(case.directory.path()));
    let mut changes = changes::Changes {
        connection: &opened.connection,
        shared: &Shared::default(),
        limits: &limits,
        shares: &Shares::default(),
        turns: &mut Turns::default(),
        now: entry::millis(at(0)),
        effects: changes::Effects::default(),
    };
    let (stored, undo) = changes.enqueue(&row).unwrap();
    let Ok(Enqueued::Stored { superseded }) = stored else { panic!("{stored:?}") };
    assert_eq!(acks(&superseded), ["waiting"]);
    let during = dump(&opened.connection);
    assert!(during.lines().count() < before.lines().count() && !during.contains("waiting"), "{during}");
    changes.undo(&undo.unwrap()).unwrap();
    assert_eq!(dump(&opened.connection), before);
    let summed = changes.effects.tallies.values().fold((0, 0), |sum, one| (sum.0 + one.waiting, sum.1 + one.buried));
    assert_eq!((summed, changes.effects.shares.values().sum::<i64>()), ((0, 0), 0));
}
