//! Over real sockets. A handler that must not finish yet waits for the test, and nothing waits for luck.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::*;
use crate::http::testing::{self, LONG, Server};

/// `/echo` says what it was told, `/wait` answers when `go` has a permit and adds one to `begun` before, `/panic` does.
fn router(begun: &Arc<Semaphore>, go: &Arc<Semaphore>) -> Router {
    let (begun, go) = (Arc::clone(begun), Arc::clone(go));
    let wait = async move || {
        begun.add_permits(1);
        go.acquire().await.unwrap().forget();
        "done"
    };
    Router::new()
        .route("/echo", post(|body: String| async { body }))
        .route("/wait", get(wait))
        .route("/panic", get(fails))
}

async fn fails() -> &'static str {
    panic!("expected by the test")
}

fn echo() -> Router {
    router(&closed(), &closed())
}

fn closed() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

const WAIT: &str = "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let server = Server::start(echo()).await;
    let mut client = server.connect().await;
    for text in ["first", "second"] {
        assert_eq!(client.ask(&testing::post("/echo", text)).await.body, text);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(echo()).await;
    let mut client = server.connect().await;
    client.send(&(testing::post("/echo", "first") + &testing::post("/echo", "second"))).await;
    assert_eq!(client.reply(false).await.unwrap().body, "first");
    assert_eq!(client.reply(false).await.unwrap().body, "second");
}

#[tokio::test]
async fn http2_with_prior_knowledge_runs_requests_side_by_side() {
    let (begun, go) = (closed(), closed());
    let server = Server::start(router(&begun, &go)).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();

    let wait = http::Request::get("http://x/wait").body(()).unwrap();
    let (waiting, _) = requests.send_request(wait, true).unwrap();
    begun.acquire().await.unwrap().forget();
    let echo = http::Request::post("http://x/echo").body(()).unwrap();
    let (echoed, mut body) = requests.send_request(echo, false).unwrap();
    body.send_data(Bytes::from_static(b"hello"), true).unwrap();
    let mut echoed = echoed.await.unwrap();
    assert_eq!(echoed.body_mut().data().await.unwrap().unwrap(), "hello");

    go.add_permits(1);
    assert_eq!(waiting.await.unwrap().status(), 200);
    server.shutdown.begin();
    driver.await.unwrap().unwrap();
    server.served.await.unwrap();
}

#[tokio::test]
async fn whoever_does_not_complete_headers_in_time_is_disconnected() {
    for opening in ["", "P", "PRI * HTTP/2.0\r\n", "POST /echo HTTP/1.1\r\nhost: x\r\n"] {
        let limits = ConnectionLimits {
            max_connections: 1,
            header_timeout: Duration::from_millis(20),
            makes_room: false,
            idle_timeout: Duration::from_millis(20),
        };
        let server = Server::limited(echo(), limits).await;
        let mut client = server.connect().await;
        client.send(opening).await;
        assert!(client.is_closed().await, "after {opening:?}");
    }
}

#[tokio::test]
async fn headers_larger_than_the_buffer_are_refused() {
    let server = Server::start(echo()).await;
    let huge = format!("GET /echo HTTP/1.1\r\nhost: x\r\nfiller: {}\r\n\r\n", "x".repeat(HTTP1_BUFFER_BYTES));
    assert_eq!(server.ask(&huge).await.status, 431);
}

#[tokio::test]
async fn a_soft_stop_finishes_what_runs_closes_what_is_idle_and_refuses_who_comes() {
    let (begun, go) = (closed(), closed());
    let server = Server::start(router(&begun, &go)).await;
    let (mut fresh, mut idle, mut busy) = (server.connect().await, server.connect().await, server.connect().await);
    idle.ask(&testing::post("/echo", "x")).await;
    busy.send(WAIT).await;
    begun.acquire().await.unwrap().forget();

    server.shutdown.begin();
    assert!(fresh.is_closed().await);
    assert!(idle.is_closed().await);
    assert!(TcpStream::connect(server.address).await.is_err());
    assert!(!server.served.is_finished());

    go.add_permits(1);
    let reply = busy.reply(false).await.unwrap();
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert!(busy.is_closed().await);
    server.served.await.unwrap();
}

#[tokio::test]
async fn a_hard_stop_drops_what_runs() {
    let (begun, go) = (closed(), closed());
    let server = Server::start(router(&begun, &go)).await;
    let mut busy = server.connect().await;
    busy.send(WAIT).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get("http://x/wait").body(()).unwrap();
    let (waiting, _) = requests.send_request(request, true).unwrap();
    begun.acquire_many(2).await.unwrap().forget();

    server.shutdown.force();
    server.served.await.unwrap();
    assert!(busy.is_closed().await);
    assert!(waiting.await.is_err());
    assert!(driver.await.unwrap().is_err());
    // Nobody is left who waits for a permit.
    go.add_permits(2);
    assert_eq!(go.available_permits(), 2);
}

#[tokio::test]
async fn a_panic_costs_one_request_and_not_its_connection() {
    let server = Server::start(echo()).await;
    let mut client = server.connect().await;
    let reply = client.ask("GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(reply.status, 500);
    assert!(reply.body.contains(r#""status":"FAIL""#) && !reply.body.contains("expected"), "{}", reply.body);
    assert_eq!(client.ask(&testing::post("/echo", "x")).await.body, "x");
}

#[tokio::test]
async fn what_the_router_does_not_have_is_answered_as_go_answers_it() {
    let server = Server::start(echo()).await;
    let reply = server.ask("GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((reply.status, reply.body.as_str()), (404, "404 page not found\n"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    let reply = server.ask("GET /echo HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!((reply.status, reply.body.as_str(), reply.header("allow")), (405, "", Some("post")));
}

#[tokio::test]
async fn beyond_the_limit_a_connection_waits_until_another_ends() {
    let (begun, go) = (closed(), closed());
    let limits = ConnectionLimits { max_connections: 1, header_timeout: LONG, makes_room: false, idle_timeout: LONG };
    let server = Server::limited(router(&begun, &go), limits).await;
    let mut first = server.connect().await;
    first.send(WAIT).await;
    begun.acquire().await.unwrap().forget();

    // The kernel takes the second connection, and its request waits there.
    let mut second = server.connect().await;
    second.send(WAIT).await;
    go.add_permits(2);
    assert_eq!(first.reply(false).await.unwrap().status, 200);
    assert_eq!(begun.available_permits(), 0);
    drop(first);
    assert_eq!(second.reply(false).await.unwrap().status, 200);
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let server = Server::start(echo()).await;
    let mut client = server.connect().await;
    client.ask(&testing::post("/echo", "x")).await;
    let counted = |name: &str| server.metrics.render().lines().find(|line| line.starts_with(name)).map(str::to_owned);
    assert_eq!(counted("pushrelay_connections{").unwrap(), r#"pushrelay_connections{listener="ingest"} 1"#);
    server.shutdown.begin();
    server.served.await.unwrap();
    assert_eq!(counted("pushrelay_connections{").unwrap(), r#"pushrelay_connections{listener="ingest"} 0"#);
    let accepted = r#"pushrelay_connections_accepted_total{listener="ingest"} 1"#;
    assert_eq!(counted("pushrelay_connections_accepted_total{").unwrap(), accepted);
}

#[test]
fn only_an_error_of_one_connection_is_no_reason_to_pause() {
    let cases = [
        (io::ErrorKind::ConnectionAborted, true),
        (io::ErrorKind::ConnectionReset, true),
        (io::ErrorKind::Interrupted, true),
        (io::ErrorKind::OutOfMemory, false),
        (io::ErrorKind::Other, false),
    ];
    for (kind, expected) in cases {
        assert_eq!(concerns_one_connection(&kind.into()), expected, "{kind:?}");
    }
    // EMFILE: out of file descriptors.
    assert!(!concerns_one_connection(&io::Error::from_raw_os_error(24)));
}

#[tokio::test]
async fn a_request_that_has_arrived_when_a_stop_begins_is_still_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
    // The kernel has it, and the server has not looked yet.
    let mut client = testing::Client::connect(address).await;
    client.send(&testing::post("/echo", "hello")).await;
    let mut silent = testing::Client::connect(address).await;
    shutdown.begin();
    let limits = ConnectionLimits { max_connections: 10, header_timeout: LONG, makes_room: false, idle_timeout: LONG };
    let metrics = testing::metrics().listener("ingest");
    let served = tokio::spawn(serve(listener, limits, None, metrics, shutdown, crate::http::routes(echo())));
    assert_eq!(client.reply(false).await.unwrap().body, "hello");
    assert!(client.is_closed().await && silent.is_closed().await);
    served.await.unwrap();
}

#[tokio::test]
async fn where_connections_make_room_the_one_that_asks_nothing_leaves_and_none_that_waits_for_an_answer_does() {
    let (begun, go) = (closed(), closed());
    let limits = ConnectionLimits { max_connections: 2, makes_room: true, ..testing::ROOMY };
    let server = Server::limited(router(&begun, &go), limits).await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    busy.send(WAIT).await;
    begun.acquire().await.unwrap().forget();
    idle.ask(&testing::post("/echo", "x")).await;
    // One that has not said a word is no better.
    for opening in ["", "POST /echo HTTP/1.1\r\n"] {
        let mut next = server.connect().await;
        next.send(opening).await;
        assert!(idle.is_closed().await, "before {opening:?}");
        idle = next;
    }
    let mut last = server.connect().await;
    last.send(WAIT).await;
    begun.acquire().await.unwrap().forget();
    assert!(idle.is_closed().await);

    // Both have a request: whoever comes waits until one is answered.
    let mut waiting = server.connect().await;
    waiting.send(&testing::post("/echo", "at last")).await;
    go.add_permits(2);
    assert_eq!(busy.reply(false).await.unwrap().body, "done");
    assert_eq!(last.reply(false).await.unwrap().body, "done");
    assert_eq!(waiting.reply(false).await.unwrap().body, "at last");
}

/// A caller over HTTP/2 with one stream, which waits in `/wait`.
async fn waiting_over_http2(
    server: &Server,
    begun: &Semaphore,
) -> (h2::SendStream<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let request = http::Request::get("http://x/wait").body(()).unwrap();
    let (_, stream) = requests.send_request(request, true).unwrap();
    begun.acquire().await.unwrap().forget();
    (stream, driver)
}

/// `/wait` as above, with a count of those that got to their end, and `/deaf`, which reads no body.
fn counting(begun: &Arc<Semaphore>, go: &Arc<Semaphore>, ended: &Arc<Semaphore>) -> Router {
    let (begun, go, ended) = (Arc::clone(begun), Arc::clone(go), Arc::clone(ended));
    let wait = async move || {
        begun.add_permits(1);
        go.acquire().await.unwrap().forget();
        ended.add_permits(1);
        "done"
    };
    Router::new().route("/deaf", post(|| async { "not read" })).route("/wait", get(wait))
}

#[tokio::test]
async fn a_handler_runs_to_its_end_when_its_stream_is_reset_or_its_connection_closed() {
    for is_reset in [true, false] {
        let (begun, go, ended) = (closed(), closed(), closed());
        let server = Server::start(counting(&begun, &go, &ended)).await;
        let (mut stream, driver) = waiting_over_http2(&server, &begun).await;
        if is_reset {
            stream.send_reset(h2::Reason::CANCEL);
        } else {
            driver.abort();
        }
        // Whoever goes on without its caller is waited for.
        server.shutdown.begin();
        tokio::task::yield_now().await;
        go.add_permits(1);
        ended.acquire().await.unwrap().forget();
        drop(stream);
        driver.abort();
        server.served.await.unwrap();
    }
}

/// Over HTTP/1.1 nobody looks at the connection while a handler is at work, so that it cannot be seen to end: the next
/// request is read only when the last answer has been written.
#[tokio::test]
async fn a_pipelined_handler_runs_to_its_end_when_its_connection_is_gone() {
    let (begun, go, ended) = (closed(), closed(), closed());
    let server = Server::start(counting(&begun, &go, &ended)).await;
    let mut client = server.connect().await;
    client.send(&(testing::post("/deaf", "hello") + WAIT)).await;
    begun.acquire().await.unwrap().forget();
    client.stream().set_zero_linger().unwrap();
    drop(client);
    server.shutdown.begin();
    tokio::task::yield_now().await;
    go.add_permits(1);
    ended.acquire().await.unwrap().forget();
    server.served.await.unwrap();
}

#[tokio::test]
async fn a_forced_stop_ends_what_goes_on_without_its_caller() {
    let (begun, go) = (closed(), closed());
    let server = Server::start(router(&begun, &go)).await;
    let (stream, driver) = waiting_over_http2(&server, &begun).await;
    drop(stream);
    driver.abort();
    let _ = driver.await;
    server.shutdown.force();
    server.served.await.unwrap();
    // Nobody is left who waits for a permit.
    go.add_permits(1);
    assert_eq!(go.available_permits(), 1);
}
