//! Tells what is learned (`learned`) about each push of a server that is not registered, and counts and logs what comes of
//! it. Decides nothing: whether the push is sent was decided without it.
//!
//! Only the gate in `observe` mode has one. In `required` mode a stranger could have made-up servers remembered for nothing
//! but refused requests; and a registered server has no need of it: a signature by another key than its own is a refusal,
//! which is counted and logged as such.

use std::sync::Arc;

use super::learned::{Event, Learned, Sent};
use super::signature::{SignatureError, SignedParts};
use crate::notification::{Notification, PushKind};
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;

/// What is learned, and where that is counted.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) learned: Arc<Learned>,
    pub(super) metrics: Arc<Metrics>,
}

impl Observer {
    /// Looks at a push whose server is not registered. `parts` is its signature as it was read; nothing if it has none.
    pub(super) fn look(
        &self,
        notification: &Notification,
        parts: Option<Result<SignedParts<'_>, SignatureError>>,
        unix_seconds: u64,
    ) {
        let sent = match parts {
            None if notification.kind == PushKind::Test => Sent::UnsignedTest,
            None => Sent::Unsigned,
            Some(Err(_)) => Sent::Unusable,
            Some(Ok(parts)) => Sent::Signed(parts),
        };
        let observation = self.learned.observe(&notification.server_id, sent, unix_seconds);
        for event in observation.events() {
            self.metrics.learned_event(event.label());
            if observation.log {
                say(notification.server_id.as_str(), event);
            }
        }
    }
}

fn say(server: &str, event: Event) {
    let server = log::bounded(server);
    match event {
        Event::NewServer => {
            tracing::info!(
                server,
                "a chat server that is not registered has sent its first push; see `pushrelay servers learned`"
            );
        }
        // Any number of strangers can bring this about.
        Event::KeyNarrowed => {}
        Event::KeyLearned => tracing::info!(
            server,
            "a second signature has shown the key of a chat server that is not registered; see `pushrelay servers learned`"
        ),
        Event::PossibleSpoof => tracing::warn!(
            server,
            "a push was signed by another key than this chat server signed with before: possibly somebody else sends in its name"
        ),
        Event::PossibleRotation => tracing::warn!(
            server,
            "a chat server's pushes are all signed by another key than before: possibly it has a new key, or somebody has taken its place"
        ),
        Event::ServerBeyondBound => {
            tracing::warn!(server, "pushes of further chat servers are not remembered: too many are already");
        }
        Event::UnusableServerId => {
            tracing::warn!("a push has a server id that is not remembered: too long, or with control characters");
        }
    }
}
