//! The texts of a notification that a person reads, and how they are shortened until a provider takes the payload.
//!
//! Only texts give way. An id, a version or a signature that was cut would mean something else, so those stay whole even
//! if the payload is then too large and the provider says so.

use std::borrow::Cow;

use super::emoji;
use crate::notification::{MattermostContent, Notification, PushKind};

/// What a character takes where it is written, bytes.
type Cost = fn(char) -> usize;

/// Ends a shortened text.
const ELLIPSIS: char = '…';

/// What a person reads. Borrowed from the notification until an emoji or a limit changes it.
#[derive(Clone)]
pub(super) struct Texts<'a> {
    /// With emoji where codes were, unless only an id-loaded push's placeholder; empty for kinds that show nothing.
    pub(super) message: Cow<'a, str>,
    pub(super) channel_name: Cow<'a, str>,
    pub(super) sender_name: Cow<'a, str>,
    pub(super) override_username: Cow<'a, str>,
    pub(super) override_icon_url: Cow<'a, str>,
}

impl<'a> Texts<'a> {
    pub(super) fn of(notification: &Notification, content: &'a MattermostContent) -> Self {
        let message = content.message.expose();
        Self {
            message: match notification.kind {
                _ if content.is_id_loaded => Cow::Borrowed(message),
                PushKind::Message | PushKind::Session => emoji::expand(message),
                _ => Cow::Borrowed(""),
            },
            channel_name: content.channel_name.expose().into(),
            sender_name: content.sender_name.expose().into(),
            override_username: content.override_username.expose().into(),
            override_icon_url: content.override_icon_url.expose().into(),
        }
    }

    /// Shortens one text after the other, the dearest in bytes and cheapest in meaning first, until `excess` (bytes over
    /// the limit, counted anew each time) is 0 or there is nothing left to shorten. The last call of `excess` sees the
    /// final texts.
    pub(super) fn fit(&mut self, cost: Cost, mut excess: impl FnMut(&Self) -> usize) {
        let steps: [fn(&mut Self, usize, Cost); 5] = [
            |texts, over, cost| shorten(&mut texts.message, over, cost),
            // Half an address leads nowhere; without one the app shows the sender's own picture.
            |texts, _, _| texts.override_icon_url = Cow::Borrowed(""),
            |texts, over, cost| shorten(&mut texts.override_username, over, cost),
            |texts, over, cost| shorten(&mut texts.sender_name, over, cost),
            |texts, over, cost| shorten(&mut texts.channel_name, over, cost),
        ];
        for step in steps {
            match excess(self) {
                0 => return,
                over => step(self, over, cost),
            }
        }
        excess(self);
    }
}

/// Takes at least `excess` bytes off the text, if it has as many, and ends it with an ellipsis if there is room for one.
fn shorten(text: &mut Cow<'_, str>, excess: usize, cost: Cost) {
    let whole: usize = text.chars().map(cost).sum();
    let Some(mut room) = whole.checked_sub(excess).and_then(|room| room.checked_sub(cost(ELLIPSIS))) else {
        *text = Cow::Borrowed("");
        return;
    };
    let kept = text.char_indices().find_map(|(at, c)| match room.checked_sub(cost(c)) {
        Some(left) => {
            room = left;
            None
        }
        None => Some(at),
    });
    if let Some(kept) = kept {
        let text = text.to_mut();
        text.truncate(kept);
        text.push(ELLIPSIS);
    }
}

/// What a character takes inside a JSON text as `serde_json` writes it, bytes.
pub(super) fn json_cost(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..'\u{20}' => 6,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notification::{Content, DeviceToken, ServerId, TargetName, Transport};
    use crate::private::Private;

    /// A message as a current server sends it, with every field set.
    pub(in crate::sender) fn message() -> Notification {
        Notification {
            ack_id: "ack".into(),
            server_id: ServerId::new("server").unwrap(),
            target: TargetName::new("apple_rn"),
            app_version: 2,
            device: DeviceToken::new("token").unwrap(),
            kind: PushKind::Message,
            transport: Transport::Standard,
            signature: Private::new("a.b.c"),
            content: Content::Mattermost(MattermostContent {
                sub_type: "calls".into(),
                category: "CAN_REPLY".into(),
                message: Private::new("@ann: ship it :rocket: :custom:"),
                badge: 7,
                version: "v2".into(),
                post_id: "post".into(),
                team_id: "team".into(),
                channel_id: "channel".into(),
                root_id: "root".into(),
                channel_name: Private::new("Town Square"),
                sender_id: "sender".into(),
                sender_name: Private::new("Ann"),
                override_username: Private::new("bot"),
                override_icon_url: Private::new("https://chat.example/bot.png"),
                from_webhook: "true".into(),
                is_crt_enabled: true,
                is_id_loaded: false,
            }),
        }
    }

    /// One of any kind, with any texts of up to this many characters.
    pub(in crate::sender) fn any_texts(longest: usize) -> impl Strategy<Value = Notification> {
        let like =
            |pattern: &str, times: usize| proptest::string::string_regex(&format!("{pattern}{{0,{times}}}")).unwrap();
        let text = prop_oneof![
            like("\\PC", longest),
            like("[\"\\\\\u{1}a😄:]", longest),
            like("(:a:|:rocket:|é)", longest / 8),
        ];
        let texts = proptest::collection::vec(text, 5);
        (texts, 0..PushKind::LABELS.len(), any::<(bool, bool, bool)>()).prop_map(|(texts, kind, flags)| {
            let mut texts = texts.into_iter().map(Private::new);
            let mut notification = message();
            notification.kind = PushKind::from_wire(PushKind::LABELS[kind]);
            notification.transport = if flags.0 { Transport::Voip } else { Transport::Standard };
            let content = notification.content.mattermost_mut();
            content.is_id_loaded = flags.1;
            content.version = if flags.2 { "v2".into() } else { String::new() };
            let places = [
                &mut content.message,
                &mut content.channel_name,
                &mut content.sender_name,
                &mut content.override_username,
                &mut content.override_icon_url,
            ];
            for (place, text) in places.into_iter().zip(&mut texts) {
                *place = text;
            }
            notification
        })
    }

    #[test]
    fn a_text_is_shortened_between_characters_and_no_more_than_needed() {
        for (text, excess, expected) in [
            ("abcdefgh", 0, "abcdefgh"),
            ("abcdefgh", 1, "abcd…"),
            ("abcdefgh", 4, "a…"),
            ("abcdefgh", 5, "…"),
            ("abcdefgh", 6, ""),
            ("abcdefgh", 99, ""),
            ("éééé", 1, "éé…"),
            ("éééé", 2, "é…"),
            ("\n\n\n\n\n", 1, "\n\n\n…"),
            ("", 1, ""),
        ] {
            let mut shortened = Cow::Borrowed(text);
            if excess > 0 {
                shorten(&mut shortened, excess, json_cost);
            }
            assert_eq!(shortened, expected, "{text:?} less {excess}");
        }
    }

    proptest! {
        #[test]
        fn the_cost_of_a_text_is_what_json_takes_for_it(text in "[\\x00-\\x7f]{0,40}\\PC{0,20}") {
            let written = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(text.chars().map(json_cost).sum::<usize>() + 2, written.len());
        }

        #[test]
        fn a_shortened_text_is_a_prefix_that_gave_up_at_least_the_excess(text in "\\PC{0,40}", excess in 1_usize..60) {
            let mut shortened = Cow::Borrowed(text.as_str());
            shorten(&mut shortened, excess, char::len_utf8);
            prop_assert!(shortened.len() + excess <= text.len() || shortened.is_empty());
            prop_assert!(text.starts_with(shortened.strip_suffix(ELLIPSIS).unwrap_or(&shortened)));
        }
    }
}
