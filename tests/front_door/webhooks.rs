//! Requests that are signed as a whole: Mattermost's from other chat servers, and the native API.

use pushrelay::admission::webhook::signing::{WebhookSigningKey, sign};
use pushrelay::clock::Clock;
use serde_json::{Value, json};

use crate::support::push::apple_token;
use crate::support::{Plan, Push, Scene};

/// The server that signs as a whole.
const BOT: &str = "bot-1";

/// A program with a key of its own, and a scene in which it is registered.
struct Program {
    key: WebhookSigningKey,
    scene: Scene,
}

impl Program {
    async fn with(key: WebhookSigningKey, auth: &'static str, limits: &str) -> Self {
        let text = key.relay_text();
        let server =
            format!("[[server]]\nid = \"{BOT}\"\nname = \"Bot\"\nwebhook_keys = [\"{}\"]\n{limits}\n", text.expose());
        let scene = Scene::new(Plan { auth, tables: server, ..Plan::default() }).await;
        Self { key, scene }
    }

    async fn usual() -> Self {
        Self::with(WebhookSigningKey::generate_symmetric(), "", "").await
    }

    /// The headers for a body, signed now.
    fn headers(&self, id: &str, body: &str) -> Vec<(&'static str, String)> {
        let now = Clock::System.unix_seconds();
        let signed = sign(std::slice::from_ref(&self.key), id, now, body.as_bytes()).unwrap();
        let sent = signed.as_sent();
        vec![
            ("pushrelay-server", BOT.to_owned()),
            ("webhook-id", sent.id.to_owned()),
            ("webhook-timestamp", sent.timestamp.to_owned()),
            ("webhook-signature", sent.signature.to_owned()),
        ]
    }

    async fn notify(&self, id: &str, message: &Value) -> (u16, Value) {
        let body = message.to_string();
        self.scene.post_with("/v1/notifications", &body, &self.headers(id, &body)).await
    }
}

fn alert(devices: &[String]) -> Value {
    json!({"target": "apple_rn", "devices": devices, "kind": "alert", "title": "t", "body": "canary"})
}

#[tokio::test]
async fn a_program_reaches_each_of_its_devices_whichever_way_it_signs() {
    for key in [WebhookSigningKey::generate_symmetric(), WebhookSigningKey::generate_ed25519()] {
        let program = Program::with(key, "", "").await;
        let devices: Vec<_> = (0..40).map(apple_token).chain([format!("dead0410{:056x}", 0)]).collect();
        let (code, answer) = program.notify("m-1", &alert(&devices)).await;
        assert_eq!(
            (code, &answer["counts"]),
            (200, &json!({"delivered": 40, "queued": 0, "unregistered": 1, "failed": 0})),
            "{answer}"
        );
        assert_eq!(answer["id"], "m-1", "the signature's id, where the message has none");
        assert_eq!(program.scene.simulator.ledger().accepted().len(), 40);
        assert!(!answer.to_string().contains(&devices[0]), "no token is repeated");

        // The same again, as a program does that had no answer.
        let (code, again) = program.notify("m-1", &alert(&devices)).await;
        assert_eq!((code, &again["counts"]), (200, &answer["counts"]));
        assert_eq!(program.scene.simulator.ledger().accepted().len(), 40, "no phone is woken again");
    }
}

#[tokio::test]
async fn a_phone_that_is_named_in_two_spellings_is_sent_to_once_and_answered_twice() {
    let program = Program::usual().await;
    let token = apple_token(0xabc);
    let (code, answer) = program.notify("m-1", &alert(&[token.to_uppercase(), token])).await;
    assert_eq!((code, &answer["counts"]["delivered"]), (200, &json!(2)), "{answer}");
    assert_eq!(program.scene.simulator.ledger().accepted().len(), 1);
}

#[tokio::test]
async fn each_way_not_to_be_a_registered_program_is_refused_before_the_body_is_read() {
    let program = Program::usual().await;
    let body = "no json, canary";
    let right = program.headers("m-1", body);
    let without = |name: &str| right.iter().filter(|(key, _)| *key != name).cloned().collect::<Vec<_>>();
    let with = |name: &'static str, value: &str| [without(name), vec![(name, value.to_owned())]].concat();
    let stranger = Program::usual().await.headers("m-1", body);
    for (what, headers, words) in [
        ("no header at all", vec![], "not signed"),
        ("no server", without("pushrelay-server"), "pushrelay-server is missing"),
        ("an unknown server", with("pushrelay-server", "stranger"), "not registered"),
        ("no id", without("webhook-id"), "webhook-id is missing"),
        ("no time", without("webhook-timestamp"), "webhook-timestamp is missing"),
        ("no signature", without("webhook-signature"), "webhook-signature is missing"),
        ("another id", with("webhook-id", "m-2"), "none of the keys"),
        ("another time", with("webhook-timestamp", "1"), "s old"),
        ("another key", stranger, "none of the keys"),
    ] {
        let (code, answer) = program.scene.post_with("/v1/notifications", body, &headers).await;
        let error = &answer["error"];
        assert_eq!((code, &error["code"]), (401, &json!("unauthorized")), "{what}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(words), "{what}: {answer}");
    }
    let (code, answer) = program.scene.post_with("/v1/notifications", "another body", &right).await;
    assert_eq!((code, &answer["error"]["code"]), (401, &json!("unauthorized")), "{answer}");
    // And what is wrong with a body, only its signer learns.
    let (code, answer) = program.scene.post_with("/v1/notifications", body, &right).await;
    assert_eq!((code, &answer["error"]["code"]), (400, &json!("not_json")), "{answer}");
}

#[tokio::test]
async fn the_native_api_is_signed_in_every_mode() {
    for auth in ["off", "observe", "required"] {
        let program = Program::with(WebhookSigningKey::generate_symmetric(), auth, "").await;
        let (code, _) = program.scene.post_with("/v1/notifications", &alert(&[apple_token(1)]).to_string(), &[]).await;
        assert_eq!(code, 401, "{auth}");
        assert_eq!(program.notify("m-1", &alert(&[apple_token(1)])).await.0, 200, "{auth}");
    }
}

#[tokio::test]
async fn a_program_has_the_limits_of_its_server() {
    let program = Program::with(WebhookSigningKey::generate_symmetric(), "", "targets = [\"android_rn\"]").await;
    let (code, answer) = program.notify("m-1", &alert(&[apple_token(1)])).await;
    assert_eq!((code, &answer["error"]["code"]), (403, &json!("forbidden")), "{answer}");

    let program = Program::with(WebhookSigningKey::generate_symmetric(), "", "daily_quota = 3").await;
    let (code, answer) = program.notify("m-1", &alert(&(0..5).map(apple_token).collect::<Vec<_>>())).await;
    assert_eq!(
        (code, &answer["counts"]),
        (200, &json!({"delivered": 3, "queued": 0, "unregistered": 0, "failed": 2})),
        "{answer}"
    );
    let failed = answer["results"].as_array().unwrap().iter().find(|result| result["status"] == "failed").unwrap();
    assert_eq!((&failed["reason"], &failed["retryable"]), (&json!("daily_quota"), &json!(true)));
}

#[tokio::test]
async fn another_chat_server_sends_mattermosts_request_with_a_signature_of_its_own() {
    let program = Program::usual().await;
    let push = |server: &str, n: u32| {
        let push = Push::apple(&apple_token(n)).with("server_id", server).unsigned();
        push.body(&program.scene.key).to_string()
    };
    let body = push(BOT, 1);
    let (code, answer) = program.scene.post_with("/api/v1/send_push", &body, &program.headers("m-1", &body)).await;
    assert_eq!((code, &answer["status"]), (200, &json!("OK")), "{answer}");

    let as_another = push("chat-1", 2);
    let headers = program.headers("m-2", &as_another);
    let (code, answer) = program.scene.post_with("/api/v1/send_push", &as_another, &headers).await;
    assert_eq!(code, 401, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("another server"), "{answer}");

    let (code, answer) = program.scene.post_with("/api/v1/send_push", &push(BOT, 3), &headers).await;
    assert_eq!(code, 401, "the signature is for another body: {answer}");
    assert_eq!(program.scene.simulator.ledger().accepted().len(), 1);
}
