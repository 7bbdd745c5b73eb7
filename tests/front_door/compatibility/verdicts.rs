//! What a provider says, and what the chat server hears: OK, REMOVE, or a FAIL. Of Apple's reasons it hears none; of
//! Google's it hears the `message` of the error.
//!
//! Sources: Apple, "Handling notification responses from APNs"; Firebase, "FCM error codes".

use pushrelay::simulator::{Action, Fault, Provider, Refuse, Reset, Stall};
use serde_json::{Value, json};

use super::case::{Case, fail, google_fails, remove, to_android, to_apple};

/// Status and reason of answers after which Apple wants nothing more for the token.
const APPLE_REMOVES: &[(u16, &str)] =
    &[(400, "BadDeviceToken"), (400, "MissingDeviceToken"), (400, "DeviceTokenNotForTopic"), (410, "Unregistered")];

/// Those that end in a FAIL: passing trouble that does not pass, credentials, and requests that stay wrong.
const APPLE_FAILS: &[(u16, &str)] = &[
    (400, "BadCollapseId"),
    (400, "BadExpirationDate"),
    (400, "BadMessageId"),
    (400, "BadPriority"),
    (400, "BadTopic"),
    (400, "DuplicateHeaders"),
    (400, "IdleTimeout"),
    (400, "InvalidPushType"),
    (400, "MissingTopic"),
    (400, "PayloadEmpty"),
    (400, "TopicDisallowed"),
    (400, "AReasonOfTomorrow"),
    (403, "BadCertificate"),
    (403, "BadCertificateEnvironment"),
    (403, "BadEnvironmentKeyIdInToken"),
    (403, "ExpiredProviderToken"),
    (403, "Forbidden"),
    (403, "InvalidProviderToken"),
    (403, "MissingProviderToken"),
    (403, "UnrelatedKeyIdInToken"),
    (404, "BadPath"),
    (405, "MethodNotAllowed"),
    (413, "PayloadTooLarge"),
    (429, "TooManyProviderTokenUpdates"),
    (429, "TooManyRequests"),
    (500, "InternalServerError"),
    (503, "ServiceUnavailable"),
    (503, "Shutdown"),
];

/// Trouble that passes after one answer or two: the push arrives, and nothing else is heard.
const APPLE_PASSES: &[(u16, &str, u64)] = &[
    (400, "IdleTimeout", 1),
    (429, "TooManyRequests", 1),
    (500, "InternalServerError", 1),
    (503, "ServiceUnavailable", 2),
    (503, "Shutdown", 2),
];

/// Status, canonical code, FCM's own code ("" for none).
type Said = (u16, &'static str, &'static str);

const GOOGLE_REMOVES: &[Said] = &[(404, "NOT_FOUND", "UNREGISTERED"), (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH")];

/// With the sentence Google has for it, and how it stands in the answer's JSON.
#[rustfmt::skip]
/// With what the relay's own text begins.
const GOOGLE_FAILS: &[(Said, &str, &str)] = &[
    ((400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        "The registration token is not a valid FCM registration token", "INVALID_ARGUMENT: "),
    ((400, "INVALID_ARGUMENT", ""), "Invalid value at 'message.data[0].value' (TYPE_STRING), \"canary\"", "INVALID_ARGUMENT: "),
    ((404, "NOT_FOUND", ""), "Requested entity was not found.", "NOT_FOUND: "),
    ((403, "PERMISSION_DENIED", ""), "Permission 'cloudmessaging.messages.create' denied on resource.", "PERMISSION_DENIED: "),
    ((401, "UNAUTHENTICATED", ""), "Request had invalid authentication credentials.", "UNAUTHENTICATED: "),
    ((401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), "Auth error from APNS or Web Push Service", "THIRD_PARTY_AUTH_ERROR: "),
    ((429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), "Quota exceeded.", "QUOTA_EXCEEDED: "),
    ((500, "INTERNAL", "INTERNAL"), "Internal error encountered.", "INTERNAL: "),
    ((503, "UNAVAILABLE", "UNAVAILABLE"), "The service is currently unavailable.", "UNAVAILABLE: "),
];

const GOOGLE_PASSES: &[(Said, u64)] = &[
    ((401, "UNAUTHENTICATED", ""), 1),
    ((500, "INTERNAL", "INTERNAL"), 1),
    ((500, "INTERNAL", "INTERNAL"), 2),
    ((503, "UNAVAILABLE", "UNAVAILABLE"), 1),
    ((503, "UNAVAILABLE", "UNAVAILABLE"), 2),
];

pub fn cases() -> Vec<Case> {
    [apple(), google()].concat()
}

fn iphone(name: &str) -> Case {
    to_apple(name, &json!({}), &json!({}))
}

fn android(name: &str) -> Case {
    to_android(name, &json!({}), &json!({}))
}

fn apple() -> Vec<Case> {
    let says = |status, reason| Fault::answer(status, reason).on(Provider::Apns);
    let mut cases = Vec::new();
    for (status, reason) in APPLE_REMOVES {
        let case = iphone(&format!("Apple says {status} {reason}"));
        cases.push(case.but(says(*status, reason)).refused(remove()));
    }
    for (status, reason) in APPLE_FAILS {
        let case = iphone(&format!("Apple says {status} {reason}"));
        cases.push(case.but(says(*status, reason)).refused(fail("unknown send response error")));
    }
    for (status, reason, times) in APPLE_PASSES {
        let case = iphone(&format!("Apple says {status} {reason} {times} times"));
        cases.push(case.but(says(*status, reason).times(*times)));
    }
    let removes_a_call = to_apple("Apple says that a call's token is dead", &json!({"transport": "voip"}), &json!({}));
    let fails_a_call = to_apple("Apple does not take a call", &json!({"transport": "voip"}), &json!({}));
    cases.extend([
        removes_a_call.but(says(410, "Unregistered")).refused(remove()),
        fails_a_call.but(says(413, "PayloadTooLarge")).refused(fail("unknown send response error")),
        iphone("Apple says 500 and nothing else")
            .but(Fault::new(answer(500, "")).on(Provider::Apns))
            .refused(fail("unknown send response error")),
        iphone("Apple resets one stream, then takes it").but(reset(Provider::Apns, Reset::Stream).times(1)),
        iphone("Apple refuses one stream, then takes it").but(reset(Provider::Apns, Reset::Refused).times(1)),
        iphone("Apple resets every stream")
            .but(reset(Provider::Apns, Reset::Stream))
            .refused(fail("unknown transport error")),
        to_apple("Apple does not know such a token", &json!({"device_id": "no hexadecimal digits"}), &json!({}))
            .refused(remove()),
    ]);
    cases
}

fn google() -> Vec<Case> {
    let says = |said: &Said, message: &str| {
        Fault::new(answer(said.0, &google_error(said, message).to_string())).on(Provider::Fcm)
    };
    let mut cases = Vec::new();
    for said @ (status, word, code) in GOOGLE_REMOVES {
        let case = android(&format!("Google says {status} {word} {code}"));
        cases.push(case.but(says(said, "Requested entity was not found.")).refused(remove()));
    }
    for (said @ (status, word, code), message, told) in GOOGLE_FAILS {
        let case = android(&format!("Google says {status} {word} {code}"));
        cases.push(case.but(says(said, message)).refused(google_fails(told)));
    }
    for (said @ (status, word, _), times) in GOOGLE_PASSES {
        let case = android(&format!("Google says {status} {word} {times} times"));
        cases.push(case.but(says(said, "It passes.").times(*times)));
    }
    cases.extend([
        android("Google says 400 in markup")
            .but(Fault::new(answer(400, "<p>no</p>")).on(Provider::Fcm))
            .refused(google_fails("")),
        android("Google resets one stream, then takes it").but(reset(Provider::Fcm, Reset::Stream).times(1)),
        android("Google resets every stream").but(reset(Provider::Fcm, Reset::Stream)).refused(google_fails("")),
    ]);
    cases
}

/// For a relay that gives up soon.
pub fn silence() -> Vec<Case> {
    let stall = |provider, stall| Fault::new(Action::Stall(stall)).on(provider);
    vec![
        iphone("Apple never answers")
            .but(stall(Provider::Apns, Stall::Stream))
            .refused(fail("unknown transport error")),
        iphone("Apple's connection freezes")
            .but(stall(Provider::Apns, Stall::Connection))
            .refused(fail("unknown transport error")),
        iphone("Apple hangs up").but(reset(Provider::Apns, Reset::Connection)).refused(fail("unknown transport error")),
        android("Google never answers").but(stall(Provider::Fcm, Stall::Stream)).refused(google_fails("")),
        android("Google hangs up").but(reset(Provider::Fcm, Reset::Connection)).refused(google_fails("")),
    ]
}

fn answer(status: u16, body: &str) -> Action {
    Action::Answer(Refuse { status, body: Some(body.to_owned()), ..Refuse::default() })
}

fn reset(provider: Provider, reset: Reset) -> Fault {
    Fault::new(Action::Reset(reset)).on(provider)
}

/// Google AIP-193, with FCM's detail.
fn google_error((status, word, code): &Said, message: &str) -> Value {
    let mut error = json!({"code": status, "message": message, "status": word});
    if !code.is_empty() {
        let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
        error["details"] = json!([{"@type": kind, "errorCode": code}]);
    }
    json!({"error": error})
}
