//! The words in which a push is told to `learned`, and in which it answers.

use crate::admission::signature::SignedParts;

/// What came with a push to say who sends it.
#[derive(Clone, Copy, Debug)]
pub enum Sent<'a> {
    /// No signature.
    Unsigned,
    /// No signature, on a `type=test`, which Mattermost never signs.
    UnsignedTest,
    /// One that cannot be read, is not ES256, is for another push or device, or is outside its time.
    Unusable,
    /// One that can be looked at.
    Signed(SignedParts<'a>),
}

/// Something worth a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server id seen for the first time.
    NewServer,
    /// The same, since others had to make room for such.
    ServerBeyondBound,
    /// A push with a server id that is not kept: over 128 bytes, or not all visible ASCII.
    UnusableServerId,
    /// The first signature of its signer: a few keys can have made it.
    KeyNarrowed,
    /// A second signature has left one key.
    KeyLearned,
    /// A signature by another key than the learned one.
    PossibleSpoof,
    /// The same, and all lately were by that other key.
    PossibleRotation,
}

impl Event {
    /// Every event, for tables of counters.
    pub const ALL: [Self; 7] = [
        Self::NewServer,
        Self::ServerBeyondBound,
        Self::UnusableServerId,
        Self::KeyNarrowed,
        Self::KeyLearned,
        Self::PossibleSpoof,
        Self::PossibleRotation,
    ];

    /// For metrics and logs: a fixed word.
    pub fn label(self) -> &'static str {
        match self {
            Self::NewServer => "new_server",
            Self::ServerBeyondBound => "server_beyond_bound",
            Self::UnusableServerId => "unusable_server_id",
            Self::KeyNarrowed => "key_narrowed",
            Self::KeyLearned => "key_learned",
            Self::PossibleSpoof => "possible_spoof",
            Self::PossibleRotation => "possible_rotation",
        }
    }
}

/// What one push has told. Nothing, as a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// About the server id.
    pub server: Option<Event>,
    /// About the key.
    pub key: Option<Event>,
    /// Whether it is worth a log line. Every event is worth a count, but a flood of made-up ids or bad signatures should
    /// not flood the log: each server's contradicting signatures get a line a minute, ids that are not kept one a minute
    /// together, new ones as well once others had to make room, and a first signature none of its own.
    pub log: bool,
}

impl Observation {
    /// Both, as far as there are any.
    pub fn events(self) -> impl Iterator<Item = Event> {
        [self.server, self.key].into_iter().flatten()
    }
}
