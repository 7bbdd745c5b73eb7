//! Who may send: is this request from the chat server it names, and may that server ask for this?
//!
//! The only way to an [`Admitted`] notification leads through [`Admission::admit`], and an `Admitted` is the only thing
//! the relay takes: what was not checked cannot be sent.

pub mod key;
pub mod signature;

use crate::notification::ServerId;

/// What the configuration says about who may send.
#[derive(Clone, Debug)]
pub struct AdmissionSettings {
    /// How strictly.
    pub mode: AuthMode,
    /// Whether a registered server may send `type=test` without a signature, which is how Mattermost sends it.
    pub allow_unsigned_test: bool,
    /// The most unsigned tests per minute and server.
    pub unsigned_tests_per_minute: u32,
    /// The chat servers that may send.
    pub servers: Vec<ServerSettings>,
}

/// How strictly requests are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Only signed requests from registered servers are sent.
    Required,
    /// Everything is sent; what `Required` would refuse is logged and counted.
    Observe,
    /// Nothing is checked.
    Off,
}

/// One registered chat server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// What it calls itself (Mattermost: the diagnostic id).
    pub id: ServerId,
    /// For people.
    pub name: String,
    /// What it may sign with; any of them will do.
    pub keys: Vec<key::VerifyingKey>,
}
