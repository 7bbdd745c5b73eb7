//! Asks a chat server who it is: fetches what it publishes about itself, its id and the key that it signs pushes with.
//!
//! It believes what comes from the address that was asked, over a connection that nobody else can speak on, and nothing
//! else: that address is the proof of who the key belongs to. Whether anything is done with the answer is not decided here.

mod fetch;
mod publication;

use std::time::Duration;

use http::StatusCode;
use rustls::pki_types::CertificateDer;

use crate::admission::key::KeyError;
use crate::sender::network::{ProxySettings, TlsSetupError, UnusableProxy};
pub use fetch::fetch;
pub use publication::Publication;

/// The longest wait for a chat server, from the first look-up to the last byte: it answers this at once, from memory.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How a chat server is reached.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// Authorities that are trusted beside the platform's own.
    pub extra_authorities: Vec<CertificateDer<'static>>,
    /// The way out.
    pub proxy: ProxySettings,
    /// The longest wait, all in all.
    pub patience: Duration,
}

/// Why it is not known who a chat server is. `Display` says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection could ever be private.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The environment names a proxy that cannot be used.
    #[error(transparent)]
    Proxy(#[from] UnusableProxy),
    /// The library refuses what it is given.
    #[error("HTTP cannot be set up: {0}")]
    Setup(#[source] reqwest::Error),
    /// Its certificate is not what it should be.
    #[error(
        "its certificate is not trusted: {0}. If an authority of your own has signed it, name that with --ca-file; \
         otherwise this may not be your server"
    )]
    Certificate(String),
    /// The network.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The time is over.
    #[error("no complete answer within {} s", .0.as_secs_f64())]
    TooSlow(Duration),
    /// It sends us elsewhere.
    #[error(
        "it redirects to {0}, which is not the address that was asked: nothing that comes from there is believed. \
         If that is the server's own address, enrol it by that one"
    )]
    Elsewhere(String),
    /// It sends us round and round.
    #[error("it redirects again and again")]
    Redirects,
    /// Another status than 200.
    #[error("it answers HTTP {}{}", .0.as_u16(), status_remedy(*.0))]
    Status(StatusCode),
    /// More than anybody has to say about himself.
    #[error("its answer is longer than 1 MiB: this is not what a Mattermost server publishes")]
    TooLarge,
    /// Something else than a JSON object.
    #[error(
        "its answer is a page or a file, and not the JSON of a Mattermost server. Is this its address as in SiteURL, \
         with the path if there is one? Does something before it ask for a login?"
    )]
    NotJson,
    /// No id.
    #[error("it publishes no DiagnosticId: it is not a Mattermost server, or one from before version 5.8")]
    NoId,
    /// Two.
    #[error("its DiagnosticId and its TelemetryId differ, and which one it sends is not clear: register it by hand")]
    TwoIds,
    /// One that cannot be kept.
    #[error("its DiagnosticId is longer than 128 bytes or holds control characters")]
    UnusableId,
    /// No key.
    #[error(
        "it publishes no AsymmetricSigningPublicKey, so it signs no pushes: it is not a Mattermost server, or one that is \
         too old, or one that has not made its key yet (restart it)"
    )]
    NoKey,
    /// Something else in place of the key.
    #[error("its AsymmetricSigningPublicKey {0}")]
    Key(#[source] KeyError),
}

fn status_remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 | 407 => {
            ": something before it asks who you are; let everybody read the path /api/v4/config/client, as its apps must"
        }
        404 | 405 | 410 => ": is this its address as in SiteURL, with the path if there is one?",
        500.. => ": it is in trouble itself; try again later",
        _ => ": this is not what a Mattermost server answers",
    }
}

#[cfg(test)]
mod tests;
