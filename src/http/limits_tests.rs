//! Each limit, at its edge, with the answer that a caller sees.

use axum::Router;
use axum::routing::post;
use http::Request;

use super::*;
use crate::http::testing::{self, Server};

/// Answers with the length of the body, if the gate lets it through.
fn router(settings: &HttpSettings) -> (Router, Arc<Gate>) {
    let gate = Arc::new(Gate::new(settings, Arc::new(testing::metrics())));
    let entered = Arc::clone(&gate);
    let handler = async move |request: Request<axum::body::Body>| match entered.enter(request.into_body()).await {
        Ok((_place, body)) => answer::json(StatusCode::OK, body),
        Err(turned_away) => turned_away.answer(Compatibility::Improved),
    };
    (Router::new().route("/", post(handler)), gate)
}

fn chunked(chunks: &[&str]) -> String {
    let chunks: Vec<_> = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
    format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.concat())
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_read_whole_and_one_byte_more_is_413() {
    let (router, _) = router(&testing::settings());
    let server = Server::start(router).await;
    let mut client = server.connect().await;
    let (fits, too_large) = ("x".repeat(64), "x".repeat(65));
    for request in [testing::post("/", &fits), chunked(&[&fits]), chunked(&[&fits[..1], &fits[1..30], &fits[30..]])] {
        let reply = client.ask(&request).await;
        assert_eq!((reply.status, &reply.body), (200, &fits));
    }
    for request in [testing::post("/", &too_large), chunked(&[&too_large]), chunked(&[&fits, "x"])] {
        let reply = client.ask(&request).await;
        assert_eq!(reply.status, 413);
        assert_eq!(reply.body, r#"{"status":"FAIL","error":"the request body is larger than 64 bytes"}"#);
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    // The rest of a body that is too large was read: the connection still serves.
    assert_eq!(client.ask(&testing::post("/", "")).await.status, 200);
}

#[tokio::test]
async fn a_body_far_larger_than_what_is_discarded_is_413_without_being_read() {
    let (router, _) = router(&testing::settings());
    let server = Server::start(router).await;
    let mut client = server.connect().await;
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", DISCARDED_BYTES + 1);
    assert_eq!(client.ask(&head).await.status, 413);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_gives_its_place_back() {
    let (router, gate) = router(&HttpSettings { body_timeout: Duration::from_millis(20), ..testing::settings() });
    let server = Server::start(router).await;
    let reply = server.ask("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!(reply.status, 408);
    assert_eq!(reply.body, r#"{"status":"FAIL","error":"the request body did not arrive within 20ms"}"#);
    assert_eq!(gate.in_flight(), 0);
}

#[tokio::test]
async fn without_a_free_place_a_request_is_503_and_told_when_to_come_again() {
    let (router, gate) = router(&HttpSettings { max_in_flight: 1, ..testing::settings() });
    let server = Server::start(router).await;
    let taken = gate.enter(http_body_util::Full::new(Bytes::new())).await.unwrap();
    assert_eq!(gate.in_flight(), 1);

    let mut client = server.connect().await;
    let reply = client.ask(&testing::post("/", "x")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert!(reply.body.starts_with(r#"{"status":"FAIL","error":"overloaded"#), "{}", reply.body);
    assert!(gate.metrics.render().contains("pushrelay_overload_total 1"));

    drop(taken);
    assert_eq!(client.ask(&testing::post("/", "x")).await.status, 200);
}

#[tokio::test]
async fn a_caller_that_hangs_up_within_its_body_gives_its_place_back() {
    let settings = testing::settings();
    let (router, gate) = router(&settings);
    let server = Server::start(router).await;
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await;
    drop(client);
    server.shutdown.begin();
    server.served.await.unwrap();
    assert_eq!(gate.in_flight(), 0);
}

#[tokio::test]
async fn a_relay_that_follows_the_reference_turns_away_in_the_shape_of_its_other_answers() {
    let table = [
        (TurnedAway::Overloaded(3), 503, "overloaded: 3 requests are being worked on already; try again in a moment"),
        (TurnedAway::TooLarge(64), 413, "the request body is larger than 64 bytes"),
        (TurnedAway::TooSlow(Duration::from_secs(2)), 408, "the request body did not arrive within 2s"),
        (TurnedAway::Broken, 200, "Failed to read message body"),
    ];
    for (turned_away, status, text) in table {
        let answer = turned_away.answer(Compatibility::Strict);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("{{\"error\":\"{text}\",\"status\":\"FAIL\"}}\n"));
    }
}
