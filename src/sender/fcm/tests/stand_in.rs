//! Stand-ins on real sockets for the tests of this module: Google (FCM and its OAuth endpoint, TLS and HTTP/2) and a
//! forward proxy. Strict about what they are sent; what they answer, the test says.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::sender::fcm::account::tests::verified;

/// An answer: status, body, `Retry-After`.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) retry_after: Option<String>,
    /// Resets the stream, with this reason, before the answer is out.
    pub(super) reset: Option<h2::Reason>,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), retry_after: None, reset: None }
    }

    pub(super) fn retry_after(mut self, text: &str) -> Self {
        self.retry_after = Some(text.to_owned());
        self
    }

    pub(super) fn reset(reason: h2::Reason) -> Self {
        Self { reset: Some(reason), ..Self::new(200, "{") }
    }
}

/// One of Google's two endpoints.
#[derive(Default)]
pub(super) struct Endpoint {
    /// What comes next, before the endpoint goes back to behaving well.
    script: Mutex<VecDeque<Answer>>,
    held: watch::Sender<bool>,
    /// Requests that have arrived.
    arrived: watch::Sender<usize>,
}

impl Endpoint {
    pub(super) fn answer_next(&self, answer: Answer) {
        self.script.lock().unwrap().push_back(answer);
    }

    /// Keeps answers back until [`Endpoint::release`].
    pub(super) fn hold(&self) {
        self.held.send_replace(true);
    }

    pub(super) fn release(&self) {
        self.held.send_replace(false);
    }

    pub(super) fn requests(&self) -> usize {
        *self.arrived.borrow()
    }

    pub(super) async fn until_requests(&self, count: usize) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }

    async fn next(&self) -> Option<Answer> {
        self.arrived.send_modify(|arrived| *arrived += 1);
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        self.script.lock().unwrap().pop_front()
    }
}

/// How the server opens a connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner {
    /// Speaks only HTTP/1.1.
    pub(super) http1: bool,
    /// Does not take part in the choice of a protocol.
    pub(super) no_alpn: bool,
    pub(super) max_streams: Option<u32>,
}

pub(super) struct Google {
    pub(super) address: SocketAddr,
    /// What signs for it.
    pub(super) authority: CertificateDer<'static>,
    pub(super) oauth: Endpoint,
    pub(super) fcm: Endpoint,
    /// The bearer of each send, in order.
    pub(super) bearers: Mutex<Vec<String>>,
    /// `iat` of each assertion, in order.
    pub(super) issued_at: Mutex<Vec<u64>>,
    /// Tokens before this one are not taken any more. They are called `access-1`, `access-2` …
    pub(super) oldest_valid: Mutex<usize>,
    pub(super) connections: Mutex<usize>,
    pub(super) expires_in: Mutex<u64>,
}

impl Google {
    pub(super) async fn start() -> Arc<Self> {
        Self::start_in(Manner::default()).await
    }

    pub(super) async fn start_in(manner: Manner) -> Arc<Self> {
        let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let authority = signed.cert.der().clone();
        let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(signed.signing_key.serialize_pem().as_bytes());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![authority.clone()], key.unwrap())
            .unwrap();
        tls.alpn_protocols = match manner {
            Manner { no_alpn: true, .. } => vec![],
            Manner { http1: true, .. } => vec![b"http/1.1".to_vec()],
            _ => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let google = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            authority,
            oauth: Endpoint::default(),
            fcm: Endpoint::default(),
            bearers: Mutex::default(),
            issued_at: Mutex::default(),
            oldest_valid: Mutex::new(1),
            connections: Mutex::default(),
            expires_in: Mutex::new(1_000),
        });
        let serving = Arc::clone(&google);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                *serving.connections.lock().unwrap() += 1;
                tokio::spawn(Arc::clone(&serving).serve(tcp, acceptor.clone(), manner));
            }
        });
        google
    }

    async fn serve(self: Arc<Self>, tcp: TcpStream, acceptor: TlsAcceptor, manner: Manner) {
        let Ok(tls) = acceptor.accept(tcp).await else { return };
        let mut server = auto::Builder::new(TokioExecutor::new());
        if manner.http1 {
            server = server.http1_only();
        } else if let Some(max_streams) = manner.max_streams {
            server.http2().max_concurrent_streams(max_streams);
        }
        let service = service_fn(move |request| {
            let google = Arc::clone(&self);
            async move { Ok::<_, Infallible>(google.handle(request).await) }
        });
        let _ = server.serve_connection(TokioIo::new(tls), service).await;
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
    ) -> Response<impl hyper::body::Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>> + use<>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(head.method, http::Method::POST);
        assert!(header(header::USER_AGENT).starts_with("pushrelay/"));
        let answer = match head.uri.path() {
            "/token" => {
                assert_eq!(header(header::CONTENT_TYPE), "application/x-www-form-urlencoded");
                self.grant(&body).await
            }
            "/v1/projects/chat-1a2b3/messages:send" => {
                assert_eq!(header(header::CONTENT_TYPE), "application/json");
                assert!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["message"]["token"].is_string());
                self.take(header(header::AUTHORIZATION)).await
            }
            other => panic!("nothing is posted to {other}"),
        };
        let mut response = Response::builder().status(StatusCode::from_u16(answer.status).unwrap());
        if let Some(text) = answer.retry_after {
            response = response.header(header::RETRY_AFTER, text);
        }
        let data = Bytes::from(answer.body);
        let body = if let Some(reason) = answer.reset {
            let frames = [Ok(Frame::data(data)), Err(h2::Error::from(reason))];
            Either::Left(StreamBody::new(futures_util::stream::iter(frames)))
        } else {
            Either::Right(Full::new(data).map_err(|never| match never {}))
        };
        response.body(body).unwrap()
    }

    async fn grant(&self, form: &[u8]) -> Answer {
        let form: HashMap<String, String> = url::form_urlencoded::parse(form).into_owned().collect();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let (_, claims) = verified(&form["assertion"]);
        self.issued_at.lock().unwrap().push(claims["iat"].as_u64().unwrap());
        if let Some(answer) = self.oauth.next().await {
            return answer;
        }
        let number = self.oauth.requests();
        let life = *self.expires_in.lock().unwrap();
        let body = json!({"access_token": format!("access-{number}"), "expires_in": life, "token_type": "Bearer"});
        Answer::new(200, body.to_string())
    }

    async fn take(&self, authorization: String) -> Answer {
        let number: usize = authorization.strip_prefix("Bearer access-").unwrap().parse().unwrap();
        self.bearers.lock().unwrap().push(authorization);
        if let Some(answer) = self.fcm.next().await {
            return answer;
        }
        if number < *self.oldest_valid.lock().unwrap() {
            return Answer::new(401, json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}}).to_string());
        }
        Answer::new(200, json!({"name": "projects/chat-1a2b3/messages/1"}).to_string())
    }

    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

/// A forward proxy that asks for credentials; hands each request's head over.
pub(super) struct ForwardProxy {
    pub(super) address: SocketAddr,
    pub(super) heads: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(tunnel(client, Arc::clone(&seen)));
            }
        });
        Self { address, heads }
    }
}

async fn tunnel(mut client: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    // user:password
    let let_through = head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnzd29yza==");
    heads.lock().unwrap().push(head);
    if !let_through {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
        return;
    }
    let mut server = TcpStream::connect(target).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
