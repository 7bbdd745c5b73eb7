//! The keys of how hard the relay tries.

use super::Otherwise::Default;
use super::{Group, key};
use crate::config::kind::Kind;

/// A second, an hour and a day in milliseconds.
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// How hard to try.
pub(in crate::config) static DELIVERY: Group = Group {
    name: "delivery",
    repeated: false,
    about: "How hard the relay tries while a chat server waits.",
    keys: &[
        // Mattermost waits 30 s and then loses the answer, a REMOVE included; some of the 30 s are spent on the way.
        key(
            "deadline",
            Kind::Duration(1_000, 600_000),
            Default("25s"),
            "From admission to answer, everything included. Mattermost waits 30 s, so the answer must leave before.",
        ),
        // Three attempts and the pauses between the first two fit into the deadline.
        key(
            "attempt_timeout",
            Kind::Duration(100, 600_000),
            Default("8s"),
            "One attempt until it is sent, connecting included. Once sent, it is waited for while its \
             connection answers PINGs, up to the deadline.",
        ),
        key(
            "max_attempts",
            Kind::Count(1, 10),
            Default("3"),
            "The most attempts, the first one included. Without a queue each further one counts as seven where the provider has \
             certainly not taken the push: 15 instead of 3.",
        ),
        // The reference pauses 1 s, then 2 s.
        key(
            "first_pause",
            Kind::Duration(1, 60_000),
            Default("1s"),
            "The longest pause after the first failed attempt; it doubles with each further one, up to 8 s. How long it is, is \
             drawn between nothing and that; a provider's `Retry-After` comes on top. Without a queue the pause is never shorter than \
             this, and doubles once.",
        ),
    ],
};

/// How long notifications are of use.
pub(in crate::config) static TTL: Group = Group {
    name: "ttl",
    repeated: false,
    about: "How long a notification is of use, after which no phone is woken for it. With `compatibility = \"improved\"` the \
            phone's provider is told as well, for phones that it cannot reach; with `strict` it is not, as with \
            mattermost-push-proxy.",
    keys: &[
        // Four weeks: the longest that Google keeps a message (Firebase, `AndroidConfig.ttl`).
        key(
            "message",
            Kind::Duration(60 * SECOND, 28 * DAY),
            Default("4h"),
            "Messages, and whatever is not named below. A message of the native API may have its own `ttl_s`.",
        ),
        // Mattermost Calls rings for 30 s.
        key(
            "call",
            Kind::Duration(SECOND, 600 * SECOND),
            Default("30s"),
            "Calls: who rings later wakes a phone for nothing.",
        ),
        key(
            "badge",
            Kind::Duration(60 * SECOND, 28 * DAY),
            Default("24h"),
            "The number on the app's icon, and notifications to take down.",
        ),
        key(
            "session",
            Kind::Duration(60 * SECOND, 28 * DAY),
            Default("7days"),
            "The end of a session, at which the app logs out and wipes what it has.",
        ),
    ],
};

/// When nothing is sent to a provider.
pub(in crate::config) static BREAKER: Group = Group {
    name: "breaker",
    repeated: false,
    about: "While a target's provider does not work, or refuses its credentials, only one push now and then is sent to it, to see \
            whether it is back.",
    keys: &[
        // Three pushes that each tried as often as they may.
        key(
            "failures",
            Kind::Count(0, 1_000),
            Default("10"),
            "How many attempts in a row must meet trouble; three that are refused for our credentials, if nothing has \
             succeeded within a minute. 0 switches all of this off: each push tries. Files of mattermost-push-proxy mean that.",
        ),
        key(
            "first_pause",
            Kind::Duration(100, 60 * SECOND),
            Default("1s"),
            "How long nothing is sent then, at least 5 s for refused credentials; it doubles with each push that still fails.",
        ),
        key(
            "longest_pause",
            Kind::Duration(SECOND, HOUR),
            Default("1m"),
            "The longest such pause, and without a queue never above 2 s, since pushes wait for it. A provider may ask for a longer \
             one, of at most 1 h.",
        ),
    ],
};

/// When a provider's word about dead tokens is not believed.
pub(in crate::config) static REMOVAL_GUARD: Group = Group {
    name: "removal_guard",
    repeated: false,
    about: "Apple and Google answer a wrong certificate, topic or project as they answer a dead device token. Beyond what a \
            healthy target has of these answers, chat servers are told that the push failed, not to forget the token: a slip in \
            a configuration must not cost a whole fleet its registrations. Words that mean nothing else are always passed on; \
            `pushrelay removals allow` lets more through.",
    keys: &[
        key(
            "enabled",
            Kind::Flag,
            Default("true"),
            "Whether such answers are withheld. Files of mattermost-push-proxy mean `false`.",
        ),
        // Beyond what a chat server with a few phones has in dead tokens after a reinstallation.
        key(
            "count",
            Kind::Count(1, 1_000_000),
            Default("20"),
            "So many are believed since a push last arrived, with `data_dir` over any number of restarts; and in a day, or one in \
             twenty of what was delivered in it if that is more.",
        ),
        key(
            "share_percent",
            Kind::Count(1, 99),
            Default("50"),
            "If there were more than `count` in the window, they must also be no more than so many per cent of all pushes of the \
             target that were delivered or met a dead token in it.",
        ),
        key("window", Kind::Duration(60 * SECOND, HOUR), Default("5m"), "How far back is looked for that."),
    ],
};
