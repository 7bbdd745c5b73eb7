//! Every key there is, in one place: its kind and range, its default, and what it means. Parsing, "did you mean", the
//! names of environment variables and the reference in `docs/configuration.md` all come from here, and a test compares
//! the commented template with it.

mod edge;
mod effort;

use super::kind::Kind;
use crate::journal::JournalSettings;
pub(super) use edge::{CLIENT_IP, HTTP, OPS, STATUS, THROTTLE, TLS};
pub(super) use effort::{BREAKER, DELIVERY, REMOVAL_GUARD, TTL};

/// A table of the file: `[http]`, or `[[target]]` if there may be several.
#[derive(Debug)]
pub(super) struct Group {
    /// As written between the brackets; empty for the keys above the first table.
    pub(super) name: &'static str,
    /// Whether it is an array of named tables.
    pub(super) repeated: bool,
    /// One line for the documentation.
    pub(super) about: &'static str,
    /// What may be in it.
    pub(super) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// As written in the file.
    pub(super) name: &'static str,
    /// What its values are.
    pub(super) kind: Kind,
    /// What holds when it is not given.
    pub(super) otherwise: Otherwise,
    /// The only provider it is for; `None` if it is for all.
    pub(super) only: Option<&'static str>,
    /// Prose for the documentation.
    pub(super) about: &'static str,
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Otherwise {
    /// This value, written as in a variable; it goes through the same parser as one that was given.
    Default(&'static str),
    /// It must be given.
    Required,
    /// What its absence means.
    Absent(&'static str),
}

use Otherwise::{Absent, Default, Required};

const fn key(name: &'static str, kind: Kind, otherwise: Otherwise, about: &'static str) -> Key {
    Key { name, kind, otherwise, only: None, about }
}

const fn apns(name: &'static str, kind: Kind, otherwise: Otherwise, about: &'static str) -> Key {
    Key { name, kind, otherwise, only: Some("apns"), about }
}

const fn fcm(name: &'static str, kind: Kind, otherwise: Otherwise, about: &'static str) -> Key {
    Key { name, kind, otherwise, only: Some("fcm"), about }
}

/// All groups, in the order of the documentation.
pub(super) static GROUPS: [&Group; 19] = [
    &TOP,
    &HTTP,
    &TLS,
    &THROTTLE,
    &CLIENT_IP,
    &OPS,
    &STATUS,
    &AUTH,
    &SERVER,
    &DELIVERY,
    &TTL,
    &BREAKER,
    &REMOVAL_GUARD,
    &QUEUE,
    &MEMORY,
    &JOURNAL,
    &TRACES,
    &LOG,
    &TARGET,
];

/// The group of that name.
pub(super) fn group(name: &str) -> Option<&'static Group> {
    GROUPS.into_iter().find(|group| group.name == name)
}

impl Group {
    /// The key of that name. Secret keys may also be given as a file that holds the value: see [`Key::file_name`].
    pub(super) fn knows(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Every name that may be written in it.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.keys.iter().flat_map(|key| [Some(key.name.to_owned()), key.file_name()]).flatten()
    }
}

impl Key {
    /// For a secret, the key that names a file holding it: `certificate_password_file`.
    pub(super) fn file_name(&self) -> Option<String> {
        self.kind.is_secret().then(|| format!("{}_file", self.name))
    }
}

/// Above the first table.
pub(super) static TOP: Group = Group {
    name: "",
    repeated: false,
    about: "Above the first table.",
    keys: &[
        // Every address, as the reference and as containers need it. Safe because `auth.mode` is `required` by default.
        // Not `[::]`, which cannot be bound where IPv6 is switched off.
        key(
            "listen",
            Kind::Address,
            Default("0.0.0.0:8066"),
            "Where chat servers post to. `[::]:8066` listens on IPv6 too.",
        ),
        key(
            "compatibility",
            Kind::Choice(&["improved", "strict"]),
            Default("improved"),
            "How payloads are built. `improved` cuts texts between characters and fits them to the provider's limit; \
             `strict` builds what mattermost-push-proxy builds.",
        ),
        key(
            "servers_directory",
            Kind::File,
            Absent("`servers.d` beside this file, if it is there"),
            "A directory with a `*.toml` for each further chat server, which has the keys of `[[server]]` at its top. What is \
             added, changed or removed there takes effect while the relay runs.",
        ),
        key(
            "data_dir",
            Kind::File,
            Absent("nothing is kept over a restart"),
            "A directory that the relay may write to, for what it is to know after a restart: notifications that are yet to be \
             delivered (`[queue]`), what was sent (`[memory]`), what became of it (`[journal]`), and in `observe` mode which chat \
             servers it has seen and the key each signs with. It is made if it is not there. Only one relay may use it.",
        ),
        // Longer than delivery.deadline, so that what runs can end; shorter than the 30 s after which Kubernetes kills.
        key(
            "shutdown_deadline",
            Kind::Duration(100, 600_000),
            Default("28s"),
            "How long running work may take after a request to stop. The default fits the 30 s that Kubernetes gives.",
        ),
    ],
};

/// Who may send.
pub(super) static AUTH: Group = Group {
    name: "auth",
    repeated: false,
    about: "Who may send.",
    keys: &[
        key(
            "mode",
            Kind::Choice(&["required", "observe", "off"]),
            Default("required"),
            "`required` sends only what a registered server has signed. `observe` sends everything, and logs and counts \
             what `required` would refuse; only limits of servers that have signed hold. `off` checks nothing.",
        ),
        key(
            "allow_unsigned_test",
            Kind::Flag,
            Default("true"),
            "Whether registered servers may send test notifications, which Mattermost does not sign.",
        ),
        // A person presses a button; one press reaches a handful of phones.
        key(
            "unsigned_tests_per_minute",
            Kind::Count(1, 6_000),
            Default("10"),
            "The most unsigned test notifications per minute and server.",
        ),
        // Google takes up to 240 messages a minute to one device (Firebase, "Throttling and Quotas"); a burst of 60 and 180
        // a minute are 240 in the fullest minute. A busy channel with its badges stays below; Apple states no number.
        key(
            "device_per_minute",
            Kind::Count(0, 100_000),
            Default("180"),
            "The most notifications a minute of one server to one device, in the long run; 0 for as many as it likes. Apple \
             and Google punish floods to one device.",
        ),
        key("device_burst", Kind::Count(1, 100_000), Default("60"), "How many of them may come at once."),
        // Ten a second: a server whose key is wrong is told so for a minute, and guessing costs a thousandth of a core.
        key(
            "refusals_per_minute",
            Kind::Count(0, 1_000_000),
            Default("600"),
            "The most requests a minute of one client address that are refused for want of proof and still looked at; further \
             ones are answered with 429. A request that is rightly signed clears its address. 0 for no limit. Name your reverse \
             proxies in `client_ip.trusted_proxies`: without it all of their clients have one address.",
        ),
    ],
};

/// A registered chat server.
pub(super) static SERVER: Group = Group {
    name: "server",
    repeated: true,
    about: "One for each chat server that may send. With `auth.mode = \"required\"` at least one is needed, here or in the \
            servers directory; if that directory is there and empty, the relay starts with a warning, and nobody can send \
            until a file is put into it.",
    keys: &[
        key("name", Kind::Text, Required, "For people, and for the names of environment variables."),
        key(
            "id",
            Kind::Text,
            Required,
            "What the server calls itself: `DiagnosticId` in `<site>/api/v4/config/client?format=old`.",
        ),
        key(
            "site",
            Kind::Text,
            Absent("it is not known where to ask"),
            "Where people reach it, such as `https://chat.example.com`. The relay does not ask there; `pushrelay enroll` does.",
        ),
        key(
            "keys",
            Kind::Texts,
            Absent("keys from `key_files` only"),
            "Public keys it may sign with, as PEM or as `AsymmetricSigningPublicKey` in the same document. Any of them \
             will do: list the old and the new one while a key is changed. An end may follow a key: `MFkw… until 2026-12-31` \
             (that day included, UTC), `… until 2026-12-31T12:00:00Z`.",
        ),
        key("key_files", Kind::Files, Absent("keys from `keys` only"), "Files with one such public key each."),
        key(
            "webhook_keys",
            Kind::Secrets,
            Absent("it signs no webhooks"),
            "Keys for requests signed as Standard Webhooks: `whsec_…` (shared secret) or `whpk_…` (Ed25519 public key).",
        ),
        key(
            "certificate_fingerprints",
            Kind::Texts,
            Absent("no certificate says that it is this server"),
            "SHA-256 of client certificates that prove who it is, whatever it signs, as `openssl x509 -noout -fingerprint \
             -sha256` prints them. Needs `client_ca_file` in `[tls]`.",
        ),
        key(
            "schemes",
            Kind::Texts,
            Absent("whatever there are keys or certificates for"),
            "How it may prove who it is: `mattermost`, `webhook`, `certificate`.",
        ),
        key("targets", Kind::Texts, Absent("every target"), "The names of the targets it may push to."),
        key(
            "per_second",
            Kind::Count(1, 1_000_000),
            Absent("as fast as it likes"),
            "The most notifications per second, in the long run. Only what it has signed counts. Mattermost does not retry: what \
             is over a limit is lost.",
        ),
        key(
            "burst",
            Kind::Count(1, 1_000_000),
            Absent("as many as `per_second`"),
            "How many of them may come at once.",
        ),
        key(
            "daily_quota",
            Kind::Count(1, u32::MAX as u64),
            Absent("as many as it likes"),
            "The most notifications in a day (UTC). The count begins anew when the relay is started.",
        ),
        key(
            "disabled",
            Kind::Flag,
            Default("false"),
            "Whether it may send nothing for the time being. (With `auth.mode = \"observe\"` this is observed only.)",
        ),
    ],
};

/// What was sent.
pub(super) static MEMORY: Group = Group {
    name: "memory",
    repeated: false,
    about: "The memory of what was sent: a request that comes again wakes no phone again but gets the first one's answer.",
    keys: &[
        key(
            "enabled",
            Kind::Flag,
            Default("true"),
            "Whether repeats are known. Files of mattermost-push-proxy mean `false`.",
        ),
        // Chat servers that repeat do so within minutes; phones send receipts when they are on again.
        key(
            "window",
            Kind::Duration(60_000, 7 * 24 * 3_600_000),
            Default("24h"),
            "How long a request is known by its `ack_id` (or `webhook-id`), and a receipt counts.",
        ),
        key(
            "entries",
            Kind::Count(1_000, 100_000_000),
            Default("1000000"),
            "The most requests remembered, 48 bytes each. A whole window needs notifications per second × seconds × 4/3; with \
             less, the oldest are forgotten early, and `pushrelay_memory_window_seconds` says how far back it reaches.",
        ),
    ],
};

/// What waits on disk.
pub(super) static QUEUE: Group = Group {
    name: "queue",
    repeated: false,
    about: "What a provider does not take while the chat server waits goes to disk before the chat server hears OK, and is \
            tried until its time (`[ttl]`) is over. Needs `data_dir`.",
    keys: &[
        key(
            "enabled",
            Kind::Flag,
            Default("true"),
            "Whether there is one. Without it, and without `data_dir`, the answer is what the provider said.",
        ),
        key(
            "when_unusable",
            Kind::Choice(&["stop", "continue"]),
            Default("stop"),
            "What to do at the start if the file is damaged, the disk is full or another relay uses it: `stop` with an error, or \
             `continue` without a queue.",
        ),
        // Some 1.5 KiB each: 1.5 GiB. At 100 notifications a second they come together in not quite three hours.
        key(
            "max_entries",
            Kind::Count(1_000, 100_000_000),
            Default("1000000"),
            "The most notifications on disk; of one server at most 16 parts of 17. Further ones are answered as if there were no queue.",
        ),
        key("max_size", Kind::Size(16 << 20, 1 << 40), Default("4096MiB"), "The most room that the file may take."),
    ],
};

/// What happened to each notification.
pub(super) static JOURNAL: Group = Group {
    name: "journal",
    repeated: false,
    about: "What happened to each notification, for `pushrelay trace`: in `data_dir`, and nowhere without it.",
    keys: &[
        key("enabled", Kind::Flag, Default("true"), "Whether it is kept."),
        key(
            "keep",
            Kind::Duration(3_600_000, 30 * 24 * 3_600_000),
            Default("24h"),
            "How long, if `max_size` allows. What is older is deleted within an hour.",
        ),
        // 16 MiB are four times what is written at once at most.
        key(
            "max_size",
            Kind::Size(JournalSettings::LEAST_BYTES, 64 << 30),
            Default("512MiB"),
            "How large it grows; the oldest goes first. A delivered notification takes about 250 bytes: two million fit.",
        ),
    ],
};

/// Spans for a collector.
pub(super) static TRACES: Group = Group {
    name: "traces",
    repeated: false,
    about: "A span for each notification and each attempt, for a collector that takes OTLP over HTTP. Needs a build with \
            the feature `otlp`.",
    keys: &[
        key(
            "endpoint",
            Kind::Text,
            Absent("no traces"),
            "The collector's address for traces, path included: `http://127.0.0.1:4318/v1/traces`.",
        ),
        key("service_name", Kind::Text, Default("pushrelay"), "What the relay is called there (`service.name`)."),
        key(
            "sample_percent",
            Kind::Count(0, 100),
            Default("100"),
            "How many of a hundred notifications have spans. A caller's `traceparent` decides about its own.",
        ),
    ],
};

/// Log lines.
pub(super) static LOG: Group = Group {
    name: "log",
    repeated: false,
    about: "Log lines.",
    keys: &[
        key(
            "format",
            Kind::Choice(&["json", "human"]),
            Default("json"),
            "One JSON object a line, or text for a terminal.",
        ),
        key("filter", Kind::Filter, Default("info"), "Which lines are written, such as `pushrelay=debug,info`."),
        key("console", Kind::Flag, Default("true"), "Whether lines go to the standard output."),
        key(
            "file",
            Kind::File,
            Absent("no file is written"),
            "A file that lines go to as well. Its directory is made if it is missing.",
        ),
        // The reference's size.
        key(
            "file_size",
            Kind::Size(64 << 10, 16 << 30),
            Default("100MiB"),
            "How large the file grows before it is set aside, with the time in its name, and compressed.",
        ),
        // Text of this kind shrinks to about a tenth: 300 MiB in all.
        key(
            "file_keep",
            Kind::Count(0, 10_000),
            Default("30"),
            "How many files set aside are kept; the oldest go first.",
        ),
    ],
};

/// One app at one provider.
pub(super) static TARGET: Group = Group {
    name: "target",
    repeated: true,
    about: "One for each app at a provider. At least one is needed.",
    keys: &[
        key(
            "name",
            Kind::Text,
            Required,
            "What chat servers call the app, without a version: `apple_rn`, `android_rn`. Also part of the names of \
             environment variables.",
        ),
        key("provider", Kind::Choice(&["apns", "fcm"]), Required, "Apple or Google."),
        apns("topic", Kind::Text, Required, "The app's bundle id. For calls the relay adds `.voip` itself."),
        apns(
            "key_file",
            Kind::File,
            Absent("a certificate is used"),
            "The `.p8` signing key from Apple. Needs `key_id` and `team_id`.",
        ),
        apns("key_id", Kind::Text, Absent("a certificate is used"), "Apple's id of that key."),
        apns("team_id", Kind::Text, Absent("a certificate is used"), "The id of your team at Apple."),
        apns(
            "certificate_file",
            Kind::File,
            Absent("a key is used"),
            "Instead of a key: a client certificate with its key, as PEM (both in one file) or PKCS#12 (`.p12`).",
        ),
        apns(
            "certificate_password",
            Kind::Secret,
            Absent("the key is not encrypted"),
            "The password of the certificate's key.",
        ),
        apns("sandbox", Kind::Flag, Default("false"), "Apple's sandbox, for builds that were installed from Xcode."),
        apns("port", Kind::OneOf(&[443, 2197]), Default("443"), "Apple's port: 2197 is for firewalls that block 443."),
        fcm("service_account_file", Kind::File, Required, "The JSON key of a Firebase service account."),
        key(
            "endpoint",
            Kind::Endpoint,
            Absent("the provider's own address"),
            "Where to connect instead: a simulator or a gateway.",
        ),
        key(
            "ca_file",
            Kind::File,
            Absent("the authorities of the operating system only"),
            "Certificates (PEM) of authorities that are trusted as well.",
        ),
        key(
            "proxy",
            Kind::Proxy,
            Default("environment"),
            "`environment` obeys `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`; `none` ignores them.",
        ),
        // Apple admits about 1,000 requests at once per connection, Google 100: 4 carry thousands a second.
        key("connections", Kind::Count(1, 64), Default("4"), "The most connections kept open to the provider."),
        key(
            "connect_timeout",
            Kind::Duration(100, 60_000),
            Default("5s"),
            "The longest wait for DNS, TCP, proxy and TLS together.",
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_own_kind() {
        for group in GROUPS {
            for key in group.keys {
                if let Default(text) = key.otherwise {
                    assert!(key.kind.parse(text).is_ok(), "{}.{}", group.name, key.name);
                }
            }
        }
    }

    #[test]
    fn no_two_keys_of_a_group_share_a_name() {
        for group in GROUPS {
            let mut names: Vec<_> = group.names().collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{}", group.name);
        }
    }
}
