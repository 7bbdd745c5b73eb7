//! Providers that are down for minutes while chat servers go on.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use pushrelay::admission::signing::SigningKey;
use pushrelay::notification::DeviceToken;
use pushrelay::simulator::Provider;

use crate::stand::{LONG_PAUSE, Stand, outage};
use crate::support::push::apple_token;
use crate::support::{Answer, Push};

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

/// A second chat server beside the usual one.
struct Neighbour(SigningKey);

impl Neighbour {
    const ID: &str = "neighbour";

    fn new() -> Self {
        Self(SigningKey::generate())
    }

    fn table(&self) -> String {
        format!("[[server]]\nid = \"{}\"\nname = \"Neighbour\"\nkeys = [\"{}\"]\n", Self::ID, self.0.public_base64())
    }

    /// A push to an iPhone of its own.
    fn push(&self, number: u32) -> Push {
        let push = Push::apple(&apple_token(number)).with("server_id", Self::ID);
        let signature = self.0.sign_push(push.text("ack_id"), &DeviceToken::new(push.text("device_id")).unwrap());
        push.signed_as(signature)
    }
}

/// The answers to these, many asked for at a time.
async fn post_all(stand: &Stand, pushes: &[Push]) -> Vec<Answer> {
    let answers = stream::iter(pushes).map(|push| stand.post(push)).buffer_unordered(64).collect::<Vec<_>>();
    stand.pass_until(answers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_a_neighbours_fifty_are_not_behind_one_servers_backlog() {
    const BACKLOG: u32 = 2_000;
    let neighbour = Neighbour::new();
    let stand = Stand::with(&format!("{LONG_PAUSE}\n{}", neighbour.table())).await;
    for fault in outage() {
        stand.fault(fault);
    }
    let backlog: Vec<_> = (0..BACKLOG).map(|number| Push::apple(&apple_token(number))).collect();
    post_all(&stand, &backlog).await.iter().for_each(Answer::expect_ok);
    // Accepted later, so theirs is the later end.
    stand.clock.advance(Duration::from_secs(1));
    let fifty: Vec<_> = (BACKLOG..BACKLOG + 50).map(|number| neighbour.push(number)).collect();
    post_all(&stand, &fifty).await.iter().for_each(Answer::expect_ok);

    stand.mend();
    stand.pass_until_arrived(u64::from(BACKLOG) + 50).await;
    let arrived = stand.simulator.ledger().accepted();
    let ids: Vec<_> = fifty.iter().map(|push| push.text("ack_id")).collect();
    let is_theirs = |id: &str| ids.contains(&id);
    let came = arrived.iter().map(|push| push.payload()["ack_id"].as_str().unwrap().to_owned());
    let places: Vec<_> = (0..).zip(came).filter(|(_, id)| is_theirs(id)).map(|(place, _)| place).collect();
    // With 128 at once: the probe, half of the first lease, and what came before them on the wire.
    assert!(places.len() == 50 && places[49] < 300, "{places:?}");
    assert!(arrived.iter().all(|push| push.provider == Provider::Apns));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fills_the_queue_is_refused_and_its_neighbour_is_not() {
    let neighbour = Neighbour::new();
    let stand = Stand::with(&format!("[queue]\nmax_entries = 1000\n{LONG_PAUSE}\n{}", neighbour.table())).await;
    for fault in outage() {
        stand.fault(fault);
    }
    let backlog: Vec<_> = (0..1_000).map(|number| Push::apple(&apple_token(number))).collect();
    let answers = post_all(&stand, &backlog).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.error.is_empty());
    // 16 of 17 parts of 1,000.
    assert_eq!(taken.len(), 942);
    for answer in refused {
        answer.expect_fail(200, "so many notifications of this server wait");
    }
    stand.expect_metric(r#"pushrelay_queue_failures_total{operation="share"}"#, 58.0).await;
    let fifty: Vec<_> = (1_000..1_050).map(|number| neighbour.push(number)).collect();
    post_all(&stand, &fifty).await.iter().for_each(Answer::expect_ok);
}
