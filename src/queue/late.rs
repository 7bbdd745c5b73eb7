//! Late verdicts in memory: tokens that a provider called dead when their server was no longer waiting. Each is told once, at
//! the server's next request for the device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::keys::DeviceKey;
use crate::outcome::Reason;

/// What waits to be told. As many as the file has: `writer` bounds both.
#[derive(Debug, Default)]
pub(super) struct LateVerdicts {
    /// How many there are: a request pays one load when there are none.
    count: AtomicUsize,
    reasons: Mutex<HashMap<DeviceKey, Reason>>,
}

impl LateVerdicts {
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn remember(&self, device: DeviceKey, reason: Reason) {
        let mut reasons = self.lock();
        reasons.insert(device, reason);
        self.count.store(reasons.len(), Ordering::Relaxed);
    }

    pub(super) fn has(&self, device: DeviceKey) -> bool {
        !self.is_empty() && self.lock().contains_key(&device)
    }

    /// The first to ask gets it.
    pub(super) fn take(&self, device: DeviceKey) -> Option<Reason> {
        let mut reasons = self.lock();
        let reason = reasons.remove(&device);
        self.count.store(reasons.len(), Ordering::Relaxed);
        reason
    }

    /// Held for a few dozen instructions.
    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceKey, Reason>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
