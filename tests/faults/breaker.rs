//! What the relay does and says while a target is left alone.

use std::time::Duration;

use futures_util::future::join_all;
use pushrelay::simulator::{Fault, Provider, ProviderKey, Refuse};

use crate::stand::{PATIENCE, Stand};
use crate::support::push::apple_token;
use crate::support::{Plan, Push};

const STATE: &str = r#"pushrelay_breaker_state{target="apple_rn"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_open_the_breaker_within_three_attempts_and_nothing_is_lost_until_they_are_right() {
    let stand = Stand::usual().await;
    stand.fault(Fault::answer(403, "InvalidProviderToken").on(Provider::Apns));
    // The clock stands still: there is no probe.
    for phone in 1..=3 {
        stand.post(&Push::apple(&apple_token(phone))).await.expect_ok();
    }
    let asked = stand.simulator.ledger().counts().refused;
    for phone in 4..=30 {
        stand.post(&Push::apple(&apple_token(phone))).await.expect_ok();
    }
    // The worker may have tried one of the first again.
    assert!(asked <= 4, "{asked}");
    assert_eq!(stand.simulator.ledger().counts().refused, asked, "no push is wasted on credentials that are refused");

    let target = stand.target("apple_rn").await;
    assert_eq!((&target["breaker"], &target["ready"], &target["waiting"]), (&"open".into(), &false.into(), &30.into()));
    assert!(target["problem"].as_str().unwrap().contains("InvalidProviderToken"), "{target}");
    stand.expect_metric(STATE, 2.0).await;
    stand.expect_metric(r#"pushrelay_breaker_opened_total{target="apple_rn",why="credentials"}"#, 1.0).await;
    stand.expect_metric(r#"pushrelay_queue_enqueued_total{target="apple_rn",why="credentials"}"#, 3.0).await;
    stand.expect_metric(r#"pushrelay_queue_enqueued_total{target="apple_rn",why="breaker"}"#, 27.0).await;

    stand.mend();
    stand.pass_until_arrived(30).await;
    stand.pass_until_nothing_waits().await;
    assert_eq!(stand.simulator.ledger().counts().repeats, 0);
    stand.expect_metric(STATE, 0.0).await;
    assert_eq!(stand.target("apple_rn").await["breaker"], serde_json::Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_credentials_close_the_breaker_without_a_wait() {
    // The simulator knows a key that the relay does not have yet, and not the one that it has.
    let right = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let known = right.clone();
    let stand = Stand::planned(Plan {
        simulator: Some(Box::new(move |settings| {
            let before = &settings.keys[0];
            let (key_id, team_id) = (before.key_id.clone(), before.team_id.clone());
            settings.keys = vec![ProviderKey::from_p8(&key_id, &team_id, &known).unwrap()];
        })),
        ..Plan::default()
    })
    .await;
    // Those that were tried have back-offs of their own; of the others, most are held back by the breaker alone.
    for phone in 1..=30 {
        stand.pass_until(stand.post(&Push::apple(&apple_token(phone)))).await.expect_ok();
    }
    // Open, or waiting for a probe.
    assert!(stand.metric(STATE).await > 0.0);
    // Half an hour later the breaker's pauses are as long as they get.
    stand.clock.advance(Duration::from_mins(30));
    std::fs::write(stand.folder.path().join("AuthKey.p8"), right).unwrap();
    stand.reload.ask();
    // The clock stands still: what the breaker held back need not wait for a probe.
    tokio::time::timeout(PATIENCE, stand.simulator.ledger().wait_for(1)).await.unwrap();
    stand.wait_for_metric(STATE, 0.0).await;
    // Those that were probes have their own back-off.
    stand.pass_until_arrived(30).await;
    stand.pass_until_nothing_waits().await;
    assert_eq!(stand.simulator.ledger().counts().repeats, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_queue_the_answer_is_what_the_provider_said() {
    let stand = Stand::planned(Plan { top: "# nothing is kept\n", ..Plan::default() }).await;
    stand.fault(Fault::answer(403, "InvalidProviderToken").on(Provider::Apns));
    let post = async |phone| stand.pass_until(stand.post(&Push::apple(&apple_token(phone)))).await;
    post(1).await.expect_fail(200, "InvalidProviderToken");
    // The breaker is open, and says why.
    post(2).await.expect_fail(200, "InvalidProviderToken");
    let (status, detail) = stand.ready().await;
    assert_eq!(status, 200, "Google's target delivers: {detail}");
    assert_eq!(stand.target("apple_rn").await["waiting"], serde_json::Value::Null);
    stand.mend();
    stand.clock.advance(Duration::from_secs(10));
    post(3).await.expect_ok();

    // Each waits for its turn as long as its caller does, and one in about two seconds has one.
    stand.fault(Fault::answer(503, "UNAVAILABLE").on(Provider::Fcm));
    let (before, began) = (stand.simulator.ledger().counts().refused, stand.now_ms());
    let pushes: Vec<_> = (0..100).map(|phone| Push::android(&format!("android-{phone}"))).collect();
    let answers = stand.pass_until(join_all(pushes.iter().map(|push| stand.post(push)))).await;
    for answer in answers {
        answer.expect_fail(200, "FCM could not");
    }
    let (asked, took_s) = (stand.simulator.ledger().counts().refused - before, (stand.now_ms() - began) / 1_000);
    // All may have begun before the first of them had its answer.
    assert!(asked <= 100 + took_s, "a provider in trouble is left alone, not asked {asked} times in {took_s} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_in_trouble_does_not_hold_up_another() {
    let stand = Stand::planned(Plan {
        apple_names: &["apple_other"],
        // What hangs is waited for a second of real time, and 10 s from the queue.
        tables: "[delivery]\nattempt_timeout = \"200ms\"\ndeadline = \"1s\"\nfirst_pause = \"1ms\"".into(),
        ..Plan::default()
    })
    .await;
    let hang = pushrelay::simulator::Action::Hold;
    stand.fault(Fault::new(hang).on(Provider::Apns).for_token("a0"));
    // As many as a target's loop takes at once, and more.
    let slow: Vec<_> = (0..300).map(|phone| Push::apple(&apple_token(phone))).collect();
    let posts = futures_util::future::join_all(slow.iter().map(|push| stand.post(push)));
    stand.pass_until(posts).await.iter().for_each(crate::support::Answer::expect_ok);
    assert!(stand.waiting("apple_rn").await > 128);

    let held = stand.simulator.ledger().counts().held;
    let more = stand.simulator.ledger().wait_until(|counts| counts.held > held);
    stand.pass_until(more).await;
    // From here on apple_rn's own loop waits for an answer. The others' pushes and what waits of them do not.
    stand.fault(Fault::answer(503, "UNAVAILABLE").on(Provider::Fcm).times(3));
    let late = Push::android("android-1");
    stand.pass_until(stand.post(&late)).await.expect_ok();
    stand
        .pass_until(stand.post(&Push::apple(&format!("b{:063x}", 1)).with("platform", "apple_other")))
        .await
        .expect_ok();
    stand.pass_until_arrived(2).await;
    assert!(stand.arrived().contains_key(late.text("ack_id")));

    stand.mend();
    stand.pass_until_arrived(302).await;
    stand.pass_until_nothing_waits().await;
    assert_eq!(stand.arrived().len(), 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_not_ready_for_as_long_as_it_is_left_alone() {
    let stand = Stand::with("[breaker]\nfailures = 1").await;
    stand.fault(Fault::new(asks_for_pause("600")).on(Provider::Apns));
    stand.post(&Push::apple(&apple_token(1))).await.expect_ok();
    let ready = r#"pushrelay_target_ready{target="apple_rn"}"#;
    for minutes in 1..10 {
        stand.clock.advance(Duration::from_mins(1));
        let target = stand.target("apple_rn").await;
        assert_eq!((&target["breaker"], &target["ready"]), (&"open".into(), &false.into()), "after {minutes} min");
        assert!(target["problem"].as_str().unwrap().contains("ServiceUnavailable"), "{target}");
        stand.expect_metric(ready, 0.0).await;
    }
    stand.mend();
    stand.pass_until_arrived(1).await;
    stand.wait_for_metric(ready, 1.0).await;
}

/// A 503 with this `Retry-After`.
fn asks_for_pause(retry_after: &str) -> pushrelay::simulator::Action {
    pushrelay::simulator::Action::Answer(Refuse {
        status: 503,
        reason: "ServiceUnavailable".into(),
        retry_after: Some(retry_after.into()),
        body: None,
    })
}
