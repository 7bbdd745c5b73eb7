//! The edge: addresses, limits, routes. It turns requests into notifications for admission and the relay, and what they
//! say into answers. It decides neither who may send nor how hard to try.
//!
//! `serve` owns connections, `limits` what a request may cost, `push` the order of steps for the two routes that chat
//! servers use, `native` the API for other programs, `ops` everything that probes and people ask, `mattermost` the wire
//! format, `client_address` whose a request is, `throttle` how often anyone may ask, `status` the page for operators, `tls` how connections of chat servers are kept private.

mod answer;
mod client_address;
mod ingest;
mod limits;
pub mod mattermost;
mod native;
mod openapi;
mod ops;
mod pace;
mod push;
mod serve;
mod signed;
mod status;
#[cfg(test)]
mod testing;
mod throttle;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use http::Request;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tower::Service;

use crate::admission::Admission;
use crate::clock::Clock;
use crate::notification::Compatibility;
use crate::relay::Relay;
use crate::shutdown::Shutdown;
use crate::telemetry::metrics::Metrics;
use answer::Answer;
use ingest::ingest_routes;
use limits::Gate;
use native::{NOTIFICATIONS, Native};
use ops::Ops;
use serve::{ConnectionLimits, Routes, serve};
use status::Status;
use throttle::Throttle;
use tls::Tls;

pub use client_address::ClientAddressSettings;
pub use status::StatusSettings;
pub use throttle::{ThrottleSettings, Vary};
pub use tls::{
    Changed, ClientCertificates, Fault as TlsFault, Files as TlsFiles, Material as TlsMaterial, Peer, PeerIdentity,
    Problem as TlsProblem, San, Standing, TlsReload, TlsSettings,
};

/// Addresses and limits of the HTTP side.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where chat servers post to.
    pub listen: SocketAddr,
    /// TLS on `listen`; without it connections are plain.
    pub tls: Option<TlsSettings>,
    /// A separate address for health and metrics, always plain; without one they are on `listen`.
    pub ops_listen: Option<SocketAddr>,
    /// The largest body, bytes.
    pub max_body_bytes: usize,
    /// The longest wait for a request's headers.
    pub header_timeout: Duration,
    /// The longest wait for a request's body.
    pub body_timeout: Duration,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
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
    /// The page for operators; without it its paths are answered like any that is not.
    pub status: Option<StatusSettings>,
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
/// relay can be asked what is wrong when theirs is reached. When all are taken, one that asks nothing is closed for the next:
/// watchers have half of them, and no others last.
const OPS_CONNECTIONS: usize = 64;

/// Everything behind the listeners.
pub struct Edge {
    relay: Arc<Relay>,
    admission: Arc<Admission>,
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    native: Native,
    throttle: Option<Arc<Throttle>>,
    client_address: ClientAddressSettings,
    compatibility: Compatibility,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
    serve_metrics: bool,
    status: Option<StatusSettings>,
    build: Build,
    clock: Clock,
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
        let tls = settings.tls.as_ref().map(|tls| Tls::new(tls, Arc::clone(&metrics), clock));
        Self {
            native: Native::new(relay.deadline()),
            relay,
            admission,
            gate: Arc::new(Gate::new(settings, Arc::clone(&metrics))),
            metrics,
            throttle,
            client_address: settings.client_address.clone(),
            compatibility,
            limits: ConnectionLimits {
                max_connections: settings.max_connections,
                header_timeout: settings.header_timeout,
                makes_room: false,
                idle_timeout: settings.idle_timeout,
            },
            tls,
            serve_metrics: settings.serve_metrics,
            status: settings.status.clone(),
            build,
            clock: clock.clone(),
        }
    }

    /// Reads the files of TLS again when asked to; absent where there is no TLS.
    pub fn tls_reload(&self) -> Option<TlsReload> {
        self.tls.as_ref().map(Tls::reloader)
    }

    /// The page for operators, unless they do not want it.
    fn status_page(&self, ops: &Arc<Ops>) -> Option<Arc<Status>> {
        let settings = self.status.as_ref()?;
        let (relay, admission) = (Arc::clone(&self.relay), Arc::clone(&self.admission));
        let (tls, clock) = (self.tls.clone(), self.clock.clone());
        Some(Arc::new(Status::new(settings, Arc::clone(ops), relay, admission, tls, self.build, clock)))
    }

    /// Serves chat servers on `ingest`, and probes and scrapers on `ops` (or on `ingest` too, without it), until
    /// `shutdown` begins and running requests have been answered, or until it is forced.
    ///
    /// The listener for operators outlives the other: it says that the relay is draining while it is.
    pub async fn run(self, ingest: TcpListener, ops: Option<TcpListener>, shutdown: Shutdown) {
        let edge = Arc::new(self);
        let _watch = edge.tls_reload().map(|reload| AbortOnDropHandle::new(tokio::spawn(reload.watch())));
        let tls = edge.tls.clone();
        let ops_state = Arc::new(Ops {
            readiness: Box::new({
                let relay = Arc::clone(&edge.relay);
                move || relay.readiness()
            }),
            memory: Box::new({
                let relay = Arc::clone(&edge.relay);
                move || relay.memory()
            }),
            queue: Box::new({
                let relay = Arc::clone(&edge.relay);
                move || relay.queue_state()
            }),
            metrics: Arc::clone(&edge.metrics),
            gate: Arc::clone(&edge.gate),
            shutdown: shutdown.clone(),
            serve_metrics: edge.serve_metrics,
        });
        let status = edge.status_page(&ops_state);
        let mut probes = ops::probes(ops_state);
        if let Some(status) = &status {
            probes = probes.merge(status::routes(Arc::clone(status)));
        }
        let _sampling = status.map(|status| AbortOnDropHandle::new(tokio::spawn(async move { status.run().await })));
        let pushes = Router::new()
            // Only for the answer to other methods: `ingest_routes` takes what is posted here.
            .route(SEND_PUSH, post(async || answer::not_found()))
            .route(NOTIFICATIONS, post(async || answer::not_found()))
            .route(ACK, post(acknowledge))
            .with_state(Arc::clone(&edge))
            .merge(ops::home(edge.build, edge.compatibility))
            .merge(openapi::description());
        let Some(ops) = ops else {
            let listener = edge.metrics.listener("ingest");
            let routes = ingest_routes(Arc::clone(&edge), pushes.merge(probes));
            return serve(ingest, edge.limits, tls, listener, shutdown, routes).await;
        };
        let limits = ConnectionLimits { max_connections: OPS_CONNECTIONS, makes_room: true, ..edge.limits };
        let end = Shutdown::new();
        let serve_ops = serve(ops, limits, None, edge.metrics.listener("ops"), end.clone(), routes(probes));
        let serve_ingest = async {
            let routes = ingest_routes(Arc::clone(&edge), pushes);
            serve(ingest, edge.limits, tls, edge.metrics.listener("ingest"), shutdown, routes).await;
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

async fn acknowledge(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Answer {
    let receipt = |ack_id: &str| edge.relay.receipt(ack_id);
    push::acknowledge(&edge.gate, &edge.metrics, edge.compatibility, request.into_body(), receipt).await
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
