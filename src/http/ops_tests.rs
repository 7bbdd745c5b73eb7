//! What probes and dashboards rely on.

use super::*;
use crate::delivery::breaker::BreakerState;
use crate::http::testing::{self, Reply, Server};
use crate::notification::{Platform, TargetName};
use crate::relay::LastAttempt;

fn target(name: &str, problem: Option<&str>) -> TargetReadiness {
    TargetReadiness {
        name: TargetName::new(name),
        platform: Platform::Apple,
        problem: problem.map(str::to_owned),
        left_out: false,
        last: None,
        credential_expires_at: None,
        breaker: BreakerState::default(),
        removals_withheld: None,
        rate_limit: None,
        waiting: None,
        credential_days_left: None,
    }
}

fn left_out(name: &str) -> TargetReadiness {
    TargetReadiness { left_out: true, ..target(name, Some("no such file")) }
}

async fn serving(targets: Vec<TargetReadiness>) -> (Server, Shutdown) {
    serving_as(targets, Compatibility::Improved, true).await
}

async fn serving_as(
    targets: Vec<TargetReadiness>,
    compatibility: Compatibility,
    serve_metrics: bool,
) -> (Server, Shutdown) {
    let (metrics, shutdown) = (Arc::new(testing::metrics()), Shutdown::new());
    let ops = Ops {
        memory: Box::new(|| None),
        queue: Box::new(|| QueueState::Absent),
        readiness: Box::new(move || targets.clone()),
        gate: Arc::new(Gate::new(&testing::settings(), Arc::clone(&metrics))),
        metrics,
        shutdown: shutdown.clone(),
        serve_metrics,
    };
    let home = home(Build { version: "1.2.3", hash: "abc" }, compatibility);
    (Server::start(home.merge(probes(Arc::new(ops)))).await, shutdown)
}

async fn get(server: &Server, path: &str) -> Reply {
    server.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
}

#[tokio::test]
async fn the_page_at_the_root_is_the_references_for_get_and_head() {
    let (server, _) = serving(vec![]).await;
    let page = get(&server, "/").await;
    assert_eq!((page.status, page.body.as_str()), (200, "<html><body>Mattermost Push Proxy</body></html>"));
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("content-security-policy"), Some("default-src 'none'"));
    let head = server.ask("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), page.header("content-length"));
}

#[tokio::test]
async fn the_version_is_json() {
    for (compatibility, text) in [
        (Compatibility::Improved, "{\"hash\":\"abc\",\"version\":\"1.2.3\"}"),
        (Compatibility::Strict, "{\"hash\":\"abc\",\"version\":\"1.2.3\"}\n"),
    ] {
        let (server, _) = serving_as(vec![], compatibility, true).await;
        let reply = get(&server, "/version").await;
        assert_eq!((reply.body.as_str(), reply.header("content-type")), (text, Some("application/json")));
    }
}

#[tokio::test]
async fn health_does_not_depend_on_targets() {
    let (server, _) = serving(vec![target("apple_rn", Some("no key"))]).await;
    let reply = get(&server, "/healthz").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":"ok"}"#));
}

#[tokio::test]
async fn the_relay_is_ready_while_one_target_can_deliver_and_it_is_not_draining() {
    let cases = [
        (vec![target("a", None)], 200, "ready"),
        (vec![target("a", Some("BadTopic")), target("b", None)], 200, "ready"),
        (vec![target("a", Some("BadTopic"))], 503, "no target can deliver"),
        (vec![], 503, "no target can deliver"),
        (vec![target("a", None), left_out("b")], 503, "a target could not be set up"),
        (vec![left_out("b")], 503, "a target could not be set up"),
    ];
    for (targets, status, word) in cases {
        let (server, shutdown) = serving(targets).await;
        let reply = get(&server, "/readyz").await;
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(reply.body.contains(&format!(r#""status":"{word}""#)), "{}", reply.body);
        shutdown.begin();
        let reply = get(&server, "/readyz").await;
        assert_eq!(reply.status, 503);
        assert!(reply.body.contains(r#""status":"draining""#), "{}", reply.body);
    }
}

#[test]
fn the_report_says_what_is_known_of_each_target() {
    let broken = TargetReadiness {
        last: Some(LastAttempt { verdict: "target_broken", reason: Some("BadTopic"), seconds_ago: 7 }),
        credential_expires_at: Some(1_800_000_000),
        ..target("apple_rn", Some("APNs says BadTopic"))
    };
    let targets = [broken, target("apple_rnbeta", None)];
    let (_, report) = report(&targets, QueueState::Absent, false);
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        serde_json::json!({
            "status": "ready",
            "targets": [
                {
                    "name": "apple_rn",
                    "platform": "apple",
                    "ready": false,
                    "problem": "APNs says BadTopic",
                    "last_attempt": {"verdict": "target_broken", "reason": "BadTopic", "seconds_ago": 7},
                    "credential_expires_at": 1_800_000_000,
                },
                {"name": "apple_rnbeta", "platform": "apple", "ready": true},
            ],
        })
    );
}

#[tokio::test]
async fn a_scrape_shows_each_target_as_it_is_now() {
    let (server, _) =
        serving(vec![target("apple_rn", Some("no key")), target("android_rn", None), left_out("apple_rnbeta")]).await;
    let reply = get(&server, "/metrics").await;
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        r#"pushrelay_target_ready{target="apple_rn"} 0"#,
        r#"pushrelay_target_ready{target="apple_rnbeta"} 0"#,
        r#"pushrelay_target_ready{target="android_rn"} 1"#,
        "pushrelay_in_flight 0",
        "pushrelay_log_lines_dropped_total 0",
    ] {
        assert!(reply.body.lines().any(|found| found == line), "{line} is missing from {}", reply.body);
    }
}

#[tokio::test]
async fn metrics_that_nobody_wants_are_a_path_like_any_that_is_not_there() {
    let (server, _) = serving_as(vec![], Compatibility::Strict, false).await;
    let missing = get(&server, "/nothing").await;
    for request in ["GET", "HEAD", "POST"] {
        let reply = server.ask(&format!("{request} /metrics HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert_eq!((reply.status, reply.header("content-type")), (404, missing.header("content-type")), "{request}");
    }
    let reply = get(&server, "/metrics").await;
    assert_eq!((reply.status, reply.body.as_str()), (404, "404 page not found\n"));
    assert_eq!((missing.status, missing.body.as_str()), (404, "404 page not found\n"));
    assert_eq!(get(&server, "/healthz").await.status, 200);
}
