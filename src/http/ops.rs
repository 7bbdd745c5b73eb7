//! What probes, scrapers and people ask: health, readiness, metrics, version and the page at `/`. None of it costs a
//! place among the requests worked on: an overloaded relay still says how it is.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;

use super::Build;
use super::answer::{self, Answer};
use super::limits::Gate;
use crate::delivery::breaker::Position;
use crate::notification::Compatibility;
use crate::relay::memory::MemoryState;
use crate::relay::{QueueState, Refuses, TargetReadiness};
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;

/// The reference's page, byte for byte: there are probes that look for its words.
const HOME: &str = "<html><body>Mattermost Push Proxy</body></html>";

/// The content type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the answers are made of.
pub(super) struct Ops {
    /// Asked at each probe and scrape.
    pub(super) readiness: Box<dyn Fn() -> Vec<TargetReadiness> + Send + Sync>,
    /// Asked at each scrape; `None` where nothing is remembered.
    pub(super) memory: Box<dyn Fn() -> Option<MemoryState> + Send + Sync>,
    /// Asked at each probe and scrape.
    pub(super) queue: Box<dyn Fn() -> QueueState + Send + Sync>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) gate: Arc<Gate>,
    pub(super) shutdown: Shutdown,
    pub(super) serve_metrics: bool,
}

/// `/` and `/version`, which the reference has on its only listener.
pub(super) fn home(build: Build, compatibility: Compatibility) -> Router {
    Router::new()
        .route("/", get(|| async { answer::html(HOME) }))
        .route("/version", get(move || async move { version(&build, compatibility) }))
}

/// `/healthz`, `/readyz` and, unless the operator does not want it, `/metrics`.
pub(super) fn probes(ops: Arc<Ops>) -> Router {
    let mut probes = Router::new()
        .route("/healthz", get(|| async { answer::json(StatusCode::OK, HEALTHY) }))
        .route("/readyz", get(ready));
    if ops.serve_metrics {
        probes = probes.route("/metrics", get(metrics));
    }
    probes.with_state(ops)
}

/// The process runs and answers; whether it can deliver is another question.
const HEALTHY: &[u8] = br#"{"status":"ok"}"#;

fn version(build: &Build, compatibility: Compatibility) -> Answer {
    #[derive(Serialize)]
    struct Version {
        hash: &'static str,
        version: &'static str,
    }
    let mut text = json(&Version { hash: build.hash, version: build.version });
    if compatibility == Compatibility::Strict {
        text.push(b'\n');
    }
    answer::json(StatusCode::OK, text)
}

async fn ready(State(ops): State<Arc<Ops>>) -> Answer {
    let targets = (ops.readiness)();
    let (status, report) = report(&targets, (ops.queue)(), ops.shutdown.has_begun());
    answer::json(status, json(&report))
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Answer {
    ops.metrics.set_in_flight(ops.gate.in_flight());
    if let Some(memory) = (ops.memory)() {
        ops.metrics.repeats().set_memory(memory.requests, memory.window_held, memory.unkept);
    }
    let queue = (ops.queue)();
    if queue != QueueState::Absent {
        for why in Refuses::ALL {
            ops.metrics.queue().set_refuses(why.reason(), queue.refuses() == Some(why));
        }
    }
    for target in (ops.readiness)() {
        let (expires_at, days_left) = (target.credential_expires_at, target.credential_days_left);
        ops.metrics.targets().set(&target.name, target.problem.is_none(), expires_at, days_left);
        if !target.left_out {
            let (breaker, guard) = (level(target.breaker.position), target.removals_withheld.is_some());
            ops.metrics.queue().set_protection(&target.name, breaker, guard, target.rate_limit);
        }
        if let Some(waiting) = target.waiting {
            ops.metrics.queue().set_waiting(&target.name, waiting);
        }
    }
    answer::with_body(StatusCode::OK, EXPOSITION, ops.metrics.render())
}

/// As the metric has it.
fn level(breaker: Position) -> i64 {
    match breaker {
        Position::Closed => 0,
        Position::HalfOpen => 1,
        Position::Open => 2,
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Structs of strings and numbers: serialising them cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    status: &'static str,
    /// Why the queue takes nothing now; absent while it does, and without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_refuses: Option<&'static str>,
    targets: Vec<TargetReport<'a>>,
}

#[derive(Debug, Serialize)]
struct TargetReport<'a> {
    name: &'a str,
    platform: &'static str,
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt: Option<LastReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_expires_at: Option<u64>,
    /// `half_open` or `open`; absent while the target is asked as usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<&'static str>,
    /// Why removals of device tokens are withheld; absent while they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    removals_withheld: Option<&'a str>,
    /// Notifications a second; absent while there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<f64>,
    /// Notifications that wait on disk; absent without a queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u64>,
}

#[derive(Debug, Serialize)]
struct LastReport {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    seconds_ago: u64,
}

fn report(targets: &[TargetReadiness], queue: QueueState, draining: bool) -> (StatusCode, Report<'_>) {
    let (status, word) = standing(targets, queue, draining);
    let targets = targets
        .iter()
        .map(|target| TargetReport {
            name: target.name.as_str(),
            platform: target.platform.as_str(),
            ready: target.problem.is_none(),
            problem: target.problem.as_deref(),
            last_attempt: target.last.map(|last| LastReport {
                verdict: last.verdict,
                reason: last.reason,
                seconds_ago: last.seconds_ago,
            }),
            credential_expires_at: target.credential_expires_at,
            breaker: match target.breaker.position {
                Position::Closed => None,
                other => Some(other.label()),
            },
            removals_withheld: target.removals_withheld.as_deref(),
            rate_limit: target.rate_limit,
            waiting: target.waiting.map(|waiting| waiting.waiting),
        })
        .collect();
    (status, Report { status: word, queue_refuses: queue.refuses().map(Refuses::reason), targets })
}

/// Ready as long as one target can deliver, or what cannot be delivered can wait on disk: a relay that is taken out of service
/// takes nothing, and chat servers do not repeat what nobody took. With a broken target beside a working one, taking the relay out of service
/// would silence both. Not with one that could not be set up: that is a mistake of this start, which a rollout that waits
/// for readiness must not spread, and nothing but another start mends it.
pub(super) fn standing(targets: &[TargetReadiness], queue: QueueState, draining: bool) -> (StatusCode, &'static str) {
    if draining {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if targets.iter().any(|target| target.left_out) {
        (StatusCode::SERVICE_UNAVAILABLE, "a target could not be set up")
    } else if targets.iter().any(|target| target.problem.is_none()) {
        (StatusCode::OK, "ready")
    } else if queue == QueueState::Takes && !targets.is_empty() {
        (StatusCode::OK, "no target can deliver: notifications wait on disk")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no target can deliver")
    }
}

#[cfg(test)]
#[path = "ops_tests.rs"]
mod tests;
