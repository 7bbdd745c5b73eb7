//! The edge: addresses, limits, routes. It turns requests into notifications for admission and the relay, and what they
//! say into answers. It decides neither who may send nor how hard to try.
//!
//! `serve` owns connections, `limits` what a request may cost, `push` the order of steps for the two routes that chat
//! servers use, `ops` everything that probes and people ask, `mattermost` the wire format, `native` the API for other
//! programs, `client_address` whose a
//! request is, `throttle` how often anyone may ask.

mod answer;
mod client_address;
mod limits;
pub mod mattermost;
#[cfg_attr(not(test), expect(dead_code, reason = "its route comes with the check of who sends"))]
mod native;
mod ops;
mod pace;
mod push;
mod serve;
#[cfg(test)]
mod testing;
mod throttle;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{Method, Request};
use tokio::net::TcpListener;
use tower::Service;

use crate::admission::Admission;
use crate::clock::Clock;
use crate::notification::Compatibility;
use crate::relay::Relay;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use answer::Answer;
use limits::Gate;
use ops::Ops;
use serve::{ConnectionLimits, Routes, serve};
use throttle::Throttle;

pub use client_address::ClientAddressSettings;
pub use throttle::{ThrottleSettings, Vary};

/// Addresses and limits of the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where chat servers post to.
    pub listen: SocketAddr,
    /// A separate address for health and metrics; without one they are on `listen`.
    pub ops_listen: Option<SocketAddr>,
    /// The largest body, bytes.
    pub max_body_bytes: usize,
    /// The longest wait for a request's headers.
    pub header_timeout: Duration,
    /// The longest wait for a request's body.
    pub body_timeout: Duration,
    /// The most requests worked on at once.
    pub max_in_flight: usize,
    /// The most open connections.
    pub max_connections: usize,
    /// Which proxies are believed about who their clients are.
    pub client_address: ClientAddressSettings,
    /// How often one client may ask; without it as often as there is room.
    pub throttle: Option<ThrottleSettings>,
    /// Whether `/metrics` is there; without it the path is answered like any that is not.
    pub serve_metrics: bool,
}

/// What runs: the answer to `GET /version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// The release, such as `0.1.0`.
    pub version: &'static str,
    /// The commit it was built from; empty if unknown.
    pub hash: &'static str,
}

/// Where chat servers post notifications to.
const SEND_PUSH: &str = "/api/v1/send_push";

/// Where chat servers post receipts to.
const ACK: &str = "/api/v1/ack";

/// Connections on the listener for operators: a few probes and scrapers. Apart from the chat servers' limit, so that the
/// relay can be asked what is wrong when theirs is reached.
const OPS_CONNECTIONS: usize = 64;

/// Everything behind the listeners.
pub struct Edge {
    relay: Arc<Relay>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    throttle: Option<Arc<Throttle>>,
    compatibility: Compatibility,
    limits: ConnectionLimits,
    serve_metrics: bool,
    build: Build,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("limits", &self.limits).field("build", &self.build).finish_non_exhaustive()
    }
}

impl Edge {
    /// Puts the edge in front of a relay. Listens nowhere yet.
    pub fn new(
        settings: &HttpSettings,
        compatibility: Compatibility,
        build: Build,
        admission: Arc<Admission>,
        relay: Arc<Relay>,
        metrics: Arc<Metrics>,
        clock: &Clock,
    ) -> Self {
        let throttle = settings.throttle.as_ref().map(|throttle| {
            Arc::new(Throttle::new(throttle, settings.client_address.clone(), Arc::clone(&metrics), clock.clone()))
        });
        Self {
            relay,
            admission,
            gate: Arc::new(Gate::new(settings, Arc::clone(&metrics))),
            metrics,
            throttle,
            compatibility,
            limits: ConnectionLimits {
                max_connections: settings.max_connections,
                header_timeout: settings.header_timeout,
                silence_timeout: pace::IDLE_TIMEOUT,
            },
            serve_metrics: settings.serve_metrics,
            build,
        }
    }

    /// Serves chat servers on `ingest`, and probes and scrapers on `ops` (or on `ingest` too, without it), until
    /// `shutdown` begins and running requests have been answered, or until it is forced.
    ///
    /// The listener for operators outlives the other: it says that the relay is draining while it is.
    pub async fn run(self, ingest: TcpListener, ops: Option<TcpListener>, shutdown: Shutdown) {
        let edge = Arc::new(self);
        let probes = ops::probes(Arc::new(Ops {
            readiness: Box::new({
                let relay = Arc::clone(&edge.relay);
                move || relay.readiness()
            }),
            metrics: Arc::clone(&edge.metrics),
            gate: Arc::clone(&edge.gate),
            shutdown: shutdown.clone(),
            serve_metrics: edge.serve_metrics,
        }));
        let pushes = Router::new()
            .route(SEND_PUSH, post(send_push))
            .route(ACK, post(acknowledge))
            .with_state(Arc::clone(&edge))
            .merge(ops::home(edge.build, edge.compatibility));
        let Some(ops) = ops else {
            let listener = edge.metrics.listener("ingest");
            let routes = ingest_routes(Arc::clone(&edge), pushes.merge(probes));
            return serve(ingest, edge.limits, listener, shutdown, routes).await;
        };
        let limits = ConnectionLimits { max_connections: OPS_CONNECTIONS, ..edge.limits };
        let end = Shutdown::new();
        let serve_ops = serve(ops, limits, edge.metrics.listener("ops"), end.clone(), routes(probes));
        let serve_ingest = async {
            let routes = ingest_routes(Arc::clone(&edge), pushes);
            serve(ingest, edge.limits, edge.metrics.listener("ingest"), shutdown, routes).await;
            // The process is about to end: nobody needs the rest of a scrape.
            end.force();
        };
        futures_util::future::join(serve_ops, serve_ingest).await;
    }
}

/// Every path that is not there is answered as Go's router answers it.
fn routes(router: Router) -> Routes {
    let router = router.fallback(|| async { answer::not_found() });
    Routes::new(move |request, _peer| {
        let answer = router.clone().call(request);
        Box::pin(async move { answer.await.unwrap_or_else(|never| match never {}) })
    })
}

/// Pushes go past the router: they are all but a few of the requests, and its layers would cost each a microsecond and
/// a kilobyte while it is in flight.
fn ingest_routes(edge: Arc<Edge>, router: Router) -> Routes {
    let others = routes(router);
    let throttle = edge.throttle.clone();
    let unlimited = Routes::new(move |request, peer| {
        if request.method() == Method::POST && request.uri().path() == SEND_PUSH {
            let (edge, body) = (Arc::clone(&edge), request.into_body());
            Box::pin(async move { edge.send_push(body).await })
        } else {
            others.answer(request, peer)
        }
    });
    match throttle {
        Some(throttle) => throttle.before(unlimited),
        None => unlimited,
    }
}

impl Edge {
    async fn send_push<B>(&self, body: B) -> Answer
    where
        B: hyper::body::Body<Data = Bytes> + Unpin,
    {
        push::send(&self.gate, &self.metrics, self.compatibility, body, |notification| {
            let admitted = self.admission.admit(notification)?;
            if let Some(refusal) = admitted.observed() {
                self.metrics.observed_refusal(refusal.label());
            }
            Ok(self.relay.deliver(admitted))
        })
        .await
    }
}

/// Only for the router's answer to other methods than POST, which [`ingest_routes`] takes.
async fn send_push(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Answer {
    edge.send_push(request.into_body()).await
}

async fn acknowledge(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Answer {
    push::acknowledge(&edge.gate, &edge.metrics, edge.compatibility, request.into_body()).await
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
