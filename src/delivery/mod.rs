//! How hard the relay tries: the bounds of one notification's delivery, the decision after each attempt, and what a target's
//! attempts together say about the next one.

pub mod breaker;
pub mod lifetime;
pub mod pace;
pub mod policy;
pub mod removal_cause;
pub mod removal_guard;
mod window;
pub mod without_queue;

use std::time::Duration;

/// The bounds of one notification's delivery while its caller waits.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// From admission to answer, everything included.
    pub deadline: Duration,
    /// One attempt.
    pub attempt_timeout: Duration,
    /// The most attempts, at least 1; see [`without_queue`] for where there is no queue.
    pub max_attempts: u32,
    /// The longest pause after the first failed attempt; it doubles with each further one. How long it really is, is drawn
    /// between nothing and that. [`without_queue`] has rules of its own.
    pub first_pause: Duration,
}
