//! The pool against a peer that is scripted frame by frame, over real sockets and TLS. The peer is written from RFC 9113
//! and shares no code with the client's HTTP/2.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{FutureExt, join_all};
use http::Request;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use url::Url;

use super::*;
use crate::sender::network::{NetworkSettings, Proxy, ProxySettings};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// `:status: 200` and `:status: 400` in HPACK's static table.
const STATUS_200: &[u8] = &[0x88];
const STATUS_400: &[u8] = &[0x8c];
/// Far beyond what any of these tests takes; reaching it is a failure.
const LONG: Duration = Duration::from_secs(30);

struct Peer {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    certificate: CertificateDer<'static>,
    url: Url,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Link(TlsStream<TcpStream>);

async fn peer() -> Peer {
    peer_choosing(&[b"h2"]).await
}

async fn peer_choosing(alpn: &[&[u8]]) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(crate::sender::network::crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let url = Url::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    Peer { listener, acceptor: Arc::new(config).into(), certificate: made.cert.der().clone(), url }
}

impl Peer {
    fn target(&self, proxy: Option<Proxy>) -> Target {
        let network = NetworkSettings {
            endpoint: None,
            extra_authorities: vec![self.certificate.clone()],
            proxy: ProxySettings::Direct,
            connections: 1,
            connect_timeout: LONG,
        };
        Target::new(&self.url, proxy, network.tls_config(None).unwrap(), LONG).unwrap()
    }

    fn pool(&self, connections: usize) -> Pool {
        Pool::new(self.target(None), Tuning::with_connections(connections))
    }

    async fn accept(&self) -> TlsStream<TcpStream> {
        let (tcp, _) = self.listener.accept().await.unwrap();
        self.acceptor.accept(tcp).await.unwrap()
    }

    /// Accepts a connection and announces how many streams it may carry.
    async fn link(&self, max_streams: u32) -> Link {
        let mut link = Link(self.accept().await);
        let mut preface = [0; 24];
        link.0.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        link.allow(max_streams).await;
        link
    }
}

impl Link {
    /// `SETTINGS_MAX_CONCURRENT_STREAMS`.
    async fn allow(&mut self, max_streams: u32) {
        let mut payload = vec![0, 3];
        payload.extend_from_slice(&max_streams.to_be_bytes());
        self.send(SETTINGS, 0, 0, &payload).await;
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.unwrap();
        self.0.flush().await.unwrap();
    }

    async fn answer(&mut self, stream: u32, status: &[u8]) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, status).await;
    }

    async fn go_away(&mut self, last_stream: u32) {
        let mut payload = last_stream.to_be_bytes().to_vec();
        payload.extend_from_slice(&[0; 4]);
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    /// The next frame, whatever it is; `None` when the client has closed the connection.
    async fn raw(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame that is about a stream; acknowledges settings and pings on the way.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.raw().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await,
                HEADERS | DATA | RST_STREAM => return Some(frame),
                _ => {}
            }
        }
    }

    /// Reads until a request is complete.
    async fn request(&mut self) -> Option<(u32, Vec<u8>)> {
        loop {
            let frame = self.next().await?;
            if frame.kind == DATA && frame.flags & END_STREAM != 0 {
                return Some((frame.stream, frame.payload));
            }
        }
    }
}

fn head() -> Request<()> {
    Request::post("https://127.0.0.1/3/device/x").version(http::Version::HTTP_2).body(()).unwrap()
}

async fn send(pool: &Pool, body: impl ToString) -> Result<u16, TransportError> {
    send_before(pool, body, LONG).await
}

async fn send_before(pool: &Pool, body: impl ToString, within: Duration) -> Result<u16, TransportError> {
    let body = Bytes::from(body.to_string());
    pool.request(head, &body, Patience::of(within), NoWay::Wait).await.map(|response| response.status.as_u16())
}

/// Opens a connection and has one request answered over it.
async fn warm(pool: &Pool, peer: &Peer, max_streams: u32) -> Link {
    let serve = async {
        let mut link = peer.link(max_streams).await;
        let (stream, _) = link.request().await.unwrap();
        link.answer(stream, STATUS_200).await;
        link
    };
    let (result, link) = tokio::join!(send(pool, "warm"), serve);
    assert_eq!(result, Ok(200));
    link
}

fn failed(reason: Trouble, unprocessed: bool) -> Result<u16, TransportError> {
    Err(TransportError { reason, unprocessed })
}

fn all(count: usize) -> BTreeMap<Vec<u8>, u32> {
    (0..count).map(|number| (number.to_string().into_bytes(), 1)).collect()
}

#[tokio::test]
async fn a_cold_burst_against_a_peer_that_allows_one_stream_loses_nothing_and_opens_no_more_than_allowed() {
    let peer = peer().await;
    let pool = peer.pool(3);
    let mut seen = BTreeMap::<Vec<u8>, u32>::new();
    let mut links = 0;
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let serve = async {
        loop {
            let mut link = peer.link(1).await;
            links += 1;
            let report = report.clone();
            tokio::spawn(async move {
                let mut running = BTreeSet::new();
                while let Some(frame) = link.next().await {
                    match frame.kind {
                        HEADERS => {
                            running.insert(frame.stream);
                            report.send(Err(running.len())).unwrap();
                        }
                        DATA => {
                            report.send(Ok(frame.payload)).unwrap();
                            running.remove(&frame.stream);
                            link.answer(frame.stream, STATUS_200).await;
                        }
                        _ => {}
                    }
                }
            });
        }
    };
    let burst = join_all((0..500).map(|number| send(&pool, number)));
    let results = tokio::select! { results = burst => results, () = serve => unreachable!() };
    assert!(results.iter().all(|result| *result == Ok(200)), "{results:?}");
    while let Ok(event) = reports.try_recv() {
        match event {
            Ok(body) => *seen.entry(body).or_default() += 1,
            Err(running) => assert_eq!(running, 1, "more streams than the peer allows"),
        }
    }
    assert_eq!(seen, all(500));
    assert!((1..=3).contains(&links), "{links} connections");
    assert_eq!(pool.0.counts(), (links, 0, 0));
}

#[tokio::test]
async fn a_limit_raised_while_running_is_used_and_a_lowered_one_obeyed() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let serve = async {
        let mut link = peer.link(1).await;
        let (first, _) = link.request().await.unwrap();
        // As APNs does once the first request has proven the provider token.
        link.allow(20).await;
        link.answer(first, STATUS_200).await;
        let mut together = Vec::new();
        while together.len() < 20 {
            together.push(link.request().await.unwrap().0);
        }
        link.allow(2).await;
        for stream in together {
            link.answer(stream, STATUS_200).await;
        }
        let mut running = BTreeSet::new();
        let mut answered = 21;
        while answered < 60 {
            let frame = link.next().await.unwrap();
            if frame.kind == HEADERS {
                running.insert(frame.stream);
                assert!(running.len() <= 2, "more streams than the peer allows now");
            } else {
                running.remove(&frame.stream);
                link.answer(frame.stream, STATUS_200).await;
                answered += 1;
            }
        }
        link
    };
    let (results, _link) = tokio::join!(join_all((0..60).map(|number| send(&pool, number))), serve);
    assert!(results.iter().all(|result| *result == Ok(200)), "{results:?}");
}

#[tokio::test]
async fn a_goaway_in_mid_flight_loses_and_doubles_nothing() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let mut processed = BTreeMap::<Vec<u8>, u32>::new();
    let serve = async {
        for _ in 0..3 {
            let mut link = peer.link(100).await;
            let mut requests = Vec::new();
            while requests.len() < 10 {
                requests.push(link.request().await.unwrap());
            }
            requests.sort();
            // Half of them count as processed; they are answered after the GOAWAY, the rest never.
            let last = requests[4].0;
            link.go_away(last).await;
            for (stream, body) in requests.drain(..5) {
                *processed.entry(body).or_default() += 1;
                link.answer(stream, STATUS_200).await;
            }
            tokio::spawn(async move { while link.raw().await.is_some() {} });
        }
        let mut link = peer.link(100).await;
        while let Some((stream, body)) = link.request().await {
            *processed.entry(body).or_default() += 1;
            link.answer(stream, STATUS_200).await;
        }
    };
    let burst = join_all((0..40).map(|number| send(&pool, number)));
    let results = tokio::select! { results = burst => results, () = serve => unreachable!() };
    assert!(results.iter().all(|result| *result == Ok(200)), "{results:?}");
    assert_eq!(processed, all(40));
}

#[tokio::test]
async fn a_refused_stream_is_repeated_at_once_but_not_for_ever() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let serve = async {
        let mut link = peer.link(100).await;
        for refusals in [1, 4] {
            for _ in 0..refusals {
                let (stream, _) = link.request().await.unwrap();
                link.send(RST_STREAM, 0, stream, &7_u32.to_be_bytes()).await;
            }
            if refusals == 1 {
                let (stream, _) = link.request().await.unwrap();
                link.answer(stream, STATUS_400).await;
            }
        }
        link
    };
    let client = async {
        assert_eq!(send(&pool, "x").await, Ok(400));
        assert_eq!(send(&pool, "x").await, failed(Trouble::RefusedStream, true));
    };
    tokio::join!(client, serve);
}

#[tokio::test]
async fn what_a_lost_connection_or_a_reset_may_have_done_is_reported_as_unknown_and_not_repeated() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let serve = async {
        let mut link = peer.link(100).await;
        let (stream, _) = link.request().await.unwrap();
        link.send(RST_STREAM, 0, stream, &2_u32.to_be_bytes()).await;
        link.request().await.unwrap();
        drop(link);
        // The pool opens a new connection, for the next request only.
        let mut link = peer.link(100).await;
        let (stream, body) = link.request().await.unwrap();
        link.answer(stream, STATUS_200).await;
        (link, body)
    };
    let client = async {
        assert_eq!(send(&pool, "reset").await, failed(Trouble::StreamReset, false));
        assert_eq!(send(&pool, "lost").await, failed(Trouble::ConnectionLost, false));
        assert_eq!(send(&pool, "next").await, Ok(200));
    };
    let ((), (_link, body)) = tokio::join!(client, serve);
    assert_eq!(body, b"next");
}

#[tokio::test]
async fn a_stalled_request_ends_with_its_time_and_frees_its_stream() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let mut link = warm(&pool, &peer, 1).await;
    let serve = async {
        let (stalled, _) = link.request().await.unwrap();
        let reset = link.next().await.unwrap();
        assert_eq!((reset.kind, reset.stream), (RST_STREAM, stalled));
        let (stream, _) = link.request().await.unwrap();
        link.answer(stream, STATUS_200).await;
    };
    let client = async {
        assert_eq!(send_before(&pool, "x", Duration::from_millis(50)).await, failed(Trouble::Timeout, false));
        assert_eq!(pool.0.counts(), (1, 0, 0));
        assert_eq!(send(&pool, "y").await, Ok(200));
    };
    tokio::join!(client, serve);
}

#[tokio::test]
async fn a_caller_that_gets_no_stream_in_time_was_certainly_not_processed() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let busy = send(&pool, "busy");
    tokio::pin!(busy);
    let mut link = tokio::select! { link = peer.link(1) => link, _ = &mut busy => unreachable!() };
    let (stream, _) = tokio::select! { request = link.request() => request.unwrap(), _ = &mut busy => unreachable!() };
    assert_eq!(send_before(&pool, "late", Duration::from_millis(20)).await, failed(Trouble::NoStream, true));
    assert_eq!(pool.0.counts(), (1, 1, 0));
    link.answer(stream, STATUS_200).await;
    assert_eq!(busy.await, Ok(200));
}

#[tokio::test]
async fn callers_that_go_away_leave_nothing_behind() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let mut callers: Vec<_> = (0..10).map(|number| Box::pin(send(&pool, number))).collect();
    for caller in &mut callers {
        assert!(caller.now_or_never().is_none());
    }
    assert_eq!(pool.0.counts(), (0, 0, 10));
    drop(callers.split_off(5));
    assert_eq!(pool.0.counts(), (0, 0, 5));
    let burst = join_all(&mut callers);
    let mut link = tokio::select! { link = peer.link(1) => link, _ = burst => unreachable!() };
    let burst = join_all(&mut callers);
    tokio::select! { request = link.request() => assert!(request.is_some()), _ = burst => unreachable!() }
    assert_eq!(pool.0.counts(), (1, 1, 4));
    drop(callers);
    assert_eq!(pool.0.counts(), (1, 0, 0));
}

#[tokio::test]
async fn an_accepted_request_counts_even_if_the_rest_of_the_answer_never_comes() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let mut link = warm(&pool, &peer, 10).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serve = async {
        let (stream, _) = link.request().await.unwrap();
        link.send(HEADERS, END_HEADERS, stream, STATUS_200).await;
        let _ = stopped.await;
    };
    let client = async {
        assert_eq!(send_before(&pool, "x", Duration::from_millis(500)).await, Ok(200));
        drop(stop);
    };
    tokio::join!(client, serve);
}

#[tokio::test]
async fn a_body_is_read_to_its_bound_and_no_further() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let serve = async {
        let mut link = peer.link(10).await;
        let (stream, _) = link.request().await.unwrap();
        link.send(HEADERS, END_HEADERS, stream, STATUS_400).await;
        for _ in 0..5 {
            link.send(DATA, 0, stream, &[b'x'; 4 * 1024]).await;
        }
        link
    };
    let body = Bytes::from_static(b"x");
    let (response, _link) = tokio::join!(pool.request(head, &body, Patience::of(LONG), NoWay::Wait), serve);
    assert_eq!(response.unwrap().body.unwrap().len(), MAX_BODY);
}

#[tokio::test]
async fn an_answer_is_read_in_whatever_frames_it_comes_and_costs_no_reset() {
    const TRAILER: &[u8] = &[0, 1, b'x', 1, b'y'];
    let forms: [&[(u8, u8, &[u8])]; 5] = [
        &[(DATA, END_STREAM, b"{\"reason\":1}")],
        &[(DATA, 0, b"{\"reason"), (DATA, END_STREAM, b"\":1}")],
        &[(DATA, 0, b"{\"reason\":1}"), (DATA, END_STREAM, b"")],
        &[(DATA, 0, b"{\"reason\":1}"), (HEADERS, END_HEADERS | END_STREAM, TRAILER)],
        &[(DATA, 0, b""), (DATA, 0, b"{\"reason\":1}"), (HEADERS, END_HEADERS | END_STREAM, TRAILER)],
    ];
    let peer = peer().await;
    let pool = peer.pool(1);
    let mut link = warm(&pool, &peer, 10).await;
    for status in [STATUS_200, STATUS_400] {
        for form in forms {
            let serve = async {
                // Nothing else comes before it: an answer that was dropped half-way would have been reset.
                let head = link.next().await.unwrap();
                assert_eq!(head.kind, HEADERS);
                let (stream, _) = link.request().await.unwrap();
                link.send(HEADERS, END_HEADERS, stream, status).await;
                for (kind, flags, payload) in form {
                    link.send(*kind, *flags, stream, payload).await;
                }
            };
            let body = Bytes::from_static(b"x");
            let (response, ()) = tokio::join!(pool.request(head, &body, Patience::of(LONG), NoWay::Wait), serve);
            assert_eq!(response.unwrap().body.unwrap().as_ref(), b"{\"reason\":1}");
        }
    }
}

#[tokio::test]
async fn a_window_that_is_given_back_late_costs_no_push() {
    const WINDOW_UPDATE: u8 = 8;
    let peer = peer().await;
    let pool = peer.pool(1);
    let mut link = warm(&pool, &peer, 10).await;
    // `SETTINGS_INITIAL_WINDOW_SIZE` of nothing; the answer to the ping says that it holds.
    link.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    link.send(PING, 0, 0, &[7; 8]).await;
    while link.raw().await.unwrap().kind != PING {}
    let serve = async {
        let head = link.next().await.unwrap();
        assert_eq!((head.kind, head.flags & END_STREAM), (HEADERS, 0));
        link.send(WINDOW_UPDATE, 0, head.stream, &8_u32.to_be_bytes()).await;
        let (stream, body) = link.request().await.unwrap();
        link.answer(stream, STATUS_200).await;
        body
    };
    let (result, body) = tokio::join!(send(&pool, "late"), serve);
    assert_eq!((result, body.as_slice()), (Ok(200), b"late".as_slice()));
}

fn pinging_within(pong_ticks: u32) -> Tuning {
    Tuning { tick: Duration::from_millis(20), busy_ticks: 1, idle_ticks: 8, pong_ticks, ..Tuning::with_connections(1) }
}

#[tokio::test]
async fn a_peer_that_died_without_a_word_is_found_by_a_ping() {
    let peer = peer().await;
    let pool = Pool::new(peer.target(None), pinging_within(10));
    let mut link = warm(&pool, &peer, 10).await;
    let serve = async {
        // From now on it reads, so that the test sees the ping, and says nothing more.
        let mut pinged = false;
        while let Some(frame) = link.raw().await {
            pinged |= frame.kind == PING;
        }
        pinged
    };
    let (result, pinged) = tokio::join!(send(&pool, "x"), serve);
    assert_eq!(result, failed(Trouble::ConnectionLost, false));
    assert!(pinged);
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_while_the_peer_answers_pings_and_is_asked_less_and_less_often() {
    let peer = peer().await;
    let pool = Pool::new(peer.target(None), pinging_within(50));
    let mut link = warm(&pool, &peer, 10).await;
    let serve = async {
        let (stream, _) = link.request().await.unwrap();
        let mut gaps = Vec::new();
        let mut last = tokio::time::Instant::now();
        while gaps.len() < 5 {
            let frame = link.raw().await.unwrap();
            if frame.kind == PING && frame.flags & ACK == 0 {
                gaps.push(last.elapsed());
                last = tokio::time::Instant::now();
                link.send(PING, ACK, 0, &frame.payload).await;
            }
        }
        link.answer(stream, STATUS_200).await;
        (gaps, link)
    };
    let body = Bytes::from_static(b"x");
    // Sending may take no time at all by then, and hearing all of it.
    let patience = Patience { to_send: Duration::from_millis(1), to_hear: LONG };
    let (result, (gaps, _link)) = tokio::join!(pool.request(head, &body, patience, NoWay::Wait), serve);
    assert_eq!(result.unwrap().status, StatusCode::OK);
    assert!(gaps[4] >= Duration::from_millis(8 * 20), "{gaps:?}");
}

#[tokio::test]
async fn a_connection_that_swallows_requests_gets_no_more_of_them_and_those_on_it_end_long_before_their_time() {
    let peer = peer().await;
    let pool = Pool::new(peer.target(None), pinging_within(50));
    let silent = warm(&pool, &peer, 10).await;
    let swallowed = send(&pool, "swallowed");
    tokio::pin!(swallowed);
    assert!(futures_util::poll!(&mut swallowed).is_pending());
    // Until it owes the answer to a ping, it is the only one.
    while pool.0.counts().0 == 1 {
        tokio::select! {
            biased;
            _ = &mut swallowed => panic!("it has been given up before"),
            () = tokio::task::yield_now() => {}
        }
    }
    let next = async {
        let mut link = peer.link(10).await;
        let (stream, body) = link.request().await.unwrap();
        link.answer(stream, STATUS_200).await;
        (body, link)
    };
    let (result, (body, _link)) = tokio::join!(send(&pool, "next"), next);
    assert_eq!((result, body.as_slice()), (Ok(200), b"next".as_slice()));
    assert_eq!(swallowed.await, failed(Trouble::ConnectionLost, false));
    drop(silent);
}

#[tokio::test]
async fn an_idle_connection_is_pinged_and_kept() {
    let peer = peer().await;
    let pool = Pool::new(peer.target(None), pinging_within(1_000));
    let mut link = warm(&pool, &peer, 10).await;
    let serve = async {
        let mut pings = 0;
        while pings < 3 {
            let frame = link.raw().await.unwrap();
            if frame.kind == PING && frame.flags & ACK == 0 {
                pings += 1;
                link.send(PING, ACK, 0, &frame.payload).await;
            }
        }
        link
    };
    let mut link = serve.await;
    let again = async {
        let (stream, _) = link.request().await.unwrap();
        link.answer(stream, STATUS_200).await;
    };
    let (result, ()) = tokio::join!(send(&pool, "y"), again);
    assert_eq!(result, Ok(200));
}

#[tokio::test]
async fn dropping_the_pool_ends_its_connections() {
    let peer = peer().await;
    let pool = peer.pool(1);
    let serve = async {
        let mut link = peer.link(10).await;
        let (stream, _) = link.request().await.unwrap();
        link.answer(stream, STATUS_200).await;
        link
    };
    let (result, mut link) = tokio::join!(send(&pool, "x"), serve);
    assert_eq!(result, Ok(200));
    drop(pool);
    let mut said_goodbye = false;
    while let Some(frame) = link.raw().await {
        said_goodbye |= frame.kind == GOAWAY;
    }
    assert!(said_goodbye);
}

#[tokio::test]
async fn callers_wait_out_a_refused_connection_and_are_told_of_it() {
    let Peer { listener, acceptor, certificate, url } = peer().await;
    // The port was ours a moment ago and now is nobody's.
    drop(listener);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer { listener, acceptor, certificate, url };
    let result = send_before(&peer.pool(1), "x", Duration::from_secs(1)).await;
    assert_eq!(result, failed(Trouble::ConnectRefused, true));
}

#[tokio::test]
async fn who_can_wait_elsewhere_is_told_at_once_that_there_is_no_way_and_the_others_wait_on() {
    let Peer { listener, acceptor, certificate, url } = peer().await;
    drop(listener);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer { listener, acceptor, certificate, url };
    let pool = peer.pool(1);
    let waits = send(&pool, "x");
    tokio::pin!(waits);
    assert!(futures_util::poll!(&mut waits).is_pending());
    for _ in 0..3 {
        let body = Bytes::from_static(b"x");
        let result = pool.request(head, &body, Patience::of(LONG), NoWay::GiveUp).await;
        assert_eq!(result.map(|response| response.status.as_u16()), failed(Trouble::ConnectRefused, true));
    }
    assert!(futures_util::poll!(&mut waits).is_pending());
}

async fn why_not(target: &Target, peer: &Peer) -> Trouble {
    let serve = async {
        let (tcp, _) = peer.listener.accept().await.unwrap();
        let _ = peer.acceptor.accept(tcp).await;
    };
    let (result, ()) = tokio::join!(target.connect(), serve);
    result.map(|_| ()).unwrap_err().trouble
}

#[tokio::test]
async fn a_certificate_from_a_stranger_and_a_peer_without_http2_are_told_apart() {
    let (peer_, stranger) = (peer().await, peer().await);
    let trusting_another = Peer { url: peer_.url.clone(), ..stranger }.target(None);
    assert_eq!(why_not(&trusting_another, &peer_).await, Trouble::Tls);
    for alpn in [&[b"http/1.1".as_slice()][..], &[]] {
        let old = peer_choosing(alpn).await;
        assert_eq!(why_not(&old.target(None), &old).await, Trouble::NoHttp2);
    }
}

#[tokio::test]
async fn a_peer_that_never_finishes_the_handshake_costs_the_connect_timeout() {
    let peer = peer().await;
    let network = NetworkSettings {
        endpoint: None,
        extra_authorities: vec![peer.certificate.clone()],
        proxy: ProxySettings::Direct,
        connections: 1,
        connect_timeout: LONG,
    };
    let tls = network.tls_config(None).unwrap();
    let target = Target::new(&peer.url, None, tls, Duration::from_millis(50)).unwrap();
    let (result, _socket) = tokio::join!(target.connect(), peer.listener.accept());
    assert_eq!(result.map(|_| ()).unwrap_err().trouble, Trouble::ConnectTimeout);
}

#[tokio::test]
async fn a_peer_that_takes_connections_and_drops_them_is_not_dialled_in_a_tight_loop() {
    let peer = peer().await;
    let tuning = Tuning {
        backoff_first: Duration::from_secs(3_600),
        backoff_limit: Duration::from_secs(3_600),
        ..Tuning::with_connections(1)
    };
    let pool = Pool::new(peer.target(None), tuning);
    let mut links = 0;
    let serve = async {
        loop {
            drop(peer.link(1).await);
            links += 1;
        }
    };
    let client = async {
        let _ = send_before(&pool, "x", Duration::from_millis(500)).await;
        send_before(&pool, "y", Duration::from_millis(500)).await
    };
    let result = tokio::select! { result = client => result, () = serve => unreachable!() };
    assert!(result.is_err());
    assert!((1..=2).contains(&links), "{links} connections");
}

/// Reads what the client says to the proxy, answers, and if the answer is a success connects the two sides.
async fn proxy_once(listener: &TcpListener, upstream: &TcpListener, answer: &[u8]) -> String {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        client.read_buf(&mut request).await.unwrap();
    }
    client.write_all(answer).await.unwrap();
    if answer.starts_with(b"HTTP/1.1 200") {
        let mut server = TcpStream::connect(upstream.local_addr().unwrap()).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
    }
    String::from_utf8(request).unwrap()
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_provider_with_credentials_if_there_are_any() {
    for (credentials, line) in [("", None), ("user:pass@", Some("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"))] {
        let peer = peer().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::parse(&format!("http://{credentials}{}", listener.local_addr().unwrap())).unwrap();
        let pool = Pool::new(peer.target(Some(proxy)), Tuning::with_connections(1));
        let serve = async {
            let mut link = peer.link(10).await;
            let (stream, _) = link.request().await.unwrap();
            link.answer(stream, STATUS_200).await;
            link
        };
        let (result, request, _link) = tokio::join!(
            send(&pool, "x"),
            proxy_once(&listener, &peer.listener, b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"),
            serve
        );
        assert_eq!(result, Ok(200));
        let address = peer.listener.local_addr().unwrap();
        let expected = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{}\r\n", line.unwrap_or_default());
        assert_eq!(request, expected);
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_apart_from_the_provider() {
    let too_long = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'x'; 16 * 1024]].concat();
    let cases: [(&[u8], Trouble); 5] = [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", Trouble::ProxyAuth),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever", Trouble::Proxy),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Trouble::Proxy),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Trouble::Proxy),
        (&too_long, Trouble::Proxy),
    ];
    for (answer, expected) in cases {
        let peer = peer().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::parse(&format!("http://user:canary@{}", listener.local_addr().unwrap())).unwrap();
        let error = {
            let target = peer.target(Some(proxy));
            let refuse = async {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    client.read_buf(&mut request).await.unwrap();
                }
                let _ = client.write_all(answer).await;
                client
            };
            let (result, _client) = tokio::join!(target.connect(), refuse);
            result.map(|_| ()).unwrap_err()
        };
        assert_eq!(error.trouble, expected, "{}", error.detail);
        assert!(!error.detail.contains("canary"), "{}", error.detail);
    }
}

/// Counts the writes that reach the socket.
struct Counting {
    inner: tokio::io::DuplexStream,
    writes: Arc<std::sync::atomic::AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::pin::Pin::new(&mut self.inner).poll_write(cx, data)
    }
    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

struct Silent;

impl connection::Report for Silent {
    fn limit(&self, _: usize) {}
    fn in_use(&self) -> usize {
        0
    }

    fn heard(&self, _: u64) {}

    fn suspect(&self, _: bool) {}
}

async fn round(driver: &mut connection::Driver<Counting>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(driver.poll(cx, &Silent).is_pending())).await
}

#[tokio::test]
async fn fifty_requests_in_one_round_leave_in_one_write() {
    let (client, mut server) = tokio::io::duplex(1024 * 1024);
    let writes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let stream = Counting { inner: client, writes: Arc::clone(&writes) };
    let (handle, mut driver) = connection::handshake(stream, &Tuning::with_connections(1)).await.unwrap();
    // The peer's settings: 1,000 streams.
    server.write_all(&[0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 0xe8]).await.unwrap();
    assert!(round(&mut driver).await);
    assert_eq!(writes.swap(0, std::sync::atomic::Ordering::Relaxed), 1, "preface, settings and acknowledgement");
    let mut streams = Vec::new();
    for _ in 0..50 {
        let (answer, mut stream) = handle.clone().send_request(head(), false).unwrap();
        stream.send_data(Bytes::from(vec![b'x'; 1_000]), true).unwrap();
        streams.push((answer, stream));
    }
    assert!(round(&mut driver).await);
    assert_eq!(writes.load(std::sync::atomic::Ordering::Relaxed), 1);
    let mut received = vec![0; 50 * 1_000];
    server.read_exact(&mut received).await.unwrap();
}
