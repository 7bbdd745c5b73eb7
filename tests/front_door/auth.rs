//! Who may send: the three modes, and every way a request can be unsigned or wrongly signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pushrelay::admission::signing::SigningKey;
use pushrelay::notification::DeviceToken;

use super::support::{Plan, Push, Scene};
use crate::support::push::apple_token;

fn segment(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A signature by `key` for another push or another device than the one it is sent with.
fn signature_for(key: &SigningKey, ack_id: &str, token: &str) -> String {
    key.sign_push(ack_id, &DeviceToken::new(token).unwrap())
}

/// HMAC-SHA256 with the server's *public* key as the secret: the classic confusion of algorithms.
fn hmac_with_the_public_key(key: &SigningKey, ack_id: &str, token: &str) -> String {
    let input = format!(
        "{}.{}",
        segment(r#"{"alg":"HS256","typ":"JWT"}"#),
        segment(&format!(r#"{{"ack_id":"{ack_id}","device_id":"{token}"}}"#))
    );
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.public_base64().as_bytes());
    let tag = aws_lc_rs::hmac::sign(&secret, input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// Each way to be wrong: a name, the push, the words of the refusal and its metric label.
fn wrong_pushes(key: &SigningKey) -> Vec<(&'static str, Push, &'static str, &'static str)> {
    let token = apple_token(1);
    let push = || Push::apple(&token).with("ack_id", "ack-1");
    let none = format!(
        "{}.{}.",
        segment(r#"{"alg":"none"}"#),
        segment(&format!(r#"{{"ack_id":"ack-1","device_id":"{token}"}}"#))
    );
    vec![
        ("an unregistered server", push().with("server_id", "stranger"), "not registered", "unknown_server"),
        ("no signature", push().unsigned(), "not signed", "missing_signature"),
        ("the phone's placeholder", push().signed_as("NO_SIGNATURE"), "cannot be read", "malformed_signature"),
        ("garbage", push().signed_as("a.b.c"), "cannot be read", "malformed_signature"),
        ("alg none", push().signed_as(none), "not ES256", "wrong_algorithm"),
        (
            "HS256 with the public key",
            push().signed_as(hmac_with_the_public_key(key, "ack-1", &token)),
            "not ES256",
            "wrong_algorithm",
        ),
        (
            "another server's key",
            push().signed_as(signature_for(&SigningKey::generate(), "ack-1", &token)),
            "none of the keys",
            "wrong_key",
        ),
        ("another push", push().signed_as(signature_for(key, "ack-2", &token)), "another push", "ack_id_mismatch"),
        (
            "another device",
            push().signed_as(signature_for(key, "ack-1", &apple_token(2))),
            "another device",
            "device_id_mismatch",
        ),
    ]
}

#[tokio::test]
async fn required_sends_what_is_rightly_signed_and_nothing_else() {
    let scene = Scene::usual().await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    scene.post(&Push::android("android-1")).await.expect_ok();
    let sent = scene.simulator.ledger().accepted().len();

    for (what, push, words, label) in wrong_pushes(&scene.key) {
        let before = scene.metric(&format!("pushrelay_refusals_total{{reason=\"{label}\"}}")).await;
        let answer = scene.post(&push).await;
        answer.expect_fail(401, words);
        let after = scene.metric(&format!("pushrelay_refusals_total{{reason=\"{label}\"}}")).await;
        assert!((after - before - 1.0).abs() < f64::EPSILON, "{what} is counted as {label}");
    }
    assert_eq!(scene.simulator.ledger().accepted().len(), sent, "nothing refused reached a provider");
}

#[tokio::test]
async fn observe_sends_everything_and_counts_what_required_would_refuse() {
    let scene = Scene::new(Plan { auth: "observe", ..Plan::default() }).await;
    for (what, push, _, label) in wrong_pushes(&scene.key) {
        let before = scene.metric(&format!("pushrelay_observed_refusals_total{{reason=\"{label}\"}}")).await;
        let answer = scene.post(&push).await;
        assert_eq!(answer.status, "OK", "{what}: {answer:?}");
        let after = scene.metric(&format!("pushrelay_observed_refusals_total{{reason=\"{label}\"}}")).await;
        assert!((after - before - 1.0).abs() < f64::EPSILON, "{what} is counted as {label}");
    }
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
}

#[tokio::test]
async fn off_sends_everything_unasked() {
    let scene = Scene::new(Plan { auth: "off", ..Plan::default() }).await;
    for (what, push, _, _) in wrong_pushes(&scene.key) {
        let answer = scene.post(&push).await;
        assert_eq!(answer.status, "OK", "{what}: {answer:?}");
    }
    let (_, metrics) = scene.get("/metrics").await;
    assert!(!metrics.contains("pushrelay_refusals_total{"), "nothing was checked");
}

fn test_push() -> Push {
    Push::apple(&apple_token(1)).with("type", "test").with("badge", -1).with("ack_id", "").unsigned()
}

#[tokio::test]
async fn an_unsigned_test_push_passes_from_a_registered_server_but_not_in_a_flood() {
    let scene = Scene::new(Plan { auth_keys: "unsigned_tests_per_minute = 3", ..Plan::default() }).await;
    for _ in 0..3 {
        scene.post(&test_push()).await.expect_ok();
    }
    scene.post(&test_push()).await.expect_fail(429, "too many unsigned test pushes");
    scene.post(&test_push().with("server_id", "stranger")).await.expect_fail(401, "not registered");
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
}

#[tokio::test]
async fn an_unsigned_test_push_that_would_show_a_text_or_ring_needs_a_signature() {
    let scene = Scene::new(Plan::default()).await;
    for push in [test_push().with("is_id_loaded", true), test_push().with("transport", "voip")] {
        scene.post(&push).await.expect_fail(401, "not signed");
    }
    scene.post(&test_push()).await.expect_ok();
}

#[tokio::test]
async fn unsigned_test_pushes_can_be_forbidden() {
    let scene = Scene::new(Plan { auth_keys: "allow_unsigned_test = false", ..Plan::default() }).await;
    scene.post(&test_push()).await.expect_fail(401, "auth.allow_unsigned_test");
}

#[tokio::test]
async fn a_device_gets_only_so_much_at_once() {
    let scene = Scene::new(Plan { auth_keys: "device_per_minute = 1\ndevice_burst = 2", ..Plan::default() }).await;
    for _ in 0..2 {
        scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    }
    scene.post(&Push::apple(&apple_token(1))).await.expect_fail(429, "too many notifications for one device");
    scene.post(&Push::apple(&apple_token(2))).await.expect_ok();
    assert_eq!(scene.simulator.ledger().accepted().len(), 3);
}

#[tokio::test]
async fn an_address_is_turned_away_after_too_many_refusals_and_another_one_is_not() {
    let scene = Scene::new(Plan {
        auth_keys: "refusals_per_minute = 2",
        tables: "[client_ip]\ntrusted_proxies = [\"127.0.0.1\"]".to_owned(),
        ..Plan::default()
    })
    .await;
    let post = async |address: &str, push: &Push| {
        let url = format!("http://{}/api/v1/send_push", scene.relay);
        let request = reqwest::Client::new().post(url).header("x-forwarded-for", address);
        request.body(push.body(&scene.key).to_string()).send().await.unwrap()
    };
    let (good, bad) = (Push::apple(&apple_token(1)), Push::apple(&apple_token(1)).unsigned());
    for status in [401, 401, 429] {
        assert_eq!(post("192.0.2.1", &bad).await.status(), status);
    }
    let answer = post("192.0.2.1", &good).await;
    assert_eq!(answer.status(), 429);
    let seconds: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}: two a minute");
    assert_eq!(post("192.0.2.2", &good).await.status(), 200);
    assert!((scene.metric("pushrelay_refusals_total{reason=\"address_rate\"}").await - 2.0).abs() < f64::EPSILON);
}
