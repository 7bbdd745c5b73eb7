//! The bare sink: takes `POST /3/device/…` over TLS and HTTP/2 as Apple does, reads the body, answers 200 with nothing
//! in it, and counts. It can hold answers back. It judges nothing: strictness is the simulator's, this is for speed.

use std::{
    future::poll_fn,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{Method, Request, Response, StatusCode};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    coalesced::Coalesced,
    material,
    process::{commands, reply},
};

/// Streams a client may have open on one connection: what Apple grants.
const STREAMS: u32 = 1000;

/// Receive window of a connection in bytes: room for every stream's body, so that the window never paces the client.
const WINDOW_BYTES: u32 = 8 << 20;

struct Sink {
    /// Requests read to the end since the start.
    taken: AtomicU64,
    /// Requests read to the end and not yet answered.
    held: AtomicU64,
    /// How long each answer takes, milliseconds.
    delay: AtomicU64,
    /// While true, no answer is given.
    hold: watch::Receiver<bool>,
}

/// The role: says its port, then `hold`, `release`, `held` (how many wait) and `taken` (how many came). `delay N`
/// lets each answer take N milliseconds.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(directory: &Path) -> Result<()> {
    let tls = material::sink_tls(directory)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    reply(listener.local_addr()?.port())?;

    let (hold, holding) = watch::channel(false);
    let sink =
        Arc::new(Sink { taken: AtomicU64::new(0), held: AtomicU64::new(0), delay: AtomicU64::new(0), hold: holding });
    tokio::spawn(accept(listener, tls, sink.clone()));

    let mut commands = commands();
    while let Some(command) = commands.recv().await {
        match command.as_str() {
            "hold" => reply(hold.send_replace(true))?,
            "release" => reply(hold.send_replace(false))?,
            "held" => reply(sink.held.load(Relaxed))?,
            "taken" => reply(sink.taken.load(Relaxed))?,
            other if other.starts_with("delay ") => {
                sink.delay.store(other["delay ".len()..].parse()?, Relaxed);
                reply("delayed")?;
            }
            other => bail!("the sink does not know the command {other:?}"),
        }
    }
    Ok(())
}

async fn accept(listener: TcpListener, tls: Arc<ServerConfig>, sink: Arc<Sink>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, TlsAcceptor::from(tls.clone()), sink.clone()));
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, sink: Arc<Sink>) -> Result<()> {
    let (inner, io) = Coalesced::pair(tls.accept(stream).await?);
    let mut handshake = Box::pin(
        h2::server::Builder::new()
            .max_concurrent_streams(STREAMS)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake::<_, Bytes>(inner),
    );
    let mut connection = poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        let _ = io.poll_write_out(cx);
        polled
    })
    .await?;
    loop {
        let accepted = poll_fn(|cx| {
            let polled = connection.poll_accept(cx);
            if polled.is_pending() {
                // An error shows itself to the connection at its next read.
                let _ = io.poll_write_out(cx);
            }
            polled
        });
        let Some(request) = accepted.await else { return Ok(()) };
        let (request, respond) = request?;
        let sink = sink.clone();
        tokio::spawn(async move {
            // A client that goes away takes its streams with it; the load generator notices what matters.
            let _ = answer(request, respond, &sink).await;
        });
    }
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, sink: &Sink) -> Result<()> {
    let right = request.method() == Method::POST && request.uri().path().starts_with("/3/device/");
    let mut body = request.into_body();
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    sink.taken.fetch_add(1, Relaxed);
    if *sink.hold.borrow() {
        sink.held.fetch_add(1, Relaxed);
        let released = sink.hold.clone().wait_for(|hold| !hold).await.map(|_| ());
        sink.held.fetch_sub(1, Relaxed);
        released.context("the sink is ending")?;
    }
    let delay = sink.delay.load(Relaxed);
    if delay > 0 {
        sleep(Duration::from_millis(delay)).await;
    }
    let status = if right { StatusCode::OK } else { StatusCode::NOT_FOUND };
    respond.send_response(Response::builder().status(status).body(())?, true)?;
    Ok(())
}
