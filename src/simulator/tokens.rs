//! Device tokens with a meaning: whoever sends to one gets the outcome its beginning names, without any set-up.
//!
//! APNs tokens are hexadecimal, so theirs read `dead`, a digit that tells reasons of one status apart, and the
//! status: `dead0410…`. FCM's are plain words. The tables here are what `docs/simulator.md` prints.

use std::time::Duration;

use super::faults::{Action, GoAway, Plan, Refuse, Reset, Stall};

/// One documented token.
#[derive(Clone, Copy, Debug)]
pub struct DocumentedToken {
    /// How such a token begins; the rest is free.
    pub prefix: &'static str,
    /// What it asks for.
    pub outcome: TokenOutcome,
}

/// What a documented token asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenOutcome {
    /// A refusal with this status, this reason and perhaps a `Retry-After` in seconds.
    Refused(u16, &'static str, Option<u32>),
    /// A stream or connection that breaks.
    Reset(Reset),
    /// A GOAWAY.
    GoAway(GoAway),
    /// No answer at all.
    Stall(Stall),
    /// Accepted, but this much later.
    Slow(Duration),
}

const fn refused(prefix: &'static str, status: u16, reason: &'static str) -> DocumentedToken {
    DocumentedToken { prefix, outcome: TokenOutcome::Refused(status, reason, None) }
}

const fn later(prefix: &'static str, status: u16, reason: &'static str, retry_after: u32) -> DocumentedToken {
    DocumentedToken { prefix, outcome: TokenOutcome::Refused(status, reason, Some(retry_after)) }
}

const fn wire(prefix: &'static str, outcome: TokenOutcome) -> DocumentedToken {
    DocumentedToken { prefix, outcome }
}

/// 64 zeros: well-formed, and never given to a phone.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Apple's outcomes ("Handling notification responses from APNs").
pub const APNS_TOKENS: &[DocumentedToken] = &[
    refused("dead0410", 410, "Unregistered"),
    refused("dead1410", 410, "ExpiredToken"),
    refused("dead0400", 400, "BadDeviceToken"),
    refused(NOBODY, 400, "BadDeviceToken"),
    refused("dead1400", 400, "MissingDeviceToken"),
    refused("dead2400", 400, "DeviceTokenNotForTopic"),
    refused("dead3400", 400, "BadTopic"),
    refused("dead4400", 400, "MissingTopic"),
    refused("dead5400", 400, "TopicDisallowed"),
    refused("dead6400", 400, "IdleTimeout"),
    refused("dead7400", 400, "PayloadEmpty"),
    refused("dead8400", 400, "BadMessageId"),
    refused("dead0403", 403, "ExpiredProviderToken"),
    refused("dead1403", 403, "InvalidProviderToken"),
    refused("dead2403", 403, "MissingProviderToken"),
    refused("dead3403", 403, "BadCertificate"),
    refused("dead4403", 403, "BadCertificateEnvironment"),
    refused("dead5403", 403, "Forbidden"),
    refused("dead6403", 403, "BadEnvironmentKeyIdInToken"),
    refused("dead7403", 403, "BadEnvironmentKeyInToken"),
    refused("dead8403", 403, "UnrelatedKeyIdInToken"),
    refused("dead0404", 404, "BadPath"),
    refused("dead0405", 405, "MethodNotAllowed"),
    refused("dead0413", 413, "PayloadTooLarge"),
    refused("dead0429", 429, "TooManyRequests"),
    refused("dead1429", 429, "TooManyProviderTokenUpdates"),
    refused("dead0500", 500, "InternalServerError"),
    refused("dead0503", 503, "ServiceUnavailable"),
    refused("dead1503", 503, "Shutdown"),
    later("dead2503", 503, "ServiceUnavailable", 30),
    wire("dead0001", TokenOutcome::Reset(Reset::Stream)),
    wire("dead0002", TokenOutcome::Reset(Reset::Refused)),
    wire("dead0003", TokenOutcome::Reset(Reset::Connection)),
    wire("dead0004", TokenOutcome::Reset(Reset::AnswerLost)),
    wire("dead0005", TokenOutcome::GoAway(GoAway::Before)),
    wire("dead0006", TokenOutcome::GoAway(GoAway::After)),
    wire("dead0007", TokenOutcome::GoAway(GoAway::Graceful)),
    wire("dead0008", TokenOutcome::Stall(Stall::Stream)),
    wire("dead0009", TokenOutcome::Stall(Stall::Connection)),
    wire("dead0010", TokenOutcome::Slow(Duration::from_secs(2))),
];

/// Google's outcomes (Firebase, "FCM error codes"). An empty reason is an error without the FCM detail.
pub const FCM_TOKENS: &[DocumentedToken] = &[
    refused("fcm-unregistered", 404, "UNREGISTERED"),
    refused("fcm-not-found", 404, ""),
    refused("fcm-sender-id-mismatch", 403, "SENDER_ID_MISMATCH"),
    refused("fcm-permission-denied", 403, ""),
    refused("fcm-unauthenticated", 401, ""),
    refused("fcm-third-party-auth-error", 401, "THIRD_PARTY_AUTH_ERROR"),
    refused("fcm-invalid-argument", 400, "INVALID_ARGUMENT"),
    refused("fcm-quota-exceeded", 429, "QUOTA_EXCEEDED"),
    later("fcm-quota-retry-after", 429, "QUOTA_EXCEEDED", 90),
    refused("fcm-internal", 500, "INTERNAL"),
    refused("fcm-unavailable", 503, "UNAVAILABLE"),
    later("fcm-unavailable-retry-after", 503, "UNAVAILABLE", 30),
    wire("fcm-reset-stream", TokenOutcome::Reset(Reset::Stream)),
    wire("fcm-refused-stream", TokenOutcome::Reset(Reset::Refused)),
    wire("fcm-disconnect", TokenOutcome::Reset(Reset::Connection)),
    wire("fcm-answer-lost", TokenOutcome::Reset(Reset::AnswerLost)),
    wire("fcm-goaway-before", TokenOutcome::GoAway(GoAway::Before)),
    wire("fcm-goaway-after", TokenOutcome::GoAway(GoAway::After)),
    wire("fcm-goaway-graceful", TokenOutcome::GoAway(GoAway::Graceful)),
    wire("fcm-stall-stream", TokenOutcome::Stall(Stall::Stream)),
    wire("fcm-stall-connection", TokenOutcome::Stall(Stall::Connection)),
    wire("fcm-slow", TokenOutcome::Slow(Duration::from_secs(2))),
];

/// What this token asks for by its name; of several beginnings that fit, the longest counts.
pub(super) fn documented(table: &[DocumentedToken], device_token: &str) -> Plan {
    let row = table.iter().filter(|row| device_token.starts_with(row.prefix)).max_by_key(|row| row.prefix.len());
    let Some(row) = row else { return Plan::default() };
    let action = match row.outcome {
        TokenOutcome::Slow(latency) => return Plan { latency, action: None },
        TokenOutcome::Refused(status, reason, retry_after) => Action::Answer(Refuse {
            status,
            reason: reason.to_owned(),
            retry_after: retry_after.map(|seconds| seconds.to_string()),
            body: None,
        }),
        TokenOutcome::Reset(reset) => Action::Reset(reset),
        TokenOutcome::GoAway(goaway) => Action::GoAway(goaway),
        TokenOutcome::Stall(stall) => Action::Stall(stall),
    };
    Plan { latency: Duration::ZERO, action: Some(action) }
}
