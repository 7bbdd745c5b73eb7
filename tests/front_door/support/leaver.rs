//! A chat server that may leave before it is answered, over each protocol that the relay speaks.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The protocols, and how each is left.
pub const PROTOCOLS: [Protocol; 4] = [Protocol::Http1, Protocol::Http1OverTls, Protocol::Http2, Protocol::Http2OverTls];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http1OverTls,
    Http2,
    Http2OverTls,
}

impl Protocol {
    pub fn is_over_tls(self) -> bool {
        matches!(self, Self::Http1OverTls | Self::Http2OverTls)
    }

    fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2OverTls)
    }

    /// The ways to leave that it has.
    pub fn leavings(self) -> &'static [Leaving] {
        if self.is_http2() {
            &[Leaving::Stream, Leaving::Connection]
        } else {
            &[Leaving::Connection, Leaving::Politely]
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// The stream is reset, and the connection stays (HTTP/2).
    Stream,
    /// The connection is reset.
    Connection,
    /// The connection is closed in the orderly way.
    Politely,
}

/// A certificate for `localhost` and its key, as PEM.
pub fn certificate() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (certified.cert.pem(), certified.signing_key.serialize_pem())
}

/// Where a relay is and how it is spoken to.
#[derive(Clone)]
pub struct Caller {
    protocol: Protocol,
    relay: SocketAddr,
    tls: Option<tokio_rustls::TlsConnector>,
}

pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A request that is under way.
pub enum Asked {
    Http1(Box<dyn Connection>),
    Http2 { answer: h2::client::ResponseFuture, stream: h2::SendStream<Bytes>, connection: Driver },
}

/// Keeps an HTTP/2 connection going; closes it when dropped.
pub struct Driver(JoinHandle<Result<(), h2::Error>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Caller {
    /// `certificate` is the relay's own.
    pub fn new(protocol: Protocol, relay: SocketAddr, certificate: &str) -> Self {
        let tls = protocol.is_over_tls().then(|| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
            let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![if protocol.is_http2() { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
            tokio_rustls::TlsConnector::from(Arc::new(config))
        });
        Self { protocol, relay, tls }
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Connection>> {
        let stream = TcpStream::connect(self.relay).await?;
        stream.set_nodelay(true)?;
        // Dropped, it is reset.
        stream.set_zero_linger()?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(ServerName::try_from("localhost").unwrap(), stream).await?),
        })
    }

    /// Posts a body on a connection of its own.
    pub async fn ask(&self, path: &str, headers: &[(&str, String)], body: &str) -> std::io::Result<Asked> {
        let mut stream = self.connect().await?;
        if !self.protocol.is_http2() {
            let headers =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<Vec<_>>().concat();
            let length = body.len();
            let text = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await?;
            return Ok(Asked::Http1(stream));
        }
        let gone = |error: h2::Error| std::io::Error::other(error);
        let (requests, connection) = h2::client::handshake(stream).await.map_err(gone)?;
        let connection = Driver(tokio::spawn(connection));
        let mut requests = requests.ready().await.map_err(gone)?;
        let mut request = http::Request::post(format!("http://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let (answer, mut stream) = requests.send_request(request.body(()).unwrap(), false).map_err(gone)?;
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).map_err(gone)?;
        Ok(Asked::Http2 { answer, stream, connection })
    }

    /// Posts a push, and reads the answer's JSON. `None` if the relay has gone.
    pub async fn post(&self, body: &str) -> Option<Value> {
        let asked = self.ask("/api/v1/send_push", &[], body).await.ok()?;
        serde_json::from_slice(&asked.answer().await?).ok()
    }
}

impl Asked {
    /// The answer's body; `None` if the relay has gone without one.
    pub async fn answer(self) -> Option<Vec<u8>> {
        match self {
            Self::Http1(mut stream) => {
                let mut read = Vec::new();
                loop {
                    if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                        let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
                        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                        let length: usize = length.map_or(0, |length| length.parse().unwrap());
                        if read.len() >= head + 4 + length {
                            return Some(read[head + 4..].to_vec());
                        }
                    }
                    if stream.read_buf(&mut read).await.ok()? == 0 {
                        return None;
                    }
                }
            }
            Self::Http2 { answer, connection, .. } => {
                let mut body = answer.await.ok()?.into_body();
                let mut read = Vec::new();
                while let Some(data) = body.data().await {
                    read.extend_from_slice(&data.ok()?);
                }
                drop(connection);
                Some(read)
            }
        }
    }

    /// Leaves before the answer. What is given back must be kept: it is the connection, where that stays.
    pub async fn leave(self, leaving: Leaving) -> Option<Driver> {
        match (self, leaving) {
            (Self::Http1(mut stream), Leaving::Politely) => {
                // Fails only if the relay has gone.
                let _ = stream.shutdown().await;
                // Nothing may be lost of what was written: a reset would overtake it.
                tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
                None
            }
            (Self::Http2 { mut stream, connection, answer }, Leaving::Stream) => {
                stream.send_reset(h2::Reason::CANCEL);
                drop(answer);
                Some(connection)
            }
            (Self::Http1(_) | Self::Http2 { .. }, _) => None,
        }
    }
}
