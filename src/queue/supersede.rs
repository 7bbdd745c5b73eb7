//! Which later notification makes an earlier one of the same device pointless: pure, so that every case is in one table.
//!
//! The caller compares devices: both are for the same server, target and device here.

use crate::notification::{Content, Notification};

/// What the rule looks at. The ids are the chat server's; an empty one names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// [`PushKind::word`].
    pub kind: String,
    /// Mattermost's channel.
    pub channel: String,
    /// The first post of its thread; empty for a post that begins one.
    pub thread: String,
    /// Collapsed reply threads are on: a channel and its threads are read apart.
    pub crt: bool,
    /// The native API's name for what replaces what.
    pub collapse_id: Option<String>,
}

impl Scope {
    pub(super) fn of(notification: &Notification) -> Self {
        let kind = notification.kind.word().to_owned();
        match &notification.content {
            Content::Mattermost(content) => Self {
                kind,
                channel: content.channel_id.clone(),
                thread: content.root_id.clone(),
                crt: content.is_crt_enabled,
                collapse_id: None,
            },
            Content::Native(message) => Self {
                kind,
                channel: String::new(),
                thread: String::new(),
                crt: false,
                collapse_id: message.collapse_id.clone(),
            },
        }
    }

    /// Whether there is anything that this one could replace. Most are messages, which replace nothing.
    pub(super) fn replaces_any(&self) -> bool {
        self.collapse_id.is_some() || ["update_badge", "clear", "session"].contains(&self.kind.as_str())
    }

    /// Whether this one, accepted later, makes `earlier` pointless.
    pub(super) fn replaces(&self, earlier: &Self) -> bool {
        if self.collapse_id.is_some() {
            return self.collapse_id == earlier.collapse_id;
        }
        match self.kind.as_str() {
            "update_badge" => earlier.kind == "update_badge",
            "session" => true,
            "clear" => match earlier.kind.as_str() {
                "message" => self.clears(earlier),
                "clear" => (&self.channel, &self.thread, self.crt) == (&earlier.channel, &earlier.thread, earlier.crt),
                _ => false,
            },
            _ => false,
        }
    }

    /// What the app takes down for a `clear`.
    fn clears(&self, message: &Self) -> bool {
        let of_the_channel = !self.channel.is_empty() && self.channel == message.channel;
        match (self.crt, self.thread.is_empty()) {
            (true, false) => self.thread == message.thread,
            (true, true) => of_the_channel && message.thread.is_empty(),
            (false, _) => of_the_channel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::PushKind;

    fn scope(kind: &str, channel: &str, thread: &str, crt: bool) -> Scope {
        Scope { kind: kind.into(), channel: channel.into(), thread: thread.into(), crt, collapse_id: None }
    }

    fn native(collapse_id: Option<&str>) -> Scope {
        Scope { collapse_id: collapse_id.map(Into::into), ..scope("alert", "", "", false) }
    }

    #[test]
    fn each_pair_has_its_answer() {
        let badge = || scope("update_badge", "", "", false);
        let session = || scope("session", "", "", false);
        let message = |channel, thread| scope("message", channel, thread, true);
        let clear = scope;
        // (what, later, earlier, replaced)
        let table = [
            ("a badge, an earlier badge", badge(), badge(), true),
            ("a badge, a message", badge(), message("c", ""), false),
            ("a badge, a clear", badge(), clear("clear", "c", "", false), false),
            ("a message, a message of the same channel", message("c", ""), message("c", ""), false),
            ("a message, a badge", message("c", ""), badge(), false),
            ("a test, a test", scope("test", "", "", false), scope("test", "", "", false), false),
            ("a clear of a thread, its reply", clear("clear", "c", "r", true), message("c", "r"), true),
            ("a clear of a thread, another's reply", clear("clear", "c", "r", true), message("c", "q"), false),
            ("a clear of a thread, a post of the channel", clear("clear", "c", "r", true), message("c", ""), false),
            ("a clear of a channel with threads, its post", clear("clear", "c", "", true), message("c", ""), true),
            ("a clear of a channel with threads, a reply", clear("clear", "c", "", true), message("c", "r"), false),
            ("a clear of a channel with threads, another's", clear("clear", "c", "", true), message("d", ""), false),
            ("a clear of a flat channel, its post", clear("clear", "c", "", false), message("c", ""), true),
            ("a clear of a flat channel, a reply", clear("clear", "c", "", false), message("c", "r"), true),
            ("a clear of a flat channel that names a thread", clear("clear", "c", "r", false), message("c", "q"), true),
            ("a clear of a flat channel, another's", clear("clear", "c", "", false), message("d", ""), false),
            ("a clear of no channel, a message of none", clear("clear", "", "", false), message("", ""), false),
            ("a clear, the same clear", clear("clear", "c", "r", true), clear("clear", "c", "r", true), true),
            ("a clear, one of another thread", clear("clear", "c", "r", true), clear("clear", "c", "q", true), false),
            ("a clear, one of the threads apart", clear("clear", "c", "", false), clear("clear", "c", "", true), false),
            ("a clear, a badge", clear("clear", "c", "", false), badge(), false),
            ("a clear, a wipe", clear("clear", "c", "", false), session(), false),
            ("a wipe, a message", session(), message("c", "r"), true),
            ("a wipe, a badge", session(), badge(), true),
            ("a wipe, a wipe", session(), session(), true),
            ("a wipe, a native message", session(), native(Some("x")), true),
            ("the same collapse id", native(Some("x")), native(Some("x")), true),
            ("another collapse id", native(Some("x")), native(Some("y")), false),
            ("a collapse id, a message without", native(Some("x")), native(None), false),
            ("no collapse id, a message with one", native(None), native(Some("x")), false),
            ("no collapse id twice", native(None), native(None), false),
        ];
        for (what, later, earlier, replaced) in table {
            assert_eq!(later.replaces(&earlier), replaced, "{what}");
            assert!(!replaced || later.replaces_any(), "{what}: would not have been looked for");
        }
    }

    #[test]
    fn the_rules_words_are_those_of_the_kinds() {
        let words =
            [PushKind::UpdateBadge, PushKind::Clear, PushKind::Session, PushKind::Message].map(|kind| kind.word());
        assert_eq!(words, ["update_badge", "clear", "session", "message"]);
    }
}
