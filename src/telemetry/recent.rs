//! The last things that went wrong, for a person who looks: a few entries in words, the same trouble counted and not
//! repeated. Written only when something fails, so that what is delivered takes no lock here.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::log::{Subject, bounded};
use crate::clock::Clock;
use crate::outcome::Reason;

/// Entries kept: as many as a person reads. Each holds at most three texts of 64 bytes and one of `TEXT_BYTES`, so one
/// list takes less than 16 KiB.
pub const MOST: usize = 20;

/// Bytes of an entry's text. The longest that the relay makes of its own words has some 400.
const TEXT_BYTES: usize = 512;

/// One kind of trouble, and when it last came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The last time, seconds since the Unix epoch.
    pub at: u64,
    /// How often it came since it is in the list.
    pub count: u64,
    /// The caller's name for the last notification concerned; empty if it gave none.
    pub ack_id: String,
    /// Who says that it sent it. A caller's text.
    pub server: String,
    /// Where it was to go. A caller's text.
    pub target: String,
    /// What it was about; a fixed word.
    pub kind: &'static str,
    /// The provider's word or ours.
    pub reason: Reason,
    /// The same in words, of the last time; names no device token and quotes no message.
    pub text: String,
}

impl Trouble {
    fn is_of(&self, subject: &Subject<'_>, reason: Reason) -> bool {
        self.reason == reason
            && self.kind == subject.kind
            && self.target == bounded(subject.target)
            && self.server == bounded(subject.server)
    }
}

/// The last of one sort of trouble, at most [`MOST`] entries.
pub struct Recent {
    clock: Clock,
    /// The newest first.
    entries: Mutex<VecDeque<Trouble>>,
}

impl Recent {
    /// Knows of none.
    pub fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::new(VecDeque::with_capacity(MOST)) }
    }

    /// Something went wrong with this notification. `text` must not name a device token or quote a message.
    pub fn note(&self, subject: &Subject<'_>, reason: Reason, text: &str) {
        let (at, ack_id) = (self.clock.unix_seconds(), bounded(subject.ack_id));
        let text = &text[..text.floor_char_boundary(TEXT_BYTES)];
        let mut entries = self.entries();
        let known = entries.iter().position(|entry| entry.is_of(subject, reason));
        let entry = match known.and_then(|at| entries.remove(at)) {
            Some(known) => {
                Trouble { at, count: known.count.saturating_add(1), ack_id: ack_id.into(), text: text.into(), ..known }
            }
            None => Trouble {
                at,
                count: 1,
                ack_id: ack_id.into(),
                server: bounded(subject.server).into(),
                target: bounded(subject.target).into(),
                kind: subject.kind,
                reason,
                text: text.into(),
            },
        };
        entries.truncate(MOST - 1);
        entries.push_front(entry);
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<Trouble> {
        self.entries().iter().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Trouble>> {
        // A panic between two of its operations loses at worst one entry.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn subject<'a>(server: &'a str, ack_id: &'a str) -> Subject<'a> {
        Subject { ack_id, server, target: "apple_rn", kind: "message" }
    }

    #[test]
    fn the_same_trouble_is_counted_and_comes_to_the_front_with_its_last_words() {
        let clock = Clock::manual(100);
        let recent = Recent::new(clock.clone());
        recent.note(&subject("one", "a"), "timeout", "after 1 s");
        recent.note(&subject("two", "b"), "timeout", "after 2 s");
        clock.advance(Duration::from_secs(5));
        recent.note(&subject("one", "c"), "timeout", "after 3 s");
        let list = recent.list();
        let short: Vec<_> = list
            .iter()
            .map(|entry| (entry.server.as_str(), entry.count, entry.at, entry.ack_id.as_str(), entry.text.as_str()))
            .collect();
        assert_eq!(short, [("one", 2, 105, "c", "after 3 s"), ("two", 1, 100, "b", "after 2 s")]);
    }

    #[test]
    fn however_many_come_only_the_last_are_kept_and_none_is_long() {
        let recent = Recent::new(Clock::manual(0));
        let long = "ä".repeat(10_000);
        for number in 0..1_000 {
            recent.note(&subject(&format!("{number}{long}"), &long), "timeout", &long);
        }
        let list = recent.list();
        assert_eq!(list.len(), MOST);
        assert!(list[0].server.starts_with("999ä"), "{}", list[0].server);
        let longest = list.iter().map(|entry| entry.server.len() + entry.ack_id.len() + entry.text.len()).max();
        assert!(longest <= Some(64 + 64 + TEXT_BYTES), "{longest:?}");
    }
}
