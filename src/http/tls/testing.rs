//! Authorities, certificates, and clients that speak TLS: for tests.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ClientCertificates, Files, Material, TlsSettings};
use crate::sender::network::crypto_provider;

/// Who issues certificates.
pub(in crate::http) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(in crate::http) struct Leaf {
    pub(in crate::http) certificate: String,
    pub(in crate::http) key: String,
}

fn of_an_authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

impl Authority {
    pub(in crate::http) fn new(name: &str) -> Self {
        let (parameters, key) = (of_an_authority(name), KeyPair::generate().unwrap());
        Self { pem: parameters.self_signed(&key).unwrap().pem(), issuer: Issuer::new(parameters, key) }
    }

    /// One below this one.
    pub(in crate::http) fn middle(&self, name: &str) -> Self {
        let (parameters, key) = (of_an_authority(name), KeyPair::generate().unwrap());
        Self { pem: parameters.signed_by(&key, &self.issuer).unwrap().pem(), issuer: Issuer::new(parameters, key) }
    }

    pub(in crate::http) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Valid between two New Years, for this name and a URI made from it.
    pub(in crate::http) fn issue(&self, name: &str, (from, to): (i32, i32)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.subject_alt_names.push(SanType::URI(format!("spiffe://{name}").try_into().unwrap()));
        (parameters.not_before, parameters.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        Leaf { certificate: parameters.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Leaf {
    pub(in crate::http) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).map(Result::unwrap).collect()
    }
}

/// The files of `[tls]` in a directory of their own.
pub(in crate::http) struct Installed {
    pub(in crate::http) files: Files<PathBuf>,
    _directory: TempDir,
}

impl Installed {
    pub(in crate::http) fn new(leaf: &Leaf, clients: Option<&Authority>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let files = Files {
            certificate_file: path("relay.pem"),
            key_file: path("relay.key"),
            client_ca_file: clients.map(|_| path("clients.pem")),
        };
        let installed = Self { files, _directory: directory };
        installed.renew(leaf);
        if let Some(clients) = clients {
            installed.trust(clients);
        }
        installed
    }

    pub(in crate::http) fn renew(&self, leaf: &Leaf) {
        fs::write(&self.files.certificate_file, &leaf.certificate).unwrap();
        fs::write(&self.files.key_file, &leaf.key).unwrap();
    }

    pub(in crate::http) fn trust(&self, clients: &Authority) {
        fs::write(self.files.client_ca_file.as_ref().unwrap(), clients.pem()).unwrap();
    }

    pub(in crate::http) fn settings(&self, policy: ClientCertificates) -> TlsSettings {
        let material = Material::from_pem(&self.files.read().unwrap(), policy).unwrap();
        TlsSettings { files: self.files.clone(), client_certificates: policy, material }
    }
}

fn trusting(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}

/// A client that knows the relay's authority and shows no certificate.
pub(in crate::http) fn client(authority: &Authority) -> ClientConfig {
    client_of(authority, rustls::DEFAULT_VERSIONS)
}

/// The same, of these versions only.
pub(in crate::http) fn client_of(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    trusting(authority, versions).with_no_client_auth()
}

/// One that shows this certificate, whoever is asked for.
pub(in crate::http) fn client_with(authority: &Authority, leaf: &Leaf) -> ClientConfig {
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let key = crypto_provider().key_provider.load_private_key(key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(leaf.chain(), key);
    trusting(authority, rustls::DEFAULT_VERSIONS)
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)))
}

/// Dials and shakes hands.
pub(in crate::http) async fn dial(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("relay.example").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, TcpStream::connect(address).await.unwrap()).await
}

/// The certificates that the relay has shown.
pub(in crate::http) fn shown(stream: &TlsStream<TcpStream>) -> Vec<CertificateDer<'static>> {
    stream.get_ref().1.peer_certificates().unwrap().iter().map(|der| der.clone().into_owned()).collect()
}
