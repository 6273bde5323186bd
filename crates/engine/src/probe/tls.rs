//! TLS of HTTPS checks. Whatever certificate a target shows is taken, as the real load balancer takes it: a health check asks
//! whether the target is well, not who it is.
//!
//! rustls draws its own random numbers (for keys and nonces), which nobody can hand in: so the bytes of an HTTPS check are not
//! the same each time. Nothing that is decided depends on them. The clock that it would ask for certificates stands still.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

/// How a prober speaks TLS: 1.2 or 1.3, with ring's ciphers, never resuming. `None` if rustls cannot do that, which would be
/// a mistake of how it was built.
pub(super) fn config() -> Option<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let anybody = Arc::new(Anybody(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_details(provider, Arc::new(NoClock));
    let config = config.with_safe_default_protocol_versions().ok()?;
    let mut config = config.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Some(Arc::new(config))
}

/// A session with the target at `address`, which is asked for as `host`, if that is a name.
pub(super) fn session(config: &Arc<ClientConfig>, host: &str, address: IpAddr) -> Option<ClientConnection> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    // Of an address, no server name is sent.
    let name = ServerName::try_from(name.to_owned()).unwrap_or(ServerName::from(address));
    ClientConnection::new(Arc::clone(config), name).ok()
}

/// Takes every certificate, and believes that whoever shows it has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// It is always the same time.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}
