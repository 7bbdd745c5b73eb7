//! The whole edge with a relay that has no targets.

use std::num::NonZeroU32;

use tokio::task::JoinHandle;

use super::*;
use crate::admission::{AdmissionSettings, AuthMode};
use crate::clock::Clock;
use crate::delivery::DeliverySettings;
use testing::{Client, LONG, Reply};

struct Running {
    ingest: SocketAddr,
    ops: SocketAddr,
    clock: Clock,
    shutdown: Shutdown,
    ended: JoinHandle<()>,
}

impl Running {
    async fn start(mode: AuthMode, separate_ops: bool) -> Self {
        Self::with(mode, separate_ops, None).await
    }

    async fn with(mode: AuthMode, separate_ops: bool, throttle: Option<ThrottleSettings>) -> Self {
        Self::of(mode, separate_ops, HttpSettings { throttle, ..testing::settings() }).await
    }

    async fn of(mode: AuthMode, separate_ops: bool, settings: HttpSettings) -> Self {
        let (clock, metrics, shutdown) = (Clock::manual(1_000), Arc::new(testing::metrics()), Shutdown::new());
        let admission = AdmissionSettings {
            mode,
            allow_unsigned_test: true,
            unsigned_tests_per_minute: NonZeroU32::MIN,
            device_rate: None,
            refusal_rate: None,
            servers: vec![],
        };
        let delivery = DeliverySettings { deadline: LONG, attempt_timeout: LONG, max_attempts: 1, first_pause: LONG };
        let edge = Edge::new(
            &HttpSettings { max_body_bytes: 1024, ..settings },
            Compatibility::Improved,
            Build { version: "1.2.3", hash: "abc" },
            Arc::new(Admission::new(admission, clock.clone())),
            Arc::new(Relay::new(
                vec![],
                vec![],
                testing::relay_settings(delivery),
                None,
                None,
                clock.clone(),
                Arc::clone(&metrics),
                shutdown.clone(),
            )),
            metrics,
            &clock,
        );
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ingest, ops) = (bind().await, if separate_ops { Some(bind().await) } else { None });
        let address = ingest.local_addr().unwrap();
        Self {
            ingest: address,
            ops: ops.as_ref().map_or(address, |ops| ops.local_addr().unwrap()),
            clock,
            shutdown: shutdown.clone(),
            ended: tokio::spawn(edge.run(ingest, ops, shutdown)),
        }
    }
}

async fn get(address: SocketAddr, path: &str) -> Reply {
    Client::connect(address).await.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
}

const PUSH: &str = r#"{"ack_id":"a","server_id":"s","device_id":"d","platform":"nowhere","type":"message"}"#;

#[tokio::test]
async fn without_a_listener_for_operators_everything_is_on_one() {
    let edge = Running::start(AuthMode::Off, false).await;
    for (path, status) in [("/", 200), ("/version", 200), ("/healthz", 200), ("/readyz", 503), ("/metrics", 200)] {
        assert_eq!(get(edge.ingest, path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn with_a_listener_for_operators_chat_servers_do_not_see_what_is_on_it() {
    let edge = Running::start(AuthMode::Off, true).await;
    for (path, on_ingest, on_ops) in [
        ("/", 200, 404),
        ("/version", 200, 404),
        ("/api/openapi.yaml", 200, 404),
        ("/healthz", 404, 200),
        ("/readyz", 404, 503),
        ("/metrics", 404, 200),
    ] {
        assert_eq!(get(edge.ingest, path).await.status, on_ingest, "{path} on ingest");
        assert_eq!(get(edge.ops, path).await.status, on_ops, "{path} on ops");
    }
}

#[tokio::test]
async fn a_push_to_a_target_that_nobody_configured_fails_with_a_200() {
    let edge = Running::start(AuthMode::Off, false).await;
    let reply = Client::connect(edge.ingest).await.ask(&testing::post(SEND_PUSH, PUSH)).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.starts_with(r#"{"status":"FAIL","error":""#), "{}", reply.body);
}

#[tokio::test]
async fn a_push_that_admission_refuses_never_reaches_the_relay() {
    let edge = Running::start(AuthMode::Required, false).await;
    let reply = Client::connect(edge.ingest).await.ask(&testing::post(SEND_PUSH, PUSH)).await;
    assert_eq!(reply.status, 401);
    edge.clock.advance(Duration::from_secs(1));
    let metrics = get(edge.ops, "/metrics").await.body;
    assert!(metrics.contains(r#"pushrelay_refusals_total{reason="unknown_server"} 1"#));
    assert!(!metrics.contains("service_notifications_total{"));
}

/// One request a second from each address.
fn one_a_second() -> ThrottleSettings {
    ThrottleSettings { per_second: NonZeroU32::MIN, burst: NonZeroU32::MIN, vary: Vary::ClientAddress, max_keys: 100 }
}

#[tokio::test]
async fn a_throttle_stands_before_every_path_of_chat_servers_but_the_probes() {
    let edge = Running::with(AuthMode::Off, false, Some(one_a_second())).await;
    let push = testing::post(SEND_PUSH, PUSH);
    let first = Client::connect(edge.ingest).await.ask(&push).await;
    assert_eq!((first.status, first.header("x-ratelimit-remaining")), (200, Some("0")));
    let receipt = testing::post(ACK, "{}");
    let others =
        ["/", "/version", "/metrics", "/nowhere"].map(|path| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
    for request in others.iter().chain([&push, &receipt]) {
        assert_eq!(Client::connect(edge.ingest).await.ask(request).await.status, 429, "{request}");
    }
    for (path, status) in [("/healthz", 200), ("/readyz", 503)] {
        let reply = get(edge.ingest, path).await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (status, None), "{path}");
    }
    edge.clock.advance(Duration::from_secs(1));
    let metrics = get(edge.ops, "/metrics").await.body;
    assert!(metrics.contains("\npushrelay_throttled_total 6\n"), "{metrics}");
    for request in &others {
        edge.clock.advance(Duration::from_secs(1));
        let reply = Client::connect(edge.ingest).await.ask(request).await;
        assert_ne!(reply.status, 429);
        assert_eq!(reply.header("x-ratelimit-limit"), Some("1"), "{request}");
    }
}

#[tokio::test]
async fn what_is_asked_of_the_operators_listener_is_never_throttled() {
    let edge = Running::with(AuthMode::Off, true, Some(one_a_second())).await;
    for path in ["/healthz", "/readyz", "/metrics", "/nowhere", "/nowhere"] {
        let reply = get(edge.ops, path).await;
        assert_ne!(reply.status, 429, "{path}");
        assert_eq!(reply.header("x-ratelimit-limit"), None, "{path}");
    }
    assert_eq!(get(edge.ingest, "/").await.status, 200);
    assert_eq!(get(edge.ingest, "/").await.status, 429);
}

#[tokio::test]
async fn without_a_throttle_no_answer_speaks_of_one() {
    let edge = Running::start(AuthMode::Off, false).await;
    for _ in 0..100 {
        let reply = get(edge.ingest, "/").await;
        assert_eq!((reply.status, reply.header("x-ratelimit-limit")), (200, None));
    }
}

#[tokio::test]
async fn while_it_drains_the_relay_says_so_and_the_last_request_is_answered() {
    let edge = Running::start(AuthMode::Off, true).await;
    let request = testing::post(SEND_PUSH, PUSH);
    let (first, rest) = request.split_at(request.len() - 1);
    let mut busy = Client::connect(edge.ingest).await;
    busy.send(first).await;
    // The request is being worked on when the scrape counts it.
    while !get(edge.ops, "/metrics").await.body.contains("\npushrelay_in_flight 1\n") {}

    edge.shutdown.begin();
    let reply = get(edge.ops, "/readyz").await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("draining"), "{}", reply.body);
    assert!(!edge.ended.is_finished());

    assert_eq!(busy.ask(rest).await.status, 200);
    edge.ended.await.unwrap();
}

#[tokio::test]
async fn with_tls_chat_servers_are_served_over_it_and_the_listener_for_operators_stays_plain() {
    let authority = tls::testing::Authority::new("of relays");
    let installed = tls::testing::Installed::new(&authority.issue("relay.example", (2025, 2027)), None);
    let settings = HttpSettings { tls: Some(installed.settings(ClientCertificates::Optional)), ..testing::settings() };
    let edge = Running::of(AuthMode::Off, true, settings).await;
    let config = Arc::new(tls::testing::client(&authority));
    let mut client = Client::over(tls::testing::dial(edge.ingest, &config).await.unwrap());
    assert_eq!(client.ask(&testing::post(SEND_PUSH, PUSH)).await.status, 200);
    assert_eq!(get(edge.ingest, "/version").await.status, 400);
    let metrics = get(edge.ops, "/metrics").await.body;
    assert!(metrics.contains("\npushrelay_tls_handshake_failures_total{reason=\"plain_http\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\npushrelay_ingest_certificate_expires_timestamp_seconds 1798761600\n"), "{metrics}");
}

#[tokio::test]
async fn without_tls_no_metric_speaks_of_a_certificate() {
    let edge = Running::start(AuthMode::Off, true).await;
    assert!(!get(edge.ops, "/metrics").await.body.contains("pushrelay_ingest_certificate"));
}
