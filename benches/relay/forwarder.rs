//! The bare forwarder: the least a relay must do. It takes a request over HTTP/1.1, passes the same bytes to the sink
//! over TLS and HTTP/2, and answers OK. It checks nothing, decodes nothing, builds nothing, logs nothing, counts
//! nothing, retries nothing. It uses the same runtime and the same number of connections as the relay.

use std::{convert::Infallible, path::Path};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::{
    coalesced::{Coalesced, drive},
    material,
    process::{commands, reply},
};

/// The role: says its port and forwards until its input closes.
#[tokio::main]
pub(crate) async fn run(directory: &Path, sink_port: u16, connections: usize) -> Result<()> {
    ensure!(connections > 0, "a forwarder needs at least one connection");
    let uri: Uri = format!("https://localhost:{sink_port}/3/device/{:064x}", 0).parse()?;
    let mut sinks = Vec::with_capacity(connections);
    for _ in 0..connections {
        sinks.push(connect(directory, sink_port).await?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    reply(listener.local_addr()?.port())?;
    tokio::spawn(accept(listener, sinks, uri));

    let mut commands = commands();
    while commands.recv().await.is_some() {}
    Ok(())
}

async fn connect(directory: &Path, port: u16) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let tls = TlsConnector::from(material::forwarder_tls(directory)?);
    let stream = tls.connect("localhost".try_into()?, stream).await?;
    let (inner, io) = Coalesced::pair(stream);
    let (handle, connection) = h2::client::Builder::new().handshake(inner).await?;
    tokio::spawn(drive(connection, io));
    Ok(handle)
}

async fn accept(listener: TcpListener, sinks: Vec<SendRequest<Bytes>>, uri: Uri) -> Result<()> {
    for sink in sinks.iter().cycle() {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (sink, uri) = (sink.clone(), uri.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| take(request, sink.clone(), uri.clone()));
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        });
    }
    Ok(())
}

async fn take(
    request: Request<Incoming>,
    sink: SendRequest<Bytes>,
    uri: Uri,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match forward(request.into_body(), sink, uri).await {
        Ok(()) => {
            let mut response = Response::new(Full::new(Bytes::from_static(br#"{"status":"OK"}"#)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            let mut response = Response::new(Full::new(format!("{error:#}").into()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}

async fn forward(body: Incoming, sink: SendRequest<Bytes>, uri: Uri) -> Result<()> {
    let body = read(body).await?;
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let mut sink = sink.ready().await?;
    let (response, mut stream) = sink.send_request(request, false)?;
    stream.send_data(body, true)?;
    let response = response.await?;
    ensure!(response.status() == StatusCode::OK, "the sink answered {}", response.status());
    Ok(())
}

/// Most bodies arrive with their head and are one piece already.
async fn read(mut body: Incoming) -> Result<Bytes> {
    let first = body.frame().await.context("empty body")??.into_data().unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
