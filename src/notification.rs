//! One notification as the relay understands it, whatever wire format it came in.
//!
//! Values that cannot be sent cannot be built: there is no empty device token and no empty server id. This module knows
//! no provider and no wire format. What a program says over the native API is in `message`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::message::{self, Message};
use crate::private::Private;

/// The address of one app on one phone, as Apple or Google issued it. Private: whoever has it can push to the phone.
///
/// Firebase is moving from registration tokens to installation ids; a second kind of address becomes a second type
/// beside this one, and [`Notification::device`] an enum of both.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceToken(String);

impl DeviceToken {
    /// `None` if the text is empty. Apple and Google promise no length and no alphabet, so neither is checked here.
    pub fn new(token: impl Into<String>) -> Option<Self> {
        let token = token.into();
        (!token.is_empty()).then_some(Self(token))
    }

    /// The token itself. Only for the provider and for comparing with a signed claim.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The token in the one spelling by which a phone is known here, whoever wrote it how: to be hashed and compared, never to be
    /// sent. Private like the token.
    pub fn phone(&self) -> Cow<'_, str> {
        one_spelling(&self.0)
    }
}

/// Apple's tokens are bytes in hexadecimal, and Apple takes capitals and small letters alike. Google's tell them apart, and hold a
/// colon or are shorter, so what is hexadecimal and as long as Apple's is Apple's.
pub fn one_spelling(token: &str) -> Cow<'_, str> {
    let has_capitals = token.bytes().any(|byte| byte.is_ascii_uppercase());
    if has_capitals && token.len() >= APPLE_TOKEN && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Cow::Owned(token.to_ascii_lowercase())
    } else {
        Cow::Borrowed(token)
    }
}

/// The least length of an Apple token, characters: 32 bytes. Apple promises no length, and has never issued shorter ones.
const APPLE_TOKEN: usize = 64;

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceToken([private], {} bytes)", self.0.len())
    }
}

/// The id a chat server calls itself by (Mattermost: its diagnostic id). Not a secret, and not a proof of anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(Arc<str>);

impl ServerId {
    /// `None` if the text is empty.
    pub fn new(id: &str) -> Option<Self> {
        (!id.is_empty()).then(|| Self(id.into()))
    }

    /// The id as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a target: one app at one provider, such as `apple_rn` or `android_rn`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetName(Arc<str>);

impl TargetName {
    /// Any name; an empty one is just a target that nobody configured.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as configured or as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TargetName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose phones a target reaches. The words are the reference's metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Apple, through APNs.
    Apple,
    /// Android, through FCM.
    Android,
}

impl Platform {
    /// Every platform, in the order of [`Platform::index`].
    pub const ALL: [Self; 2] = [Self::Apple, Self::Android];

    /// `apple` or `android`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apple => "apple",
            Self::Android => "android",
        }
    }

    /// A dense index for tables of counters.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What a push is about (the wire field `type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushKind {
    /// A message was posted.
    Message,
    /// Messages were read elsewhere: take their notifications down.
    Clear,
    /// The number of unread messages changed.
    UpdateBadge,
    /// The session ended: the app logs out and wipes.
    Session,
    /// An operator pressed "send a test notification".
    Test,
    /// Anything else; passed through as written.
    Other(String),
    /// A message of the native API, which has no `type`. Counted as `other`, so that dashboards made for Mattermost's
    /// types do not meet words they do not know; the log names it.
    Native(message::Kind),
}

impl PushKind {
    /// Every value of [`PushKind::label`], in the order of [`PushKind::index`].
    pub const LABELS: [&'static str; 6] = ["message", "clear", "update_badge", "session", "test", "other"];

    /// From the wire.
    pub fn from_wire(text: &str) -> Self {
        match text {
            "message" => Self::Message,
            "clear" => Self::Clear,
            "update_badge" => Self::UpdateBadge,
            "session" => Self::Session,
            "test" => Self::Test,
            other => Self::Other(other.to_owned()),
        }
    }

    /// As written on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(text) => text,
            Self::Native(kind) => kind.as_str(),
            known => known.label(),
        }
    }

    /// For metrics: a caller cannot add values to this set.
    pub fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// For logs: as [`PushKind::label`], and a message of the native API by its own word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Native(kind) => kind.as_str(),
            known => known.label(),
        }
    }

    /// The kind of a [`PushKind::word`]: one of the native API if it is its own word, `other` if it is nobody's.
    pub fn of_word(word: &str) -> Self {
        match message::Kind::ALL.into_iter().find(|kind| kind.as_str() == word) {
            Some(kind) => Self::Native(kind),
            None => Self::from_wire(word),
        }
    }

    /// A dense index for tables of counters.
    pub fn index(&self) -> usize {
        match self {
            Self::Message => 0,
            Self::Clear => 1,
            Self::UpdateBadge => 2,
            Self::Session => 3,
            Self::Test => 4,
            Self::Other(_) | Self::Native(_) => 5,
        }
    }
}

/// Which of the phone's channels a push takes (the wire field `transport`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The usual one; the field is empty.
    Standard,
    /// Apple's channel for calls.
    Voip,
    /// A word this relay does not know; sent the usual way.
    Other,
}

impl Transport {
    /// Every value of [`Transport::label`], in the order of [`Transport::index`].
    pub const LABELS: [&'static str; 3] = ["", "voip", "other"];

    /// From the wire.
    pub fn from_wire(text: &str) -> Self {
        match text {
            "" => Self::Standard,
            "voip" => Self::Voip,
            _ => Self::Other,
        }
    }

    /// For metrics and logs: empty for the usual channel, as the reference labels it.
    pub fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// A dense index for tables of counters.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Who goes first where not all can: calls, then messages, then what only corrects a number or takes something down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Urgency {
    /// It rings now or never.
    Call,
    /// Somebody wrote, or an operator tests.
    Message,
    /// Nobody looks up for it.
    Badge,
}

impl Urgency {
    /// Every urgency, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Call, Self::Message, Self::Badge];

    /// For metrics and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Message => "message",
            Self::Badge => "badge",
        }
    }
}

/// How closely the reference (`mattermost-push-proxy`) is followed where it can be bettered without a phone noticing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// Texts are cut between characters and fitted to the provider's limit; an empty session push is silent.
    #[default]
    Improved,
    /// As the reference does it, byte for byte.
    Strict,
}

/// One push to one phone: who asks, where to, and what it says.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The caller's name for this push; empty when it asks for no receipt.
    pub ack_id: String,
    /// Who says that it sends.
    pub server_id: ServerId,
    /// Which app at which provider, without the version suffix (`apple_rn`, not `apple_rn-v2`).
    pub target: TargetName,
    /// The app's protocol version: the number behind `-v` in the platform, 1 without one.
    pub app_version: u32,
    /// Which phone.
    pub device: DeviceToken,
    /// What it is about.
    pub kind: PushKind,
    /// Which channel.
    pub transport: Transport,
    /// The caller's signature, passed on to the phone, which checks it too. Private: its claims hold the device token.
    pub signature: Private,
    /// What it says.
    pub content: Content,
}

impl Notification {
    /// A program's message for one of its devices. The caller has been checked by other means than Mattermost's
    /// signature, of which there is none.
    pub fn of_message(message: &Arc<Message>, server_id: &ServerId, target: &TargetName, device: DeviceToken) -> Self {
        let kind = message.kind();
        Self {
            ack_id: message.id.clone(),
            server_id: server_id.clone(),
            target: target.clone(),
            app_version: NO_APP_VERSION,
            device,
            kind: PushKind::Native(kind),
            transport: match kind {
                message::Kind::Voip => Transport::Voip,
                message::Kind::Alert | message::Kind::Background => Transport::Standard,
            },
            signature: Private::default(),
            content: Content::Native(Arc::clone(message)),
        }
    }
}

/// The version of Mattermost's app protocol in a push that does not speak it; counted as `other`.
const NO_APP_VERSION: u32 = 0;

/// What a push says, in the words of whoever sends it.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "most are the large one, which a box would cost an allocation each")]
pub enum Content {
    /// Mattermost's fields.
    Mattermost(MattermostContent),
    /// A message of the native API, shared by all the devices it goes to.
    Native(Arc<Message>),
}

/// The fields of a push that Mattermost's app reads. Ids are plain, texts are private; absent is empty.
#[derive(Clone, Default)]
pub struct MattermostContent {
    /// A refinement of the kind; `calls`.
    pub sub_type: String,
    /// The app's notification category.
    pub category: String,
    /// The text, at most 2,047 bytes.
    pub message: Private,
    /// Unread count: −1 leaves the badge alone. (The wire's default is 0, which clears it.)
    pub badge: i64,
    /// The payload version, `v2` on every current server.
    pub version: String,
    /// The post.
    pub post_id: String,
    /// The team.
    pub team_id: String,
    /// The channel.
    pub channel_id: String,
    /// The thread's first post.
    pub root_id: String,
    /// The channel's name, at most 64 bytes.
    pub channel_name: Private,
    /// The sender's id.
    pub sender_id: String,
    /// The sender's name.
    pub sender_name: Private,
    /// The name a webhook posts under.
    pub override_username: Private,
    /// The picture a webhook posts with.
    pub override_icon_url: Private,
    /// `true` if a webhook posted.
    pub from_webhook: String,
    /// Collapsed reply threads are on.
    pub is_crt_enabled: bool,
    /// The phone fetches the text from its server by id.
    pub is_id_loaded: bool,
}

#[cfg(test)]
impl Content {
    /// Mattermost's fields, for a test that knows that they are.
    pub(crate) fn mattermost(&self) -> &MattermostContent {
        match self {
            Self::Mattermost(content) => content,
            Self::Native(_) => panic!("a message of the native API"),
        }
    }

    /// The same, for a test that changes one.
    pub(crate) fn mattermost_mut(&mut self) -> &mut MattermostContent {
        match self {
            Self::Mattermost(content) => content,
            Self::Native(_) => panic!("a message of the native API"),
        }
    }
}

impl fmt::Debug for MattermostContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MattermostContent([private])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_apple_token_is_one_phone_in_any_spelling_and_google_tells_capitals_apart() {
        let hex = "0123456789abcdef".repeat(4);
        for (token, phone) in [
            (hex.to_ascii_uppercase(), hex.as_str()),
            (format!("{hex}AbCd"), &format!("{hex}abcd")),
            (hex.clone(), &hex),
            ("dTOKEN:APA91bF".to_owned() + &"A".repeat(120), &("dTOKEN:APA91bF".to_owned() + &"A".repeat(120))),
            ("ABCDEF0123456789ABCDEF".to_owned(), "ABCDEF0123456789ABCDEF"),
        ] {
            assert_eq!(DeviceToken::new(token.clone()).unwrap().phone(), phone, "{token}");
        }
    }

    #[test]
    fn an_empty_token_or_server_id_cannot_be_built() {
        assert!(DeviceToken::new("").is_none());
        assert!(ServerId::new("").is_none());
    }

    #[test]
    fn a_debug_print_of_a_token_shows_only_its_length() {
        let token = DeviceToken::new("canary").unwrap();
        assert_eq!(format!("{token:?}"), "DeviceToken([private], 6 bytes)");
    }

    #[test]
    fn a_kind_survives_the_wire_and_unknown_ones_share_one_label() {
        for label in &PushKind::LABELS[..5] {
            assert_eq!(PushKind::from_wire(label).as_str(), *label);
            assert_eq!(PushKind::from_wire(label).label(), *label);
        }
        assert_eq!(PushKind::from_wire("poll").as_str(), "poll");
        assert_eq!(PushKind::from_wire("poll").label(), "other");
    }

    #[test]
    fn a_second_kind_of_content_makes_no_notification_larger() {
        assert_eq!(size_of::<Content>(), size_of::<MattermostContent>());
        assert_eq!(size_of::<PushKind>(), size_of::<String>());
    }

    #[test]
    fn a_native_push_is_counted_as_other_and_logged_by_its_own_word() {
        let kind = PushKind::Native(message::Kind::Alert);
        assert_eq!((kind.label(), kind.word(), kind.as_str()), ("other", "alert", "alert"));
        assert_eq!(PushKind::from_wire("alert").word(), "other");
    }

    #[test]
    fn an_unknown_transport_has_a_bounded_label() {
        assert_eq!(Transport::from_wire("").label(), "");
        assert_eq!(Transport::from_wire("voip").label(), "voip");
        assert_eq!(Transport::from_wire("carrier pigeon").label(), "other");
    }
}
