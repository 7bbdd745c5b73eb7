//! Chat servers of all kinds on real sockets, over TLS with an authority of their own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::admission::signing::SigningKey;
use crate::admission::site::Site;

/// 3072 bits, SPKI: what is no key for signing pushes.
const RSA: &str = "MIIBojANBgkqhkiG9w0BAQEFAAOCAY8AMIIBigKCAYEA";

type Answer = Response<Full<Bytes>>;

fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

fn to(location: impl AsRef<str>) -> Answer {
    Response::builder().status(302).header("location", location.as_ref()).body(Full::default()).unwrap()
}

struct ChatServer {
    address: SocketAddr,
    authority: CertificateDer<'static>,
}

impl ChatServer {
    /// One that answers what `answer` says to a path; nothing at all to `None`.
    async fn start(answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let authority = signed.cert.der().clone();
        let key = PrivateKeyDer::from_pem_slice(signed.signing_key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![authority.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        assert_eq!(request.method(), http::Method::GET);
                        let path = request.uri().path_and_query().unwrap().as_str().to_owned();
                        let answer = answer(&path);
                        async move {
                            match answer {
                                Some(answer) => Ok::<_, Infallible>(answer),
                                None => std::future::pending().await,
                            }
                        }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(tls), service).await;
                });
            }
        });
        Self { address, authority }
    }

    fn site(&self, path: &str) -> Site {
        Site::parse(&format!("https://{}{path}", self.address)).unwrap()
    }

    fn settings(&self) -> FetchSettings {
        FetchSettings {
            extra_authorities: vec![self.authority.clone()],
            proxy: ProxySettings::Direct,
            patience: PATIENCE,
        }
    }

    async fn ask(&self) -> Result<Publication, FetchError> {
        fetch(&self.site(""), &self.settings()).await
    }
}

/// What a Mattermost server publishes, among much else.
fn published(key: &SigningKey) -> Value {
    json!({
        "AsymmetricSigningPublicKey": key.public_base64(), "DiagnosticId": "chat-1", "TelemetryId": "chat-1",
        "Version": "10.5.1", "EnableSignUpWithEmail": "true",
    })
}

#[tokio::test]
async fn a_server_says_who_it_is_at_its_root_and_behind_a_path() {
    let key = SigningKey::generate();
    let body = published(&key).to_string();
    let server = ChatServer::start(move |path| {
        let known = ["/api/v4/config/client?format=old", "/team/chat/api/v4/config/client?format=old"];
        Some(if known.contains(&path) { answer(200, body.clone()) } else { answer(404, "") })
    })
    .await;
    for path in ["", "/", "/team/chat", "/team/chat/"] {
        let publication = fetch(&server.site(path), &server.settings()).await.unwrap();
        assert_eq!(publication.id.as_str(), "chat-1");
        assert_eq!(publication.key, key.verifying_key());
        assert_eq!(publication.version.as_deref(), Some("10.5.1"));
    }
    assert!(matches!(
        fetch(&server.site("/elsewhere"), &server.settings()).await,
        Err(FetchError::Status(StatusCode::NOT_FOUND))
    ));
}

#[tokio::test]
async fn whatever_else_answers_is_told_apart_with_a_remedy() {
    let key = SigningKey::generate();
    let with = |name: &str, value: Value| {
        let mut published = published(&key);
        published[name] = value;
        answer(200, published.to_string())
    };
    let without_ids = json!({"AsymmetricSigningPublicKey": key.public_base64()});
    for (what, given, expected) in [
        ("a page", answer(200, "<!doctype html><title>Chat</title>"), "not the JSON of a Mattermost server"),
        ("a list", answer(200, "[]"), "not the JSON of a Mattermost server"),
        ("nothing", answer(200, ""), "not the JSON of a Mattermost server"),
        ("a login", answer(401, "{}"), "asks who you are"),
        ("a wrong path", answer(404, "{}"), "SiteURL"),
        ("trouble", answer(502, "{}"), "in trouble itself"),
        ("a teapot", answer(418, "{}"), "HTTP 418"),
        ("no content", answer(204, ""), "HTTP 204"),
        ("no key", with("AsymmetricSigningPublicKey", json!(null)), "publishes no AsymmetricSigningPublicKey"),
        ("an empty key", with("AsymmetricSigningPublicKey", json!("")), "publishes no AsymmetricSigningPublicKey"),
        ("an RSA key", with("AsymmetricSigningPublicKey", json!(RSA)), "is not a P-256 public key"),
        ("nonsense for a key", with("AsymmetricSigningPublicKey", json!("!")), "is neither a PEM block"),
        ("no id", answer(200, without_ids.to_string()), "publishes no DiagnosticId"),
        ("two ids", with("TelemetryId", json!("chat-2")), "differ"),
        ("a long id", with("DiagnosticId", json!("x".repeat(129))), "differ"),
        ("a redirect to nowhere", Response::builder().status(302).body(Full::default()).unwrap(), "HTTP 302"),
    ] {
        let server = ChatServer::start(move |_| Some(given.clone())).await;
        let error = server.ask().await.expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

#[tokio::test]
async fn an_id_that_cannot_be_kept_or_shown_is_refused() {
    let key = SigningKey::generate();
    for id in ["x".repeat(129), "a\u{1b}[2Jb".to_owned()] {
        let body = json!({"DiagnosticId": id, "AsymmetricSigningPublicKey": key.public_base64()}).to_string();
        assert!(matches!(publication::parse(body.as_bytes()), Err(FetchError::UnusableId)));
    }
    let body = json!({
        "TelemetryId": "chat-1", "AsymmetricSigningPublicKey": key.public_base64(), "Version": "1\u{1b}[2J",
    });
    let publication = publication::parse(body.to_string().as_bytes()).unwrap();
    assert_eq!((publication.id.as_str(), publication.version.as_deref()), ("chat-1", Some("1[2J")));
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_the_end() {
    let server = ChatServer::start(|_| Some(answer(200, vec![b' '; (1 << 20) + 1]))).await;
    assert!(matches!(server.ask().await, Err(FetchError::TooLarge)));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    let server = ChatServer::start(|_| None).await;
    let settings = FetchSettings { patience: Duration::from_millis(50), ..server.settings() };
    assert!(matches!(fetch(&server.site(""), &settings).await, Err(FetchError::TooSlow(_))));

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = Site::parse(&format!("https://{free}")).unwrap();
    assert!(matches!(fetch(&nobody, &server.settings()).await, Err(FetchError::NoAnswer(_))));
}

#[tokio::test]
async fn a_redirect_is_followed_on_the_same_server_and_nowhere_else() {
    let key = SigningKey::generate();
    let body = published(&key).to_string();
    let elsewhere = body.clone();
    let other = ChatServer::start(move |_| Some(answer(200, elsewhere.clone()))).await;
    let other_url = format!("https://{}/", other.address);
    let plain = "http://127.0.0.1/".to_owned();
    for (location, expected) in [
        ("/moved", Ok(())),
        (other_url.as_str(), Err("is not the address that was asked")),
        (plain.as_str(), Err("is not the address that was asked")),
        ("https://user:canary@evil.example/?canary", Err("https://evil.example/")),
        ("/api/v4/config/client?format=old", Err("again and again")),
    ] {
        let (body, to_there) = (body.clone(), location.to_owned());
        let server = ChatServer::start(move |path| {
            Some(if path == "/moved" { answer(200, body.clone()) } else { to(&to_there) })
        })
        .await;
        match (server.ask().await, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(words)) => {
                let error = error.to_string();
                assert!(error.contains(words) && !error.contains("canary"), "{location}: {error}");
            }
            (got, _) => panic!("{location}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_said_to_be_that() {
    let server = ChatServer::start(|_| panic!("nothing may be asked")).await;
    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert.der().clone();
    let settings = FetchSettings { extra_authorities: vec![stranger], ..server.settings() };
    match fetch(&server.site(""), &settings).await {
        Err(error @ FetchError::Certificate(_)) => assert!(error.to_string().contains("--ca-file"), "{error}"),
        other => panic!("{other:?}"),
    }
}
