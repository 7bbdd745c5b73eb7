//! Over real sockets, from 127.0.0.1. The clock stands until a test turns it.

use std::io::Write;
use std::sync::Mutex;

use axum::Router;
use axum::routing::get;

use super::*;
use crate::http::testing::{self, Client as Caller, ROOMY, Reply, Server};

const LOOPBACK: &str = "127.0.0.0/8";

struct Throttled {
    server: Server,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Throttled {
    /// Two at once, and then one each half second.
    async fn start(vary: Vary, trusted: &[&str]) -> Self {
        let (clock, metrics) = (Clock::manual(1_000), Arc::new(testing::metrics()));
        let client_address = ClientAddressSettings {
            trusted_proxies: trusted.iter().map(|proxies| proxies.parse().unwrap()).collect(),
            ..ClientAddressSettings::default()
        };
        let two = NonZeroU32::new(2).unwrap();
        let settings = ThrottleSettings { per_second: two, burst: two, vary, max_keys: 100 };
        let throttle = Throttle::new(&settings, client_address, Arc::clone(&metrics), clock.clone());
        let router = Router::new().route("/", get(|| async { "fine" }).post(|| async { "posted" }));
        let throttled = Arc::new(throttle).before(crate::http::routes(router));
        Self { server: Server::serving(throttled, ROOMY).await, metrics, clock }
    }

    /// Asks with these headers, on a connection of its own.
    async fn ask(&self, headers: &[&str]) -> Reply {
        self.server.ask(&request(headers)).await
    }

    /// How many of ten are answered.
    async fn answered_of_ten(&self, headers: impl Fn(usize) -> Vec<String>) -> usize {
        let mut answered = 0;
        for turn in 0..10 {
            let headers = headers(turn);
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            answered += usize::from(self.ask(&headers).await.status == 200);
        }
        answered
    }
}

fn request(headers: &[&str]) -> String {
    let lines = [&["GET / HTTP/1.1", "host: x"], headers, &["", ""]].concat();
    lines.join("\r\n")
}

fn by(names: &[&'static str]) -> Vary {
    Vary::Headers(names.iter().map(|name| HeaderName::from_static(name)).collect())
}

/// Limit, remaining, reset and retry-after.
fn rate_headers(reply: &Reply) -> [Option<&str>; 4] {
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"].map(|name| reply.header(name))
}

#[tokio::test]
async fn over_the_limit_the_answer_says_when_to_come_back_until_the_bucket_refills() {
    let throttled = Throttled::start(Vary::ClientAddress, &[]).await;
    for remaining in ["1", "0"] {
        let reply = throttled.ask(&[]).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "fine"));
        assert_eq!(rate_headers(&reply), [Some("2"), Some(remaining), Some("1"), None]);
    }
    for _ in 0..3 {
        let reply = throttled.ask(&[]).await;
        assert_eq!((reply.status, reply.body.as_str()), (429, "limit exceeded\n"));
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(rate_headers(&reply), [Some("2"), Some("0"), Some("1"), Some("1")]);
    }
    assert!(throttled.metrics.render().contains("\npushrelay_throttled_total 3\n"));

    throttled.clock.advance(Duration::from_millis(499));
    assert_eq!(throttled.ask(&[]).await.status, 429);
    throttled.clock.advance(Duration::from_millis(1));
    assert_eq!(throttled.ask(&[]).await.status, 200);
    assert_eq!(throttled.ask(&[]).await.status, 429);
}

#[tokio::test]
async fn a_connection_outlives_a_denial_of_its_request() {
    let throttled = Throttled::start(Vary::ClientAddress, &[]).await;
    let mut caller = Caller::connect(throttled.server.address).await;
    let post = testing::post("/", r#"{"a push":"of some bytes"}"#);
    for status in [200, 200, 429, 429] {
        assert_eq!(caller.ask(&post).await.status, status);
    }
    throttled.clock.advance(Duration::from_secs(1));
    assert_eq!(caller.ask(&post).await.body, "posted");
}

#[tokio::test]
async fn http2_streams_are_counted_like_requests() {
    let throttled = Throttled::start(Vary::ClientAddress, &[]).await;
    let stream = tokio::net::TcpStream::connect(throttled.server.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    for status in [200, 200, 429] {
        let request = http::Request::get("http://x/").body(()).unwrap();
        let (answer, _) = requests.send_request(request, true).unwrap();
        assert_eq!(answer.await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn without_trusted_proxies_no_header_gives_a_caller_another_bucket() {
    for vary in [Vary::ClientAddress, by(&["x-forwarded-for"]), by(&["x-server", "x-forwarded-for"])] {
        let throttled = Throttled::start(vary.clone(), &[]).await;
        let spoofed = |turn| vec![format!("x-forwarded-for: 198.51.100.{turn}"), format!("x-server: {turn}")];
        assert_eq!(throttled.answered_of_ten(spoofed).await, 2, "{vary:?}");
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_bucket_and_cannot_choose_it() {
    let throttled = Throttled::start(Vary::ClientAddress, &[LOOPBACK]).await;
    // The proxy appends to what the client made up.
    let spoofed = |turn| vec![format!("x-forwarded-for: 198.51.100.{turn}, 203.0.113.5")];
    assert_eq!(throttled.answered_of_ten(spoofed).await, 2);
    assert_eq!(throttled.answered_of_ten(|_| vec!["x-forwarded-for: 203.0.113.6".into()]).await, 2);
    assert_eq!(throttled.answered_of_ten(|turn| vec![format!("x-forwarded-for: 203.0.113.1{turn}")]).await, 10);
}

#[tokio::test]
async fn whoever_has_a_network_of_ipv6_addresses_has_one_bucket() {
    let throttled = Throttled::start(Vary::ClientAddress, &[LOOPBACK]).await;
    assert_eq!(throttled.answered_of_ten(|turn| vec![format!("x-forwarded-for: 2001:db8::{turn}")]).await, 2);
    assert_eq!(throttled.answered_of_ten(|turn| vec![format!("x-forwarded-for: 2001:db8:0:{turn:x}1::1")]).await, 10);
}

#[tokio::test]
async fn from_a_trusted_proxy_each_value_of_the_header_has_its_own_bucket() {
    let throttled = Throttled::start(by(&["x-server"]), &[LOOPBACK]).await;
    assert_eq!(throttled.answered_of_ten(|_| vec!["x-server: one".into()]).await, 2);
    // Upper and lower case are the same, and only the first of several lines counts.
    assert_eq!(throttled.ask(&["x-server: ONE"]).await.status, 429);
    assert_eq!(throttled.ask(&["x-server: one", "x-server: two"]).await.status, 429);
    assert_eq!(throttled.answered_of_ten(|_| vec!["X-Server: two".into()]).await, 2);
    assert_eq!(throttled.answered_of_ten(|turn| vec![format!("x-server: more-{turn}")]).await, 10);
}

#[tokio::test]
async fn without_the_header_all_share_one_bucket_wherever_they_are() {
    for trusted in [&[LOOPBACK][..], &[]] {
        let throttled = Throttled::start(by(&["x-server"]), trusted).await;
        assert_eq!(throttled.ask(&[]).await.status, 200);
        // Go does not tell an empty header from none.
        assert_eq!(throttled.ask(&["x-server:"]).await.status, 200);
        assert_eq!(throttled.ask(&[]).await.status, 429);
        assert_eq!(throttled.ask(&["x-server:"]).await.status, 429);
        // Whoever has the header is not in it.
        assert_eq!(throttled.ask(&["x-server: one"]).await.status, 200);
    }
}

#[tokio::test]
async fn with_no_header_named_all_share_one_bucket() {
    let throttled = Throttled::start(by(&[]), &[LOOPBACK]).await;
    assert_eq!(throttled.answered_of_ten(|turn| vec![format!("x-server: {turn}")]).await, 2);
}

#[test]
fn values_of_several_headers_are_told_apart_by_where_they_stand() {
    let names = [HeaderName::from_static("a"), HeaderName::from_static("b")];
    let hashing = std::hash::RandomState::new();
    let hash = |values: [&str; 2]| {
        let headers: HeaderMap =
            names.iter().cloned().zip(values.map(|value| HeaderValue::from_str(value).unwrap())).collect();
        std::hash::BuildHasher::hash_one(&hashing, Client::Values { names: &names, headers: &headers })
    };
    assert_eq!(hash(["x", "y"]), hash(["X", "Y"]));
    let different = [["x", "y"], ["y", "x"], ["xy", ""], ["", "xy"], ["", ""], ["x", ""]].map(hash);
    let mut distinct = different.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), different.len());
}

#[tokio::test]
async fn the_log_speaks_of_a_flood_once_a_second_and_of_all_of_it() {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&written);
    let subscriber = tracing_subscriber::fmt().with_writer(move || Sink(Arc::clone(&sink))).with_ansi(false).finish();
    // The runtime of the test has this one thread.
    let _logs = tracing::subscriber::set_default(subscriber);
    let lines = || -> Vec<String> {
        let text = String::from_utf8(std::mem::take(&mut *written.lock().unwrap())).unwrap();
        text.lines().filter(|line| line.contains("turned away")).map(str::to_owned).collect()
    };
    let throttled = Throttled::start(Vary::ClientAddress, &[LOOPBACK]).await;
    let flood = |turn| vec![format!("x-forwarded-for: 203.0.113.5, 127.0.0.{turn}")];

    assert_eq!(throttled.answered_of_ten(flood).await, 2);
    let first = lines();
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].contains("WARN") && first[0].contains("requests=1 client=203.0.113.5"), "{first:?}");

    throttled.clock.advance(Duration::from_millis(999));
    assert_eq!(throttled.answered_of_ten(flood).await, 1);
    assert_eq!(lines(), Vec::<String>::new());

    throttled.clock.advance(Duration::from_millis(1));
    for status in [200, 429] {
        assert_eq!(throttled.ask(&["x-forwarded-for: 203.0.113.5"]).await.status, status);
    }
    let second = lines();
    assert_eq!(second.len(), 1, "{second:?}");
    // Seven, nine and this one.
    assert!(second[0].contains("requests=17 client=203.0.113.5"), "{second:?}");
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
