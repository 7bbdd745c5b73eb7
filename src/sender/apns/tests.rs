//! The way to APNs from a notification to a verdict, against a small HTTP/2 server over TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::credential::{Credential, SigningKey, test_keys};
use super::test_notification::notification;
use super::*;
use crate::message::Message;
use crate::message::tests::alert;
use crate::notification::TargetName;
use crate::sender::ProviderSettings;
use crate::sender::network::{NetworkSettings, ProxySettings, crypto_provider};

/// Far beyond what any of these tests takes.
const LONG: Duration = Duration::from_secs(30);

/// An answer: status, body.
type Answer = (u16, &'static str);

struct Server {
    url: Url,
    certificate: CertificateDer<'static>,
    /// What arrived: path and headers.
    requests: mpsc::UnboundedReceiver<(String, HeaderMap)>,
}

/// Gives these answers in order, the last one for ever. With `authorities` it wants a client certificate from one of
/// them.
async fn server(answers: &'static [Answer], authorities: Option<CertificateDer<'static>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let builder =
        rustls::ServerConfig::builder_with_provider(crypto_provider()).with_safe_default_protocol_versions().unwrap();
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (report, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut count = 0;
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let mut connection = h2::server::handshake(tls).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let (status, body) = answers[usize::min(count, answers.len() - 1)];
                count += 1;
                let _ = report.send((request.uri().path().to_owned(), request.headers().clone()));
                let response = Response::builder().status(status).header("retry-after", "7").body(()).unwrap();
                let mut stream = respond.send_response(response, body.is_empty()).unwrap();
                if !body.is_empty() {
                    stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
                }
            }
        }
    });
    Server { url, certificate: made.cert.der().clone(), requests }
}

fn signing_key() -> Credential {
    Credential::Key(SigningKey::from_p8(test_keys::p8().as_bytes(), "KEYID12345", "TEAMID1234").unwrap())
}

fn settings(credential: Credential) -> ApnsSettings {
    ApnsSettings { topic: "com.example.app".to_owned(), sandbox: false, port: 443, credential }
}

fn target(server: &Server, apns: &ApnsSettings) -> TargetSettings {
    TargetSettings {
        name: TargetName::new("apple_rn"),
        compatibility: Compatibility::Improved,
        network: NetworkSettings {
            endpoint: Some(server.url.clone()),
            extra_authorities: vec![server.certificate.clone()],
            proxy: ProxySettings::Direct,
            connections: 1,
            connect_timeout: LONG,
        },
        provider: ProviderSettings::Apns(apns.clone()),
    }
}

fn apns(server: &Server, credential: Credential, clock: &Clock) -> Apns {
    let settings = settings(credential);
    Apns::new(&target(server, &settings), &settings, clock, &mut KeysInUse::default()).unwrap()
}

#[tokio::test]
async fn a_push_is_delivered_with_a_provider_token_and_repeated_under_the_same_id() {
    let mut server = server(&[(503, r#"{"reason":"ServiceUnavailable"}"#), (200, "")], None).await;
    let apns = apns(&server, signing_key(), &Clock::manual(1_700_000_000));
    let prepared = apns.prepare(&notification("00fc13ad"), None);
    let after = Some(Duration::from_secs(7));
    let busy = Verdict::Retry { reason: "ServiceUnavailable", after, scope: Scope::Target, unprocessed: false };
    let attempts = [
        apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await,
        apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await,
    ];
    assert_eq!([&attempts[0].verdict, &attempts[1].verdict], [&busy, &Verdict::Delivered]);
    let (path, first) = server.requests.recv().await.unwrap();
    let (_, second) = server.requests.recv().await.unwrap();
    assert_eq!(path, "/3/device/00fc13ad");
    assert!(first["authorization"].to_str().unwrap().starts_with("bearer ey"));
    assert_eq!(first, second);
    for attempt in attempts {
        let id = attempt.provider_id.map(|id| id.to_string());
        assert_eq!(id.as_deref(), first["apns-id"].to_str().ok(), "what Apple was told is what is told of the attempt");
    }
}

#[tokio::test]
async fn apple_is_told_until_when_a_push_is_worth_something_where_it_can_be_known() {
    let server = server(&[(200, "")], None).await;
    let clock = Clock::manual(1_000);
    clock.advance(Duration::from_millis(900));
    let settings = settings(signing_key());
    let sender = |compatibility| {
        let target = TargetSettings { compatibility, ..target(&server, &settings) };
        Apns::new(&target, &settings, &clock, &mut KeysInUse::default()).unwrap()
    };
    let (improved, strict) = (sender(Compatibility::Improved), sender(Compatibility::Strict));
    let told = |apns: &Apns, notification: &Notification, remaining: Option<u64>| {
        let prepared = apns.prepare(notification, remaining.map(Duration::from_millis)).0.unwrap();
        let head = prepared.head(None);
        head.headers().get("apns-expiration").map(|value| value.to_str().unwrap().to_owned())
    };
    // Remaining milliseconds, and the seconds after 1970 at which Apple gives up. It is 1,000.9.
    let push = notification("ab");
    for (remaining, expected) in [
        (None, None),
        (Some(0), Some("1001")),
        (Some(99), Some("1001")),
        (Some(1_099), Some("1001")),
        (Some(60_100), Some("1061")),
    ] {
        assert_eq!(told(&improved, &push, remaining).as_deref(), expected, "{remaining:?}");
        assert_eq!(told(&strict, &push, remaining), None, "the reference tells nothing");
    }
    // What a program asked for, seconds, before the rest.
    for (ttl_seconds, remaining, expected) in [
        (None, None, None),
        (None, Some(60_100), Some("1061")),
        (Some(3_600), None, Some("4600")),
        (Some(3_600), Some(60_100), Some("1061")),
        (Some(10), Some(60_100), Some("1010")),
        (Some(3_600), Some(0), Some("1001")),
        (Some(0), None, Some("0")),
        (Some(0), Some(60_100), Some("0")),
    ] {
        let message = Arc::new(Message { ttl_seconds, ..alert() });
        let push = Notification::of_message(&message, &push.server_id, &push.target, push.device.clone());
        for apns in [&improved, &strict] {
            assert_eq!(told(apns, &push, remaining).as_deref(), expected, "{ttl_seconds:?} {remaining:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_becomes_its_verdict() {
    let server = server(
        &[
            (410, r#"{"reason":"Unregistered","timestamp":1454948015990}"#),
            (400, r#"{"reason":"BadDeviceToken"}"#),
            (403, r#"{"reason":"InvalidProviderToken"}"#),
            (413, r#"{"reason":"PayloadTooLarge"}"#),
            (400, "<html>"),
        ],
        None,
    )
    .await;
    let apns = apns(&server, signing_key(), &Clock::manual(1_700_000_000));
    let prepared = apns.prepare(&notification("ab"), None);
    for expected in [
        Verdict::Remove { reason: "Unregistered", ambiguous: false },
        Verdict::Remove { reason: "BadDeviceToken", ambiguous: true },
        Verdict::TargetBroken { reason: "InvalidProviderToken" },
        Verdict::Rejected { reason: "PayloadTooLarge" },
        Verdict::Retry {
            reason: "other_4xx",
            after: Some(Duration::from_secs(7)),
            scope: Scope::Target,
            unprocessed: false,
        },
    ] {
        assert_eq!(apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await.verdict, expected);
    }
}

#[tokio::test]
async fn an_expired_provider_token_is_replaced_and_a_fresh_one_that_is_refused_breaks_the_target() {
    let mut server = server(&[(200, ""), (403, r#"{"reason":"ExpiredProviderToken"}"#)], None).await;
    let clock = Clock::manual(1_700_000_000);
    let apns = apns(&server, signing_key(), &clock);
    let prepared = apns.prepare(&notification("ab"), None);
    assert_eq!(apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await.verdict, Verdict::Delivered);
    clock.advance(Duration::from_secs(30 * 60));
    let expired = Verdict::NewCredential { reason: "ExpiredProviderToken" };
    assert_eq!(apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await.verdict, expired);
    clock.advance(Duration::from_secs(1));
    assert_eq!(apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await.verdict, expired);
    clock.advance(Duration::from_secs(1));
    let broken = Verdict::TargetBroken { reason: "ExpiredProviderToken" };
    assert_eq!(apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await.verdict, broken);
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(server.requests.recv().await.unwrap().1["authorization"].clone());
    }
    assert_eq!(tokens[0], tokens[1]);
    assert_ne!(tokens[1], tokens[2], "the refused token was replaced");
    assert_eq!(tokens[2], tokens[3], "and no third was made within 20 minutes");
}

fn certificate() -> (Credential, CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["push".to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let certificate = parameters.self_signed(&key).unwrap();
    let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
    let credential = ClientCertificate::from_pem(pem.as_bytes(), None).unwrap();
    (Credential::Certificate(credential), certificate.der().clone())
}

#[tokio::test]
async fn a_certificate_proves_itself_in_tls_and_sends_no_token() {
    let (credential, authority) = certificate();
    let mut server = server(&[(200, "")], Some(authority)).await;
    let apns = apns(&server, credential, &Clock::manual(1_700_000_000));
    assert_eq!(apns.credential_problem(), None);
    assert_eq!(apns.credential_expires_at(), Some(4_733_510_400));
    assert_eq!(
        apns.attempt(&apns.prepare(&notification("ab"), None), Patience::of(LONG), NoWay::Wait).await.verdict,
        Verdict::Delivered
    );
    assert!(!server.requests.recv().await.unwrap().1.contains_key("authorization"));
}

#[tokio::test]
async fn an_expired_certificate_breaks_the_target_without_asking_apple() {
    let (credential, authority) = certificate();
    let mut server = server(&[(200, "")], Some(authority)).await;
    let apns = apns(&server, credential, &Clock::manual(4_733_510_401));
    assert!(apns.credential_problem().unwrap().contains("2120-01-01"));
    let verdict = apns.attempt(&apns.prepare(&notification("ab"), None), Patience::of(LONG), NoWay::Wait).await.verdict;
    assert_eq!(verdict, Verdict::TargetBroken { reason: "certificate_out_of_date" });
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_token_too_long_to_be_one_fails_and_is_not_removed() {
    let mut server = server(&[(200, "")], None).await;
    let apns = apns(&server, signing_key(), &Clock::manual(1_700_000_000));
    let prepared = apns.prepare(&notification(&"a".repeat(1_025)), None);
    assert_eq!(
        apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await.verdict,
        Verdict::Rejected { reason: "token_too_long" }
    );
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test]
async fn without_configuration_the_endpoint_is_apples() {
    let cases = [
        (None, false, 443, Some("https://api.push.apple.com/")),
        (None, false, 2197, Some("https://api.push.apple.com:2197/")),
        (None, true, 443, Some("https://api.sandbox.push.apple.com/")),
        (Some("https://127.0.0.1:1"), false, 443, Some("https://127.0.0.1:1/")),
        (Some("https://127.0.0.1:1/3/device"), false, 443, None),
        (Some("https://user:canary@127.0.0.1:1"), false, 443, None),
    ];
    for (configured, sandbox, port, expected) in cases {
        let settings = ApnsSettings { sandbox, port, ..settings(signing_key()) };
        let configured = configured.map(|text| Url::parse(text).unwrap());
        let made = endpoint(configured.as_ref(), &settings);
        assert_eq!(made.as_ref().ok().map(Url::as_str), expected);
        assert!(!made.err().unwrap_or_default().contains("canary"));
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_the_target_is_set_up() {
    let server = server(&[(200, "")], None).await;
    let clock = Clock::manual(1_700_000_000);
    let no_topic = ApnsSettings { topic: String::new(), ..settings(signing_key()) };
    let error =
        Apns::new(&target(&server, &no_topic), &no_topic, &clock, &mut KeysInUse::default()).unwrap_err().to_string();
    assert!(error.starts_with("target `apple_rn`: the topic"), "{error}");
    let settings = settings(signing_key());
    let mut plain = target(&server, &settings);
    plain.network.endpoint = Some(Url::parse("http://127.0.0.1:1").unwrap());
    let error = Apns::new(&plain, &settings, &clock, &mut KeysInUse::default()).unwrap_err().to_string();
    assert!(error.contains("https://host:port"), "{error}");
}

#[tokio::test]
async fn a_debug_print_shows_no_secret() {
    let server = server(&[(200, "")], None).await;
    let apns = apns(&server, signing_key(), &Clock::manual(1_700_000_000));
    let prepared = apns.prepare(&notification("canary"), None);
    assert_eq!(apns.attempt(&prepared, Patience::of(LONG), NoWay::Wait).await.verdict, Verdict::Delivered);
    let printed = format!("{apns:?} {prepared:?}");
    assert!(!printed.contains("canary") && !printed.contains("bearer") && !printed.contains("eyJ"), "{printed}");
    assert!(printed.contains("com.example.app"), "{printed}");
}
