//! Firebase Cloud Messaging, HTTP v1.
use super::{SetupError, TargetSettings};
use crate::clock::Clock;
use crate::notification::Notification;
use crate::outcome::Verdict;
use std::time::Duration;

pub mod payload;

/// What an FCM target needs.
#[derive(Clone, Debug)]
pub struct FcmSettings {
    /// Who sends.
    pub account: ServiceAccount,
}
/// A service account's key file.
#[derive(Clone, Debug)]
pub struct ServiceAccount {}
/// What is wrong with a key file, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServiceAccountError(pub String);
/// x
#[derive(Debug)]
pub struct Fcm {}
/// x
#[derive(Debug)]
pub struct Prepared {}
#[allow(unused_variables, clippy::todo, missing_docs)]
impl ServiceAccount {
    pub fn from_json(json: &[u8]) -> Result<Self, ServiceAccountError> {
        todo!()
    }
}
#[allow(unused_variables, clippy::todo, missing_docs)]
impl Fcm {
    pub fn new(target: &TargetSettings, settings: &FcmSettings, clock: &Clock) -> Result<Self, SetupError> {
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
}
