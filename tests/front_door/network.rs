//! The way to the providers: proxies, connections that end in mid-flight, streams that break or stall.

use futures_util::future::join_all;
use pushrelay::simulator::{Action, Fault, GoAway, Provider, Reset, Stall};

use crate::support::proxy::ForwardProxy;
use crate::support::push::apple_token;
use crate::support::{Plan, Push, Scene};

async fn scene_behind(proxy: &ForwardProxy, credentials: &str) -> Scene {
    let lines = format!("proxy = \"http://{credentials}{}\"", proxy.address);
    Scene::new(Plan { apple: lines.clone(), android: lines, ..Plan::default() }).await
}

#[tokio::test]
async fn both_providers_are_reached_through_a_forward_proxy() {
    let proxy = ForwardProxy::start(None).await;
    let scene = scene_behind(&proxy, "").await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    assert_eq!(proxy.tunnels(), 1);
    scene.post(&Push::android("android-1")).await.expect_ok();
    // One tunnel for the message and one for the token endpoint: they are different hosts to a client.
    assert!((2..=3).contains(&proxy.tunnels()), "{} tunnels", proxy.tunnels());
}

#[tokio::test]
async fn a_forward_proxy_gets_the_credentials_it_asks_for() {
    let proxy = ForwardProxy::start(Some("canary-user:canary-p@ss")).await;
    let scene = scene_behind(&proxy, "canary-user:canary-p%40ss@").await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    scene.post(&Push::android("android-1")).await.expect_ok();
    assert_eq!(proxy.refused(), 0);
}

#[tokio::test]
async fn a_forward_proxy_that_refuses_the_credentials_is_named_as_the_cause() {
    let proxy = ForwardProxy::start(Some("canary-user:right")).await;
    let scene = scene_behind(&proxy, "canary-user:wrong@").await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_fail(200, "proxy");
    let answer = scene.post(&Push::android("android-1")).await;
    answer.expect_fail(200, "proxy");
    assert!(!answer.error.contains("canary"), "{answer:?}");
    assert!(proxy.refused() > 0);
}

/// Posts that many pushes at once and expects an OK for each.
async fn burst(scene: &Scene, phones: std::ops::Range<u32>) {
    let pushes: Vec<_> = phones.map(|phone| Push::apple(&apple_token(phone))).collect();
    for answer in join_all(pushes.iter().map(|push| scene.post(push))).await {
        answer.expect_ok();
    }
}

/// Every phone got exactly one push.
fn expect_one_each(scene: &Scene, phones: std::ops::Range<u32>) {
    for phone in phones {
        let got = scene.simulator.ledger().accepted_for(&apple_token(phone));
        assert_eq!(got.len(), 1, "phone {phone}");
    }
    assert!(scene.simulator.ledger().violations().is_empty(), "{:?}", scene.simulator.ledger().violations());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_burst_respects_the_one_stream_of_a_fresh_connection_and_loses_nothing() {
    let scene = Scene::usual().await;
    burst(&scene, 0..300).await;
    expect_one_each(&scene, 0..300);
    assert_eq!(scene.simulator.ledger().counts().refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn goaway_in_mid_flight_neither_loses_nor_doubles_a_push() {
    for kind in [GoAway::Before, GoAway::After, GoAway::Graceful] {
        let scene = Scene::usual().await;
        // Three of them, in the midst of the burst.
        for after in [40, 90, 160] {
            let fault = Fault::new(Action::GoAway(kind)).on(Provider::Apns).after(after).times(1);
            scene.simulator.faults().add(fault).unwrap();
        }
        burst(&scene, 0..300).await;
        expect_one_each(&scene, 0..300);
        assert_eq!(scene.simulator.ledger().counts().repeats, 0, "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_streams_go_elsewhere_at_once() {
    let scene = Scene::usual().await;
    let fault = Fault::new(Action::Reset(Reset::Refused)).on(Provider::Apns).after(10).times(8);
    scene.simulator.faults().add(fault).unwrap();
    burst(&scene, 0..100).await;
    expect_one_each(&scene, 0..100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_mid_flight_costs_no_push() {
    let scene = Scene::usual().await;
    let fault = Fault::new(Action::Reset(Reset::Connection)).on(Provider::Apns).after(20).times(1);
    scene.simulator.faults().add(fault).unwrap();
    burst(&scene, 0..100).await;
    for phone in 0..100 {
        assert!(!scene.simulator.ledger().accepted_for(&apple_token(phone)).is_empty(), "phone {phone}");
    }
}

#[tokio::test]
async fn a_push_whose_answer_was_lost_is_repeated_under_the_same_apns_id() {
    let scene = Scene::usual().await;
    let fault = Fault::new(Action::Reset(Reset::AnswerLost)).on(Provider::Apns).times(1);
    scene.simulator.faults().add(fault).unwrap();
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    let accepted = scene.simulator.ledger().accepted();
    assert_eq!(accepted.len(), 2);
    assert_eq!(accepted[0].id, accepted[1].id, "the repeat can be recognised");
    assert!(accepted[1].repeat);
}

#[tokio::test]
async fn a_stalled_stream_is_given_up_after_the_attempt_timeout_and_tried_again() {
    let delivery = "[delivery]\nattempt_timeout = \"200ms\"\nfirst_pause = \"1ms\"";
    let scene = Scene::new(Plan { tables: delivery.into(), ..Plan::default() }).await;
    scene.simulator.faults().add(Fault::new(Action::Stall(Stall::Stream)).on(Provider::Apns).times(1)).unwrap();
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    scene.simulator.faults().add(Fault::new(Action::Stall(Stall::Stream)).on(Provider::Apns).times(3)).unwrap();
    scene.post(&Push::apple(&apple_token(2))).await.expect_fail(200, "timeout");
    scene.post(&Push::apple(&apple_token(3))).await.expect_ok();
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_a_fail_with_the_cause_and_shows_in_readyz() {
    let scene = Scene::new(Plan {
        // Nobody listens on port 9 of the loopback.
        tables: "[[target]]\nname = \"apple_gone\"\nprovider = \"apns\"\ntopic = \"com.example.gone\"\n\
                 endpoint = \"https://127.0.0.1:9\"\nkey_file = \"AuthKey.p8\"\nkey_id = \"ABCDEFGHIJ\"\nteam_id = \"ABCDEFGHIJ\""
            .into(),
        ..Plan::default()
    })
    .await;
    let push = || Push::apple(&apple_token(1)).with("platform", "apple_gone");
    for _ in 0..2 {
        scene.post(&push()).await.expect_fail(200, "connect");
    }
    let (status, detail) = scene.ready().await;
    assert_eq!(status, 200, "the other targets deliver");
    let gone = detail["targets"].as_array().unwrap().iter().find(|target| target["name"] == "apple_gone").unwrap();
    assert!(gone["problem"].as_str().unwrap().contains("connect"), "{gone}");
}
