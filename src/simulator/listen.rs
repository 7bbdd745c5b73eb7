//! From a listening socket to a served connection: TLS, ALPN, HTTP/1.1, and how many connections there may be.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::apns::Identity;
use super::connection::{self, StreamLimits};
use super::credentials::UID;
use super::exchange::{Answer, Body, Core, Decision, Disturbance, MAX_BODY, Request, Service};
use super::faults::{GoAway, Reset};
use super::ledger::{Unprocessed, Violation};
use super::settings::SimulatorSettings;

/// Connections per listener at once; far above what a relay under load opens.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait before the next accept after one failed, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which of the simulator's doors a connection came through.
#[derive(Clone)]
pub(super) enum Door {
    Apns { tls: TlsAcceptor, limits: StreamLimits },
    Google { tls: TlsAcceptor, limits: StreamLimits },
    Inbox(axum::Router),
}

/// What all doors share.
#[derive(Clone)]
pub(super) struct House {
    pub(super) core: Arc<Core>,
    pub(super) connections: Arc<AtomicU64>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl House {
    /// Serves what comes to this listener until the simulator stops. The listener closes with it.
    pub(super) fn open(&self, listener: TcpListener, door: Door) {
        let house = self.clone();
        self.tasks.spawn(async move {
            let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let stop = house.stop.clone();
            stop.run_until_cancelled(house.accept(listener, door, places)).await;
        });
    }

    async fn accept(&self, listener: TcpListener, door: Door, places: Arc<Semaphore>) {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => self.welcome(stream, door.clone(), place),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn welcome(&self, stream: TcpStream, door: Door, place: OwnedSemaphorePermit) {
        let house = self.clone();
        self.tasks.spawn(async move {
            let _place = place;
            // Without it the kernel holds small answers back; where it cannot be set, they are only late.
            let _ = stream.set_nodelay(true);
            let stop = house.stop.clone();
            stop.run_until_cancelled(Box::pin(house.serve(stream, door))).await;
        });
    }

    async fn serve(&self, stream: TcpStream, door: Door) {
        let core = &*self.core;
        match door {
            Door::Apns { tls, limits } => {
                let Some(stream) = handshake(&tls, stream).await else { return };
                let connection = self.number();
                core.ledger.count(|counts| counts.apns_connections += 1);
                if !speaks_h2(&stream) {
                    core.ledger.note_violation(Violation::NotHttp2 { connection });
                    return;
                }
                let identity = identity(&stream);
                let limits = match identity {
                    Identity::Unknown => limits,
                    Identity::Certificate(_) | Identity::NotForPush => {
                        StreamLimits { at_first: limits.later, ..limits }
                    }
                };
                connection::serve(stream, core, &Service::Apns(identity), limits, connection).await;
            }
            Door::Google { tls, limits } => {
                let Some(stream) = handshake(&tls, stream).await else { return };
                let connection = self.number();
                core.ledger.count(|counts| counts.fcm_connections += 1);
                if speaks_h2(&stream) {
                    connection::serve(stream, core, &Service::Google, limits, connection).await;
                } else {
                    serve_http1(stream, core, connection).await;
                }
            }
            Door::Inbox(router) => {
                let service = TowerToHyperService::new(router);
                // Errors here are pages that were closed in the middle of something.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        }
    }

    fn number(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// TLS for APNs: `h2` only, with client certificates of the given authority welcome.
pub(super) fn apns_tls(settings: &SimulatorSettings) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = match &settings.client_authority {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.clone()).map_err(io::Error::other)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(io::Error::other)?;
            config.with_client_cert_verifier(verifier)
        }
    };
    finish_tls(config, settings, &[b"h2"])
}

/// TLS for FCM and OAuth: `h2` and `http/1.1`.
pub(super) fn google_tls(settings: &SimulatorSettings) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth();
    finish_tls(config, settings, &[b"h2", b"http/1.1"])
}

fn finish_tls(
    config: rustls::ConfigBuilder<rustls::ServerConfig, rustls::server::WantsServerCert>,
    settings: &SimulatorSettings,
    protocols: &[&[u8]],
) -> io::Result<TlsAcceptor> {
    let mut config = config
        .with_single_cert(settings.server_chain.clone(), settings.server_key.clone_key())
        .map_err(io::Error::other)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn handshake(tls: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    // A client that does not trust us says so itself; there is nothing to add.
    tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await.ok()?.ok()
}

fn speaks_h2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// The app a client certificate stands for. Apple names it in the subject's UID.
fn identity(stream: &TlsStream<TcpStream>) -> Identity {
    match stream.get_ref().1.peer_certificates() {
        None | Some([]) => Identity::Unknown,
        Some([leaf, ..]) => app_of(leaf).map_or(Identity::NotForPush, Identity::Certificate),
    }
}

fn app_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let uid = x509_parser::der_parser::oid::Oid::from(UID).ok()?;
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let attribute = certificate.subject().iter_by_oid(&uid).next()?;
    attribute.as_str().ok().map(str::to_owned)
}

/// FCM and OAuth over HTTP/1.1, one request at a time.
async fn serve_http1(stream: TlsStream<TcpStream>, core: &Core, connection: u64) {
    let service = service_fn(move |request| async move {
        let (head, body) = http::Request::into_parts(request);
        let body = read(body).await?;
        let request = Request { method: head.method, path: head.uri.path().to_owned(), headers: head.headers, body };
        let decision = core.decide(&Service::Google, request, connection, 0).await;
        settle(core, connection, decision).await
    });
    // An error here is the fault that was asked for, or a client that went away.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The connection is to break off.
#[derive(Debug, thiserror::Error)]
#[error("broken off on demand")]
struct BrokenOff;

async fn read(body: Incoming) -> Result<Body, BrokenOff> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(Body::Complete(body.to_bytes())),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Ok(Body::TooLarge),
        Err(_) => Err(BrokenOff),
    }
}

/// The faults of HTTP/2 as far as HTTP/1.1 has something like them: a stream is the connection.
async fn settle(core: &Core, connection: u64, decision: Decision) -> Result<http::Response<Full<Bytes>>, BrokenOff> {
    match decision.disturbance {
        None => {
            core.commit(decision.record);
            Ok(response(decision.answer))
        }
        Some(Disturbance::GoAway(GoAway::After | GoAway::Graceful)) => {
            core.commit(decision.record);
            Ok(response(decision.answer.with(http::header::CONNECTION, "close")))
        }
        Some(Disturbance::Reset(Reset::AnswerLost)) => {
            core.commit(decision.record);
            Err(BrokenOff)
        }
        Some(disturbance) => {
            let device_token = decision.device_token;
            core.ledger.leave_unprocessed(Unprocessed { connection, stream: 0, device_token });
            match disturbance {
                Disturbance::Stall(_) => {
                    std::future::pending::<Result<_, Infallible>>().await.map_err(|never| match never {})
                }
                _ => Err(BrokenOff),
            }
        }
    }
}

fn response(answer: Answer) -> http::Response<Full<Bytes>> {
    let mut response = http::Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers.into_iter().map(|(name, value)| (Some(name), value)));
    response
}

/// Binds a listener, refusing addresses other machines can reach unless that was asked for.
pub(super) async fn bind(address: SocketAddr, allow_remote: bool) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() && !allow_remote {
        let text = format!(
            "the simulator listens on loopback addresses only, not on {address}: whoever reaches it reads every \
             message; set allow_remote if that is meant"
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let wrap = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    TcpListener::bind(address).await.map_err(wrap)
}
