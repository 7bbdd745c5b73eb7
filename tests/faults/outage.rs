//! Providers that are down for minutes while chat servers go on.

use std::time::Duration;

use futures_util::{StreamExt, stream};

use crate::stand::{Stand, outage};
use crate::support::Push;
use crate::support::push::apple_token;

/// A push to an iPhone or an Android phone of its own.
fn push(number: u32) -> Push {
    if number.is_multiple_of(2) {
        Push::apple(&apple_token(number))
    } else {
        Push::android(&format!("android-{number}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_notifications_of_a_two_minute_outage_all_arrive_after_it_and_each_once() {
    const ALL: u32 = 10_000;
    const BATCH: u32 = 500;
    let stand = Stand::usual().await;
    for fault in outage() {
        stand.fault(fault);
    }
    let began = stand.clock.now();
    let mut ids = Vec::new();
    for first in (0..ALL).step_by(BATCH as usize) {
        let pushes: Vec<_> = (first..first + BATCH).map(push).collect();
        ids.extend(pushes.iter().map(|push| push.text("ack_id").to_owned()));
        let answers = stream::iter(&pushes).map(|push| stand.post(push)).buffer_unordered(64).collect::<Vec<_>>();
        stand.pass_until(answers).await.iter().for_each(crate::support::Answer::expect_ok);
        stand.clock.advance(Duration::from_secs(6));
    }
    let lasted = stand.clock.now() - began;
    assert!(lasted >= Duration::from_mins(2), "the outage lasted {lasted:?}");
    assert_eq!(stand.simulator.ledger().counts().accepted, 0);
    assert_eq!((stand.waiting("apple_rn").await, stand.waiting("android_rn").await), (5_000, 5_000));

    stand.mend();
    stand.pass_until_arrived(ALL.into()).await;
    stand.pass_until_nothing_waits().await;
    let arrived = stand.arrived();
    let lost = ids.iter().filter(|id| !arrived.contains_key(*id)).count();
    assert_eq!((lost, arrived.len(), stand.simulator.ledger().counts().repeats), (0, ALL as usize, 0));
}
