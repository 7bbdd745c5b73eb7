//! What an earlier process has left: the requests that waited when the file was opened. The memory of what was sent ends with
//! a process, and whoever repeats such a request must not have it sent beside its first one.

use std::collections::HashSet;
use std::sync::OnceLock;

/// Their identities, for the life of the process: some 20 MB after an outage that has filled the queue, nothing usually.
#[derive(Debug, Default)]
pub(super) struct Earlier(OnceLock<HashSet<[u8; 16]>>);

impl Earlier {
    /// Once, before anybody asks.
    pub(super) fn fill(&self, identities: HashSet<[u8; 16]>) {
        // A second time would be a bug, and the first is as good.
        let _ = self.0.set(identities);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_none_or(HashSet::is_empty)
    }

    pub(super) fn has(&self, identity: [u8; 16]) -> bool {
        self.0.get().is_some_and(|identities| identities.contains(&identity))
    }
}
