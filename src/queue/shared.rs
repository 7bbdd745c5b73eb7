//! What the handles and the writer share: figures, late verdicts, and counters. Read by anybody, changed by the writer after
//! a commit.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

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
    gone: Mutex<Option<PathBuf>>,
}

impl Shared {
    /// The file that was found gone.
    pub(super) fn gone(&self) -> Option<PathBuf> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says whether this is news.
    pub(super) fn set_gone(&self, path: Option<&Path>) -> bool {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = gone.as_deref() != path;
        if is_news {
            *gone = path.map(Path::to_owned);
        }
        is_news
    }
}
