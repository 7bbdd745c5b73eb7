//! From an accepted connection to one that is private: what its first byte says, the handshake, and why one failed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{PeerIdentity, Tls};

/// The answer to a request that came without TLS.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
                          content-length: 57\r\n\r\nthis port speaks HTTPS: ask with https:// in the address\n";

/// Bytes of a plain request that are read away. What is left when a connection is closed makes the kernel reset it, and the
/// client may lose the answer.
const PLAIN_REQUEST_BYTES: usize = 64 * 1024;

/// How long somebody who was told to use HTTPS may take to hang up.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection after its handshake.
#[derive(Debug)]
pub(in crate::http) struct Secured {
    pub(in crate::http) stream: TlsStream<TcpStream>,
    pub(in crate::http) identity: Option<Arc<PeerIdentity>>,
    /// What both sides agreed on (ALPN, RFC 7301). Whoever does not ask gets HTTP/1.1.
    pub(in crate::http) http2: bool,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum Failure {
    #[error("a request came without TLS")]
    PlainHttp,
    #[error("the client showed no certificate")]
    NoClientCertificate,
    #[error("the client's certificate was refused: {0}")]
    BadClientCertificate(String),
    #[error("the client refused our certificate: {0}")]
    CertificateRefused(String),
    #[error("the handshake took too long")]
    Timeout,
    #[error("{0}")]
    Other(io::Error),
}

impl Failure {
    /// The label of the metric.
    pub(in crate::http) fn label(&self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http",
            Self::NoClientCertificate => "no_client_certificate",
            Self::BadClientCertificate(_) => "bad_client_certificate",
            Self::CertificateRefused(_) => "certificate_refused",
            Self::Timeout => "timeout",
            Self::Other(_) => "other",
        }
    }

    fn of(error: io::Error) -> Self {
        use rustls::AlertDescription::{
            BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA, UnsupportedCertificate,
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::NoCertificatesPresented) => Self::NoClientCertificate,
            Some(Error::InvalidCertificate(why)) => Self::BadClientCertificate(why.to_string()),
            Some(Error::AlertReceived(
                alert @ (BadCertificate | CertificateExpired | CertificateUnknown | UnknownCA | UnsupportedCertificate),
            )) => Self::CertificateRefused(format!("{alert:?}")),
            _ => Self::Other(error),
        }
    }
}

/// Whether a connection begins as HTTP does, with the capital letters of a method. No TLS record has a letter's number.
pub(in crate::http) fn is_plain_http(first: &[u8]) -> bool {
    first.first().is_some_and(u8::is_ascii_uppercase)
}

/// Says in clear that this port speaks HTTPS, as Go's server does.
pub(in crate::http) async fn turn_away_plain_http(mut stream: TcpStream) {
    let farewell = async {
        let mut request = Vec::with_capacity(1024);
        stream.write_all(PLAIN_HTTP.as_bytes()).await?;
        stream.shutdown().await?;
        let mut stream = stream.take(PLAIN_REQUEST_BYTES as u64);
        while stream.read_buf(&mut request).await? > 0 {
            request.clear();
        }
        io::Result::Ok(())
    };
    // Whether it was read is the client's affair.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}

impl Tls {
    /// Shakes hands. Takes as long as the client does: whoever calls has the limit.
    pub(in crate::http) async fn accept(&self, stream: TcpStream) -> Result<Secured, Failure> {
        let stream = self.acceptor().accept(stream).await.map_err(Failure::of)?;
        let (_, session) = stream.get_ref();
        let identity = match session.peer_certificates() {
            None | Some([]) => None,
            Some([leaf, ..]) => Some(Arc::new(
                PeerIdentity::of(leaf, self.clock.unix_seconds())
                    .ok_or_else(|| Failure::BadClientCertificate("it is expired or cannot be read".to_owned()))?,
            )),
        };
        let http2 = session.alpn_protocol() == Some(b"h2");
        Ok(Secured { stream, identity, http2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_plain_request_says_how_long_it_is() {
        let (head, body) = PLAIN_HTTP.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
    }

    #[test]
    fn only_letters_begin_a_request_without_tls() {
        for (first, plain) in [
            (&b"GE"[..], true),
            (b"P", true),
            (b"PR", true),
            (&[0x16, 0x03], false),
            (&[0x80, 0x2e], false),
            (b"\r\n", false),
            (b"", false),
        ] {
            assert_eq!(is_plain_http(first), plain, "{first:?}");
        }
    }
}
