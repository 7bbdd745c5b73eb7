//! How hard the relay tries.

pub mod policy;

use std::time::Duration;

/// The bounds of one notification's delivery.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// From admission to answer, everything included.
    pub deadline: Duration,
    /// One attempt.
    pub attempt_timeout: Duration,
    /// The most attempts.
    pub max_attempts: u32,
}
