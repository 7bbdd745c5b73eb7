//! How hard the relay tries: the bounds of one notification's delivery, and the decision after each attempt.

pub mod policy;

use std::time::Duration;

/// The bounds of one notification's delivery.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// From admission to answer, everything included.
    pub deadline: Duration,
    /// One attempt.
    pub attempt_timeout: Duration,
    /// The most attempts, at least 1.
    pub max_attempts: u32,
    /// The pause after the first failed attempt; it doubles with each further one.
    pub first_pause: Duration,
}
