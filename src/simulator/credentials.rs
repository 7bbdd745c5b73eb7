//! Credentials made up on the spot: an authority, a server certificate, a provider key, a client certificate and a
//! service account, so that a relay can be set up against the simulator without an Apple or Google account.
//!
//! They are worth nothing to the real providers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::settings::{CredentialError, FcmAccount, ProviderKey};

/// The UID attribute (RFC 4519 § 2.39), where Apple's push certificates carry the bundle id.
pub(super) const UID: &[u64] = &[0, 9, 2342, 19_200_300, 100, 1, 1];

/// A complete set of made-up credentials.
#[derive(Clone)]
pub struct Credentials {
    /// What a relay must trust to reach the simulator: the authority's certificate, PEM.
    pub authority_pem: String,
    /// The bundle id of the one app.
    pub topic: String,
    /// The team that owns the app and the key.
    pub team_id: String,
    /// The provider key's id.
    pub key_id: String,
    /// The provider key as Apple hands it out: PEM, PKCS#8.
    pub p8_pem: String,
    /// A push certificate for the topic: the certificate and its key in one PEM text.
    pub client_certificate_pem: String,
    /// The Firebase project of the one service account.
    pub project_id: String,
    pub(super) authority: CertificateDer<'static>,
    pub(super) server_chain: Vec<CertificateDer<'static>>,
    pub(super) server_key: Arc<PrivateKeyDer<'static>>,
    pub(super) provider_key: ProviderKey,
    pub(super) account: FcmAccount,
    account_key_pem: String,
}

impl Credentials {
    /// For the app `com.example.chat`, team `TEAM123456` and project `example-chat`.
    pub fn generate() -> Result<Self, CredentialError> {
        Self::generate_for("com.example.chat", "TEAM123456", "example-chat")
    }

    /// For this app, team and project. Makes an RSA key, which takes a noticeable fraction of a second.
    pub fn generate_for(topic: &str, team_id: &str, project_id: &str) -> Result<Self, CredentialError> {
        let key = || KeyPair::generate().map_err(|error| failed(&error));

        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        authority.distinguished_name.push(DnType::CommonName, "pushrelay simulator authority");
        let authority_key = key()?;
        let authority_certificate = authority.self_signed(&authority_key).map_err(|error| failed(&error))?;
        let issuer = Issuer::new(authority, authority_key);

        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut server = CertificateParams::new(names).map_err(|error| failed(&error))?;
        server.distinguished_name.push(DnType::CommonName, "pushrelay simulator");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let server_key = key()?;
        let server_certificate = server.signed_by(&server_key, &issuer).map_err(|error| failed(&error))?;

        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, format!("Apple Push Services: {topic}"));
        client.distinguished_name.push(DnType::CustomDnType(UID.to_vec()), topic);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        client.use_authority_key_identifier_extension = true;
        let client_key = key()?;
        let client_certificate = client.signed_by(&client_key, &issuer).map_err(|error| failed(&error))?;

        let key_id = "KEY1234567";
        let p8_pem = key()?.serialize_pem();
        let account_key_pem = generate_rsa_pem()?;
        let account = service_account_json(project_id, &account_key_pem, "");

        Ok(Self {
            authority_pem: authority_certificate.pem(),
            authority: authority_certificate.der().clone(),
            topic: topic.to_owned(),
            team_id: team_id.to_owned(),
            key_id: key_id.to_owned(),
            provider_key: ProviderKey::from_p8(key_id, team_id, &p8_pem)?,
            p8_pem,
            client_certificate_pem: client_certificate.pem() + &client_key.serialize_pem(),
            server_chain: vec![server_certificate.der().clone()],
            server_key: Arc::new(PrivateKeyDer::Pkcs8(server_key.serialize_der().into())),
            account: FcmAccount::from_json(&account)?,
            project_id: project_id.to_owned(),
            account_key_pem,
        })
    }

    /// The service account's key file, as Google hands it out, pointing at this token endpoint (see
    /// [`Simulator::token_uri`](super::Simulator::token_uri)).
    pub fn service_account_json(&self, token_uri: &str) -> String {
        service_account_json(&self.project_id, &self.account_key_pem, token_uri)
    }

    /// Writes what a relay is configured with into a directory that exists: `authority.pem`, `AuthKey_<key id>.p8`,
    /// `client.pem` and `service-account.json`, overwriting older ones. Blocks for four small files.
    pub fn write_to(&self, directory: &Path, token_uri: &str) -> io::Result<CredentialFiles> {
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text)
                .map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))?;
            Ok::<_, io::Error>(path)
        };
        Ok(CredentialFiles {
            authority: write("authority.pem", &self.authority_pem)?,
            provider_key: write(&format!("AuthKey_{}.p8", self.key_id), &self.p8_pem)?,
            client_certificate: write("client.pem", &self.client_certificate_pem)?,
            service_account: write("service-account.json", &self.service_account_json(token_uri))?,
        })
    }
}

/// Where [`Credentials::write_to`] put things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The certificate to trust, PEM.
    pub authority: PathBuf,
    /// The provider key, PEM.
    pub provider_key: PathBuf,
    /// The push certificate and its key, PEM.
    pub client_certificate: PathBuf,
    /// The service account, JSON.
    pub service_account: PathBuf,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("topic", &self.topic)
            .field("team_id", &self.team_id)
            .field("key_id", &self.key_id)
            .field("project_id", &self.project_id)
            .finish_non_exhaustive()
    }
}

fn failed(error: &rcgen::Error) -> CredentialError {
    CredentialError::new("generated credentials", &error.to_string())
}

fn generate_rsa_pem() -> Result<String, CredentialError> {
    let broken = |_| CredentialError::new("generated credentials", "the RSA key could not be made");
    let der: Pkcs8V1Der<'_> = RsaKeyPair::generate(KeySize::Rsa2048).map_err(broken)?.as_der().map_err(broken)?;
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let text = STANDARD.encode(der.as_ref());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // RFC 7468: lines of 64 characters.
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(pem)
}

fn service_account_json(project_id: &str, private_key: &str, token_uri: &str) -> String {
    let file = serde_json::json!({
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": "0123456789abcdef0123456789abcdef01234567",
        "private_key": private_key,
        "client_email": format!("push@{project_id}.iam.gserviceaccount.com"),
        "client_id": "100000000000000000000",
        "token_uri": token_uri,
    });
    format!("{file:#}")
}
