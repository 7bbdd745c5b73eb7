//! A disk that holds the queue up for longer than a caller can wait: FAIL means that it will not arrive.

use std::time::Duration;

use futures_util::future::join_all;
use pushrelay::queue::FILE_NAME;
use pushrelay::queue::inspect::{Filter, Inspector, State};
use pushrelay::simulator::{Action, Fault, Provider};

use crate::stand::{LONG_PAUSE, Stand, outage};
use crate::support::Push;
use crate::support::push::apple_token;

/// The file, which nobody else can write to until this says COMMIT.
fn held(stand: &Stand) -> rusqlite::Connection {
    let file = rusqlite::Connection::open(stand.folder.path().join("data").join(FILE_NAME)).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn what_heard_fail_while_the_queue_was_held_up_does_not_arrive_and_its_repeat_arrives_once() {
    let stand = Stand::with(LONG_PAUSE).await;
    for fault in outage() {
        stand.fault(fault);
    }
    stand.pass_until(stand.post(&Push::apple(&apple_token(0)))).await.expect_ok();
    // Another process writes, for longer than a push waits for the disk.
    let file = held(&stand);
    let pushes: Vec<_> = (1..=10).map(|number| Push::apple(&apple_token(number))).collect();
    let answers = stand.pass_slowly_until(join_all(pushes.iter().map(|push| stand.post(push)))).await;
    file.execute_batch("COMMIT").unwrap();
    for answer in answers {
        answer.expect_fail(200, "");
    }
    stand.mend();
    stand.pass_until_nothing_waits().await;
    assert_eq!(stand.simulator.ledger().counts().accepted, 1, "only what heard OK");

    for push in &pushes {
        stand.pass_until(stand.post(push)).await.expect_ok();
    }
    stand.pass_until_nothing_waits().await;
    let arrived = stand.arrived();
    assert_eq!((arrived.len(), arrived.values().max()), (11, Some(&1)), "{arrived:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_while_the_queue_was_held_up_is_not_delivered_again() {
    let stand = Stand::with(LONG_PAUSE).await;
    for fault in outage() {
        stand.fault(fault);
    }
    stand.pass_until(stand.post(&Push::apple(&apple_token(1)))).await.expect_ok();
    stand.mend();
    stand.fault(Fault::new(Action::Hold).on(Provider::Apns));
    let inspector = Inspector::open(&stand.folder.path().join("data"), stand.clock.clone()).unwrap();
    let leased = Filter { state: Some(State::Leased), ..Filter::default() };
    let is_leased = async {
        while inspector.list(&leased, 1).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    stand.pass_until(is_leased).await;
    // For longer than the relay's first try to write what became of it.
    let file = held(&stand);
    stand.mend();
    stand.wait_for_metric(r#"pushrelay_queue_failures_total{operation="settle"}"#, 1.0).await;
    file.execute_batch("COMMIT").unwrap();
    stand.pass_until_nothing_waits().await;
    assert_eq!(stand.simulator.ledger().counts().accepted, 1);
}
