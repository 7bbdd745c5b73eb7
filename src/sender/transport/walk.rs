//! The way to a peer one station at a time, for whoever wants to know at which it ends: the same look-up, connection, tunnel
//! and TLS as [`Target::connect`], with what was seen at each. Decides nothing and repeats nothing.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures_util::FutureExt;
use h2::Ping;
use http::{Method, Request, header};
use rustls::{CertificateError, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::connect::{ALPN_HTTP2, Target};
use super::trouble::Trouble;

/// Names in certificates are free text of whoever made them: so many characters of one are repeated.
const LONGEST_NAME: usize = 120;

/// A connection with TLS, and who is at its other end.
#[derive(Debug)]
pub(crate) struct Secured {
    stream: TlsStream<TcpStream>,
    /// Such as `TLS 1.3`.
    pub(crate) protocol: &'static str,
    /// Certificates that the peer showed, its own included.
    pub(crate) chain: usize,
    /// Who made out the peer's certificate.
    pub(crate) issuer: String,
    /// Its last moment, in seconds after the Unix epoch.
    pub(crate) ends_at: u64,
    /// Whether both sides chose HTTP/2.
    pub(crate) http2: bool,
}

/// Why there is no TLS.
#[derive(Debug)]
pub(crate) enum SecureError {
    /// The peer's certificate is not taken.
    Certificate { why: Unacceptable, detail: String },
    /// The peer wants no TLS that is ours, or none at all.
    Tls { detail: String },
}

/// What is wrong with a peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unacceptable {
    /// Its last moment is over, by this machine's clock.
    Expired,
    /// Its first moment has not come, by this machine's clock.
    NotYetValid,
    /// Nobody who is trusted has made it out.
    UnknownAuthority,
    /// It is made out to another name.
    OtherName,
    /// Anything else.
    Other,
}

/// What a peer said in HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// Streams that it allows at once.
    pub(crate) streams: usize,
    /// Its own clock, in seconds after the Unix epoch, from the `date` of an answer; `None` if it does not say.
    pub(crate) date: Option<u64>,
}

impl Target {
    /// TLS as the relay speaks it, except that HTTP/1.1 is offered as well: so that a peer which speaks nothing newer is
    /// told from one that speaks no TLS.
    pub(crate) async fn walk_to_tls(&self, tcp: TcpStream) -> Result<Secured, SecureError> {
        let mut tls = self.tls().as_ref().clone();
        tls.alpn_protocols = vec![ALPN_HTTP2.to_vec(), b"http/1.1".to_vec()];
        let stream = self.secure(tcp, Arc::new(tls)).await.map_err(|error| secure_error(&error))?;
        let session = stream.get_ref().1;
        let chain = session.peer_certificates().unwrap_or_default();
        let (issuer, ends_at) = chain.first().and_then(|leaf| describe(leaf)).unwrap_or_default();
        let protocol = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS",
        };
        let (chain, http2) = (chain.len(), session.alpn_protocol() == Some(ALPN_HTTP2));
        Ok(Secured { stream, protocol, chain, issuer, ends_at, http2 })
    }

    /// HTTP/2 up to an answered PING, which only a peer that has sent its SETTINGS gives, and one request for the peer's
    /// page, for the date on the answer. Nothing bounds the wait but the caller.
    pub(crate) async fn walk_to_http2(&self, secured: Secured) -> Result<Greeting, (Trouble, String)> {
        let failed = |error: h2::Error| (Trouble::of(&error), error.to_string());
        let (mut requests, mut connection) = h2::client::handshake(secured.stream).await.map_err(failed)?;
        let mut pings = connection.ping_pong().expect("taken once");
        let mut pong = Box::pin(pings.ping(Ping::opaque()));
        let ended = || (Trouble::ConnectionLost, "the peer has closed the connection".to_owned());
        let settled = poll_fn(|cx| {
            // What ends the connection explains best why there is no answer.
            if let std::task::Poll::Ready(end) = connection.poll_unpin(cx) {
                return std::task::Poll::Ready(Err(end.err().map_or_else(ended, failed)));
            }
            pong.as_mut().poll_unpin(cx).map(|pong| pong.map(|_| ()).map_err(failed))
        });
        settled.await?;
        drop(pong);
        let streams = connection.max_concurrent_send_streams();
        let date = async {
            let mut request = Request::new(());
            *request.method_mut() = Method::GET;
            *request.uri_mut() = format!("https://{}/", self.address()).parse().ok()?;
            let (answer, _) = requests.send_request(request, true).ok()?;
            let answer = answer.await.ok()?;
            date_of(answer.headers().get(header::DATE)?.to_str().ok()?)
        };
        let date = tokio::select! {
            date = date => date,
            // Apple hangs up on who has not said who it is, if it likes; what was to be seen here has been seen.
            _ = &mut connection => None,
        };
        Ok(Greeting { streams, date })
    }
}

fn date_of(text: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn describe(leaf: &[u8]) -> Option<(String, u64)> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let issuer: String = leaf.issuer().to_string().chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    Some((issuer, u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or_default()))
}

fn secure_error(error: &io::Error) -> SecureError {
    let detail = error.to_string();
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => SecureError::Certificate { why: unacceptable(why), detail },
        _ => SecureError::Tls { detail },
    }
}

fn unacceptable(why: &CertificateError) -> Unacceptable {
    use CertificateError as C;
    match why {
        C::Expired | C::ExpiredContext { .. } => Unacceptable::Expired,
        C::NotValidYet | C::NotValidYetContext { .. } => Unacceptable::NotYetValid,
        C::UnknownIssuer => Unacceptable::UnknownAuthority,
        C::NotValidForName | C::NotValidForNameContext { .. } => Unacceptable::OtherName,
        _ => Unacceptable::Other,
    }
}
