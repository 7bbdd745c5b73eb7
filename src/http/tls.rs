//! TLS on the chat servers' listener: its settings, the certificate in use, and how another takes its place while the
//! relay runs. It serves no request; `serve` owns connections, `handshake` their beginning.
//!
//! A new certificate comes with a whole new rustls configuration, tickets included. Sessions of the old one are not resumed:
//! resuming shows no certificate and asks no authority, so they would go on with what was replaced.

mod handshake;
mod material;
mod peer;
#[cfg(test)]
pub(super) mod testing;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use tokio_rustls::TlsAcceptor;

use crate::clock::{Clock, rfc3339};
use crate::named_file;
use crate::sender::network::crypto_provider;
use crate::telemetry::metrics::Metrics;
pub(super) use handshake::{Failure, Secured, is_plain_http, turn_away_plain_http};
pub use material::{Fault, Files, Material, Problem};
pub use peer::{Peer, PeerIdentity, San};

/// How long before its end a certificate is worth a warning: 30 days. Automatic renewal happens by then.
const WARN_BEFORE: Duration = Duration::from_hours(30 * 24);

/// How often the files are looked at: 60 s. They are a few KiB; a renewal has days.
const RELOAD_INTERVAL: Duration = Duration::from_mins(1);

/// How often the log says that the certificate ends soon, or has ended.
const REMIND_EVERY: Duration = Duration::from_hours(24);

/// Whether clients must show a certificate, where an authority for them is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Whoever has none is served as well. A bad one is refused.
    Optional,
    /// Whoever has none is refused.
    Required,
}

/// TLS, with the files read and checked.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Where the files are, to read them again.
    pub files: Files<PathBuf>,
    /// Whether clients must show a certificate.
    pub client_certificates: ClientCertificates,
    /// What the files held.
    pub material: Material,
}

/// How a certificate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Clients accept it, for this many days.
    Good(u64),
    /// It ends in this many days, fewer than 30.
    EndsSoon(u64),
    /// Clients refuse it: its time is over, or has not come.
    Refused(&'static str),
}

impl TlsSettings {
    /// How the certificate stands at `now` (seconds after the Unix epoch).
    pub fn standing(&self, now: u64) -> Standing {
        self.material.standing(now)
    }

    /// When the certificate ends, for people.
    pub fn ends(&self) -> String {
        self.material.ends()
    }
}

impl Material {
    fn standing(&self, now: u64) -> Standing {
        let left = self.not_after.saturating_sub(now);
        match left / (24 * 60 * 60) {
            _ if now > self.not_after => Standing::Refused("has expired"),
            _ if now < self.not_before => Standing::Refused("is not valid yet"),
            days if left < WARN_BEFORE.as_secs() => Standing::EndsSoon(days),
            days => Standing::Good(days),
        }
    }

    fn ends(&self) -> String {
        rfc3339(self.not_after)
    }

    fn say(&self, now: u64, what: &str) {
        let ends = self.ends();
        match self.standing(now) {
            Standing::Good(days) => tracing::info!(ends, days, "{what}"),
            Standing::EndsSoon(days) => {
                tracing::warn!(ends, days, "{what}: the certificate of `listen` ends soon; renew it");
            }
            Standing::Refused(why) => tracing::error!(
                ends,
                "{what}: the certificate of `listen` {why}, so chat servers refuse it; replace tls.certificate_file"
            ),
        }
    }
}

/// What a look at the files brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// New connections get what the files hold now.
    Replaced,
    /// They hold what is in use.
    Same,
}

/// Reads the files again when asked to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TlsReload(Arc<Tls>);

impl TlsReload {
    /// Takes what the files hold now for new connections; open ones stay as they are. If anything is wrong with them,
    /// everything stays. Writes the log line itself, in both cases.
    ///
    /// Reads files: not for a task that serves.
    pub fn reload(&self) -> Result<Changed, Problem> {
        let result = self.0.reload();
        if let Err(problem) = &result {
            report(problem);
        }
        result
    }

    /// Looks at the files every minute for as long as it is polled. Says once what is wrong with them, not every minute,
    /// and once a day that the certificate ends soon.
    pub(super) async fn watch(self) {
        let mut said = String::new();
        let mut reminded_at = self.0.clock.now();
        loop {
            self.0.clock.sleep(RELOAD_INTERVAL).await;
            let tls = Arc::clone(&self.0);
            #[allow(clippy::disallowed_methods, reason = "one at a time: the next begins after this one has ended")]
            let looked = tokio::task::spawn_blocking(move || tls.reload()).await;
            match looked {
                Ok(Ok(_)) => said.clear(),
                Ok(Err(problem)) => {
                    let text = problem.to_string();
                    if text != said {
                        report(&problem);
                        said = text;
                    }
                }
                Err(error) => tracing::error!(%error, "looking at the TLS files failed"),
            }
            if self.0.clock.now() - reminded_at >= REMIND_EVERY {
                reminded_at = self.0.clock.now();
                self.0.remind();
            }
        }
    }
}

fn report(problem: &Problem) {
    tracing::error!(%problem, "the TLS files cannot be used: the certificate in use stays");
}

/// TLS as connections need it.
pub(super) struct Tls {
    config: ArcSwap<ServerConfig>,
    files: Files<PathBuf>,
    policy: ClientCertificates,
    /// What the files held. Held while they are read, so that of two who reload at once the later does not bring
    /// back what the earlier read.
    in_use: Mutex<Material>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Tls {
    pub(super) fn new(settings: &TlsSettings, metrics: Arc<Metrics>, clock: &Clock) -> Arc<Self> {
        let TlsSettings { files, client_certificates, material } = settings;
        let tls = Self {
            config: ArcSwap::from_pointee(server_config(material, clock)),
            files: files.clone(),
            policy: *client_certificates,
            in_use: Mutex::new(material.clone()),
            metrics,
            clock: clock.clone(),
        };
        tls.metrics.set_ingest_certificate(material.not_after);
        material.say(clock.unix_seconds(), "connections of chat servers use TLS");
        Arc::new(tls)
    }

    /// When the certificate in use ends, seconds after the Unix epoch.
    pub(super) fn ends_at(&self) -> u64 {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner).not_after
    }

    pub(super) fn reloader(self: &Arc<Self>) -> TlsReload {
        TlsReload(Arc::clone(self))
    }

    /// A connection did not become private. At `debug`: whoever scans ports causes these at will.
    pub(super) fn failed(&self, failure: &Failure) {
        self.metrics.tls_handshake_failed(failure.label());
        tracing::debug!(reason = failure.label(), error = %failure, "a TLS handshake failed");
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    fn reload(&self) -> Result<Changed, Problem> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = self.files.read()?;
        if in_use.digest == contents.digest() {
            return Ok(Changed::Same);
        }
        let material = Material::from_pem(&contents, self.policy).map_err(|faults| self.files.place(faults))?;
        self.config.store(Arc::new(server_config(&material, &self.clock)));
        self.metrics.set_ingest_certificate(material.not_after);
        material
            .say(self.clock.unix_seconds(), "the TLS files were read again: new connections use what they hold now");
        *in_use = material;
        Ok(Changed::Replaced)
    }

    /// Nothing, as long as the certificate is good for longer than [`WARN_BEFORE`].
    fn remind(&self) {
        let (in_use, now) = (self.in_use.lock().unwrap_or_else(PoisonError::into_inner), self.clock.unix_seconds());
        if !matches!(in_use.standing(now), Standing::Good(_)) {
            in_use.say(now, "connections of chat servers use TLS");
        }
    }
}

impl Files<PathBuf> {
    fn read(&self) -> Result<Files<Vec<u8>>, Problem> {
        let mut faults = Vec::new();
        let mut read = |key, path: &Path| {
            named_file::read(path, named_file::LARGEST).unwrap_or_else(|error| {
                let what = format!("cannot be read: {error}");
                faults.push(Fault { key, what, remedy: "let the relay's user read it".to_owned() });
                Vec::new()
            })
        };
        let contents = Files {
            certificate_file: read("certificate_file", &self.certificate_file),
            key_file: read("key_file", &self.key_file),
            client_ca_file: self.client_ca_file.as_deref().map(|path| read("client_ca_file", path)),
        };
        if faults.is_empty() { Ok(contents) } else { Err(self.place(faults)) }
    }

    fn place(&self, faults: Vec<Fault>) -> Problem {
        let path = |fault: &Fault| match (fault.key, &self.client_ca_file) {
            ("certificate_file", _) => self.certificate_file.clone(),
            ("client_ca_file", Some(path)) => path.clone(),
            _ => self.key_file.clone(),
        };
        Problem(faults.into_iter().map(|fault| (path(&fault), fault)).collect())
    }
}

/// TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1. Early data stays off, as rustls has it: it can be replayed.
fn server_config(material: &Material, clock: &Clock) -> ServerConfig {
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(Arc::clone(&material.certified)));
    let mut config = ServerConfig::builder_with_details(crypto_provider(), Arc::new(Time(clock.clone())))
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has cipher suites for both versions")
        .with_client_cert_verifier(material.clients.clone().unwrap_or_else(WebPkiClientVerifier::no_client_auth))
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // The client keeps its session, encrypted with a key that changes every six hours: nothing to remember for us.
    match Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "TLS sessions cannot be resumed by tickets: only a few are remembered"),
    }
    config
}

/// Time for the dates in clients' certificates.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.unix()))
    }
}

#[cfg(test)]
#[path = "tls/tests.rs"]
mod tests;
