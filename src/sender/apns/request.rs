//! How a notification becomes a request to APNs: path and headers. The body is the payload's business.
//!
//! Source: Apple, "Sending notification requests to APNs".

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

use super::payload::PushType;
use crate::notification::DeviceToken;

/// The longest device token that is tried, in bytes. Apple states no length; tokens have 64 characters and are said to
/// become up to 200. What is longer would only be an expensive way to hear `BadDeviceToken`.
const MAX_TOKEN: usize = 1_024;

/// What stays as it is in a path segment. Not the dot, though RFC 3986 would let it: `..` must stay a token.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

const APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");
const APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");

/// What all requests of one target have in common.
#[derive(Debug)]
pub(super) struct Addressing {
    /// `https://host[:port]`.
    origin: String,
    topic: HeaderValue,
    /// The topic of calls: the app's, with `.voip` behind it.
    voip_topic: HeaderValue,
}

fn push_type(kind: PushType) -> HeaderValue {
    HeaderValue::from_static(match kind {
        PushType::Alert => "alert",
        PushType::Background => "background",
        PushType::Voip => "voip",
    })
}

/// Apple refuses priority 10 for what shows nothing.
fn priority(kind: PushType, is_normal: bool) -> HeaderValue {
    HeaderValue::from_static(match kind {
        PushType::Alert | PushType::Voip if !is_normal => "10",
        _ => "5",
    })
}

/// What Mattermost never asks for and a program may. Boxed where it is kept, so that Mattermost's pushes do not pay for it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Priority 5 instead of 10.
    pub(super) is_normal: bool,
    /// At most 64 bytes.
    pub(super) collapse_id: Option<HeaderValue>,
}

/// The device token is longer than any token can be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TokenTooLong;

/// One notification's request, the same for each attempt but for the provider token.
pub(super) struct Prepared {
    uri: Uri,
    /// As 16 bytes: its text is only needed while a request is written.
    pub(super) id: Uuid,
    topic: HeaderValue,
    push_type: PushType,
    expiration: Option<u64>,
    wishes: Option<Box<Wishes>>,
    pub(super) body: Bytes,
}

impl Addressing {
    /// `origin` is `https://host[:port]`. `None` if the topic cannot be a header.
    pub(super) fn new(origin: String, topic: &str) -> Option<Self> {
        let topic = topic.trim();
        if topic.is_empty() {
            return None;
        }
        let voip_topic = HeaderValue::from_str(&format!("{topic}.voip")).ok()?;
        Some(Self { origin, topic: HeaderValue::from_str(topic).ok()?, voip_topic })
    }

    /// The body is built only if the request can be sent. `expiration` is in seconds after the Unix epoch; 0 is now or never.
    pub(super) fn prepare(
        &self,
        device: &DeviceToken,
        push_type: PushType,
        expiration: Option<u64>,
        wishes: Option<Box<Wishes>>,
        body: impl FnOnce() -> Bytes,
    ) -> Result<Prepared, TokenTooLong> {
        let token = device.expose();
        if token.len() > MAX_TOKEN {
            return Err(TokenTooLong);
        }
        let uri = format!("{}/3/device/{}", self.origin, utf8_percent_encode(token, SEGMENT));
        let uri = Uri::from_maybe_shared(Bytes::from(uri))
            .expect("an origin that has been connected to, and a segment of at most 3 KiB of plain letters");
        let topic = if push_type == PushType::Voip { &self.voip_topic } else { &self.topic };
        Ok(Prepared { uri, id: Uuid::new_v4(), topic: topic.clone(), push_type, expiration, wishes, body: body() })
    }
}

/// A lower-case UUID, the form Apple asks for.
fn id_header(id: Uuid) -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut text);
    once(HeaderValue::from_str(text).expect("hexadecimal digits and hyphens"))
}

/// Not a secret: it hardly comes again, and this keeps HPACK from giving it a place in the table of those that do.
fn once(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

impl Prepared {
    /// The head of one attempt.
    pub(super) fn head(&self, authorization: Option<&HeaderValue>) -> Request<()> {
        let mut headers = HeaderMap::with_capacity(if self.wishes.is_some() { 7 } else { 6 });
        headers.insert(APNS_TOPIC, self.topic.clone());
        headers.insert(APNS_PUSH_TYPE, push_type(self.push_type));
        let is_normal = self.wishes.as_ref().is_some_and(|wishes| wishes.is_normal);
        headers.insert(APNS_PRIORITY, priority(self.push_type, is_normal));
        if let Some(expiration) = self.expiration {
            headers.insert(APNS_EXPIRATION, once(expiration.into()));
        }
        if let Some(collapse_id) = self.wishes.as_ref().and_then(|wishes| wishes.collapse_id.as_ref()) {
            headers.insert(APNS_COLLAPSE_ID, collapse_id.clone());
        }
        headers.insert(APNS_ID, id_header(self.id));
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("apns_id", &self.id)
            .field("push_type", &self.push_type)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_notification::notification;
    use super::*;
    use crate::notification::{Compatibility, Notification, PushKind, Transport};
    use crate::private::Private;
    use proptest::prelude::*;

    fn addressing() -> Addressing {
        Addressing::new("https://api.push.apple.com".to_owned(), "com.example.app").unwrap()
    }

    fn push_type_of(notification: &Notification, compatibility: Compatibility) -> PushType {
        PushType::of(notification, notification.content.mattermost(), compatibility)
    }

    fn prepare(notification: &Notification) -> Prepared {
        addressing()
            .prepare(&notification.device, push_type_of(notification, Compatibility::Improved), None, None, || {
                Bytes::from_static(b"{}")
            })
            .unwrap()
    }

    fn header<'a>(request: &'a Request<()>, name: &str) -> Option<&'a str> {
        request.headers().get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_message_is_an_alert_to_the_apps_topic_under_one_id_for_all_attempts() {
        let prepared = prepare(&notification("00fc13ad"));
        let authorization = HeaderValue::from_static("bearer x");
        let request = prepared.head(Some(&authorization));
        assert_eq!((request.method().as_str(), request.version()), ("POST", Version::HTTP_2));
        assert_eq!(request.uri(), "https://api.push.apple.com/3/device/00fc13ad");
        assert_eq!(header(&request, "apns-topic"), Some("com.example.app"));
        assert_eq!(header(&request, "apns-push-type"), Some("alert"));
        assert_eq!(header(&request, "apns-priority"), Some("10"));
        assert_eq!(header(&request, "authorization"), Some("bearer x"));
        let id = header(&request, "apns-id").unwrap();
        assert_eq!(Uuid::parse_str(id).unwrap().hyphenated().to_string(), id);
        let again = prepared.head(None);
        assert_eq!(header(&again, "apns-id"), Some(id));
        assert_eq!(header(&again, "authorization"), None);
        assert_ne!(header(&prepare(&notification("00fc13ad")).head(None), "apns-id"), Some(id));
    }

    #[test]
    fn how_a_push_is_delivered_follows_from_its_transport_kind_and_text() {
        use Compatibility::{Improved, Strict};
        use Transport::{Other, Standard, Voip};
        let cases = [
            (Standard, "message", "hi", false, Improved, PushType::Alert),
            (Standard, "message", "", false, Improved, PushType::Alert),
            (Standard, "clear", "", false, Improved, PushType::Alert),
            (Standard, "session", "", false, Improved, PushType::Background),
            (Other, "session", "", false, Improved, PushType::Background),
            (Standard, "session", "", false, Strict, PushType::Alert),
            (Standard, "session", "expired", false, Improved, PushType::Alert),
            (Standard, "session", "", true, Improved, PushType::Alert),
            (Voip, "message", "", false, Improved, PushType::Voip),
            (Voip, "session", "", false, Improved, PushType::Voip),
        ];
        for (transport, kind, message, is_id_loaded, compatibility, expected) in cases {
            let mut notification = notification("ab");
            notification.transport = transport;
            notification.kind = PushKind::from_wire(kind);
            notification.content.mattermost_mut().message = Private::new(message);
            notification.content.mattermost_mut().is_id_loaded = is_id_loaded;
            let push_type = push_type_of(&notification, compatibility);
            assert_eq!(push_type, expected, "{transport:?} {kind} {message:?} {is_id_loaded} {compatibility:?}");
        }
    }

    #[test]
    fn a_call_goes_to_its_own_topic_and_a_silent_push_is_not_urgent() {
        let mut call = notification("ab");
        call.transport = Transport::Voip;
        let request = prepare(&call).head(None);
        assert_eq!(header(&request, "apns-topic"), Some("com.example.app.voip"));
        assert_eq!(header(&request, "apns-push-type"), Some("voip"));
        assert_eq!(header(&request, "apns-priority"), Some("10"));
        let mut session = notification("ab");
        session.kind = PushKind::Session;
        session.content.mattermost_mut().message = Private::default();
        let request = prepare(&session).head(None);
        assert_eq!(header(&request, "apns-topic"), Some("com.example.app"));
        assert_eq!(header(&request, "apns-push-type"), Some("background"));
        assert_eq!(header(&request, "apns-priority"), Some("5"));
    }

    #[test]
    fn a_token_of_impossible_length_is_not_sent() {
        let prepare = |length: usize| {
            addressing()
                .prepare(&notification(&"é".repeat(length / 2)).device, PushType::Alert, None, None, Bytes::new)
                .map(|_| ())
        };
        assert_eq!(prepare(MAX_TOKEN), Ok(()));
        assert_eq!(prepare(MAX_TOKEN + 2), Err(TokenTooLong));
    }

    #[test]
    fn a_topic_that_cannot_be_one_is_refused() {
        for topic in ["", "  ", "com.example\nx", "com.exämple"] {
            let made = Addressing::new(String::new(), topic);
            assert_eq!(made.is_some(), topic == "com.exämple", "{topic:?}");
        }
    }

    #[test]
    fn a_debug_print_shows_neither_token_nor_text() {
        let printed = format!("{:?}", prepare(&notification("canary")));
        assert!(!printed.contains("canary") && printed.contains("apns_id"), "{printed}");
    }

    proptest! {
        #[test]
        fn no_token_whatever_leaves_its_place_in_the_path(token in "\\PC{1,80}|[./?#%\\\\\r\n \u{0}-]{1,80}") {
            let mut hostile = notification("x");
            hostile.device = DeviceToken::new(token.clone()).unwrap();
            let request = prepare(&hostile).head(None);
            let path = request.uri().path();
            let segment = path.strip_prefix("/3/device/").unwrap();
            prop_assert!(!segment.contains(['/', '.', '?', '#']));
            prop_assert!(request.uri().query().is_none());
            let back = percent_encoding::percent_decode_str(segment).decode_utf8().unwrap();
            prop_assert_eq!(back, token);
        }
    }
}
