//! Reasons that come back from the disk. In memory a reason is one of a fixed table of words, since it becomes a metric label;
//! the file has them as text, perhaps of another release.

use std::sync::{Mutex, PoisonError};

use crate::outcome::Reason;

/// The most different reasons taken from files, in the life of the process. The providers' tables have a few dozen.
const MAX_REASONS: usize = 256;

/// The longest reason taken, bytes; the longest of the tables has half.
const MAX_BYTES: usize = 64;

/// Stands for what is beyond the bounds.
const UNKNOWN: Reason = "unknown";

static KNOWN: Mutex<Vec<Reason>> = Mutex::new(Vec::new());

/// The reason of a text. Each different one is kept for the life of the process, within the bounds.
pub(super) fn known(text: &str) -> Reason {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(reason) = known.iter().find(|reason| **reason == text) {
        return reason;
    }
    if text.len() > MAX_BYTES || known.len() >= MAX_REASONS {
        return UNKNOWN;
    }
    let reason: Reason = Box::leak(text.into());
    known.push(reason);
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_comes_back_as_the_same_word_and_one_that_is_too_long_as_unknown() {
        let first = known("Unregistered");
        assert_eq!(first, "Unregistered");
        assert!(std::ptr::eq(first, known("Unregistered")));
        assert_eq!(known(&"x".repeat(MAX_BYTES + 1)), UNKNOWN);
    }
}
