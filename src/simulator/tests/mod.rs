//! Conversations with a running simulator over real sockets, and the client that leads them.

mod apns;
mod faults;
mod google;
mod inbox;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Credentials, Simulator, SimulatorSettings};

/// Where every test's clock stands at first: seconds since the Unix epoch.
const NOW: u64 = 1_800_000_000;

/// Made once: an RSA key takes its time.
static CREDENTIALS: LazyLock<Credentials> = LazyLock::new(|| Credentials::generate().unwrap());

/// A device token in good standing that ends in this number.
fn device(number: u64) -> String {
    format!("a{number:063x}")
}

/// Fails a test that would otherwise wait for ever.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("an answer within 20 seconds")
}

/// A simulator whose clock the test turns.
struct Stage {
    simulator: Simulator,
    clock: Arc<AtomicU64>,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with(|_| {}).await
    }

    async fn set_with(change: impl FnOnce(&mut SimulatorSettings)) -> Self {
        let clock = Arc::new(AtomicU64::new(NOW * 1_000));
        let mut settings = SimulatorSettings::new(&CREDENTIALS);
        let hands = Arc::clone(&clock);
        settings.now = Arc::new(move || hands.load(Ordering::Relaxed));
        change(&mut settings);
        Self { simulator: Simulator::start(settings).await.unwrap(), clock }
    }

    fn advance(&self, seconds: u64) {
        self.clock.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    async fn apns(&self) -> Client {
        Client::connect(self.simulator.apns_address(), None).await
    }

    async fn apns_with_certificate(&self) -> Client {
        Client::connect(self.simulator.apns_address(), Some(&CREDENTIALS.client_certificate_pem)).await
    }

    async fn fcm(&self) -> Client {
        Client::connect(self.simulator.fcm_address(), None).await
    }
}

/// A provider token with these claims, signed by the right key.
fn provider_token(kid: &str, claims: &Value) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
    let key = EncodingKey::from_ec_pem(CREDENTIALS.p8_pem.as_bytes()).unwrap();
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

/// The value of an authorization header that is right at this time.
fn bearer(issued_at: u64) -> String {
    let claims = json!({"iss": CREDENTIALS.team_id, "iat": issued_at});
    format!("bearer {}", provider_token(&CREDENTIALS.key_id, &claims))
}

/// One HTTP/2 connection.
struct Client {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Reply {
    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }
}

impl Client {
    async fn connect(address: SocketAddr, certificate: Option<&str>) -> Self {
        let stream = connect_tls(address, certificate, &[b"h2"]).await;
        let (send, connection) = h2::client::Builder::new().handshake(stream).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Waits for the stream limit, sends, and gives the answer to come.
    async fn begin(&mut self, request: Request<()>, body: Bytes) -> Result<h2::client::ResponseFuture, h2::Error> {
        self.send = soon(self.send.clone().ready()).await?;
        let (response, mut stream) = self.send.send_request(request, false)?;
        stream.send_data(body, true)?;
        Ok(response)
    }

    async fn exchange(&mut self, request: Request<()>, body: impl Into<Bytes>) -> Result<Reply, h2::Error> {
        let response = self.begin(request, body.into()).await?;
        soon(finish(response)).await
    }

    async fn push(&mut self, push: Push) -> Reply {
        let (request, body) = push.build();
        self.exchange(request, body).await.unwrap()
    }
}

async fn finish(response: h2::client::ResponseFuture) -> Result<Reply, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(part) = stream.data().await {
        body.extend_from_slice(&part?);
    }
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

async fn connect_tls(address: SocketAddr, certificate: Option<&str>, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CREDENTIALS.authority_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => config.with_no_client_auth(),
        Some(pem) => {
            let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect();
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// A push to Apple, right in every respect until changed.
#[derive(Clone)]
struct Push {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Push {
    fn to(device_token: &str) -> Self {
        Self {
            method: Method::POST,
            path: format!("/3/device/{device_token}"),
            headers: vec![
                ("authorization", bearer_of_now()),
                ("apns-topic", CREDENTIALS.topic.clone()),
                ("apns-push-type", "alert".into()),
                ("apns-priority", "10".into()),
            ],
            body: json!({"aps": {"alert": "hello"}}).to_string(),
        }
    }

    /// The header with another value, in place of the old one if there was one.
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self = self.without(name);
        self.headers.push((name, value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(given, _)| *given != name);
        self
    }

    fn body(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }

    fn build(self) -> (Request<()>, Bytes) {
        let mut request = Request::builder().method(self.method).uri(format!("https://localhost{}", self.path));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        (request.body(()).unwrap(), self.body.into())
    }
}

/// One token for all pushes of all tests: a second one within 20 minutes would be an offence.
fn bearer_of_now() -> String {
    static BEARER: LazyLock<String> = LazyLock::new(|| bearer(NOW));
    BEARER.clone()
}

/// One HTTP/1.1 exchange over a stream that is closed afterwards: status line and headers, then the body.
async fn http1(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An answer that ends without a TLS goodbye is still an answer.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}
