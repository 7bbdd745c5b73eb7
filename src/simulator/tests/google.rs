//! What Google's stand-in grants, accepts and complains about.

use http::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{CREDENTIALS, Client, NOW, Reply, Stage, connect_tls, http1};
use crate::simulator::{Credentials, FCM_TOKENS, Fault, FcmAccount, Provider, ProviderKey, TokenOutcome};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

fn claims(stage: &Stage) -> Value {
    json!({
        "iss": "push@example-chat.iam.gserviceaccount.com",
        "aud": stage.simulator.token_uri(),
        "scope": SCOPE,
        "iat": NOW,
        "exp": NOW + 3_600,
    })
}

fn assertion(claims: &Value, credentials: &Credentials) -> String {
    let account: Value = serde_json::from_str(&credentials.service_account_json("")).unwrap();
    let key = EncodingKey::from_rsa_pem(account["private_key"].as_str().unwrap().as_bytes()).unwrap();
    let kid = account["private_key_id"].as_str().map(str::to_owned);
    jsonwebtoken::encode(&Header { kid, ..Header::new(Algorithm::RS256) }, claims, &key).unwrap()
}

fn form(assertion: &str) -> String {
    format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}")
}

async fn ask(client: &mut Client, form: String) -> Reply {
    let request = Request::post("https://localhost/token").header("content-type", "application/x-www-form-urlencoded");
    client.exchange(request.body(()).unwrap(), form).await.unwrap()
}

async fn granted(stage: &Stage, client: &mut Client) -> String {
    let reply = ask(client, form(&assertion(&claims(stage), &CREDENTIALS))).await;
    reply.body["access_token"].as_str().expect("a token").to_owned()
}

async fn send(client: &mut Client, token: &str, project: &str, body: &Value) -> Reply {
    let uri = format!("https://localhost/v1/projects/{project}/messages:send");
    let request = Request::post(uri).header("authorization", format!("Bearer {token}")).body(()).unwrap();
    client.exchange(request, body.to_string()).await.unwrap()
}

fn message() -> Value {
    json!({"message": {"token": "phone-1", "data": {"message": "hello"}, "android": {"priority": "high"}}})
}

#[tokio::test]
async fn an_assertion_buys_a_token_and_the_token_sends() {
    let stage = Stage::set().await;
    let mut client = stage.fcm().await;
    let reply = ask(&mut client, form(&assertion(&claims(&stage), &CREDENTIALS))).await;
    assert_eq!(
        (reply.status, &reply.body["expires_in"], &reply.body["token_type"]),
        (200, &json!(3_599), &json!("Bearer"))
    );

    let token = reply.body["access_token"].as_str().unwrap();
    let reply = send(&mut client, token, "example-chat", &message()).await;
    assert_eq!(reply.status, 200);
    let name = reply.body["name"].as_str().unwrap();
    assert!(name.starts_with("projects/example-chat/messages/"), "{name}");

    let accepted = stage.simulator.ledger().accepted();
    assert_eq!((accepted[0].device_token.as_str(), accepted[0].id.as_str()), ("phone-1", name));
    assert_eq!(stage.simulator.ledger().counts().token_requests, 1);
}

#[tokio::test]
async fn every_defect_of_an_assertion_is_refused_in_googles_words() {
    let stage = Stage::set().await;
    let changed = |field: &str, value: Value| {
        let mut claims = claims(&stage);
        claims[field] = value;
        form(&assertion(&claims, &CREDENTIALS))
    };
    let stranger = Credentials::generate().unwrap();
    let cases = [
        ("another grant type", "grant_type=password".to_owned(), "unsupported_grant_type"),
        ("no assertion", form("").replace("&assertion=", ""), "invalid_request"),
        ("not a JWT", form("abc"), "invalid_grant"),
        ("another key", form(&assertion(&claims(&stage), &stranger)), "invalid_grant"),
        ("an unknown account", changed("iss", json!("who@example.com")), "invalid_grant"),
        ("another audience", changed("aud", json!("https://oauth2.googleapis.com/token")), "invalid_grant"),
        ("another scope", changed("scope", json!("email")), "invalid_scope"),
        ("too long a life", changed("exp", json!(NOW + 3_601)), "invalid_grant"),
        ("an end before the beginning", changed("exp", json!(NOW)), "invalid_grant"),
        ("from the future", changed("iat", json!(NOW + 301)), "invalid_grant"),
        ("no time", changed("iat", Value::Null), "invalid_grant"),
    ];
    let mut client = stage.fcm().await;
    let count = cases.len() as u64;
    for (defect, form, error) in cases {
        let reply = ask(&mut client, form).await;
        assert_eq!((reply.status, reply.body["error"].as_str()), (400, Some(error)), "{defect}");
        assert!(reply.body["error_description"].is_string(), "{defect}");
    }
    assert_eq!(stage.simulator.ledger().counts().token_requests, count);
    assert_eq!(stage.simulator.ledger().counts().refused, count);
}

#[tokio::test]
async fn an_assertion_of_yesterday_buys_nothing() {
    let stage = Stage::set().await;
    let old = form(&assertion(&claims(&stage), &CREDENTIALS));
    stage.advance(86_400);
    assert_eq!(ask(&mut stage.fcm().await, old).await.body["error"], "invalid_grant");
}

#[tokio::test]
async fn access_tokens_end_after_an_hour_or_when_revoked() {
    let stage = Stage::set().await;
    let mut client = stage.fcm().await;
    let token = granted(&stage, &mut client).await;
    stage.advance(3_598);
    assert_eq!(send(&mut client, &token, "example-chat", &message()).await.status, 200);
    stage.advance(1);
    let reply = send(&mut client, &token, "example-chat", &message()).await;
    assert_eq!((reply.status, &reply.body["error"]["status"]), (401, &json!("UNAUTHENTICATED")));

    let stage = Stage::set().await;
    let mut client = stage.fcm().await;
    let token = granted(&stage, &mut client).await;
    stage.simulator.revoke_access_tokens();
    assert_eq!(send(&mut client, &token, "example-chat", &message()).await.status, 401);
}

#[tokio::test]
async fn a_token_sends_to_its_own_project_only() {
    let stage = Stage::set_with(|settings| {
        let other = CREDENTIALS.service_account_json("").replace("example-chat", "other-chat");
        settings.accounts.push(FcmAccount::from_json(&other).unwrap());
    })
    .await;
    let mut client = stage.fcm().await;
    let token = granted(&stage, &mut client).await;
    let reply = send(&mut client, &token, "other-chat", &message()).await;
    assert_eq!((reply.status, &reply.body["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    let reply = send(&mut client, &token, "no-chat", &message()).await;
    assert_eq!((reply.status, &reply.body["error"]["status"]), (404, &json!("NOT_FOUND")));
    assert!(reply.body["error"]["details"].is_null(), "this 404 does not speak of a device");
}

#[tokio::test]
async fn every_defect_of_a_message_is_an_invalid_argument() {
    let with = |pointer: &str, value: Value| {
        let mut body = message();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = value;
        body
    };
    let sized = |bytes: usize| with("/message/data", json!({"k": "x".repeat(bytes - 1)}));
    let cases = [
        ("no message", json!({}), "not set"),
        ("a list", json!([]), "body"),
        ("an unknown field at the top", with("/extra", json!(1)), "Unknown name \"extra\""),
        ("an unknown field", with("/message/priority", json!("high")), "Unknown name \"priority\" at 'message'"),
        ("an unknown Android field", with("/message/android/loud", json!(1)), "at 'message.android'"),
        ("an unknown priority", with("/message/android/priority", json!("max")), "message.android.priority"),
        ("a lifetime without its unit", with("/message/android/ttl", json!("30")), "message.android.ttl"),
        ("a number in the data", with("/message/data", json!({"n": 1})), "message.data[0].value"),
        ("a list for data", with("/message/data", json!([])), "message.data"),
        ("the reserved key from", with("/message/data", json!({"from": ""})), "Invalid data payload key"),
        ("a reserved key of Google", with("/message/data", json!({"google.x": ""})), "Invalid data payload key"),
        ("a reserved key of GCM", with("/message/data", json!({"gcm.x": ""})), "Invalid data payload key"),
        ("4,097 bytes of data", sized(4_097), "too big"),
        ("no recipient", json!({"message": {}}), "Recipient"),
        ("an empty token", json!({"message": {"token": ""}}), "registration token"),
        ("two recipients", with("/message/topic", json!("news")), "Exactly one"),
        ("a number for a title", with("/message/notification", json!({"title": 1})), "message.notification.title"),
        ("a word for validate_only", with("/validate_only", json!("yes")), "validate_only"),
    ];
    let stage = Stage::set().await;
    let mut client = stage.fcm().await;
    let token = granted(&stage, &mut client).await;
    for (defect, body, text) in cases {
        let reply = send(&mut client, &token, "example-chat", &body).await;
        let error = &reply.body["error"];
        assert_eq!(
            (reply.status, &error["code"], &error["status"]),
            (400, &json!(400), &json!("INVALID_ARGUMENT")),
            "{defect}"
        );
        assert!(error["message"].as_str().unwrap().contains(text), "{defect}: {error}");
        let kind = error["details"][0]["@type"].as_str().unwrap();
        assert!(kind.ends_with("google.rpc.BadRequest") || kind.ends_with("google.firebase.fcm.v1.FcmError"), "{kind}");
    }
    for fine in [sized(4_096), with("/validate_only", json!(true)), with("/message/android/ttl", json!("3.5s"))] {
        assert_eq!(send(&mut client, &token, "example-chat", &fine).await.status, 200);
    }
}

#[tokio::test]
async fn a_message_with_a_wrong_token_or_none_is_unauthenticated() {
    let stage = Stage::set().await;
    let mut client = stage.fcm().await;
    let reply = send(&mut client, "guessed", "example-chat", &message()).await;
    assert_eq!((reply.status, &reply.body["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    assert!(reply.headers.contains_key("www-authenticate"));
    let request = Request::post("https://localhost/v1/projects/example-chat/messages:send").body(()).unwrap();
    assert_eq!(client.exchange(request, "{}").await.unwrap().status, 401);
    let elsewhere = Request::post("https://localhost/fcm/send").body(()).unwrap();
    assert_eq!(client.exchange(elsewhere, "{}").await.unwrap().status, 404);
}

#[tokio::test]
async fn the_same_message_again_is_recorded_as_a_repeat() {
    let stage = Stage::set().await;
    let mut client = stage.fcm().await;
    let token = granted(&stage, &mut client).await;
    for _ in 0..2 {
        send(&mut client, &token, "example-chat", &message()).await;
    }
    assert_eq!(stage.simulator.ledger().counts().repeats, 1);
}

#[tokio::test]
async fn every_documented_fcm_token_gets_its_answer() {
    let stage = Stage::set().await;
    let mut client = stage.fcm().await;
    let token = granted(&stage, &mut client).await;
    for row in FCM_TOKENS {
        let TokenOutcome::Refused(status, code, retry_after) = row.outcome else { continue };
        let body = json!({"message": {"token": format!("{}-1", row.prefix)}});
        let reply = send(&mut client, &token, "example-chat", &body).await;
        assert_eq!((reply.status, &reply.body["error"]["code"]), (status, &json!(status)), "{}", row.prefix);
        let detail = &reply.body["error"]["details"][0];
        if code.is_empty() {
            assert!(detail.is_null(), "{}", row.prefix);
        } else {
            assert_eq!(detail["@type"], "type.googleapis.com/google.firebase.fcm.v1.FcmError");
            assert_eq!(detail["errorCode"], code);
        }
        let header = reply.headers.get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
        assert_eq!(header, retry_after, "{}", row.prefix);
    }
    assert_eq!(stage.simulator.ledger().counts().accepted, 0);
}

#[tokio::test]
async fn the_token_endpoint_can_be_made_to_fail() {
    let stage = Stage::set().await;
    stage.simulator.faults().add(Fault::answer(503, "temporarily_unavailable").on(Provider::OAuth).times(1)).unwrap();
    let mut client = stage.fcm().await;
    let form = form(&assertion(&claims(&stage), &CREDENTIALS));
    let reply = ask(&mut client, form.clone()).await;
    assert_eq!((reply.status, &reply.body["error"]), (503, &json!("temporarily_unavailable")));
    assert_eq!(ask(&mut client, form).await.status, 200);
}

#[test]
fn generated_credentials_are_written_where_a_relay_finds_them() {
    let directory = tempfile::tempdir().unwrap();
    let files = CREDENTIALS.write_to(directory.path(), "https://localhost:1/token").unwrap();
    let account = std::fs::read_to_string(files.service_account).unwrap();
    assert_eq!(FcmAccount::from_json(&account).unwrap().project_id, CREDENTIALS.project_id);
    assert!(account.contains("https://localhost:1/token"));
    let p8 = std::fs::read_to_string(files.provider_key).unwrap();
    ProviderKey::from_p8(&CREDENTIALS.key_id, &CREDENTIALS.team_id, &p8).unwrap();
    assert_eq!(std::fs::read_to_string(files.authority).unwrap(), CREDENTIALS.authority_pem);
    assert!(CREDENTIALS.write_to(&directory.path().join("absent"), "").unwrap_err().to_string().contains("absent"));
}

#[tokio::test]
async fn http_1_1_works_as_well() {
    let stage = Stage::set().await;
    let address = stage.simulator.fcm_address();
    let form = form(&assertion(&claims(&stage), &CREDENTIALS));
    let request = format!(
        "POST /token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    let (head, body) = http1(connect_tls(address, None, &[b"http/1.1"]).await, &request).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let token = serde_json::from_str::<Value>(&body).unwrap()["access_token"].as_str().unwrap().to_owned();

    let send = |body: Value| {
        let body = body.to_string();
        format!(
            "POST /v1/projects/example-chat/messages:send HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let stream = connect_tls(address, None, &[b"http/1.1"]).await;
    assert!(http1(stream, &send(message())).await.0.starts_with("HTTP/1.1 200"));

    let stream = connect_tls(address, None, &[b"http/1.1"]).await;
    let (head, _) = http1(stream, &send(json!({"message": {"token": "fcm-disconnect"}}))).await;
    assert_eq!(head, "", "the connection ends without an answer");
    assert_eq!((stage.simulator.ledger().counts().accepted, stage.simulator.ledger().counts().unprocessed), (1, 1));
}
