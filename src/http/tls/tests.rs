//! Over real sockets, with real handshakes. The relay's certificates are for `relay.example`.

use std::fs;

use axum::body::Body;
use http::{Response, StatusCode};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::testing::{Authority, Installed, Leaf, client, client_of, client_with, dial, shown};
use super::*;
use crate::http::serve::{ConnectionLimits, Routes};
use crate::http::testing::{Client, ROOMY, Reply, Server};

const GET: &str = "GET / HTTP/1.1\r\nhost: relay.example\r\n\r\n";

/// 2026-06-01, within the dates of what [`Relay`] is given.
const JUNE_2026: u64 = 1_780_272_000;

const YEARS: (i32, i32) = (2025, 2027);

/// Answers with what is known of the client.
fn who() -> Routes {
    Routes::new(|_, peer| {
        let said = match peer.identity.as_deref() {
            None => "nobody".to_owned(),
            Some(PeerIdentity { fingerprint_sha256, sans }) => format!("{fingerprint_sha256:02x?} {sans:?}"),
        };
        Box::pin(async { Response::new(Body::from(said)) })
    })
}

/// A relay with a certificate, and who issued what.
struct Relay {
    authority: Authority,
    clients: Authority,
    installed: Installed,
    clock: Clock,
    server: Server,
}

impl Relay {
    async fn start() -> Self {
        Self::with(None, who(), ROOMY).await
    }

    async fn asking(policy: ClientCertificates) -> Self {
        Self::with(Some(policy), who(), ROOMY).await
    }

    async fn with(policy: Option<ClientCertificates>, routes: Routes, limits: ConnectionLimits) -> Self {
        let (authority, clients) = (Authority::new("of relays"), Authority::new("of clients"));
        let installed = Installed::new(&authority.issue("relay.example", YEARS), policy.map(|_| &clients));
        let clock = Clock::manual(JUNE_2026);
        let settings = installed.settings(policy.unwrap_or(ClientCertificates::Optional));
        let server = Server::over(Some((&settings, &clock)), routes, limits).await;
        Self { authority, clients, installed, clock, server }
    }

    fn client(&self) -> Arc<ClientConfig> {
        Arc::new(client(&self.authority))
    }

    fn client_with(&self, leaf: &Leaf) -> Arc<ClientConfig> {
        Arc::new(client_with(&self.authority, leaf))
    }

    async fn dial(&self, config: &Arc<ClientConfig>) -> tokio_rustls::client::TlsStream<TcpStream> {
        dial(self.server.address, config).await.unwrap()
    }

    /// What one request is answered, or that the connection failed, be it in the handshake or after: with TLS 1.3 the
    /// client is done before its certificate is looked at.
    async fn ask(&self, config: &Arc<ClientConfig>) -> Result<String, ()> {
        let mut client = Client::over(dial(self.server.address, config).await.map_err(drop)?);
        // Fails if the relay has hung up already.
        client.try_send(GET).await.map_err(drop)?;
        client.reply(false).await.map(|reply| reply.body).ok_or(())
    }

    /// 0 if it is not there.
    fn metric(&self, name: &str) -> u64 {
        let metrics = self.server.metrics.render();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    fn failures(&self, reason: &str) -> u64 {
        self.metric(&format!("pushrelay_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
    }

    /// Connections that are open, those that shake hands included.
    fn open(&self) -> u64 {
        self.metric("pushrelay_connections{listener=\"ingest\"}")
    }

    fn expires(&self) -> u64 {
        self.metric("pushrelay_ingest_certificate_expires_timestamp_seconds")
    }

    /// The failure is counted when the connection's task gets there, which may be after the client has learned of it.
    async fn has_failed_once(&self, reason: &str) {
        while self.failures(reason) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.failures(reason), 1);
    }

    fn reload(&self) -> Result<Changed, Problem> {
        self.server.reload.as_ref().unwrap().reload()
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another_over_both_versions_of_tls() {
    let relay = Relay::start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = client_of(&relay.authority, &[version]);
        let stream = relay.dial(&Arc::new(config)).await;
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let mut client = Client::over(stream);
        for _ in 0..2 {
            assert_eq!(client.ask(GET).await.body, "nobody");
        }
    }
}

#[tokio::test]
async fn the_protocol_is_the_one_that_both_sides_agree_on() {
    let relay = Relay::start().await;
    for (offered, agreed) in [
        (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut config = client(&relay.authority);
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = relay.dial(&Arc::new(config)).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        if agreed == Some(b"h2") {
            let (requests, connection) = h2::client::handshake(stream).await.unwrap();
            let driver = tokio::spawn(connection);
            let mut requests = requests.ready().await.unwrap();
            let request = http::Request::get("https://relay.example/").body(()).unwrap();
            let (answer, _) = requests.send_request(request, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
            drop(requests);
            driver.await.unwrap().unwrap();
        } else {
            assert_eq!(Client::over(stream).ask(GET).await.body, "nobody");
        }
    }
    let mut config = client(&relay.authority);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    assert!(dial(relay.server.address, &Arc::new(config)).await.is_err());
    relay.has_failed_once("other").await;
}

#[tokio::test]
async fn a_session_is_resumed_without_a_full_handshake() {
    let relay = Relay::start().await;
    let config = relay.client();
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let mut client = Client::over(relay.dial(&config).await);
        assert_eq!(client.ask(GET).await.body, "nobody");
        assert_eq!(client.stream().get_ref().1.handshake_kind(), Some(expected));
    }
}

#[tokio::test]
async fn where_certificates_are_optional_only_a_bad_one_is_refused() {
    let relay = Relay::asking(ClientCertificates::Optional).await;
    assert_eq!(relay.ask(&relay.client()).await, Ok("nobody".to_owned()));
    let leaf = relay.clients.issue("chat.example", YEARS);
    let said = relay.ask(&relay.client_with(&leaf)).await.unwrap();
    let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf.chain()[0]);
    assert!(said.starts_with(&format!("{:02x?} ", fingerprint.as_ref())), "{said}");
    assert!(said.ends_with(r#" [Dns("chat.example"), Uri("spiffe://chat.example")]"#), "{said}");
    let foreign = Authority::new("of clients").issue("chat.example", YEARS);
    assert_eq!(relay.ask(&relay.client_with(&foreign)).await, Err(()));
    relay.has_failed_once("bad_client_certificate").await;
}

#[tokio::test]
async fn where_certificates_are_required_nobody_is_served_without_a_good_one() {
    for (dates, is_from_here) in [(YEARS, false), ((2024, 2025), true), ((2027, 2028), true)] {
        let relay = Relay::asking(ClientCertificates::Required).await;
        let foreign = Authority::new("of others");
        let issuer = if is_from_here { &relay.clients } else { &foreign };
        assert_eq!(relay.ask(&relay.client_with(&issuer.issue("chat.example", dates))).await, Err(()));
        relay.has_failed_once("bad_client_certificate").await;
        assert_eq!(relay.ask(&relay.client()).await, Err(()));
        relay.has_failed_once("no_client_certificate").await;
        let good = relay.clients.issue("chat.example", YEARS);
        assert!(relay.ask(&relay.client_with(&good)).await.unwrap().contains("chat.example"));
    }
}

#[tokio::test]
async fn a_resumed_session_is_still_the_client_it_was_and_ends_with_its_certificate() {
    let relay = Relay::asking(ClientCertificates::Required).await;
    let config = relay.client_with(&relay.clients.issue("chat.example", YEARS));
    let first = relay.ask(&config).await.unwrap();
    let mut client = Client::over(relay.dial(&config).await);
    assert_eq!(client.ask(GET).await.body, first);
    assert_eq!(client.stream().get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));

    relay.clock.advance(Duration::from_hours(365 * 24));
    // The open connection goes on; a new one, resumed or not, does not begin.
    assert_eq!(client.ask(GET).await.body, first);
    assert_eq!(relay.ask(&config).await, Err(()));
    relay.has_failed_once("bad_client_certificate").await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_is_counted_as_such() {
    let relay = Relay::start().await;
    let stranger = Arc::new(client(&Authority::new("of others")));
    assert!(dial(relay.server.address, &stranger).await.is_err());
    relay.has_failed_once("certificate_refused").await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections_while_old_ones_go_on() {
    let relay = Relay::start().await;
    let config = relay.client();
    let mut old = Client::over(relay.dial(&config).await);
    old.ask(GET).await;
    assert_eq!(relay.reload().unwrap(), Changed::Same);
    assert_eq!(relay.expires(), 1_798_761_600);

    let renewed = relay.authority.issue("relay.example", (2026, 2028));
    relay.installed.renew(&renewed);
    assert_eq!(relay.reload().unwrap(), Changed::Replaced);
    assert_eq!(relay.reload().unwrap(), Changed::Same);
    assert_eq!(relay.expires(), 1_830_297_600);
    assert_eq!(old.ask(GET).await.body, "nobody");
    // The session that could be resumed is not.
    let new = relay.dial(&config).await;
    assert_eq!(new.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(shown(&new), renewed.chain());
    assert_ne!(shown(old.stream()), renewed.chain());
}

#[tokio::test]
async fn what_cannot_be_used_leaves_the_certificate_in_use() {
    let relay = Relay::start().await;
    let before = shown(&relay.dial(&relay.client()).await);
    let Files { certificate_file, key_file, .. } = &relay.installed.files;
    let other = relay.authority.issue("relay.example", YEARS);

    // The moment between the writing of one file and the other.
    fs::write(certificate_file, &other.certificate).unwrap();
    let problem = relay.reload().unwrap_err().to_string();
    let expected = format!("tls.key_file (`{}`) does not belong to the certificate", key_file.display());
    assert!(problem.starts_with(&expected), "{problem}");
    assert_eq!(shown(&relay.dial(&relay.client()).await), before);

    fs::remove_file(key_file).unwrap();
    let problem = relay.reload().unwrap_err().to_string();
    assert!(problem.contains("cannot be read"), "{problem}");
    fs::write(certificate_file, vec![b'x'; 2 << 20]).unwrap();
    let problem = relay.reload().unwrap_err().to_string();
    assert!(problem.contains("larger than 1 MiB"), "{problem}");
    assert_eq!(shown(&relay.dial(&relay.client()).await), before);

    relay.installed.renew(&other);
    assert_eq!(relay.reload().unwrap(), Changed::Replaced);
    assert_eq!(shown(&relay.dial(&relay.client()).await), other.chain());
}

#[tokio::test]
async fn clients_of_an_authority_that_was_replaced_are_refused_even_with_a_session() {
    let relay = Relay::asking(ClientCertificates::Required).await;
    let old = relay.client_with(&relay.clients.issue("chat.example", YEARS));
    assert!(relay.ask(&old).await.is_ok());
    let others = Authority::new("of other clients");
    relay.installed.trust(&others);
    assert_eq!(relay.reload().unwrap(), Changed::Replaced);
    assert_eq!(relay.ask(&old).await, Err(()));
    assert!(relay.ask(&relay.client_with(&others.issue("chat.example", YEARS))).await.is_ok());
}

#[tokio::test]
async fn the_files_are_looked_at_every_minute() {
    let relay = Relay::start().await;
    let renewed = relay.authority.issue("relay.example", (2026, 2028));
    relay.installed.renew(&renewed);
    let watch = tokio::spawn(relay.server.reload.clone().unwrap().watch());
    // It sleeps from its first poll on.
    tokio::task::yield_now().await;
    relay.clock.advance(RELOAD_INTERVAL);
    while relay.expires() != 1_830_297_600 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shown(&relay.dial(&relay.client()).await), renewed.chain());
    watch.abort();
}

#[tokio::test]
async fn a_request_without_tls_is_told_to_use_it() {
    let relay = Relay::start().await;
    let long = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\n{}", "x".repeat(9_000));
    for (request, count) in [(GET, 1), (&long, 2), ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 3)] {
        let mut client = relay.server.connect().await;
        client.send(request).await;
        let reply: Reply = client.reply(false).await.unwrap();
        assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
        assert!(reply.body.contains("HTTPS"), "{}", reply.body);
        assert!(client.is_closed().await);
        drop(client);
        while relay.failures("plain_http") < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_cut_off_and_counted() {
    let relay = Relay::start().await;
    let mut stream = TcpStream::connect(relay.server.address).await.unwrap();
    stream.write_all(&[0x80, 0x2e, 1, 0, 2, 0, 0, 0, 0, 0]).await.unwrap();
    // An alert, if anything, and the end.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    relay.has_failed_once("other").await;
}

/// The clock of the sockets' timeouts stands still and jumps to the next timeout when nothing else can happen.
#[tokio::test(start_paused = true)]
async fn whoever_is_slow_in_the_handshake_is_cut_off_after_the_time_for_headers() {
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    for opening in [&[][..], &hello[..1], &hello] {
        let limits = ConnectionLimits { header_timeout: Duration::from_secs(10), ..ROOMY };
        let relay = Relay::with(None, who(), limits).await;
        let begun = tokio::time::Instant::now();
        let mut stream = TcpStream::connect(relay.server.address).await.unwrap();
        stream.write_all(opening).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert!(begun.elapsed() < Duration::from_secs(11), "{opening:?}");
        relay.has_failed_once("timeout").await;
    }
}

#[tokio::test]
async fn a_connection_that_was_dialled_ahead_is_kept_as_long_as_an_idle_one() {
    let second = Duration::from_secs(1);
    let limits = ConnectionLimits {
        header_timeout: 60 * second,
        idle_timeout: 120 * second,
        makes_room: false,
        max_connections: 10,
    };
    let relay = Relay::with(None, who(), limits).await;
    // In a full handshake of TLS 1.2 it is the server that is done first.
    let config = || Arc::new(client_of(&relay.authority, &[&rustls::version::TLS12]));
    let mut ahead = Client::over(relay.dial(&config()).await);
    let mut silent = Client::over(relay.dial(&config()).await);
    // Only while nothing moves on the sockets: time that stands still jumps whenever the runtime has nothing to do.
    let pass = async |time| {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    };
    pass(90 * second).await;
    assert_eq!(ahead.ask(GET).await.body, "nobody");
    pass(31 * second).await;
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn a_soft_stop_finishes_what_runs_and_closes_what_is_idle_or_has_only_dialled() {
    let (begun, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let waits = Routes::new({
        let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
        move |_, _| {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            Box::pin(async move {
                begun.add_permits(1);
                go.acquire().await.unwrap().forget();
                Response::new(Body::from("done"))
            })
        }
    });
    let relay = Relay::with(None, waits, ROOMY).await;
    let config = relay.client();
    let mut silent = relay.server.connect().await;
    let mut dialled = Client::over(relay.dial(&config).await);
    let mut idle = Client::over(relay.dial(&config).await);
    go.add_permits(1);
    idle.ask(GET).await;
    let mut busy = Client::over(relay.dial(&config).await);
    busy.send(GET).await;
    begun.acquire_many(2).await.unwrap().forget();

    relay.server.shutdown.begin();
    assert!(silent.is_closed().await && dialled.is_closed().await && idle.is_closed().await);
    assert!(!relay.server.served.is_finished());
    go.add_permits(1);
    let reply = busy.reply(false).await.unwrap();
    assert_eq!((reply.body.as_str(), reply.header("connection")), ("done", Some("close")));
    assert!(busy.is_closed().await);
    relay.server.served.await.unwrap();
}

#[tokio::test]
async fn whoever_is_shaking_hands_when_a_stop_begins_is_still_answered_once() {
    let relay = Relay::start().await;
    let config = relay.client();
    let name = rustls::pki_types::ServerName::try_from("relay.example").unwrap();
    let mut session = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(relay.server.address).await.unwrap();
    let (half, rest) = hello.split_at(hello.len() / 2);
    stream.write_all(half).await.unwrap();
    // Whether the connection's task has looked at it or not, it must go on.
    while relay.open() == 0 {
        tokio::task::yield_now().await;
    }
    relay.server.shutdown.begin();
    stream.write_all(rest).await.unwrap();
    while session.is_handshaking() {
        let mut came = [0; 4096];
        let length = stream.read(&mut came).await.unwrap();
        session.read_tls(&mut &came[..length]).unwrap();
        session.process_new_packets().unwrap();
    }
    std::io::Write::write_all(&mut session.writer(), GET.as_bytes()).unwrap();
    let mut flight = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut flight).unwrap();
    }
    stream.write_all(&flight).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let mut answer = &answer[..];
    while !answer.is_empty() {
        session.read_tls(&mut answer).unwrap();
        session.process_new_packets().unwrap();
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut session.reader(), &mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("nobody"), "{text}");
    relay.server.served.await.unwrap();
}

#[tokio::test]
async fn a_request_that_has_arrived_when_a_stop_begins_is_still_answered() {
    let relay = Relay::start().await;
    let mut client = Client::over(relay.dial(&relay.client()).await);
    client.send(GET).await;
    relay.server.shutdown.begin();
    assert_eq!(client.reply(false).await.unwrap().body, "nobody");
    assert!(client.is_closed().await);
    relay.server.served.await.unwrap();
}

#[tokio::test]
async fn a_caller_that_hangs_up_without_a_word_has_still_asked() {
    let (begun, done) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let works = Routes::new({
        let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
        move |_, _| {
            let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
            Box::pin(async move {
                begun.acquire().await.unwrap().forget();
                done.add_permits(1);
                Response::new(Body::empty())
            })
        }
    });
    let relay = Relay::with(None, works, ROOMY).await;
    let mut client = Client::over(relay.dial(&relay.client()).await);
    client.send(GET).await;
    drop(client);
    begun.add_permits(1);
    done.acquire().await.unwrap().forget();
}

#[tokio::test]
async fn a_hard_stop_does_not_wait_for_handshakes() {
    let relay = Relay::start().await;
    let mut stream = TcpStream::connect(relay.server.address).await.unwrap();
    stream.write_all(&[0x16]).await.unwrap();
    while relay.open() == 0 {
        tokio::task::yield_now().await;
    }
    relay.server.shutdown.force();
    relay.server.served.await.unwrap();

    // Nor for a request of which a stop has seen the beginning.
    let relay = Relay::start().await;
    let mut client = relay.dial(&relay.client()).await;
    client.get_mut().0.write_all(&[0x17, 3, 3, 0, 99]).await.unwrap();
    relay.server.shutdown.begin();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    relay.server.shutdown.force();
    relay.server.served.await.unwrap();
}
