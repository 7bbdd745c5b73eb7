//! What a run needs on disk: a certificate authority and a certificate for the sink, the signing key of the chat
//! server, the key file a target asks for, and the relay's configuration. Everything lies in one directory that is
//! removed at the end.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;

/// The chat servers that one load generator sends for, which all sign with the same key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Senders {
    pub(crate) name: &'static str,
    pub(crate) count: usize,
}

impl Senders {
    pub(crate) const ONE: Self = Self { name: "bench", count: 1 };
    /// As many as a hosted relay may have, each sending as often as any other: no entry stays in the processor's cache.
    pub(crate) const CROWD: Self = Self { name: "crowd", count: 10_000 };
    pub(crate) const QUIET: Self = Self { name: "quiet", count: 1 };
    pub(crate) const LOUD: Self = Self { name: "loud", count: 1 };
}

/// The `server_id` of one of them.
pub(crate) fn server_id(name: &str, number: usize) -> String {
    format!("{name}-{number}")
}

/// Whether the relay checks signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auth {
    Off,
    Required,
}

/// What the relay keeps on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    Nothing,
    Queue,
    QueueAndJournal,
}

pub(crate) struct Material {
    directory: TempDir,
}

impl Material {
    pub(crate) fn create() -> Result<Self> {
        let material = Self { directory: TempDir::with_prefix("pushrelay-bench-")? };

        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "benchmark authority");
        let authority = CertifiedIssuer::self_signed(authority, rcgen::KeyPair::generate()?)?;
        let leaf_key = rcgen::KeyPair::generate()?;
        let leaf = CertificateParams::new(["localhost".to_owned()])?.signed_by(&leaf_key, &authority)?;
        fs::write(material.path("ca.pem"), authority.pem())?;
        fs::write(material.path("sink.pem"), leaf.pem() + &leaf_key.serialize_pem())?;

        let signing = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        fs::write(material.path("server.pk8"), signing.to_pkcs8v1()?.as_ref())?;
        fs::write(material.path("AuthKey.p8"), rcgen::KeyPair::generate()?.serialize_pem())?;
        Ok(material)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Writes the relay's configuration and says where. `listen_port` and `sink_port` are on loopback; the senders of
    /// `crowd` have a file each, and `tenants` are further tables.
    pub(crate) fn relay_config(
        &self,
        relay: &Relay,
        listen_port: u16,
        sink_port: u16,
        connections: usize,
    ) -> Result<PathBuf> {
        let mode = match relay.auth {
            Auth::Off => "off",
            Auth::Required => "required",
        };
        let key = self.public_key()?;
        let directory = self.crowd(&key, relay.crowd)?;
        let mut tenants = String::new();
        for (sender, limits) in &relay.tenants {
            let id = server_id(sender.name, 0);
            tenants += &format!("[[server]]\nid = \"{id}\"\nname = \"{id}\"\nkeys = [\"{key}\"]\n{limits}\n");
        }
        let data = self.data(relay.keeps, listen_port)?;
        let key_file = self.path("AuthKey.p8").display().to_string();
        let ca_file = self.path("ca.pem").display().to_string();
        let text = format!(
            r#"listen = "127.0.0.1:{listen_port}"
servers_directory = {directory:?}
{data}
[auth]
mode = "{mode}"

[log]
format = "json"
filter = "info"

{tenants}
[[target]]
name = "apple_rn"
provider = "apns"
topic = "com.example.bench"
key_file = {key_file:?}
key_id = "ABC123DEFG"
team_id = "DEF123GHIJ"
endpoint = "https://localhost:{sink_port}"
ca_file = {ca_file:?}
connections = {connections}
"#
        );
        let path = self.path(&format!("relay-{listen_port}.toml"));
        fs::write(&path, text)?;
        Ok(path)
    }

    /// What a relay's configuration says of the disk, ahead of the first table that follows: `data_dir` is at the top.
    fn data(&self, keeps: Keeps, listen_port: u16) -> Result<String> {
        let journal = match keeps {
            Keeps::Nothing => return Ok(String::new()),
            Keeps::Queue => false,
            Keeps::QueueAndJournal => true,
        };
        let directory = self.path(&format!("data-{listen_port}"));
        fs::create_dir_all(&directory)?;
        Ok(format!("data_dir = {:?}\n[journal]\nenabled = {journal}\n", directory.display().to_string()))
    }

    /// The public half of the chat servers' key as Mattermost publishes it.
    fn public_key(&self) -> Result<String> {
        let signing = signing_key(self.directory())?;
        let public: PublicKeyX509Der<'_> = signing.public_key().as_der()?;
        Ok(BASE64_STANDARD.encode(public.as_ref()))
    }

    /// A directory with a file for each of these.
    fn crowd(&self, key: &str, senders: Option<Senders>) -> Result<String> {
        let directory = self.path(senders.map_or("no-servers.d", |senders| senders.name));
        fs::create_dir_all(&directory)?;
        if let Some(senders) = senders {
            for number in 0..senders.count {
                let id = server_id(senders.name, number);
                fs::write(directory.join(format!("{id}.toml")), format!("id = \"{id}\"\nkeys = [\"{key}\"]\n"))?;
            }
        }
        Ok(directory.display().to_string())
    }
}

/// What a relay is started with.
pub(crate) struct Relay {
    pub(crate) auth: Auth,
    /// Chat servers with tables of their own, each with further lines for its table.
    pub(crate) tenants: Vec<(Senders, String)>,
    /// Chat servers with files of their own.
    pub(crate) crowd: Option<Senders>,
    pub(crate) keeps: Keeps,
}

/// The key pair of the chat servers.
pub(crate) fn signing_key(directory: &Path) -> Result<EcdsaKeyPair> {
    let path = directory.join("server.pk8");
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes)?)
}

/// TLS for the sink: HTTP/2 only, as Apple's.
pub(crate) fn sink_tls(directory: &Path) -> Result<Arc<ServerConfig>> {
    let path = directory.join("sink.pem");
    let chain = CertificateDer::pem_file_iter(&path)?.collect::<Result<Vec<_>, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&path)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// TLS for the bare forwarder.
pub(crate) fn forwarder_tls(directory: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("ca.pem"))?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
