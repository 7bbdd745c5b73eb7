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
            tracing::warn!(
                server,
                "more chat servers send than are remembered, as when somebody makes ids up: those that hardly sent are forgotten; \
                 see `pushrelay servers learned`"
            );
        }
        Event::UnusableServerId => {
            tracing::warn!("a push has a server id that is not remembered: too long, or not all visible ASCII");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::admission::registry::{Schemes, ServerKeys, WebhookKeys};
    use crate::admission::signing::SigningKey;
    use crate::admission::{Admission, AdmissionSettings, AuthMode, Caller, ServerSettings};
    use crate::clock::Clock;
    use crate::notification::{Content, DeviceToken, MattermostContent, ServerId, TargetName, Transport};
    use crate::private::Private;
    use crate::telemetry::log::DroppedLines;

    fn server(id: &str, key: &SigningKey) -> ServerSettings {
        let mut keys = ServerKeys::default();
        keys.add(key.verifying_key(), None);
        ServerSettings {
            id: ServerId::new(id).unwrap(),
            name: id.to_owned(),
            site: None,
            keys,
            webhook_keys: WebhookKeys::default(),
            certificates: Vec::new(),
            schemes: Schemes { mattermost: true, ..Schemes::default() },
            targets: None,
            rate: None,
            daily_quota: None,
            disabled: false,
        }
    }

    fn gate(
        mode: AuthMode,
        servers: Vec<ServerSettings>,
    ) -> (Admission, Arc<Learned>, Arc<Metrics>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let learned = Arc::new(Learned::load(folder.path(), crate::admission::learned::Limits::default()).unwrap());
        let metrics = Arc::new(Metrics::new("", DroppedLines::default()));
        let settings = AdmissionSettings {
            mode,
            allow_unsigned_test: true,
            unsigned_tests_per_minute: NonZeroU32::MIN,
            device_rate: None,
            refusal_rate: None,
            servers,
        };
        let gate = Admission::new(settings, Clock::manual(1_800_000_000));
        (gate.learning(Arc::clone(&learned), Arc::clone(&metrics)), learned, metrics, folder)
    }

    /// A push of this server with this signature; `None` stands for the right one.
    fn push(gate: &Admission, id: &str, key: &SigningKey, kind: PushKind, signature: Option<&str>) {
        let device = DeviceToken::new("device").unwrap();
        let signature = signature.map_or_else(|| key.sign_push("ack-1", &device), str::to_owned);
        let notification = Notification {
            ack_id: "ack-1".into(),
            server_id: ServerId::new(id).unwrap(),
            target: TargetName::new("apple_rn"),
            app_version: 2,
            signature: Private::new(signature),
            device,
            kind,
            transport: Transport::Standard,
            content: Content::Mattermost(MattermostContent::default()),
        };
        let _ = gate.admit(Caller { address: [192, 0, 2, 1].into(), certificate: None }, notification, |_| false);
    }

    #[test]
    fn each_way_to_sign_is_learned_as_what_it_is() {
        let (gate, learned, metrics, _folder) = gate(AuthMode::Observe, vec![]);
        let key = SigningKey::generate();
        for (kind, signature) in [
            (PushKind::Message, None),
            (PushKind::Message, None),
            (PushKind::Message, Some("")),
            (PushKind::Test, Some("")),
            (PushKind::Clear, Some("a.b.c")),
        ] {
            push(&gate, "chat-1", &key, kind, signature);
        }
        let report = learned.report();
        let [server] = report.servers.as_slice() else { panic!("{report:?}") };
        assert_eq!((server.pushes, server.signed, server.unsigned), (5, 2, 1));
        assert_eq!((server.unsigned_tests, server.unusable), (1, 1));
        assert_eq!(server.adoptable, Ok(key.verifying_key()));
        push(&gate, "chat-1", &SigningKey::generate(), PushKind::Message, None);
        let text = metrics.render();
        for event in ["new_server", "key_learned", "possible_spoof"] {
            assert!(
                text.contains(&format!("pushrelay_learned_events_total{{event=\"{event}\"}} 1")),
                "{event}\n{text}"
            );
        }
    }

    #[test]
    fn only_observing_learns_and_only_about_strangers() {
        let (known, stranger) = (SigningKey::generate(), SigningKey::generate());
        for (mode, expected) in [(AuthMode::Required, 0), (AuthMode::Off, 0), (AuthMode::Observe, 1)] {
            let (gate, learned, _, _folder) = gate(mode, vec![server("known", &known)]);
            push(&gate, "known", &known, PushKind::Message, None);
            push(&gate, "known", &stranger, PushKind::Message, None);
            push(&gate, "stranger", &stranger, PushKind::Message, None);
            assert_eq!(learned.report().servers.len(), expected, "{mode:?}");
        }
    }

    #[test]
    fn who_gets_registered_is_forgotten() {
        let key = SigningKey::generate();
        let (gate, learned, metrics, _folder) = gate(AuthMode::Observe, vec![]);
        for id in ["chat-1", "chat-2"] {
            push(&gate, id, &key, PushKind::Message, None);
        }
        gate.replace_servers(vec![server("chat-1", &key)]);
        let ids = || learned.report().servers.iter().map(|server| server.id.to_string()).collect::<Vec<_>>();
        assert_eq!(ids(), ["chat-2"]);
        // At a start, too.
        let settings = AdmissionSettings {
            mode: AuthMode::Observe,
            allow_unsigned_test: true,
            unsigned_tests_per_minute: NonZeroU32::MIN,
            device_rate: None,
            refusal_rate: None,
            servers: vec![server("chat-2", &key)],
        };
        let _gate = Admission::new(settings, Clock::System).learning(Arc::clone(&learned), metrics);
        assert!(ids().is_empty());
    }
}
