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

/// What was checked. Only this module can make one.
#[derive(Debug)]
pub struct Admitted<T>(T);

impl<T> Admitted<T> {
    /// The checked thing.
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// Why a request is not sent. `Display` is the text for the caller: it names what was wrong and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Placeholder.
    #[error("x")]
    UnknownServer,
}

impl Refusal {
    /// For metrics and logs: a fixed word.
    pub fn label(self) -> &'static str {
        "unknown_server"
    }
    /// Whether the caller is asked to slow down (429) rather than told that it may not (401).
    pub fn is_rate(self) -> bool {
        false
    }
}

/// The gate.
#[derive(Debug)]
pub struct Admission {}

#[allow(unused_variables, clippy::todo, missing_docs)]
impl Admission {
    pub fn admit(
        &self,
        notification: crate::notification::Notification,
    ) -> Result<Admitted<crate::notification::Notification>, Refusal> {
        todo!()
    }
}
