//! One GET, suspicious of whatever answers: it waits for a bounded time, reads a bounded body, and goes nowhere else than
//! where it was sent.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use reqwest::{Client, Response, redirect};
use url::Url;

use super::publication::{Publication, parse};
use super::{FetchError, FetchSettings};
use crate::admission::site::Site;
use crate::sender::network::{NetworkSettings, Proxy};

/// The largest answer, bytes. A Mattermost server's has some 10 KiB.
const MAX_BODY: usize = 1 << 20;

/// The most redirects followed: one for a slash, one for a name in other letters, and one to spare.
const MAX_REDIRECTS: usize = 3;

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

const USER_AGENT: &str = concat!("pushrelay/", env!("CARGO_PKG_VERSION"));

/// Asks the chat server at this address who it is.
pub async fn fetch(site: &Site, settings: &FetchSettings) -> Result<Publication, FetchError> {
    let asked = site.publication();
    let client = client(&asked, settings)?;
    let answered = tokio::time::timeout(settings.patience, get(&client, asked)).await;
    parse(&answered.map_err(|_| FetchError::TooSlow(settings.patience))??)
}

async fn get(client: &Client, asked: Url) -> Result<Vec<u8>, FetchError> {
    let mut url = asked.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = client.get(url.clone()).send().await.map_err(trouble)?;
        match response.status() {
            StatusCode::OK => return read(response).await,
            status if status.is_redirection() => {
                let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
                let to = to.and_then(|to| url.join(to).ok()).ok_or(FetchError::Status(status))?;
                if !is_same_server(&asked, &to) {
                    return Err(FetchError::Elsewhere(shown(&to)));
                }
                url = to;
            }
            status => return Err(FetchError::Status(status)),
        }
    }
    Err(FetchError::Redirects)
}

/// Whether what comes from there is as good as from where we asked. From `http` to `https` nothing is lost.
fn is_same_server(asked: &Url, to: &Url) -> bool {
    let same_port = asked.scheme() == to.scheme() && asked.port_or_known_default() == to.port_or_known_default();
    let made_private = asked.scheme() == "http" && to.scheme() == "https";
    asked.host() == to.host() && (same_port || made_private)
}

/// An address that somebody else has chosen, for people: escaped by the URL itself, and without what may be secret in it.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

async fn read(mut response: Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(trouble)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(FetchError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn client(url: &Url, settings: &FetchSettings) -> Result<Client, FetchError> {
    let network = NetworkSettings {
        endpoint: None,
        extra_authorities: settings.extra_authorities.clone(),
        proxy: settings.proxy.clone(),
        connections: 1,
        connect_timeout: CONNECT_TIMEOUT,
    };
    let mut tls = network.tls_config(None)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        // The environment's proxies would come in by themselves; which one is used is decided in one place.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    if let Some(proxy) = settings.proxy.for_url(url)? {
        builder = builder.proxy(through(&proxy)?);
    }
    builder.build().map_err(FetchError::Setup)
}

fn through(proxy: &Proxy) -> Result<reqwest::Proxy, FetchError> {
    let way = reqwest::Proxy::all(proxy.address.clone()).map_err(FetchError::Setup)?;
    // Base64 after a word is always fit for a header.
    let authorization = proxy.authorization.as_ref().and_then(|text| HeaderValue::from_str(text.expose()).ok());
    Ok(match authorization {
        Some(mut value) => {
            value.set_sensitive(true);
            way.custom_http_auth(value)
        }
        None => way,
    })
}

/// With what caused it: the library alone says little more than "error sending request".
fn trouble(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    if let Some(rustls::Error::InvalidCertificate(problem)) = tls_error(&error) {
        return FetchError::Certificate(problem.to_string());
    }
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    FetchError::NoAnswer(causes.join(": "))
}

/// What TLS says among an error's causes. An `io::Error` hides what it wraps from `source`.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = wrapped.and_then(|wrapped| tls_error(wrapped)).or_else(|| error.downcast_ref());
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}
