//! Apple Push Notification service.
use super::{SetupError, TargetSettings};
use crate::clock::Clock;
use crate::notification::Notification;
use crate::outcome::Verdict;
use std::time::Duration;

pub mod credential;
pub mod payload;

/// What an APNs target needs.
#[derive(Clone, Debug)]
pub struct ApnsSettings {
    /// The app's bundle id.
    pub topic: String,
    /// Apple's sandbox instead of production.
    pub sandbox: bool,
    /// Port 443 or 2197.
    pub port: u16,
    /// A signing key or a certificate.
    pub credential: credential::Credential,
}
/// x
#[derive(Debug)]
pub struct Apns {}
/// x
#[derive(Debug)]
pub struct Prepared {}
#[allow(unused_variables, clippy::todo, missing_docs)]
impl Apns {
    pub fn new(target: &TargetSettings, settings: &ApnsSettings, clock: &Clock) -> Result<Self, SetupError> {
        todo!()
    }
    pub fn prepare(&self, notification: &Notification) -> Prepared {
        todo!()
    }
    pub async fn attempt(&self, prepared: &Prepared, timeout: Duration) -> Verdict {
        todo!()
    }
    pub fn credential_problem(&self) -> Option<String> {
        todo!()
    }
    pub fn credential_expires_at(&self) -> Option<u64> {
        todo!()
    }
}
