//! What was promised is kept once: repeats, poison, and callers that did not want to wait.

use std::time::Duration;

use pushrelay::admission::webhook::signing::{WebhookSigningKey, sign};
use pushrelay::queue::inspect::{Filter, Inspector, State};
use pushrelay::simulator::{Action, Fault, Provider, Reset};
use serde_json::{Value, json};

use crate::stand::{PATIENCE, Stand, outage};
use crate::support::push::apple_token;
use crate::support::{Plan, Push};

/// The queue as an operator sees it.
fn inspector(stand: &Stand) -> Inspector {
    Inspector::open(&stand.folder.path().join("data"), stand.clock.clone()).unwrap()
}

const BURIED: &str = r#"pushrelay_queue_buried{target="apple_rn"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_repeated_while_it_waits_arrives_once() {
    let stand = Stand::with("[breaker]\nfailures = 1").await;
    for fault in outage() {
        stand.fault(fault);
    }
    let push = Push::apple(&apple_token(1));
    for _ in 0..3 {
        stand.pass_until(stand.post(&push)).await.expect_ok();
    }
    assert_eq!(stand.waiting("apple_rn").await, 1);
    stand.mend();
    stand.pass_until_arrived(1).await;
    stand.pass_until_nothing_waits().await;
    stand.post(&push).await.expect_ok();
    assert_eq!(stand.simulator.ledger().counts().accepted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_waits_over_a_restart_and_is_repeated_then_arrives_once() {
    let mut stand = Stand::with("[breaker]\nfailures = 1").await;
    for fault in outage() {
        stand.fault(fault);
    }
    let (push, later) = (Push::apple(&apple_token(1)), Push::apple(&apple_token(2)));
    stand.pass_until(stand.post(&push)).await.expect_ok();
    stand.stop().await;
    stand.start_again().await;
    // Still in the outage, and then while Apple takes pushes but the one on disk is not due: the clock stands still.
    stand.pass_until(stand.post(&push)).await.expect_ok();
    stand.stop().await;
    stand.mend();
    stand.start_again().await;
    assert_eq!(stand.waiting("apple_rn").await, 1);
    stand.post(&push).await.expect_ok();
    stand.post(&later).await.expect_ok();
    stand.pass_until_nothing_waits().await;
    stand.post(&push).await.expect_ok();
    assert_eq!(stand.simulator.ledger().accepted_for(&apple_token(1)).len(), 1);
    assert_eq!(stand.simulator.ledger().counts().accepted, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_will_never_take_is_buried_with_its_reason_and_not_tried_again() {
    let stand = Stand::with("[breaker]\nfailures = 1").await;
    for fault in outage() {
        stand.fault(fault);
    }
    for phone in 1..=3 {
        stand.pass_until(stand.post(&Push::apple(&apple_token(phone)))).await.expect_ok();
    }
    stand.mend();
    let poison = apple_token(2);
    stand.fault(Fault::answer(413, "PayloadTooLarge").on(Provider::Apns).for_token(&poison));
    stand.pass_until_nothing_waits().await;
    let refused = stand.simulator.ledger().refused();
    let of_poison = || stand.simulator.ledger().refused().iter().filter(|one| one.reason == "PayloadTooLarge").count();
    assert_eq!(of_poison(), 1, "{refused:#?}");
    assert_eq!(stand.simulator.ledger().counts().accepted, 2, "its neighbours arrive");
    stand.wait_for_metric(BURIED, 1.0).await;
    // Nothing of it comes back in the hours that it would have had.
    let next = Push::apple(&apple_token(4));
    for _ in 0..24 {
        stand.clock.advance(Duration::from_mins(10));
        stand.post(&next).await.expect_ok();
    }
    assert_eq!(of_poison(), 1);

    let listed = inspector(&stand).list(&Filter::default(), 10).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].reason.as_deref(), Some("PayloadTooLarge"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_each_connection_that_it_is_sent_on_is_not_tried_for_ever() {
    let stand = Stand::with("[breaker]\nfailures = 0\n[ttl]\nmessage = \"28days\"").await;
    let poison = apple_token(2);
    stand.fault(Fault::new(Action::Reset(Reset::Stream)).on(Provider::Apns).for_token(&poison));
    stand.pass_until(stand.post(&Push::apple(&poison))).await.expect_ok();
    // Leases end in the middle of attempts here, which take no time on this clock: each is made by one all the same.
    let inspector = inspector(&stand);
    let buried = async {
        loop {
            match inspector.list(&Filter::default(), 1).unwrap()[0].state {
                State::Buried => return,
                State::Waiting | State::Ready | State::Leased => stand.clock.advance(Duration::from_secs(60)),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, buried).await.unwrap();
    assert_eq!(stand.simulator.ledger().counts().unprocessed, 100);
}

/// A program of the native API with a key of its own.
struct Program {
    key: WebhookSigningKey,
    stand: Stand,
}

impl Program {
    async fn with(tables: &str) -> Self {
        Self::planned(tables, Plan::default()).await
    }

    async fn planned(tables: &str, plan: Plan) -> Self {
        let key = WebhookSigningKey::generate_symmetric();
        let text = key.relay_text();
        let server = format!("[[server]]\nid = \"bot\"\nname = \"Bot\"\nwebhook_keys = [\"{}\"]\n", text.expose());
        let stand = Stand::planned(Plan { tables: format!("{server}{tables}"), ..plan }).await;
        Self { key, stand }
    }

    async fn notify(&self, id: &str, devices: &[String]) -> (u16, Value) {
        let message =
            json!({"target": "apple_rn", "devices": devices, "kind": "alert", "title": "t", "body": "canary"});
        let body = message.to_string();
        let now = self.stand.clock.unix_seconds();
        let signed = sign(std::slice::from_ref(&self.key), id, now, body.as_bytes()).unwrap();
        let sent = signed.as_sent();
        let headers = [
            ("pushrelay-server", "bot".to_owned()),
            ("webhook-id", sent.id.to_owned()),
            ("webhook-timestamp", sent.timestamp.to_owned()),
            ("webhook-signature", sent.signature.to_owned()),
            ("prefer", "respond-async".to_owned()),
        ];
        self.stand.post_with("/v1/notifications", &body, &headers).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_wait_hears_202_and_its_message_arrives_once() {
    let program = Program::with("").await;
    let stand = &program.stand;
    // Whoever waited for the provider would wait for the test.
    stand.fault(Fault::new(Action::Hold).on(Provider::Apns));
    let devices: Vec<_> = (1..=20).map(apple_token).collect();
    for _ in 0..2 {
        let (code, answer) = program.notify("m-1", &devices).await;
        assert_eq!((code, &answer["counts"]["queued"]), (202, &20.into()), "{answer}");
    }
    stand.mend();
    stand.pass_until_arrived(20).await;
    stand.pass_until_nothing_waits().await;
    for device in &devices {
        assert_eq!(stand.simulator.ledger().accepted_for(device).len(), 1);
    }
    stand.expect_metric(r#"pushrelay_queue_enqueued_total{target="apple_rn",why="asked_for"}"#, 20.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_keeps_nothing_promises_nothing_and_readiness_and_the_metric_say_why() {
    let full = Plan {
        settings: Some(Box::new(|settings| settings.queue.as_mut().unwrap().settings.max_entries = 0)),
        ..Plan::default()
    };
    let program = Program::planned("", full).await;
    let stand = &program.stand;
    let refuses = |why: &str| format!("pushrelay_queue_refuses{{why=\"{why}\"}}");
    stand.expect_metric(&refuses("queue_full"), 0.0).await;
    let devices: Vec<_> = (1..=5).map(apple_token).collect();
    let (code, answer) = program.notify("m-1", &devices).await;
    assert_eq!((code, &answer["counts"]["failed"]), (200, &5.into()), "{answer}");
    assert_eq!(
        (&answer["results"][0]["reason"], &answer["results"][0]["retryable"]),
        (&"queue_full".into(), &true.into())
    );
    assert!(stand.get("/readyz").await.1.contains(r#""queue_refuses":"queue_full""#));
    stand.expect_metric(&refuses("queue_full"), 1.0).await;
    stand.expect_metric(&refuses("disk_full"), 0.0).await;
    // While it is known to keep nothing, the wish is ignored, and the provider asked.
    let (code, answer) = program.notify("m-1", &devices).await;
    assert_eq!((code, &answer["counts"]["delivered"]), (200, &5.into()), "{answer}");
    assert_eq!(stand.simulator.ledger().counts().accepted, 5);
}
