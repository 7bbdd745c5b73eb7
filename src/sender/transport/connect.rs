//! From a host name to a TLS connection that speaks HTTP/2: DNS, TCP, forward proxy, TLS. One attempt; no retry, no
//! back-off, and of earlier ones only the address that worked.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::race::{order, race};
use super::trouble::Trouble;
use crate::sender::network::Proxy;

/// What a proxy may answer to CONNECT, in bytes. They send a page with a refusal, of which only the first line counts.
const MAX_PROXY_ANSWER: usize = 8 * 1024;

/// The name by which both sides choose HTTP/2 in TLS (RFC 9113 §3.2).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

/// Where to connect, and how.
#[derive(Clone)]
pub(crate) struct Target {
    host: String,
    port: u16,
    server_name: ServerName<'static>,
    proxy: Option<Proxy>,
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
    /// The address, of the proxy if there is one, over which HTTP/2 was last agreed on. Tried first, since a name may have others
    /// that lead nowhere from here.
    worked: Arc<Mutex<Option<SocketAddr>>>,
}

/// Why there is no connection. The detail is for the log; it holds addresses and certificate problems, no secret.
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) trouble: Trouble,
    pub(crate) detail: String,
}

impl ConnectError {
    pub(super) fn new(trouble: Trouble, detail: impl std::fmt::Display) -> Self {
        Self { trouble, detail: detail.to_string() }
    }
}

/// Why an endpoint cannot be connected to at all.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address to connect to; write it as `https://host:port`")]
pub(crate) struct BadEndpoint(String);

impl Target {
    /// `endpoint` is `https://host:port`. `tls` needs no ALPN: it is set here.
    pub(crate) fn new(
        endpoint: &Url,
        proxy: Option<Proxy>,
        mut tls: ClientConfig,
        connect_timeout: Duration,
    ) -> Result<Self, BadEndpoint> {
        let bad = || BadEndpoint(endpoint.to_string());
        if endpoint.scheme() != "https" {
            return Err(bad());
        }
        let host = match endpoint.host().ok_or_else(bad)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let port = endpoint.port_or_known_default().ok_or_else(bad)?;
        let server_name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
        tls.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        Ok(Self { host, port, server_name, proxy, tls: Arc::new(tls), connect_timeout, worked: Arc::default() })
    }

    /// `host:port`, for the log.
    pub(crate) fn address(&self) -> String {
        authority(&self.host, self.port)
    }

    /// Connects once, within the target's time for all of it together.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let deadline = Instant::now() + self.connect_timeout;
        match timeout_at(deadline, self.connect_before(deadline)).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::new(
                Trouble::ConnectTimeout,
                format_args!("no connection within {} s", self.connect_timeout.as_secs_f32()),
            )),
        }
    }

    async fn connect_before(&self, deadline: Instant) -> Result<TlsStream<TcpStream>, ConnectError> {
        let addresses = self.look_up().await?;
        let (tcp, address) = self.reach(&addresses, deadline).await?;
        // Until it has proven itself anew: one that takes connections and does not get further is not to be preferred.
        self.remember(None);
        let stream = self.secure(tcp, Arc::clone(&self.tls)).await;
        let stream = stream.map_err(|error| ConnectError::new(tls_trouble(&error), error))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_HTTP2) => {
                self.remember(Some(address));
                Ok(stream)
            }
            _ => Err(ConnectError::new(Trouble::NoHttp2, "the peer did not choose HTTP/2 (ALPN `h2`)")),
        }
    }

    fn remember(&self, address: Option<SocketAddr>) {
        *self.worked.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// The address that worked is not preferred any more: a connection over it has died without a word.
    pub(super) fn forget(&self) {
        self.remember(None);
    }

    /// Where the first connection goes: to the proxy if there is one, otherwise to the peer itself.
    fn first_hop(&self) -> Result<(String, u16), ConnectError> {
        let Some(proxy) = &self.proxy else { return Ok((self.host.clone(), self.port)) };
        let unusable = || ConnectError::new(Trouble::Proxy, "the proxy's address has no host");
        let host = proxy.address.host().ok_or_else(unusable)?.to_string();
        let port = proxy.address.port_or_known_default().ok_or_else(unusable)?;
        Ok((host.trim_matches(['[', ']']).to_owned(), port))
    }

    /// DNS or TCP trouble on the way to the proxy is the proxy's: the provider was never tried.
    fn on_the_first_hop(&self, error: ConnectError) -> ConnectError {
        match &self.proxy {
            None => error,
            Some(proxy) => ConnectError::new(Trouble::Proxy, format_args!("proxy {}: {}", proxy.address, error.detail)),
        }
    }

    /// The proxy that stands in between, without its credentials.
    pub(crate) fn proxy(&self) -> Option<&Url> {
        self.proxy.as_ref().map(|proxy| &proxy.address)
    }

    /// The addresses to connect to first, looked up anew: the proxy's if there is one. At least one.
    pub(crate) async fn look_up(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let (host, port) = self.first_hop()?;
        lookup(&host, port).await.map_err(|error| self.on_the_first_hop(error))
    }

    /// Connects to one of these addresses, the first that answers, and has the proxy open a tunnel if there is one. Says which
    /// address it was.
    pub(crate) async fn reach(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<(TcpStream, SocketAddr), ConnectError> {
        let addresses = order(addresses, *self.worked.lock().unwrap_or_else(PoisonError::into_inner));
        let raced = race(&addresses, deadline, TcpStream::connect).await;
        let (mut stream, address) = raced.map_err(|error| self.on_the_first_hop(error))?;
        // Writes are gathered already; waiting for more would only add delay. A socket that refuses the option still works.
        let _ = stream.set_nodelay(true);
        let Some(proxy) = &self.proxy else { return Ok((stream, address)) };
        match connect_method(&mut stream, &self.address(), proxy).await {
            Ok(200..=299) => Ok((stream, address)),
            Ok(407) => Err(ConnectError::new(
                Trouble::ProxyAuth,
                format_args!("proxy {}: 407, it wants (other) credentials", proxy.address),
            )),
            Ok(status) => Err(ConnectError::new(
                Trouble::Proxy,
                format_args!("proxy {}: CONNECT answered with status {status}", proxy.address),
            )),
            Err(error) => Err(ConnectError::new(Trouble::Proxy, format_args!("proxy {}: {error}", proxy.address))),
        }
    }

    /// TLS with the peer, as `tls` says.
    pub(super) async fn secure(&self, tcp: TcpStream, tls: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(tls).connect(self.server_name.clone(), tcp).await
    }

    /// How it speaks TLS.
    pub(super) fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn tls_trouble(error: &io::Error) -> Trouble {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => Trouble::NoHttp2,
        _ => Trouble::Tls,
    }
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<_> = found.map_err(|error| ConnectError::new(Trouble::Dns, error))?.collect();
    if addresses.is_empty() {
        return Err(ConnectError::new(Trouble::Dns, format_args!("{host} has no address")));
    }
    Ok(addresses)
}

/// RFC 9110 §9.3.6, over HTTP/1.1. Returns the status.
async fn connect_method(stream: &mut TcpStream, authority: &str, proxy: &Proxy) -> io::Result<u16> {
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(authorization.expose());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;

    let mut answer = Vec::with_capacity(512);
    loop {
        let room = MAX_PROXY_ANSWER - answer.len();
        if room == 0 {
            return Err(io::Error::other("its answer to CONNECT is too long"));
        }
        if (&mut *stream).take(room as u64).read_buf(&mut answer).await? == 0 {
            return Err(io::Error::other("it closed the connection without answering CONNECT"));
        }
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let status = status_of(&answer).ok_or_else(|| io::Error::other("its answer to CONNECT is not HTTP/1.1"))?;
            // In TLS the client speaks first: bytes behind a success are not the provider's.
            if status < 300 && answer.len() > end + 4 {
                return Err(io::Error::other("it sent data before the connection was set up"));
            }
            return Ok(status);
        }
    }
}

/// The status of `HTTP/1.x NNN …`.
fn status_of(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.")?;
    if !matches!(rest, [b'0' | b'1', b' ', ..]) {
        return None;
    }
    std::str::from_utf8(rest.get(2..5)?).ok()?.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_of_a_proxy_is_read_strictly() {
        let cases: [(&[u8], Option<u16>); 8] = [
            (b"HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            (b"HTTP/1.0 407 Proxy Authentication Required\r\n\r\n", Some(407)),
            (b"HTTP/1.1 200\r\n\r\n", Some(200)),
            (b"HTTP/2 200\r\n\r\n", None),
            (b"HTTP/1.1 2\r\n\r\n", None),
            (b"HTTP/1.1 +20 \r\n\r\n", None),
            (b"SSH-2.0\r\n\r\n", None),
            (b"", None),
        ];
        for (answer, expected) in cases {
            assert_eq!(status_of(answer), expected, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn an_ipv6_address_is_bracketed_for_connect() {
        assert_eq!(authority("::1", 2197), "[::1]:2197");
        assert_eq!(authority("api.push.apple.com", 443), "api.push.apple.com:443");
    }
}
