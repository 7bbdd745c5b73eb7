//! A disk that holds the queue up for longer than a caller can wait: FAIL means that it will not arrive.

use std::time::Duration;

use futures_util::future::join_all;
use pushrelay::queue::FILE_NAME;

use crate::stand::{LONG_PAUSE, Stand, outage};
use crate::support::Push;
use crate::support::push::apple_token;

#[tokio::test(flavor = "multi_thread")]
async fn what_heard_fail_while_the_queue_was_held_up_does_not_arrive_and_its_repeat_arrives_once() {
    let stand = Stand::with(LONG_PAUSE).await;
    for fault in outage() {
        stand.fault(fault);
    }
    stand.pass_until(stand.post(&Push::apple(&apple_token(0)))).await.expect_ok();
    // Another process writes, for longer than a push waits for the disk.
    let file = rusqlite::Connection::open(stand.folder.path().join("data").join(FILE_NAME)).unwrap();
    file.busy_timeout(Duration::from_secs(5)).unwrap();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
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
