//! Whom the relay trusts, and as whom it presents itself: the rustls configuration that every provider's connections
//! use. rustls with aws-lc-rs is the only TLS in this program.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_platform_verifier::Verifier;

use super::NetworkSettings;

/// Why no TLS connection could ever be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// Nobody to trust, or an authority that cannot be read.
    #[error(
        "the trusted authorities cannot be loaded ({0}); install the system's CA certificates, or check the extra authorities of this target"
    )]
    Authorities(#[source] rustls::Error),
    /// The library offers no common protocol version.
    #[error("TLS cannot be set up: {0}")]
    Protocol(#[source] rustls::Error),
}

impl NetworkSettings {
    /// The platform's authorities and the extra ones, TLS 1.2 and 1.3, resumption on. The caller sets
    /// `alpn_protocols`, and keeps the result: a session can be resumed only by the configuration that saw it first.
    ///
    /// Reads the platform's authorities from disk. Extra authorities suffice where the platform has none.
    pub(crate) fn tls_config(&self, client_auth: Option<Arc<CertifiedKey>>) -> Result<ClientConfig, TlsSetupError> {
        let provider = crypto_provider();
        let verifier = Verifier::new_with_extra_roots(self.extra_authorities.iter().cloned(), Arc::clone(&provider))
            .map_err(TlsSetupError::Authorities)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsSetupError::Protocol)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(match client_auth {
            None => builder.with_no_client_auth(),
            Some(certified) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified))),
        })
    }
}

/// Named explicitly wherever rustls wants one, so that no process-wide default has to be installed first.
pub(crate) fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::network::ProxySettings;
    use rustls::pki_types::CertificateDer;
    use std::time::Duration;

    fn settings(extra_authorities: Vec<CertificateDer<'static>>) -> NetworkSettings {
        NetworkSettings {
            endpoint: None,
            extra_authorities,
            proxy: ProxySettings::Direct,
            connections: 1,
            connect_timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn an_extra_authority_is_enough_and_an_unreadable_one_is_refused() {
        let authority = rcgen::generate_simple_self_signed(["test".to_owned()]).unwrap().cert;
        assert!(settings(vec![authority.der().clone()]).tls_config(None).is_ok());
        let garbage = CertificateDer::from(vec![0x30, 0x00]);
        assert!(matches!(settings(vec![garbage]).tls_config(None), Err(TlsSetupError::Authorities(_))));
    }
}
