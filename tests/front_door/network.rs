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

const BOTH: [Provider; 2] = [Provider::Apns, Provider::Fcm];

fn token(provider: Provider, phone: u32) -> String {
    if provider == Provider::Apns { apple_token(phone) } else { format!("android-{phone}") }
}

fn push(provider: Provider, phone: u32) -> Push {
    let token = token(provider, phone);
    if provider == Provider::Apns { Push::apple(&token) } else { Push::android(&token) }
}

/// Posts that many pushes at once and expects an OK for each.
async fn burst(scene: &Scene, provider: Provider, phones: std::ops::Range<u32>) {
    let pushes: Vec<_> = phones.map(|phone| push(provider, phone)).collect();
    for answer in join_all(pushes.iter().map(|push| scene.post(push))).await {
        answer.expect_ok();
    }
}

/// Every phone got exactly one push.
fn expect_one_each(scene: &Scene, provider: Provider, phones: std::ops::Range<u32>) {
    for phone in phones {
        let got = scene.simulator.ledger().accepted_for(&token(provider, phone));
        assert_eq!(got.len(), 1, "phone {phone} of {provider:?}");
    }
    assert!(scene.simulator.ledger().violations().is_empty(), "{:?}", scene.simulator.ledger().violations());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_burst_respects_the_streams_of_a_fresh_connection_and_loses_nothing() {
    let scene = Scene::usual().await;
    for provider in BOTH {
        burst(&scene, provider, 0..300).await;
        expect_one_each(&scene, provider, 0..300);
    }
    assert_eq!(scene.simulator.ledger().counts().refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn goaway_in_mid_flight_neither_loses_nor_doubles_a_push() {
    for provider in BOTH {
        for kind in [GoAway::Before, GoAway::After, GoAway::Graceful] {
            let scene = Scene::usual().await;
            // Three of them, in the midst of the burst.
            for after in [40, 90, 160] {
                let fault = Fault::new(Action::GoAway(kind)).on(provider).after(after).times(1);
                scene.simulator.faults().add(fault).unwrap();
            }
            burst(&scene, provider, 0..300).await;
            expect_one_each(&scene, provider, 0..300);
            assert_eq!(scene.simulator.ledger().counts().repeats, 0, "{provider:?} {kind:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_streams_go_elsewhere_at_once() {
    let scene = Scene::usual().await;
    for provider in BOTH {
        let fault = Fault::new(Action::Reset(Reset::Refused)).on(provider).after(10).times(8);
        scene.simulator.faults().add(fault).unwrap();
        burst(&scene, provider, 0..100).await;
        expect_one_each(&scene, provider, 0..100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_mid_flight_costs_no_push() {
    let scene = Scene::usual().await;
    for provider in BOTH {
        let fault = Fault::new(Action::Reset(Reset::Connection)).on(provider).after(20).times(1);
        scene.simulator.faults().add(fault).unwrap();
        burst(&scene, provider, 0..100).await;
        for phone in 0..100 {
            let got = scene.simulator.ledger().accepted_for(&token(provider, phone));
            assert!(!got.is_empty(), "phone {phone} of {provider:?}");
        }
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
async fn a_stream_that_stalls_on_a_connection_that_is_well_is_waited_for_as_long_as_the_caller_waits() {
    let delivery = "[delivery]\nattempt_timeout = \"200ms\"\ndeadline = \"1s\"\nfirst_pause = \"1ms\"";
    let scene = Scene::new(Plan { tables: delivery.into(), ..Plan::default() }).await;
    let begun = std::time::Instant::now();
    scene.simulator.faults().add(Fault::new(Action::Stall(Stall::Stream)).times(1)).unwrap();
    scene.post(&Push::apple(&apple_token(1))).await.expect_fail(200, "timeout");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
    scene.post(&Push::apple(&apple_token(2))).await.expect_ok();
    let counts = scene.simulator.ledger().counts();
    assert_eq!((counts.accepted, counts.repeats), (1, 0));
}

/// Slower than an attempt may take to be sent, and quick enough for the caller.
#[tokio::test]
async fn a_provider_that_is_slow_but_there_wakes_each_phone_once_and_its_late_answer_counts() {
    let delivery = "[delivery]\nattempt_timeout = \"200ms\"\nfirst_pause = \"1ms\"";
    let scene = Scene::new(Plan { tables: delivery.into(), ..Plan::default() }).await;
    // What goes before it connects and fetches a token.
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    scene.post(&Push::android("android-1")).await.expect_ok();
    let slow = Action::Latency(std::time::Duration::from_millis(1_000));
    for provider in BOTH {
        scene.simulator.faults().add(Fault::new(slow.clone()).on(provider).times(3)).unwrap();
    }
    let (apple, android) = (Push::apple(&apple_token(2)), Push::android("android-2"));
    let (at_apple, at_google) = tokio::join!(scene.post(&apple), scene.post(&android));
    at_apple.expect_ok();
    at_google.expect_ok();
    let counts = scene.simulator.ledger().counts();
    assert_eq!((counts.accepted, counts.repeats), (4, 0));
    scene.expect_metric(r#"pushrelay_breaker_state{target="apple_rn"}"#, 0.0).await;
}

#[tokio::test]
async fn connections_that_swallow_requests_are_left_at_google_as_at_apple() {
    let scene =
        Scene::new(Plan { apple: "connections = 1".into(), android: "connections = 1".into(), ..Plan::default() })
            .await;
    for provider in BOTH {
        for phone in 0..4 {
            scene.post(&push(provider, phone)).await.expect_ok();
        }
        scene.simulator.faults().add(Fault::new(Action::Stall(Stall::Connection)).on(provider).times(1)).unwrap();
    }
    let pushes: Vec<_> = BOTH.iter().flat_map(|one| (100..116).map(|phone| push(*one, phone))).collect();
    for answer in join_all(pushes.iter().map(|push| scene.post(push))).await {
        answer.expect_ok();
    }
    assert_eq!(scene.simulator.ledger().counts().repeats, 0);
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
