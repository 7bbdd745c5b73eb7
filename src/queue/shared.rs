//! What the handles and the writer share: figures, late verdicts, and counters. Read by anybody, changed by the writer after
//! a commit.

use std::sync::atomic::AtomicU64;

use super::earlier::Earlier;
use super::late::LateVerdicts;
use super::tallies::Tallies;

/// See above.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub tallies: Tallies,
    pub late: LateVerdicts,
    pub earlier: Earlier,
    /// Transactions that changed something.
    pub commits: AtomicU64,
    /// Commands that were answered.
    pub commands: AtomicU64,
}
