//! What reaches the phone's provider, and what the chat server is told.

use serde_json::json;

use pushrelay::clock::Clock;

use crate::support::push::apple_token;
use crate::support::{Plan, Push, Scene};

#[tokio::test]
async fn a_signed_message_reaches_apple_with_the_headers_and_the_payload_of_the_app() {
    let scene = Scene::new(Plan { clock: Some(Clock::manual(1_800_000_000)), ..Plan::default() }).await;
    let push = Push::apple(&apple_token(7)).with("message", "hello :wave:");
    scene.post(&push).await.expect_ok();

    let accepted = scene.simulator.ledger().accepted();
    let [one] = accepted.as_slice() else { panic!("one push: {accepted:?}") };
    assert_eq!(one.header("apns-topic"), Some("com.example.chat"));
    assert_eq!(one.header("apns-push-type"), Some("alert"));
    assert_eq!(one.header("apns-priority"), Some("10"));
    assert_eq!(one.header("apns-expiration"), Some("1800014400"), "a message is of use for four hours");
    assert_eq!(one.header("apns-collapse-id"), None);
    assert_eq!(one.device_token, apple_token(7));
    let payload = one.payload();
    assert_eq!(payload["aps"]["alert"], json!({"title": "canary-channel", "body": "hello 👋 "}));
    assert_eq!(payload["aps"]["thread-id"], "channel-1");
    assert_eq!(payload["aps"]["badge"], 3);
    assert_eq!(payload["ack_id"], push.text("ack_id"));
    assert_eq!(payload["signature"].as_str().unwrap().split('.').count(), 3, "the phone checks it too");
    assert!(scene.simulator.ledger().violations().is_empty());
}

#[tokio::test]
async fn a_signed_message_reaches_google_as_a_data_message() {
    let scene = Scene::usual().await;
    scene.post(&Push::android("android-7")).await.expect_ok();

    let accepted = scene.simulator.ledger().accepted();
    let [one] = accepted.as_slice() else { panic!("one push: {accepted:?}") };
    let message = &one.payload()["message"];
    assert_eq!(one.header("x-goog-api-format-version"), Some("2"), "or errors may come without their details");
    assert_eq!(message["token"], "android-7");
    assert_eq!(message["android"], json!({"priority": "high", "ttl": "14400s"}));
    assert_eq!(message["data"]["message"], "canary-text says hello");
    assert_eq!(message["data"]["is_crt_enabled"], "false");
    assert_eq!(message["data"]["badge"], "3");
}

#[tokio::test]
async fn a_call_takes_the_voip_topic() {
    let scene = Scene::usual().await;
    let push = Push::apple(&apple_token(1)).with("transport", "voip").with("sub_type", "calls");
    scene.post(&push).await.expect_ok();
    let accepted = scene.simulator.ledger().accepted();
    assert_eq!(accepted[0].header("apns-topic"), Some("com.example.chat.voip"));
    assert_eq!(accepted[0].header("apns-push-type"), Some("voip"));
}

#[tokio::test]
async fn a_session_wipe_without_a_text_is_a_silent_push() {
    let scene = Scene::usual().await;
    scene.post(&Push::apple(&apple_token(1)).with("type", "session").with("message", "")).await.expect_ok();
    let accepted = scene.simulator.ledger().accepted();
    assert_eq!(accepted[0].header("apns-push-type"), Some("background"));
    assert_eq!(accepted[0].header("apns-priority"), Some("5"));
}

#[tokio::test]
async fn the_longest_post_that_a_mattermost_server_sends_arrives_cut_however_it_is_written() {
    let scene = Scene::usual().await;
    // The most that a post may have; each character is four bytes in UTF-8 and twelve escaped.
    let post = "𝕏".repeat(16_383);
    let escaped = |push: &Push| push.body(&scene.key).to_string().replace('𝕏', r"\ud835\udd4f");
    for (number, platform) in ["apple", "android"].into_iter().enumerate() {
        let push = |number: usize| match platform {
            "apple" => Push::apple(&apple_token(u32::try_from(number).unwrap())),
            _ => Push::android(&format!("android:{number}")),
        };
        let plain = push(number).with("message", post.clone());
        scene.post(&plain).await.expect_ok();
        let body = escaped(&push(number + 10).with("message", post.clone()));
        assert!(body.len() > 190 * 1024, "{}", body.len());
        scene.post_body(body).await.expect_ok();
    }
    let accepted = scene.simulator.ledger().accepted();
    assert_eq!(accepted.len(), 4);
    for push in accepted {
        let said = push.payload().to_string();
        let shown = said.matches('𝕏').count();
        assert!((500..=512).contains(&shown), "2,047 bytes hold 511 of them: {shown}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_push_is_answered_with_200_and_a_reason_as_the_reference_does() {
    let scene = Scene::new(Plan { auth: "off", ..Plan::default() }).await;
    let table = [
        ("no body", "", "Failed to read message body"),
        ("no JSON", "hello", "Failed to read message body"),
        ("a list", "[]", "Failed to read message body"),
        ("a wrong type", r#"{"server_id": 1}"#, "Failed to read message body"),
        ("no server", r#"{"device_id": "d"}"#, "Failed because of missing server Id"),
        ("an empty server", r#"{"server_id": "", "device_id": "d"}"#, "Failed because of missing server Id"),
        ("no device", r#"{"server_id": "s"}"#, "Failed because of missing device Id serverId=s"),
        (
            "no platform",
            r#"{"server_id": "s", "device_id": "d"}"#,
            "Did not send message because of missing platform property type= serverId=s",
        ),
        (
            "a platform nobody configured",
            r#"{"server_id": "s", "device_id": "d", "platform": "windows-v3"}"#,
            "Did not send message because of missing platform property type=windows serverId=s",
        ),
    ];
    for (what, body, words) in table {
        let answer = scene.post_body(body).await;
        assert_eq!(answer.code, 200, "{what}");
        answer.expect_fail(200, words);
    }
    assert!((scene.metric("service_bad_request_total").await - 9.0).abs() < f64::EPSILON);
    assert!(scene.simulator.ledger().accepted().is_empty());
}

#[tokio::test]
async fn a_lenient_sender_is_understood() {
    let scene = Scene::new(Plan { auth: "off", ..Plan::default() }).await;
    let token = apple_token(9);
    let body = format!(
        r#"{{"SERVER_ID":"s","Device_Id":"{token}","platform":"apple_rn","type":"message","message":null,
            "badge":0,"unknown":{{"a":[1,2]}}}} trailing"#
    );
    scene.post_body(body).await.expect_ok();
    assert_eq!(scene.simulator.ledger().accepted()[0].device_token, token);
}

/// A browser that is led to an answer must not run what somebody has written into the question.
#[tokio::test]
async fn nothing_that_a_caller_writes_comes_back_as_a_page() {
    let scene = Scene::usual().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let markup = "<script>alert(1)</script>";
    let pushes = ["platform", "server_id", "type", "ack_id", "device_id", "signature"]
        .map(|field| Push::apple(&apple_token(1)).with(field, markup).body(&scene.key).to_string());
    let bodies = pushes.into_iter().chain([markup.to_owned(), format!(r#"{{"{markup}":"{markup}""#)]);
    for body in bodies {
        for path in ["/api/v1/send_push", "/api/v1/ack", "/v1/notifications", "/<script>", "/?<script>"] {
            let answer = client.post(format!("http://{}{path}", scene.relay)).body(body.clone()).send().await.unwrap();
            let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
            let nosniff = answer.headers().get("x-content-type-options").is_some_and(|value| value == "nosniff");
            let is_empty = answer.text().await.unwrap().is_empty();
            let is_inert = matches!(kind.as_deref(), Some("application/json" | "text/plain; charset=utf-8")) && nosniff;
            assert!(is_inert || is_empty, "{path} answers {body} as {kind:?}");
        }
    }
    for path in ["/", "/version", "/healthz", "/readyz", "/metrics", "/api/openapi.yaml", "/<script>"] {
        let answer = client.get(format!("http://{}{path}", scene.relay)).send().await.unwrap();
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        let is_page = answer.headers()["content-type"].to_str().unwrap().starts_with("text/html");
        assert_eq!(is_page, path == "/", "{path}");
        if is_page {
            assert_eq!(answer.headers()["content-security-policy"], "default-src 'none'");
        }
    }
}

#[tokio::test]
async fn a_receipt_from_a_phone_is_counted() {
    let scene = Scene::usual().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ack = async |body: &'static str| {
        let response = client.post(format!("http://{}/api/v1/ack", scene.relay)).body(body).send().await.unwrap();
        crate::support::Answer::read(response).await
    };
    ack(r#"{"id":"a","received_at":1,"platform":"ios","type":"message"}"#).await.expect_ok();
    ack(r#"{"platform":"ios","type":"message"}"#).await.expect_fail(200, "missing");
    ack("{").await.expect_fail(200, "Failed to read ack body");
}

#[tokio::test]
async fn the_metrics_have_the_names_that_dashboards_ask_for() {
    let scene = Scene::usual().await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    let labels = r#"{platform="apple",transport="",type="message"}"#;
    for name in ["service_notifications_total", "service_success_total", "service_success_with_ack_total"] {
        assert!((scene.metric(&format!("{name}{labels}")).await - 1.0).abs() < f64::EPSILON, "{name}");
    }
    for name in [
        "service_request_duration_seconds_count",
        "service_apns_request_duration_seconds_count",
        r#"service_notification_duration_seconds_count{platform="apple"}"#,
        r#"service_notifications_by_app_version_total{app_version="2",platform="apple"}"#,
    ] {
        assert!((scene.metric(name).await - 1.0).abs() < f64::EPSILON, "{name}");
    }
}

#[tokio::test]
async fn the_relay_is_ready_while_a_target_can_deliver() {
    let scene = Scene::usual().await;
    let (status, detail) = scene.ready().await;
    assert_eq!(status, 200, "{detail}");
    let names: Vec<_> = detail["targets"].as_array().unwrap().iter().map(|target| target["name"].clone()).collect();
    assert_eq!(names, ["android_rn", "apple_rn"]);
    assert_eq!(scene.get("/healthz").await.0, 200);
}

#[tokio::test]
async fn operators_can_have_an_address_of_their_own() {
    let scene = Scene::new(Plan { tables: "[ops]\nlisten = \"127.0.0.1:0\"".into(), ..Plan::default() }).await;
    assert_eq!(scene.get("/metrics").await.0, 404, "not where chat servers post to");
}

#[tokio::test]
async fn the_root_and_the_version_answer_probes() {
    let scene = Scene::usual().await;
    let (status, page) = scene.get("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("Push Proxy"), "{page}");
    let (status, version) = scene.get("/version").await;
    assert_eq!(status, 200);
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(scene.get("/nonsense").await.0, 404);
    assert_eq!(scene.get("/api/v1/send_push").await.0, 405);
}
