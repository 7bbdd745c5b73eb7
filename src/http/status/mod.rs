//! `GET /status`: what the relay does now, for people. A page made here, with plots of the last ten minutes, that brings
//! itself up to date while it is open and works without JavaScript too.
//!
//! `sampler` remembers what the counters said, `page` makes HTML of a snapshot, `events` sends it to whoever watches,
//! `access` says who may see it. Nothing is loaded from anywhere else, and the page's policy allows nothing else. There is
//! nothing on it that changes anything: only GET (and HEAD) is answered, so there is no request that a foreign page could
//! forge in an operator's name.

mod access;
mod escape;
mod events;
mod page;
mod percentiles;
mod sampler;
mod sparkline;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio::time::Instant;

use super::Build;
use super::answer::{self, Answer};
use super::ops::{self, Ops};
use super::tls::Tls;
use crate::admission::Admission;
use crate::clock::Clock;
use crate::relay::{Relay, days_left};
pub use access::StatusSettings;
use access::{Access, Decision};
use events::Events;
use page::{Servers, Snapshot};
use sampler::{History, Reading};

/// Between two readings of the counters, and two events.
const INTERVAL: Duration = Duration::from_secs(1);

/// Chat servers that are listed.
const MOST_SERVERS: usize = 10;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the page may do: load its own style and script, and listen to its own events. No form, no frame around it, no other
/// source, and nothing inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// The page and what it is made of.
pub(super) struct Status {
    access: Access,
    ops: Arc<Ops>,
    relay: Arc<Relay>,
    admission: Arc<Admission>,
    tls: Option<Arc<Tls>>,
    build: Build,
    clock: Clock,
    started: Instant,
    history: Mutex<History>,
    events: Events,
}

impl Status {
    pub(super) fn new(
        settings: &StatusSettings,
        ops: Arc<Ops>,
        relay: Arc<Relay>,
        admission: Arc<Admission>,
        tls: Option<Arc<Tls>>,
        build: Build,
        clock: Clock,
    ) -> Self {
        let started = clock.now();
        let history = Mutex::new(History::new(reading(&ops, &relay, started)));
        let access = Access::new(settings);
        Self { access, ops, relay, admission, tls, build, clock, started, history, events: Events::new() }
    }

    /// Reads the counters once a second, and sends the page to whoever watches. Never ends.
    pub(super) async fn run(&self) {
        for second in 1_u64.. {
            self.clock.sleep(INTERVAL).await;
            // So that who guesses passwords cannot fill the log.
            if second.is_multiple_of(60) {
                self.access.tell_of_wrong_ones();
            }
            self.history().add(reading(&self.ops, &self.relay, self.clock.now()));
            if self.events.has_watchers() {
                self.events.send(&page::live(&self.snapshot()));
            }
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // At worst a panic has lost one reading.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Snapshot {
        let now = self.clock.unix_seconds();
        let readiness = (self.ops.readiness)();
        let queue = (self.ops.queue)();
        let (status, standing) = ops::standing(&readiness, queue, self.ops.shutdown.has_begun());
        let (busiest, count) = self.admission.busiest(MOST_SERVERS);
        Snapshot {
            version: self.build.version,
            commit: self.build.hash,
            now,
            uptime: self.clock.now().saturating_duration_since(self.started),
            is_ready: status == StatusCode::OK,
            standing,
            in_flight: self.ops.gate.in_flight(),
            view: self.history().view(),
            readiness,
            queue_refuses: queue.refuses(),
            certificate_days_left: self.tls.as_ref().map(|tls| days_left(tls.ends_at(), now)),
            servers: Servers { are_counted: self.admission.counts_servers(), busiest, count },
            failures: self.ops.metrics.failures().list(),
            refused: self.ops.metrics.refused().list(),
            refusals: self.ops.metrics.refusals(),
        }
    }
}

fn reading(ops: &Ops, relay: &Relay, at: Instant) -> Reading {
    Reading { at, totals: ops.metrics.totals(), targets: relay.figures() }
}

/// `/status` and what belongs to it.
pub(super) fn routes(status: Arc<Status>) -> Router {
    Router::new()
        .route("/status", get(page))
        .route("/status/events", get(watch))
        .route("/status/style.css", get(style))
        .route("/status/script.js", get(script))
        .with_state(status)
}

async fn page(State(status): State<Arc<Status>>, uri: Uri, headers: HeaderMap) -> Answer {
    guarded(&status, &uri, &headers, || {
        answer::with_body(StatusCode::OK, "text/html; charset=utf-8", page::page(&status.snapshot()))
    })
}

async fn watch(State(status): State<Arc<Status>>, uri: Uri, headers: HeaderMap) -> Answer {
    guarded(&status, &uri, &headers, || status.events.watch(status.ops.shutdown.clone()))
}

async fn style(State(status): State<Arc<Status>>, uri: Uri, headers: HeaderMap) -> Answer {
    guarded(&status, &uri, &headers, || answer::with_body(StatusCode::OK, "text/css; charset=utf-8", STYLE))
}

async fn script(State(status): State<Arc<Status>>, uri: Uri, headers: HeaderMap) -> Answer {
    guarded(&status, &uri, &headers, || answer::with_body(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT))
}

/// Answers if the caller may see it, and in either case says what a browser may do with the answer.
fn guarded(status: &Status, uri: &Uri, headers: &HeaderMap, make: impl FnOnce() -> Answer) -> Answer {
    // HTTP/2 has the name in the address, and so has a request to a proxy.
    let host = uri.authority().map(Authority::as_str);
    let host = host.or_else(|| headers.get(HOST).map(|host| host.to_str().unwrap_or_default()));
    let mut answer = match status.access.decide(host, headers) {
        Decision::Shown => make(),
        Decision::AsksForPassword => Access::refusal(),
        Decision::ForeignName => Access::foreign_name(),
    };
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    answer
}
