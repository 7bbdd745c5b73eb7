//! Who is at the other end of a connection: an address, and what a verified client certificate says.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The most names that are kept of one certificate. An authority puts one or two into a client's.
const MOST_NAMES: usize = 32;

/// The other end of a connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address; that of a proxy, if there is one between.
    pub address: IpAddr,
    /// What its certificate says, if it showed one. Shared by all requests of a connection.
    pub identity: Option<Arc<PeerIdentity>>,
}

/// What a client's certificate says. It was issued by one of `client_ca_file`, was valid when the connection began, and
/// the client has its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// SHA-256 of the certificate (DER): what `openssl x509 -noout -fingerprint -sha256` prints.
    pub fingerprint_sha256: [u8; 32],
    /// Its subject alternative names, the first 32 of them.
    pub sans: Vec<San>,
}

/// A subject alternative name (RFC 5280, section 4.2.1.6). Kinds that name no machine and no person are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// `chat.example.com`
    Dns(String),
    /// `spiffe://example.com/chat`
    Uri(String),
    /// `operator@example.com`
    Email(String),
    /// `192.0.2.7`
    Ip(IpAddr),
}

impl PeerIdentity {
    /// Of a certificate that was verified, possibly when the session that is resumed began. `None` if it cannot be read
    /// or is not valid at `now` (seconds after the Unix epoch): resuming a session does not look at its dates.
    pub(super) fn of(certificate: &CertificateDer<'_>, now: u64) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let validity = parsed.validity();
        let now = i64::try_from(now).ok()?;
        if !(validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now) {
            return None;
        }
        let names = parsed.subject_alternative_name().ok()?.map(|extension| &extension.value.general_names);
        let sans = names.into_iter().flatten().filter_map(San::of).take(MOST_NAMES).collect();
        let fingerprint_sha256 = digest(&SHA256, certificate).as_ref().try_into().expect("SHA-256 has 32 bytes");
        Some(Self { fingerprint_sha256, sans })
    }
}

impl San {
    fn of(name: &GeneralName<'_>) -> Option<Self> {
        Some(match name {
            GeneralName::DNSName(name) => Self::Dns((*name).to_owned()),
            GeneralName::URI(uri) => Self::Uri((*uri).to_owned()),
            GeneralName::RFC822Name(email) => Self::Email((*email).to_owned()),
            GeneralName::IPAddress(octets) => match octets.len() {
                4 => Self::Ip(<[u8; 4]>::try_from(*octets).ok()?.into()),
                _ => Self::Ip(<[u8; 16]>::try_from(*octets).ok()?.into()),
            },
            _ => return None,
        })
    }
}
