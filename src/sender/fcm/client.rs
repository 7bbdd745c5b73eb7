//! HTTP connections to Google: one [`Peer`] for sending, one for access tokens. Posts a body, hands the answer back,
//! and says in fixed words why none came. Knows no payload, no token and no verdict.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version};
use reqwest::{Client, Request, Response, redirect};
use rustls::ClientConfig;
use url::Url;

use super::trouble::Trouble;
use crate::sender::network::{NetworkSettings, Proxy, TlsSetupError, UnusableProxy};

/// How often an open connection is tried with a PING, so that one that a firewall has forgotten is noticed before a
/// push is lost on it. Well below the few minutes after which firewalls commonly forget.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long the answer to a PING may take before the connection counts as dead.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection without requests is kept.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// The most HTTP/1.1 connections kept without a request. Only met where HTTP/2 is not spoken.
const IDLE_HTTP1_CONNECTIONS: usize = 32;

/// The most bytes read of an answer. FCM's are below 2 KiB, and only errors are looked at.
const ANSWER_LIMIT: usize = 16 * 1024;

const USER_AGENT: &str = concat!("pushrelay/", env!("CARGO_PKG_VERSION"));

/// One address that is posted to, and the connections that lead there.
pub(super) struct Peer {
    url: Url,
    /// One connection each, used in turn: a connection carries no more requests at once than Google allows (about a
    /// hundred), and waiting for a free one would cost time. They open a connection knowing that it will speak HTTP/2,
    /// so that a burst on a cold start opens one connection each, not one per push.
    http2: Box<[Client]>,
    next: AtomicUsize,
    /// Lets the other side choose the HTTP version: for the few posts of a token peer, and for networks whose
    /// middlebox opens TLS and speaks nothing newer than HTTP/1.1.
    negotiating: Client,
    /// An answer has come in HTTP/2.
    http2_proved: AtomicBool,
    /// To be settled by negotiation: HTTP/2 was declined, or broke off before there was ever an answer.
    http2_missing: AtomicBool,
    proxied: bool,
}

/// Why connections cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    #[error(transparent)]
    Environment(#[from] UnusableProxy),
    #[error("the proxy's address (`http://host:port`) or its credentials cannot be used")]
    Proxy,
    /// The builder's own words could quote an address, so they are not passed on.
    #[error("the HTTP client cannot be set up")]
    Client,
}

impl Peer {
    /// `connections` HTTP/2 connections to `url`; with 0, the other side chooses the version. Opens none yet.
    pub(super) fn new(
        url: Url,
        network: &NetworkSettings,
        tls: &ClientConfig,
        connections: usize,
    ) -> Result<Self, PeerError> {
        // Without TLS there is no way to agree on HTTP/2, and only loopback is reached like that: no proxy either.
        let encrypted = url.scheme() == "https";
        let proxy = if encrypted { network.proxy.for_url(&url)? } else { None };
        let build = |http2| client(network.connect_timeout, tls, proxy.as_ref(), http2);
        let connections = if encrypted { connections } else { 0 };
        Ok(Self {
            http2: (0..connections).map(|_| build(true)).collect::<Result<_, _>>()?,
            next: AtomicUsize::new(0),
            negotiating: build(false)?,
            http2_proved: AtomicBool::new(false),
            http2_missing: AtomicBool::new(false),
            proxied: proxy.is_some(),
            url,
        })
    }

    /// Posts once and waits for the head of the answer. Nothing bounds the wait but the caller.
    pub(super) async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Response, Trouble> {
        let mut request = Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        match self.client().execute(request).await {
            Ok(response) => {
                self.learn(response.version() == Version::HTTP_2);
                Ok(response)
            }
            Err(error) => {
                let trouble = Trouble::of(&error, self.proxied);
                let unproved = !self.http2_proved.load(Ordering::Relaxed);
                if trouble == Trouble::Http2Missing || (trouble == Trouble::Broken && unproved) {
                    self.http2_missing.store(true, Ordering::Relaxed);
                }
                Err(trouble)
            }
        }
    }

    /// An answer in HTTP/2 ends negotiating. Written only on a change: the flags are read by every send.
    fn learn(&self, http2: bool) {
        if http2 && (!self.http2_proved.load(Ordering::Relaxed) || self.http2_missing.load(Ordering::Relaxed)) {
            self.http2_proved.store(true, Ordering::Relaxed);
            self.http2_missing.store(false, Ordering::Relaxed);
        }
    }

    fn client(&self) -> &Client {
        if self.http2.is_empty() || self.http2_missing.load(Ordering::Relaxed) {
            return &self.negotiating;
        }
        &self.http2[self.next.fetch_add(1, Ordering::Relaxed) % self.http2.len()]
    }
}

/// Reads an answer's body; of one that is too long, the beginning.
pub(super) async fn read_body(response: &mut Response) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    while body.len() < ANSWER_LIMIT {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_LIMIT - body.len())]),
            Ok(None) => break,
            Err(error) => return Err(Trouble::of(&error, false)),
        }
    }
    Ok(body)
}

fn client(
    connect_timeout: Duration,
    tls: &ClientConfig,
    proxy: Option<&Proxy>,
    http2: bool,
) -> Result<Client, PeerError> {
    let mut tls = tls.clone();
    // The client takes a finished configuration as it is: what to offer is ours to say.
    tls.alpn_protocols = if http2 { vec![b"h2".to_vec()] } else { vec![b"h2".to_vec(), b"http/1.1".to_vec()] };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        // The environment's proxies would come in by themselves; which one is used is decided in one place.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_HTTP1_CONNECTIONS);
    if http2 {
        builder = builder.http2_prior_knowledge();
    }
    if let Some(proxy) = proxy {
        let mut way = reqwest::Proxy::all(proxy.address.clone()).map_err(|_| PeerError::Proxy)?;
        if let Some(authorization) = &proxy.authorization {
            let mut value = HeaderValue::from_str(authorization.expose()).map_err(|_| PeerError::Proxy)?;
            value.set_sensitive(true);
            way = way.custom_http_auth(value);
        }
        builder = builder.proxy(way);
    }
    builder.build().map_err(|_| PeerError::Client)
}
