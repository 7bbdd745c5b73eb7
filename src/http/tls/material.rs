//! Certificate, key and client authorities from their PEM files, checked against each other. Decides; opens nothing.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;

use super::ClientCertificates;
use crate::sender::network::crypto_provider;

/// The files of `[tls]`, named as in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files<T> {
    /// The certificate and those between it and an authority that clients know.
    pub certificate_file: T,
    /// The certificate's private key.
    pub key_file: T,
    /// Authorities whose certificates say who a client is; without it no client is asked for one.
    pub client_ca_file: Option<T>,
}

/// SHA-256 of what all files held.
pub(super) type Digest = [u8; 32];

impl Files<Vec<u8>> {
    pub(super) fn digest(&self) -> Digest {
        let mut context = Context::new(&SHA256);
        for content in [&self.certificate_file, &self.key_file].into_iter().chain(&self.client_ca_file) {
            context.update(&content.len().to_le_bytes());
            context.update(content);
        }
        context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// One thing that is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key that names the file.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// What is wrong with the files, with their paths.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(|(path, fault)| said(path, fault)).collect::<Vec<_>>().join("; "))]
pub struct Problem(pub Vec<(PathBuf, Fault)>);

fn said(path: &std::path::Path, Fault { key, what, remedy }: &Fault) -> String {
    format!("tls.{key} (`{}`) {what}; {remedy}", path.display().to_string().escape_debug())
}

/// A certificate with its key, and how clients are asked for theirs. The parts fit together.
#[derive(Clone)]
pub struct Material {
    pub(super) certified: Arc<CertifiedKey>,
    /// Absent if clients are not asked for certificates.
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Seconds after the Unix epoch.
    pub(super) not_before: u64,
    /// Seconds after the Unix epoch; the last second in which clients accept it.
    pub(super) not_after: u64,
    /// Of the files it was read from.
    pub(super) digest: Digest,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.certified.cert.len();
        write!(f, "Material({chain} in chain, not after {}, key: [private])", self.not_after)
    }
}

impl Material {
    /// Reads the contents of the files. Reports everything that is wrong with them.
    ///
    /// A certificate whose time is over is not wrong: clients say no themselves, and those that do not check go on.
    pub fn from_pem(files: &Files<Vec<u8>>, policy: ClientCertificates) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let certificates = kept(chain(&files.certificate_file), &mut faults);
        let key = kept(private_key(&files.key_file), &mut faults);
        let clients = files.client_ca_file.as_deref();
        let clients = kept(clients.map(|pem| client_verifier(pem, policy)).transpose(), &mut faults);
        if let (Some((certificates, not_before, not_after)), Some(key), Some(clients)) = (certificates, key, clients)
            && let Some(certified) = kept(pair(certificates, key), &mut faults)
        {
            let digest = files.digest();
            return Ok(Self { certified: Arc::new(certified), clients, not_before, not_after, digest });
        }
        Err(faults)
    }
}

fn kept<T>(read: Result<T, Fault>, faults: &mut Vec<Fault>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

fn fault(key: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Fault {
    Fault { key, what: what.into(), remedy: remedy.into() }
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(fault(
            key,
            "holds no readable certificate",
            "save it as PEM: sections that begin with `-----BEGIN CERTIFICATE-----`",
        )),
    }
}

/// The chain, and between which times its first certificate is valid (seconds after the Unix epoch).
fn chain(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, u64, u64), Fault> {
    const KEY: &str = "certificate_file";
    let certificates = certificates(KEY, pem)?;
    let mut parsed = Vec::new();
    for (at, certificate) in certificates.iter().enumerate() {
        let (_, certificate) = parse_x509_certificate(certificate).map_err(|_| {
            fault(KEY, format!("holds a damaged certificate (number {})", at + 1), "copy it again, unchanged")
        })?;
        parsed.push(certificate);
    }
    for (at, pair) in parsed.windows(2).enumerate() {
        if pair[0].issuer().as_raw() != pair[1].subject().as_raw() {
            let what = format!(
                "is out of order: its certificate number {} was not issued by number {}, which follows it",
                at + 1,
                at + 2
            );
            let remedy = "write the server's own certificate first, and below each the one that issued it; \
                          the root may be left out";
            return Err(fault(KEY, what, remedy));
        }
    }
    let seconds = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
    let validity = parsed[0].validity();
    let (not_before, not_after) = (seconds(validity.not_before), seconds(validity.not_after));
    drop(parsed);
    Ok((certificates, not_before, not_after))
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    const KEY: &str = "key_file";
    // Only tells the operator what to do: whatever is encrypted and not recognised here is refused below.
    if [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"].iter().any(|mark| contains(pem, mark)) {
        let remedy = "take the password away, and let nobody but the relay read the file: \
                      openssl pkey -in KEY -out KEY.plain";
        return Err(fault(KEY, "holds an encrypted key", remedy));
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(pem);
    match (keys.next(), keys.next()) {
        (Some(Ok(key)), None) => Ok(key),
        (Some(Ok(_)), Some(_)) => Err(fault(KEY, "holds more than one key", "leave only the certificate's")),
        _ => Err(fault(
            KEY,
            "holds no readable private key",
            "save it as PEM: `-----BEGIN PRIVATE KEY-----`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`",
        )),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn pair(certificates: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, Fault> {
    let key = crypto_provider().key_provider.load_private_key(key).map_err(|_| {
        let what = "holds a key that is damaged or of a kind that TLS cannot use";
        fault("key_file", what, "use an RSA key of at least 2048 bits, or an EC or Ed25519 key")
    })?;
    let belongs = |certificate: &CertificateDer<'static>| {
        CertifiedKey::new(vec![certificate.clone()], Arc::clone(&key)).keys_match().is_ok()
    };
    if !belongs(&certificates[0]) {
        return Err(if certificates.iter().any(belongs) {
            let what = "is out of order: the certificate that belongs to the key is not the first";
            let remedy = "write the server's own certificate first, and below each the one that issued it";
            fault("certificate_file", what, remedy)
        } else {
            let remedy = "give the key that the certificate was asked for with; while both files are being replaced \
                          this is so for a moment";
            fault("key_file", "does not belong to the certificate in certificate_file", remedy)
        });
    }
    Ok(CertifiedKey::new(certificates, key))
}

fn client_verifier(pem: &[u8], policy: ClientCertificates) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    const KEY: &str = "client_ca_file";
    let unusable = || {
        fault(
            KEY,
            "holds something that is no certificate of an authority",
            "give the certificates that issue those of your clients",
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(KEY, pem)? {
        roots.add(certificate).map_err(|_| unusable())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto_provider());
    let builder = match policy {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        ClientCertificates::Required => builder,
    };
    builder.build().map_err(|_| unusable())
}

#[cfg(test)]
#[path = "material_tests.rs"]
mod tests;
