//! How a provider is reached: address, trusted authorities, forward proxy. No requests are made here.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use url::Url;

use crate::private::Private;

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

/// Which forward proxy to use.
#[derive(Clone, Debug, Default)]
pub enum ProxySettings {
    /// What `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
    /// This one, for every address.
    Fixed(Proxy),
}

/// A forward proxy that understands CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// `http://host:port` without credentials: safe to show.
    pub address: Url,
    /// What to send as `Proxy-Authorization`.
    pub authorization: Option<Private>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({}, authorization: {:?})", self.address, self.authorization)
    }
}
