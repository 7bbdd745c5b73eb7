//! `compatibility = "strict"`, and what only a configuration of the reference can ask for.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join;
use futures_util::stream;
use pushrelay::config::Settings;
use pushrelay::notification::{Compatibility, Platform, TargetName};
use pushrelay::sender::{LeftOut, ProviderSettings, TargetSettings};
use pushrelay::simulator::{Action, Fault, Provider, Reset};
use serde_json::json;

use crate::support::push::apple_token;
use crate::support::{Plan, Push, Reference, Scene};

fn in_the_references_place(settings: &mut Settings) {
    settings.compatibility = Compatibility::Strict;
    settings.tolerate_broken_targets = true;
    settings.memory = None;
    settings.breaker.failures = 0;
    settings.removal_guard = None;
    for target in &mut settings.targets {
        target.compatibility = Compatibility::Strict;
    }
}

async fn strict_scene() -> Scene {
    Scene::new(Plan { auth: "off", settings: Some(Box::new(in_the_references_place)), ..Plan::default() }).await
}

/// The body as it is.
async fn raw(scene: &Scene, push: &Push) -> String {
    let url = format!("http://{}/api/v1/send_push", scene.relay);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.post(url).body(push.body(&scene.key).to_string()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    response.text().await.unwrap()
}

#[tokio::test]
async fn each_end_of_a_push_is_told_and_counted_as_the_reference_does() {
    let scene = strict_scene().await;
    // Each with an id of its own: a repeat would be answered from memory.
    let (apple, android) = (|| Push::apple(&apple_token(1)), || Push::android("android-1"));
    assert_eq!(raw(&scene, &apple()).await, "{\"status\":\"OK\"}\n");
    assert_eq!(raw(&scene, &android()).await, "{\"status\":\"OK\"}\n");

    let answer = |status, reason| Fault::answer(status, reason);
    let reset = Fault::new(Action::Reset(Reset::Stream));
    let failed = |text: &str| format!("{{\"error\":\"{text}\",\"status\":\"FAIL\"}}\n");
    // What the provider does; the answer, the reason counted as a failure, and the reason of each attempt.
    let table = [
        (
            Provider::Apns,
            answer(410, "Unregistered"),
            "{\"status\":\"REMOVE\"}\n".to_owned(),
            "Unregistered",
            "Unregistered",
        ),
        (Provider::Apns, reset, failed("unknown transport error"), "RequestError", "stream_reset"),
        (
            Provider::Apns,
            answer(503, "ServiceUnavailable"),
            failed("unknown send response error"),
            "ServiceUnavailable",
            "ServiceUnavailable",
        ),
        (Provider::Apns, answer(400, "BadTopic"), failed("unknown send response error"), "BadTopic", "BadTopic"),
        (
            Provider::Apns,
            answer(413, "PayloadTooLarge"),
            failed("unknown send response error"),
            "PayloadTooLarge",
            "PayloadTooLarge",
        ),
        (
            Provider::Fcm,
            answer(400, "INVALID_ARGUMENT"),
            failed("INVALID_ARGUMENT: FCM refused this notification (INVALID_ARGUMENT)"),
            "INVALID_ARGUMENT",
            "INVALID_ARGUMENT",
        ),
    ];
    for (provider, fault, body, counted, attempted) in table {
        scene.simulator.faults().add(fault.on(provider)).unwrap();
        let (push, platform, target) = match provider {
            Provider::Apns => (apple(), "apple", "apple_rn"),
            _ => (android(), "android", "android_rn"),
        };
        assert_eq!(raw(&scene, &push).await, body);
        scene.simulator.faults().clear();
        let failures = format!(
            "service_failure_with_reason_total{{platform=\"{platform}\",reason=\"{counted}\",transport=\"\",type=\"message\"}}"
        );
        assert!((scene.metric(&failures).await - 1.0).abs() < f64::EPSILON, "{failures}");
        let attempts = format!("pushrelay_attempt_reasons_total{{reason=\"{attempted}\",target=\"{target}\"}}");
        assert!(scene.metric(&attempts).await >= 1.0, "{attempts}");
    }
}

#[tokio::test]
async fn a_long_platform_is_quoted_whole() {
    let scene = strict_scene().await;
    let platform = "x".repeat(100);
    let expected = format!(
        "{{\"error\":\"Did not send message because of missing platform property type={platform} serverId=chat-1\",\"status\":\"FAIL\"}}\n"
    );
    assert_eq!(raw(&scene, &Push::apple("d").with("platform", platform)).await, expected);
}

/// A target like this one that cannot be set up.
fn broken(target: &TargetSettings, name: &str) -> TargetSettings {
    let mut target = TargetSettings { name: TargetName::new(name), ..target.clone() };
    if let ProviderSettings::Apns(apns) = &mut target.provider {
        apns.topic = String::new();
    }
    target
}

#[tokio::test]
async fn a_target_that_could_not_be_set_up_is_left_out_and_the_others_deliver() {
    let leave_two_out = |settings: &mut Settings| {
        in_the_references_place(settings);
        let apple = settings.targets.iter().find(|target| target.name.as_str() == "apple_rn").unwrap();
        let no_topic = broken(apple, "apple_rnbeta");
        settings.targets.push(no_topic);
        settings.left_out.push(LeftOut {
            name: TargetName::new("android"),
            platform: Platform::Android,
            problem: "no such file".to_owned(),
        });
    };
    let scene = Scene::new(Plan { auth: "off", settings: Some(Box::new(leave_two_out)), ..Plan::default() }).await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();

    for name in ["apple_rnbeta", "android"] {
        let answer = scene.post(&Push::apple("d").with("platform", format!("{name}-v2"))).await;
        let text = format!("Did not send message because of missing platform property type={name} serverId=chat-1");
        assert_eq!((answer.code, answer.error), (200, text));
        let ready = format!("pushrelay_target_ready{{target=\"{name}\"}}");
        let (_, metrics) = scene.get("/metrics").await;
        assert!(metrics.lines().any(|line| line == format!("{ready} 0")), "{ready}");
    }
    assert!((scene.metric("service_bad_request_total").await - 2.0).abs() < f64::EPSILON);

    let (status, report) = scene.ready().await;
    assert_eq!((status, &report["status"]), (503, &json!("a target could not be set up")));
    let targets = report["targets"].as_array().unwrap();
    let ready: Vec<_> = targets.iter().map(|target| (&target["name"], &target["ready"])).collect();
    let expected = [
        (&json!("android"), &json!(false)),
        (&json!("android_rn"), &json!(true)),
        (&json!("apple_rn"), &json!(true)),
        (&json!("apple_rnbeta"), &json!(false)),
    ];
    assert_eq!(ready, expected);
    assert_eq!(
        targets[0],
        json!({"name": "android", "platform": "android", "ready": false,
               "problem": "could not be set up; an error line in the log says why"})
    );
    assert_eq!(targets[3]["problem"], targets[0]["problem"]);
}

#[tokio::test]
async fn a_relay_without_any_target_runs_if_the_reference_would() {
    let break_all = |settings: &mut Settings| {
        in_the_references_place(settings);
        let all = std::mem::take(&mut settings.targets);
        settings.targets = all
            .iter()
            .filter(|target| target.name.as_str() == "apple_rn")
            .map(|target| broken(target, "apple_rn"))
            .collect();
    };
    let scene = Scene::new(Plan { auth: "off", settings: Some(Box::new(break_all)), ..Plan::default() }).await;
    scene.post(&Push::apple("d")).await.expect_fail(200, "missing platform property type=apple_rn");
    assert_eq!(scene.ready().await.0, 503);
    assert_eq!(scene.get("/healthz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttle_per_sec_of_the_references_file_turns_nobody_away() {
    let with = async |per_second: u32| {
        let keys = vec![
            ("ThrottlePerSec", json!(per_second)),
            ("ThrottleMemoryStoreSize", json!(50_000)),
            ("ThrottleVaryByHeader", json!("X-Forwarded-For")),
        ];
        let reference = Some(Reference { keys, ..Reference::default() });
        let scene = Scene::new(Plan { reference, ..Plan::default() }).await;
        let slow = Fault::new(Action::Latency(Duration::from_millis(50))).on(Provider::Apns);
        scene.simulator.faults().add(slow).unwrap();
        let posts = stream::iter(0..2_400).map(async |phone| scene.post(&Push::apple(&apple_token(phone))).await);
        let codes: Vec<_> = posts.buffer_unordered(32).map(|answer| (answer.code, answer.status)).collect().await;
        let refused: Vec<_> = codes.iter().filter(|(code, status)| (*code, status.as_str()) != (200, "OK")).collect();
        assert!(codes.len() == 2_400 && refused.is_empty(), "{} were refused: {:?}", refused.len(), refused[0]);
    };
    join(with(300), with(1)).await;
}
