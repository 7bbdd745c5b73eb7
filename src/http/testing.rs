//! What the edge's tests share: a server on a port of its own and a client that sends exactly the bytes it is given.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::serve::{ConnectionLimits, Routes, serve};
use super::tls::Tls;
use super::{ClientAddressSettings, HttpSettings, TlsReload, TlsSettings};
use crate::clock::Clock;
use crate::shutdown::Shutdown;
use crate::telemetry::log::DroppedLines;
use crate::telemetry::metrics::Metrics;

/// Longer than any test takes.
pub(super) const LONG: Duration = Duration::from_hours(1);

/// More than any test needs.
pub(super) const ROOMY: ConnectionLimits =
    ConnectionLimits { max_connections: 100, header_timeout: LONG, makes_room: false, idle_timeout: LONG };

pub(super) fn metrics() -> Metrics {
    Metrics::new("test", DroppedLines::default())
}

pub(super) fn settings() -> HttpSettings {
    HttpSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: None,
        ops_listen: None,
        max_body_bytes: 64,
        header_timeout: LONG,
        body_timeout: LONG,
        idle_timeout: LONG,
        max_in_flight: 100,
        max_connections: 100,
        client_address: ClientAddressSettings::default(),
        throttle: None,
        serve_metrics: true,
        status: None,
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) shutdown: Shutdown,
    pub(super) served: JoinHandle<()>,
    pub(super) metrics: Arc<Metrics>,
    /// Absent without TLS.
    pub(super) reload: Option<TlsReload>,
}

impl Server {
    pub(super) async fn start(router: Router) -> Self {
        Self::limited(router, ROOMY).await
    }

    pub(super) async fn limited(router: Router, limits: ConnectionLimits) -> Self {
        Self::serving(super::routes(router), limits).await
    }

    pub(super) async fn serving(routes: Routes, limits: ConnectionLimits) -> Self {
        Self::over(None, routes, limits).await
    }

    /// Over TLS, if there are settings for it.
    pub(super) async fn over(tls: Option<(&TlsSettings, &Clock)>, routes: Routes, limits: ConnectionLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown, metrics) = (listener.local_addr().unwrap(), Shutdown::new(), Arc::new(metrics()));
        let tls = tls.map(|(settings, clock)| Tls::new(settings, Arc::clone(&metrics), clock));
        let reload = tls.as_ref().map(Tls::reloader);
        let served = tokio::spawn(serve(listener, limits, tls, metrics.listener("ingest"), shutdown.clone(), routes));
        Self { address, shutdown, served, metrics, reload }
    }

    pub(super) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, request: &str) -> Reply {
        self.connect().await.ask(request).await
    }
}

pub(super) struct Client<S = TcpStream> {
    stream: S,
    read: Vec<u8>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Lower-case, `name: value`.
    pub(super) headers: Vec<String>,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The text of a POST.
pub(super) fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(super) fn over(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.try_send(text).await.unwrap();
    }

    pub(super) async fn try_send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await
    }

    pub(super) async fn ask(&mut self, request: &str) -> Reply {
        self.send(request).await;
        let head = request.starts_with("HEAD");
        self.reply(head).await.expect("an answer before the connection closed")
    }

    /// The next answer, or `None` if the connection ended instead.
    pub(super) async fn reply(&mut self, head: bool) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.more().await {
                return None;
            }
        };
        let text = String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
        let mut lines = text.trim_end().lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, headers: lines.map(str::to_lowercase).collect(), body: String::new() };
        let length: usize = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if !head {
            while self.read.len() < length {
                assert!(self.more().await, "the connection closed within a body");
            }
            reply.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        }
        Some(reply)
    }

    /// Waits until the server closes the connection, which it must do without a further byte.
    pub(super) async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more().await
    }

    async fn more(&mut self) -> bool {
        // A reset is an end too.
        matches!(self.stream.read_buf(&mut self.read).await, Ok(1..))
    }
}

/// How a relay delivers, but for how hard it tries.
pub(super) fn relay_settings(delivery: crate::delivery::DeliverySettings) -> crate::relay::RelaySettings {
    crate::relay::RelaySettings {
        compatibility: crate::notification::Compatibility::Improved,
        delivery,
        memory: None,
        lifetimes: crate::delivery::lifetime::LifetimeSettings {
            message: LONG,
            call: LONG,
            badge: LONG,
            session: LONG,
        },
        breaker: crate::delivery::breaker::BreakerSettings { failures: 0, first_pause: LONG, longest_pause: LONG },
        removal_guard: None,
    }
}
