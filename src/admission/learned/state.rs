//! What is kept from one run to the next: all of it at one moment, apart from the threads that count on.

use super::keys::Keys;
use crate::notification::ServerId;

/// Everything that is kept.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) servers: Vec<(ServerId, StoredServer)>,
    /// Servers that made room for others.
    pub(super) forgotten: u64,
    pub(super) unusable_ids: u64,
}

/// What is kept of one server. Times in unix seconds.
#[derive(Debug)]
pub(super) struct StoredServer {
    pub(super) first_seen: u64,
    pub(super) last_seen: u64,
    pub(super) pushes: u64,
    pub(super) unsigned: u64,
    pub(super) unsigned_tests: u64,
    pub(super) unusable: u64,
    pub(super) keys: Keys,
}
