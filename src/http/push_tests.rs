//! What a chat server sees. Checking and delivering are played by the test: they have tests of their own.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use http::Request;

use super::*;
use crate::http::testing::{self, Reply, Server};
use crate::http::{ACK, SEND_PUSH};

const PUSH: &str =
    r#"{"ack_id":"a","server_id":"s","device_id":"d","platform":"apple_rn-v2","type":"message","version":"v2"}"#;

struct Setup {
    server: Server,
    metrics: Arc<Metrics>,
}

/// A server whose deliveries all end like this.
async fn ending(with: Result<Outcome, Refusal>) -> Setup {
    ending_as(with, Compatibility::Improved).await
}

async fn ending_as(with: Result<Outcome, Refusal>, compatibility: Compatibility) -> Setup {
    let metrics = Arc::new(testing::metrics());
    let settings = crate::http::HttpSettings { max_body_bytes: 1024, ..testing::settings() };
    let gate = Arc::new(Gate::new(&settings, Arc::clone(&metrics)));
    let (push_gate, push_metrics) = (Arc::clone(&gate), Arc::clone(&metrics));
    let send_push = async move |request: Request<axum::body::Body>| {
        let claimed = Claimed { server: "", client: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST) };
        let deliver = |(), _| with.clone().map(|outcome| async { outcome });
        send(&push_gate, &push_metrics, compatibility, claimed, request.into_body(), |_| Ok(()), deliver).await
    };
    let ack_metrics = Arc::clone(&metrics);
    let receive = async move |request: Request<axum::body::Body>| {
        acknowledge(&gate, &ack_metrics, compatibility, request.into_body(), |_| None).await
    };
    let router = Router::new().route(SEND_PUSH, post(send_push)).route(ACK, post(receive));
    Setup { server: Server::start(router).await, metrics }
}

impl Setup {
    async fn push(&self, body: &str) -> Reply {
        self.server.ask(&testing::post(SEND_PUSH, body)).await
    }

    fn counted(&self, sample: &str) -> bool {
        self.metrics.render().lines().any(|line| line == sample)
    }
}

#[tokio::test]
async fn every_outcome_is_a_200_whose_body_says_what_became_of_it() {
    let cases = [
        (Outcome::Delivered, r#"{"status":"OK"}"#),
        (Outcome::Remove, r#"{"status":"REMOVE"}"#),
        (Outcome::Failed { text: "BadTopic".into() }, r#"{"status":"FAIL","error":"BadTopic"}"#),
    ];
    for (outcome, body) in cases {
        let setup = ending(Ok(outcome)).await;
        let reply = setup.push(PUSH).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, body));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("content-length"), Some(body.len().to_string().as_str()));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(setup.counted("service_request_duration_seconds_count 1"));
        assert!(setup.counted("service_bad_request_total 0"));
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_200_that_says_fail_and_is_counted() {
    for body in ["", "{", r#"{"server_id":"s"}"#, r#"{"device_id":"d"}"#] {
        let setup = ending(Ok(Outcome::Delivered)).await;
        let reply = setup.push(body).await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.starts_with(r#"{"status":"FAIL","error":""#), "{body:?} was answered {}", reply.body);
        assert!(setup.counted("service_bad_request_total 1"));
    }
}

#[tokio::test]
async fn who_may_not_send_is_answered_401_with_the_reason_and_counted() {
    let setup = ending(Err(Refusal::UnknownServer)).await;
    let reply = setup.push(PUSH).await;
    assert_eq!((reply.status, reply.header("retry-after")), (401, None));
    let expected = serde_json::json!({"status": "FAIL", "error": Refusal::UnknownServer.to_string()});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&reply.body).unwrap(), expected);
    assert!(setup.counted(&format!(r#"pushrelay_refusals_total{{reason="{}"}} 1"#, Refusal::UnknownServer.label())));
}

#[test]
fn who_sends_too_much_is_answered_429_and_told_when_to_come_again() {
    let answer = refused(Compatibility::Improved, Refusal::ServerRate { retry_after: 7 });
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[test]
fn who_is_known_and_may_not_is_answered_403() {
    let answer = refused(Compatibility::Improved, Refusal::ServerDisabled);
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(!answer.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn a_receipt_is_counted_and_answered_ok() {
    let setup = ending(Ok(Outcome::Delivered)).await;
    let receipt = r#"{"id":"a","received_at":1,"platform":"android","type":"message"}"#;
    let reply = setup.server.ask(&testing::post(ACK, receipt)).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":"OK"}"#));
    assert!(setup.counted(r#"service_delivered_total{platform="android",transport="",type="message"} 1"#));
    assert!(setup.counted("service_request_duration_seconds_count 1"));

    let reply = setup.server.ask(&testing::post(ACK, "{}")).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.starts_with(r#"{"status":"FAIL""#), "{}", reply.body);
    assert!(setup.counted("service_bad_request_total 1"));
    assert!(setup.counted("service_request_duration_seconds_count 2"), "one that says nothing took its time as well");
}

#[tokio::test]
async fn both_routes_take_only_posts() {
    let setup = ending(Ok(Outcome::Delivered)).await;
    for path in [SEND_PUSH, ACK] {
        let reply = setup.server.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!((reply.status, reply.body.as_str(), reply.header("allow")), (405, "", Some("post")));
    }
}

#[tokio::test]
async fn a_relay_that_follows_the_reference_answers_byte_for_byte_as_it() {
    let ok = || Ok(Outcome::Delivered);
    let large = format!(r#"{{"message":"{}"}}"#, "x".repeat(2_000));
    // Path, what delivering ends with, request; status and body.
    let table = [
        (SEND_PUSH, ok(), PUSH, 200, r#"{"status":"OK"}"#),
        (SEND_PUSH, Ok(Outcome::Remove), PUSH, 200, r#"{"status":"REMOVE"}"#),
        (
            SEND_PUSH,
            Ok(Outcome::Failed { text: "unknown transport error".into() }),
            PUSH,
            200,
            r#"{"error":"unknown transport error","status":"FAIL"}"#,
        ),
        (
            SEND_PUSH,
            ok(),
            r#"{"device_id":"d"}"#,
            200,
            r#"{"error":"Failed because of missing server Id","status":"FAIL"}"#,
        ),
        (
            SEND_PUSH,
            ok(),
            r#"{"server_id":"<s&t>"}"#,
            200,
            r#"{"error":"Failed because of missing device Id serverId=\u003cs\u0026t\u003e","status":"FAIL"}"#,
        ),
        (
            SEND_PUSH,
            ok(),
            r#"{"server_id":1}"#,
            200,
            concat!(
                r#"{"error":"Failed to read message body: json: cannot unmarshal number into Go struct field "#,
                r#"PushNotification.server_id of type string","status":"FAIL"}"#,
            ),
        ),
        (SEND_PUSH, ok(), " ", 200, r#"{"error":"Failed to read message body: EOF","status":"FAIL"}"#),
        (SEND_PUSH, ok(), "{", 200, r#"{"error":"Failed to read message body: unexpected EOF","status":"FAIL"}"#),
        (ACK, ok(), "", 200, r#"{"error":"Failed to read ack body: EOF","status":"FAIL"}"#),
        (ACK, ok(), r#"{"id":"#, 200, r#"{"error":"Failed to read ack body: unexpected EOF","status":"FAIL"}"#),
        (SEND_PUSH, ok(), &large, 413, r#"{"error":"the request body is larger than 1024 bytes","status":"FAIL"}"#),
        (ACK, ok(), r#"{"id":"a","platform":"ios","type":"message"}"#, 200, r#"{"status":"OK"}"#),
        (ACK, ok(), "{}", 200, r#"{"error":"Failed because of missing ack Id","status":"FAIL"}"#),
        (ACK, ok(), r#"{"id":"a"}"#, 200, r#"{"error":"Failed because of missing ack platform","status":"FAIL"}"#),
        (
            ACK,
            ok(),
            r#"{"id":"a","platform":"ios"}"#,
            200,
            r#"{"error":"Failed because of missing ack type","status":"FAIL"}"#,
        ),
        (ACK, ok(), &large, 413, r#"{"error":"the request body is larger than 1024 bytes","status":"FAIL"}"#),
    ];
    for (path, ends, body, status, expected) in table {
        let setup = ending_as(ends, Compatibility::Strict).await;
        let reply = setup.server.ask(&testing::post(path, body)).await;
        assert_eq!((reply.status, reply.body.clone()), (status, format!("{expected}\n")), "{path} {body}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(setup.counted("service_request_duration_seconds_count 1"));
    }
    let setup = ending_as(Err(Refusal::UnknownServer), Compatibility::Strict).await;
    let reply = setup.push(PUSH).await;
    assert_eq!((reply.status, reply.header("content-type")), (401, Some("text/plain; charset=utf-8")));
    assert!(
        reply.body.starts_with(r#"{"error":""#) && reply.body.ends_with("\",\"status\":\"FAIL\"}\n"),
        "{}",
        reply.body
    );
}
