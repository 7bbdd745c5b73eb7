//! How a provider is reached: address, trusted authorities, forward proxy. No requests are made here and no connection
//! is opened.

mod exceptions;
mod proxy;
mod tls;

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use url::Url;

pub use proxy::{Proxy, ProxyError, ProxySettings, UnusableProxy};
pub use tls::TlsSetupError;
pub(crate) use tls::crypto_provider;

/// The network side of one target.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// Where to connect instead of the provider's own address (`https://host:port`).
    pub endpoint: Option<Url>,
    /// Authorities trusted beside the platform's own.
    pub extra_authorities: Vec<CertificateDer<'static>>,
    /// The way out.
    pub proxy: ProxySettings,
    /// The most connections kept open to the provider; at least 1.
    pub connections: usize,
    /// The longest wait for DNS, TCP, proxy and TLS together.
    pub connect_timeout: Duration,
}
