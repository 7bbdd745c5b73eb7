//! What a simulator is told before it starts: where to listen, whom to believe, how much to keep.
//!
//! Nothing here opens a socket or reads a file.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use jsonwebtoken::DecodingKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::credentials::Credentials;

/// Where the simulator's time comes from: milliseconds since the Unix epoch. Tests give a function of their own, to
/// age a token without waiting.
pub type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The machine's wall clock.
pub fn system_time() -> Now {
    #[allow(clippy::disallowed_methods, reason = "the simulator stands alone and has no part in the relay's Clock")]
    Arc::new(|| {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Everything a simulator needs to start. [`SimulatorSettings::new`] fills in loopback addresses with free ports.
#[derive(Clone)]
pub struct SimulatorSettings {
    /// Apple's stand-in: TLS, HTTP/2 only.
    pub apns_listen: SocketAddr,
    /// Google's stand-in, messages and OAuth: TLS, HTTP/2 and HTTP/1.1.
    pub fcm_listen: SocketAddr,
    /// The inbox page, its JSON and the control API: plain HTTP.
    pub inbox_listen: SocketAddr,
    /// Permits addresses that other machines can reach. Off: whoever reaches the inbox reads every message.
    pub allow_remote: bool,
    /// The certificate chain both TLS listeners present, leaf first.
    pub server_chain: Vec<CertificateDer<'static>>,
    /// The key of that chain's leaf.
    pub server_key: Arc<PrivateKeyDer<'static>>,
    /// Who signs the client certificates APNs accepts; `None` refuses certificate authentication.
    pub client_authority: Option<CertificateDer<'static>>,
    /// The apps APNs knows. Their `.voip` topics come with them.
    pub apps: Vec<ApnsApp>,
    /// The provider token keys APNs knows.
    pub keys: Vec<ProviderKey>,
    /// The service accounts Google knows.
    pub accounts: Vec<FcmAccount>,
    /// An audience (`aud`) the OAuth endpoint accepts beside its own address, for a relay that reaches it by another
    /// name, such as a container's.
    pub token_uri: Option<String>,
    /// Streams a connection without a client certificate may open before its first valid token was answered.
    /// Apple: one.
    pub streams_before_authentication: u32,
    /// Streams a connection may have open otherwise. Apple: about 1,000.
    pub streams: u32,
    /// How far apart the issue times of two provider tokens of one key must be. Apple: 20 minutes. Zero lets a relay
    /// be restarted at will.
    pub provider_token_interval: Duration,
    /// How many accepted pushes, and how many refused ones, are kept for reading; older ones fall out.
    pub ledger_capacity: usize,
    /// Where the time comes from.
    pub now: Now,
}

impl SimulatorSettings {
    /// Loopback addresses with free ports, Apple's limits, and trust in exactly these credentials.
    pub fn new(credentials: &Credentials) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            apns_listen: free,
            fcm_listen: free,
            inbox_listen: free,
            allow_remote: false,
            server_chain: credentials.server_chain.clone(),
            server_key: Arc::clone(&credentials.server_key),
            client_authority: Some(credentials.authority.clone()),
            apps: vec![ApnsApp { topic: credentials.topic.clone(), team_id: credentials.team_id.clone() }],
            keys: vec![credentials.provider_key.clone()],
            accounts: vec![credentials.account.clone()],
            token_uri: None,
            streams_before_authentication: 1,
            streams: 1_000,
            provider_token_interval: Duration::from_mins(20),
            // The page shows the last 200; 10,000 pushes of 4 KiB are 40 MB at worst.
            ledger_capacity: 10_000,
            now: system_time(),
        }
    }
}

impl fmt::Debug for SimulatorSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatorSettings")
            .field("apns_listen", &self.apns_listen)
            .field("fcm_listen", &self.fcm_listen)
            .field("inbox_listen", &self.inbox_listen)
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}

/// An app as Apple knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApnsApp {
    /// The bundle id.
    pub topic: String,
    /// The team that owns it; only this team's keys may push to it.
    pub team_id: String,
}

/// A provider token key as Apple knows it: the public half.
#[derive(Clone)]
pub struct ProviderKey {
    /// `kid` of its tokens.
    pub key_id: String,
    /// `iss` of its tokens.
    pub team_id: String,
    pub(super) public_key: DecodingKey,
}

impl ProviderKey {
    /// From the `.p8` file (PEM, PKCS#8, P-256) the relay signs with. Only the public half is kept.
    pub fn from_p8(key_id: &str, team_id: &str, pem: &str) -> Result<Self, CredentialError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| CredentialError::new(".p8 key", "not a PEM block `PRIVATE KEY`"))?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
            .map_err(|_| CredentialError::new(".p8 key", "not a P-256 key in PKCS#8"))?;
        Ok(Self {
            key_id: key_id.to_owned(),
            team_id: team_id.to_owned(),
            public_key: DecodingKey::from_ec_der(pair.public_key().as_ref()),
        })
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderKey")
            .field("key_id", &self.key_id)
            .field("team_id", &self.team_id)
            .finish_non_exhaustive()
    }
}

/// A service account as Google knows it: the public half.
#[derive(Clone)]
pub struct FcmAccount {
    /// The Firebase project it may send to.
    pub project_id: String,
    /// `iss` of its assertions.
    pub client_email: String,
    /// `kid` of its assertions.
    pub key_id: String,
    pub(super) public_key: DecodingKey,
}

impl FcmAccount {
    /// From the service account's JSON key file. Only the public half is kept.
    pub fn from_json(json: &str) -> Result<Self, CredentialError> {
        #[derive(serde::Deserialize)]
        struct File {
            project_id: String,
            client_email: String,
            private_key_id: String,
            private_key: String,
        }
        // The message of serde names the field, never the value of the private key (a string where one is expected).
        let file: File =
            serde_json::from_str(json).map_err(|error| CredentialError::new("service account", &error.to_string()))?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(file.private_key.as_bytes())
            .map_err(|_| CredentialError::new("service account", "private_key is not a PEM block `PRIVATE KEY`"))?;
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|_| CredentialError::new("service account", "private_key is not an RSA key in PKCS#8"))?;
        Ok(Self {
            project_id: file.project_id,
            client_email: file.client_email,
            key_id: file.private_key_id,
            public_key: DecodingKey::from_rsa_der(pair.public_key().as_ref()),
        })
    }
}

impl fmt::Debug for FcmAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FcmAccount")
            .field("project_id", &self.project_id)
            .field("client_email", &self.client_email)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A credential that cannot be used, and why. Holds nothing secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct CredentialError {
    what: &'static str,
    why: String,
}

impl CredentialError {
    pub(super) fn new(what: &'static str, why: &str) -> Self {
        Self { what, why: why.to_owned() }
    }
}
