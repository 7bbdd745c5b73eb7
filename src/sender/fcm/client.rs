//! The way to Google: one [`Peer`] for sending, one for access tokens. Posts a body, hands the answer back, and says in fixed
//! words why none came. Knows no payload, no token and no verdict.
//!
//! HTTP/2 goes over the transport that Apple's side has, too. Where somebody in between speaks nothing newer than HTTP/1.1, and
//! without TLS (a stand-in on this machine), `reqwest` takes its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use reqwest::{Client, redirect};
use rustls::ClientConfig;
use tokio::time::timeout;
use url::Url;

use super::trouble;
use crate::sender::network::{NetworkSettings, Proxy, TlsSetupError, UnusableProxy};
use crate::sender::transport::{NoWay, Patience, Pool, Response, Target, TransportError, Trouble, Tuning};

/// How often an open connection is tried with a PING, where a middlebox of HTTP/1.1 gave way to HTTP/2.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long the answer to a PING may take before the connection counts as dead.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection without requests is kept.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// The most HTTP/1.1 connections kept without a request. Only met where HTTP/2 is not spoken.
const IDLE_HTTP1_CONNECTIONS: usize = 32;

/// The most bytes read of an answer over HTTP/1.1. FCM's are below 2 KiB.
const ANSWER_LIMIT: usize = 16 * 1024;

const USER_AGENT: &str = concat!("pushrelay/", env!("CARGO_PKG_VERSION"));

/// One address that is posted to, and the connections that lead there.
pub(super) struct Peer {
    url: Url,
    uri: Uri,
    /// `None` without TLS: there is no way to agree on HTTP/2 then.
    http2: Option<Pool>,
    /// Lets the other side choose the HTTP version: for networks whose middlebox opens TLS and speaks nothing newer than
    /// HTTP/1.1.
    negotiating: Client,
    /// HTTP/2 was declined, and has not been chosen since.
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
    #[error("{0}")]
    Address(String),
    #[error("the proxy's address (`http://host:port`) or its credentials cannot be used")]
    Proxy,
    /// The builder's own words could quote an address, so they are not passed on.
    #[error("the HTTP client cannot be set up")]
    Client,
}

impl Peer {
    /// At most that many HTTP/2 connections to `url`. Opens none yet.
    pub(super) fn new(
        url: Url,
        network: &NetworkSettings,
        tls: &ClientConfig,
        connections: usize,
    ) -> Result<Self, PeerError> {
        let address = |error: &dyn std::fmt::Display| PeerError::Address(error.to_string());
        let uri = url.as_str().parse().map_err(|error: http::uri::InvalidUri| address(&error))?;
        // Without TLS only loopback is reached: no proxy either.
        let encrypted = url.scheme() == "https";
        let proxy = if encrypted { network.proxy.for_url(&url)? } else { None };
        let negotiating = client(network.connect_timeout, tls, proxy.as_ref())?;
        let proxied = proxy.is_some();
        let http2 = if encrypted {
            let target = Target::new(&url, proxy, tls.clone(), network.connect_timeout);
            let target = target.map_err(|error| address(&error))?;
            Some(Pool::new(target, Tuning::with_connections(connections)))
        } else {
            None
        };
        Ok(Self { url, uri, http2, negotiating, http2_missing: AtomicBool::new(false), proxied })
    }

    /// Posts once and brings the answer. What the other side certainly has not looked at is repeated within it.
    pub(super) async fn post(
        &self,
        authorization: Option<&HeaderValue>,
        content_type: &'static str,
        body: &Bytes,
        patience: Patience,
        no_way: NoWay,
    ) -> Result<Response, TransportError> {
        if let Some(pool) = &self.http2
            && !self.http2_missing.load(Ordering::Relaxed)
        {
            let head = || self.head(authorization, content_type, body.len());
            match pool.request(head, body, patience, no_way).await {
                Err(TransportError { reason: Trouble::NoHttp2, .. }) => {
                    self.http2_missing.store(true, Ordering::Relaxed);
                    tracing::warn!(peer = self.url.host_str(), "no HTTP/2 on the way to Google: HTTP/1.1 from now on");
                }
                answered => return answered,
            }
        }
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = headers(authorization, content_type);
        *request.body_mut() = Some(body.clone().into());
        // Boxed: no push takes this way where there is HTTP/2, and each in flight would hold the room for it.
        let asked = Box::pin(timeout(patience.to_send, self.ask(request)));
        asked.await.unwrap_or(Err(TransportError { reason: Trouble::Timeout, unprocessed: false }))
    }

    fn head(&self, authorization: Option<&HeaderValue>, content_type: &'static str, length: usize) -> Request<()> {
        let mut headers = headers(authorization, content_type);
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }

    async fn ask(&self, request: reqwest::Request) -> Result<Response, TransportError> {
        let mut response = self.negotiating.execute(request).await.map_err(|error| {
            let reason = trouble::of(&error, self.proxied);
            TransportError { reason, unprocessed: trouble::is_unprocessed(reason) }
        })?;
        if response.version() == Version::HTTP_2 {
            self.http2_missing.store(false, Ordering::Relaxed);
        }
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let body = read_body(&mut response).await;
        Ok(Response { status, headers, body })
    }
}

/// Which form of errors is asked for. Without it Google has answered without `details`, on which the verdicts hang; the reference's
/// library sends it with each message.
const FORMAT_VERSION: HeaderName = HeaderName::from_static("x-goog-api-format-version");

fn headers(authorization: Option<&HeaderValue>, content_type: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    if let Some(authorization) = authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
        headers.insert(FORMAT_VERSION, HeaderValue::from_static("2"));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers
}

/// Reads an answer's body; of one that is too long, the beginning.
async fn read_body(response: &mut reqwest::Response) -> Result<Bytes, Trouble> {
    let mut body = Vec::new();
    while body.len() < ANSWER_LIMIT {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_LIMIT - body.len())]),
            Ok(None) => break,
            Err(error) => return Err(trouble::of(&error, false)),
        }
    }
    Ok(body.into())
}

fn client(connect_timeout: Duration, tls: &ClientConfig, proxy: Option<&Proxy>) -> Result<Client, PeerError> {
    let mut tls = tls.clone();
    // The client takes a finished configuration as it is: what to offer is ours to say.
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
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
