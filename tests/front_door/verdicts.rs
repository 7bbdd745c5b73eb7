//! Every answer a provider can give, and what becomes of it.

use pushrelay::simulator::{Fault, Provider};

use crate::support::push::apple_token;
use crate::support::{Plan, Push, Scene};

/// What the chat server is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Remove,
    /// FAIL at once: another attempt would end the same way.
    Fail,
    /// FAIL after as many attempts as allowed where there is no queue: it passes.
    FailAfterRetries,
    /// FAIL after as many as are configured: more would make it worse.
    FailAfterFewRetries,
    /// FAIL after a second attempt with a fresh credential.
    FailAfterRenewal,
    /// FAIL at once: our credentials or topic are wrong, as far as this push tells.
    Broken,
}

impl Told {
    fn attempts(self) -> u64 {
        match self {
            Self::Remove | Self::Fail | Self::Broken => 1,
            Self::FailAfterRenewal => 2,
            Self::FailAfterFewRetries => 3,
            Self::FailAfterRetries => 15,
        }
    }
}

/// Apple's "Handling notification responses from APNs": status, reason, what is told.
const APNS: &[(u16, &str, Told)] = &[
    (410, "Unregistered", Told::Remove),
    (410, "ExpiredToken", Told::Remove),
    (400, "BadDeviceToken", Told::Remove),
    (400, "MissingDeviceToken", Told::Remove),
    (400, "DeviceTokenNotForTopic", Told::Remove),
    (403, "InvalidProviderToken", Told::Broken),
    (403, "MissingProviderToken", Told::Broken),
    (403, "BadCertificate", Told::Broken),
    (403, "BadCertificateEnvironment", Told::Broken),
    (403, "Forbidden", Told::Broken),
    (403, "BadEnvironmentKeyIdInToken", Told::Broken),
    (403, "BadEnvironmentKeyInToken", Told::Broken),
    (403, "UnrelatedKeyIdInToken", Told::Broken),
    (400, "BadTopic", Told::Broken),
    (400, "MissingTopic", Told::Broken),
    (400, "TopicDisallowed", Told::Broken),
    (429, "TooManyProviderTokenUpdates", Told::FailAfterRetries),
    (429, "TooManyRequests", Told::FailAfterFewRetries),
    (500, "InternalServerError", Told::FailAfterRetries),
    (503, "ServiceUnavailable", Told::FailAfterRetries),
    (503, "Shutdown", Told::FailAfterRetries),
    (400, "IdleTimeout", Told::FailAfterRetries),
    (413, "PayloadTooLarge", Told::Fail),
    (400, "BadMessageId", Told::Fail),
    (400, "BadPriority", Told::Fail),
    (400, "PayloadEmpty", Told::Fail),
    (404, "BadPath", Told::Fail),
    (405, "MethodNotAllowed", Told::Fail),
];

/// Firebase's `ErrorCode` and what HTTP v1 says around it.
const FCM: &[(u16, &str, Told)] = &[
    (404, "UNREGISTERED", Told::Remove),
    (403, "SENDER_ID_MISMATCH", Told::Remove),
    (404, "", Told::Broken),
    (403, "", Told::Broken),
    (401, "", Told::FailAfterRenewal),
    (401, "THIRD_PARTY_AUTH_ERROR", Told::Fail),
    (400, "INVALID_ARGUMENT", Told::Fail),
    (500, "INTERNAL", Told::FailAfterRetries),
    (503, "UNAVAILABLE", Told::FailAfterRetries),
];

async fn check(scene: &Scene, provider: Provider, status: u16, reason: &str, told: Told) {
    let what = format!("{provider:?} {status} {reason}");
    // Each with an id of its own: a repeat would be answered from memory.
    let push = || match provider {
        Provider::Apns => Push::apple(&apple_token(1)),
        _ => Push::android("android-1"),
    };
    let target = if provider == Provider::Apns { "apple_rn" } else { "android_rn" };
    scene.simulator.faults().add(Fault::answer(status, reason).on(provider)).unwrap();
    let refused = scene.simulator.ledger().counts().refused;
    let answer = scene.post(&push()).await;
    let attempts = scene.simulator.ledger().counts().refused - refused;
    scene.simulator.faults().clear();

    let expected = if told == Told::Remove { "REMOVE" } else { "FAIL" };
    assert_eq!((answer.code, answer.status.as_str()), (200, expected), "{what}: {answer:?}");
    assert_eq!(attempts, told.attempts(), "{what}: attempts");
    if told != Told::Remove && !reason.is_empty() {
        assert!(answer.error.contains(reason), "{what}: {answer:?} gives the provider's word");
    }
    let (_, detail) = scene.ready().await;
    let targets = detail["targets"].as_array().unwrap();
    let state = targets.iter().find(|candidate| candidate["name"] == target).unwrap();
    assert!(state["problem"].is_null(), "{what}: others have arrived, so it is that push's own trouble: {state}");

    scene.post(&push()).await.expect_ok();
}

/// Each push finds out for itself how the provider is: what one verdict does to those that follow is shown with the breaker.
async fn without_breaker() -> Scene {
    Scene::new(Plan { tables: "[breaker]\nfailures = 0\n".into(), ..Plan::default() }).await
}

#[tokio::test]
async fn every_answer_of_apple_has_its_consequence_and_the_next_push_arrives() {
    let scene = without_breaker().await;
    for (status, reason, told) in APNS {
        check(&scene, Provider::Apns, *status, reason, *told).await;
    }
}

#[tokio::test]
async fn every_answer_of_google_has_its_consequence_and_the_next_push_arrives() {
    let scene = without_breaker().await;
    for (status, reason, told) in FCM {
        check(&scene, Provider::Fcm, *status, reason, *told).await;
    }
}

#[tokio::test]
async fn passing_trouble_is_retried_with_the_same_apns_id_and_ends_well() {
    let scene = Scene::usual().await;
    scene.simulator.faults().add(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns).times(2)).unwrap();
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    assert_eq!(scene.simulator.ledger().counts().refused, 2);
    assert_eq!(scene.simulator.ledger().accepted().len(), 1);
}

#[tokio::test]
async fn a_quota_answer_of_google_is_not_hammered() {
    let scene = Scene::usual().await;
    scene.simulator.faults().add(Fault::answer(429, "QUOTA_EXCEEDED").on(Provider::Fcm)).unwrap();
    scene.post(&Push::android("android-1")).await.expect_fail(200, "QUOTA_EXCEEDED");
    assert_eq!(scene.simulator.ledger().counts().refused, 3, "as often as it is configured");
}

#[tokio::test]
async fn refused_credentials_make_a_target_not_ready_where_nothing_arrives_beside_them() {
    for (provider, status, reason, target, push) in [
        (Provider::Apns, 403, "InvalidProviderToken", "apple_rn", Push::apple(&apple_token(1))),
        (Provider::Fcm, 403, "", "android_rn", Push::android("android-1")),
    ] {
        let scene = without_breaker().await;
        scene.simulator.faults().add(Fault::answer(status, reason).on(provider)).unwrap();
        assert_eq!(scene.post(&push).await.status, "FAIL");
        let (_, detail) = scene.ready().await;
        let state = detail["targets"].as_array().unwrap().iter().find(|one| one["name"] == target).unwrap();
        assert!(!state["problem"].is_null(), "{state}");
    }
}
