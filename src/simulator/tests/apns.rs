//! What Apple's stand-in accepts and what it complains about.

use http::Method;
use serde_json::json;

use super::{CREDENTIALS, NOW, Push, Stage, bearer, device, provider_token, soon};
use crate::simulator::{Counts, ProviderKey};

const UUID: &str = "123e4567-e89b-12d3-a456-426614174000";

#[tokio::test]
async fn a_right_push_is_accepted_and_stands_in_the_ledger() {
    let stage = Stage::set().await;
    let reply = stage.apns().await.push(Push::to(&device(1)).with("apns-id", UUID)).await;
    assert_eq!((reply.status, reply.headers["apns-id"].to_str().unwrap()), (200, UUID));

    let accepted = soon(stage.simulator.ledger().wait_for(1)).await;
    let push = &accepted[0];
    assert_eq!((push.id.as_str(), push.device_token.as_str()), (UUID, device(1).as_str()));
    assert_eq!(push.topic, CREDENTIALS.topic);
    assert_eq!(push.header("apns-priority"), Some("10"));
    assert_eq!(push.header("authorization"), None, "a credential does not belong into a ledger");
    assert_eq!(push.payload(), json!({"aps": {"alert": "hello"}}));
    assert_eq!(push.at_ms, NOW * 1_000);
    assert!(!format!("{push:?}").contains(&device(1)));
}

#[tokio::test]
async fn a_push_without_an_id_gets_one() {
    let stage = Stage::set().await;
    let reply = stage.apns().await.push(Push::to(&device(1))).await;
    let accepted = stage.simulator.ledger().accepted();
    assert_eq!(reply.headers["apns-id"].to_str().unwrap(), accepted[0].id);
}

#[tokio::test]
async fn the_same_apns_id_again_is_recorded_as_a_repeat() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    for _ in 0..2 {
        assert_eq!(client.push(Push::to(&device(1)).with("apns-id", UUID)).await.status, 200);
    }
    let repeats: Vec<bool> = stage.simulator.ledger().accepted().iter().map(|push| push.repeat).collect();
    assert_eq!(repeats, [false, true]);
    assert_eq!(stage.simulator.ledger().counts().repeats, 1);
}

#[tokio::test]
async fn every_defect_gets_apples_reason() {
    let right = || Push::to(&device(1));
    let voip = || {
        let topic = format!("{}.voip", CREDENTIALS.topic);
        right().with("apns-topic", topic).with("apns-push-type", "voip")
    };
    let background = || right().with("apns-push-type", "background");
    let sized = |bytes: usize| {
        let empty = json!({"aps": {}, "pad": ""}).to_string().len();
        json!({"aps": {}, "pad": "x".repeat(bytes - empty)}).to_string()
    };
    let path = |path: &str| Push { path: path.into(), ..right() };
    let mut doubled = right();
    doubled.headers.push(("apns-priority", "5".into()));

    let cases = [
        ("a GET", Push { method: Method::GET, ..right() }, 405, "MethodNotAllowed"),
        ("another path", path("/4/device/00"), 404, "BadPath"),
        ("a path beyond the token", path(&format!("/3/device/{}/x", device(1))), 404, "BadPath"),
        ("no token", path("/3/device/"), 400, "MissingDeviceToken"),
        ("no token and no slash", path("/3/device"), 400, "MissingDeviceToken"),
        ("a short token", Push::to(&"a".repeat(63)), 400, "BadDeviceToken"),
        ("the shortest token", Push::to(&"a".repeat(64)), 200, ""),
        ("the longest token", Push::to(&"a".repeat(200)), 200, ""),
        ("a long token", Push::to(&"a".repeat(201)), 400, "BadDeviceToken"),
        ("a token that is not hexadecimal", Push::to(&"g".repeat(64)), 400, "BadDeviceToken"),
        ("no topic", right().without("apns-topic"), 400, "MissingTopic"),
        ("a topic that is no bundle id", right().with("apns-topic", "no topic"), 400, "BadTopic"),
        ("a foreign topic", right().with("apns-topic", "com.example.other"), 400, "TopicDisallowed"),
        ("no push type", right().without("apns-push-type"), 400, "InvalidPushType"),
        ("an unknown push type", right().with("apns-push-type", "loud"), 400, "InvalidPushType"),
        ("voip without its topic", right().with("apns-push-type", "voip"), 400, "BadTopic"),
        ("the voip topic without voip", voip().with("apns-push-type", "alert"), 400, "InvalidPushType"),
        ("voip with its topic", voip(), 200, ""),
        ("priority 7", right().with("apns-priority", "7"), 400, "BadPriority"),
        ("priority 1", right().with("apns-priority", "1"), 200, ""),
        ("no priority", right().without("apns-priority"), 200, ""),
        ("background at priority 10", background(), 400, "BadPriority"),
        ("background without a priority", background().without("apns-priority"), 400, "BadPriority"),
        ("background at priority 5", background().with("apns-priority", "5"), 200, ""),
        ("an upper-case id", right().with("apns-id", UUID.to_uppercase()), 400, "BadMessageId"),
        ("an id that is no UUID", right().with("apns-id", "1"), 400, "BadMessageId"),
        ("an expiration in words", right().with("apns-expiration", "soon"), 400, "BadExpirationDate"),
        ("an expiration of zero", right().with("apns-expiration", "0"), 200, ""),
        ("a collapse id of 64 bytes", right().with("apns-collapse-id", "c".repeat(64)), 200, ""),
        ("a collapse id of 65 bytes", right().with("apns-collapse-id", "c".repeat(65)), 400, "BadCollapseId"),
        ("a header twice", doubled, 400, "DuplicateHeaders"),
        ("no body", right().body(""), 400, "PayloadEmpty"),
        ("a body that is not JSON", right().body("{"), 400, "PayloadEmpty"),
        ("a body without aps", right().body("{}"), 400, "PayloadEmpty"),
        ("a body with a text for aps", right().body(r#"{"aps":""}"#), 400, "PayloadEmpty"),
        ("4,096 bytes", right().body(sized(4_096)), 200, ""),
        ("4,097 bytes", right().body(sized(4_097)), 413, "PayloadTooLarge"),
        ("5,120 bytes of voip", voip().body(sized(5_120)), 200, ""),
        ("5,121 bytes of voip", voip().body(sized(5_121)), 413, "PayloadTooLarge"),
        ("far more than is read", right().body(sized(100_000)), 413, "PayloadTooLarge"),
    ];
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    for (defect, push, status, reason) in cases {
        let reply = client.push(push).await;
        assert_eq!((reply.status, reply.reason()), (status, reason), "{defect}");
        assert!(reply.headers.contains_key("apns-id"), "{defect}");
    }
    assert_eq!(stage.simulator.ledger().violations(), []);
}

#[tokio::test]
async fn every_defect_of_a_provider_token_gets_apples_reason() {
    let (kid, team) = (CREDENTIALS.key_id.as_str(), CREDENTIALS.team_id.as_str());
    let token = |kid: &str, claims| format!("bearer {}", provider_token(kid, &claims));
    let other = crate::simulator::Credentials::generate().unwrap();
    let foreign = {
        let key = jsonwebtoken::EncodingKey::from_ec_pem(other.p8_pem.as_bytes()).unwrap();
        let header =
            jsonwebtoken::Header { kid: Some(kid.into()), ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256) };
        format!("bearer {}", jsonwebtoken::encode(&header, &json!({"iss": team, "iat": NOW}), &key).unwrap())
    };
    let cases = [
        ("not a bearer", "basic abc".to_owned(), 403, "InvalidProviderToken"),
        ("not a JWT", "bearer abc".to_owned(), 403, "InvalidProviderToken"),
        ("an unknown key", token("OTHERKEY01", json!({"iss": team, "iat": NOW})), 403, "InvalidProviderToken"),
        ("signed by another key", foreign, 403, "InvalidProviderToken"),
        ("another team", token(kid, json!({"iss": "OTHERTEAM1", "iat": NOW})), 403, "InvalidProviderToken"),
        ("no iat", token(kid, json!({"iss": team})), 403, "InvalidProviderToken"),
        ("no iss", token(kid, json!({"iat": NOW})), 403, "InvalidProviderToken"),
        ("from the future", bearer(NOW + 61), 403, "InvalidProviderToken"),
        ("a second over an hour old", bearer(NOW - 3_601), 403, "ExpiredProviderToken"),
        ("an hour old", bearer(NOW - 3_600), 200, ""),
    ];
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    for (defect, authorization, status, reason) in cases {
        let reply = client.push(Push::to(&device(1)).with("authorization", authorization)).await;
        assert_eq!((reply.status, reply.reason()), (status, reason), "{defect}");
    }
    let reply = client.push(Push::to(&device(1)).without("authorization")).await;
    assert_eq!((reply.status, reply.reason()), (403, "MissingProviderToken"));
}

#[tokio::test]
async fn a_token_that_was_good_grows_too_old() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    assert_eq!(client.push(Push::to(&device(1))).await.status, 200);
    stage.advance(3_600);
    assert_eq!(client.push(Push::to(&device(1))).await.status, 200);
    stage.advance(1);
    assert_eq!(client.push(Push::to(&device(1))).await.reason(), "ExpiredProviderToken");
}

#[tokio::test]
async fn tokens_minted_too_often_are_refused_and_the_old_one_stays_good() {
    let stage = Stage::set().await;
    let mut client = stage.apns().await;
    let first = Push::to(&device(1));
    assert_eq!(client.push(first.clone()).await.status, 200);

    stage.advance(1_199);
    let early = client.push(Push::to(&device(1)).with("authorization", bearer(NOW + 1_199))).await;
    assert_eq!((early.status, early.reason()), (429, "TooManyProviderTokenUpdates"));
    assert_eq!(client.push(first.clone()).await.status, 200);

    stage.advance(1);
    let in_time = client.push(Push::to(&device(1)).with("authorization", bearer(NOW + 1_200))).await;
    assert_eq!(in_time.status, 200);
    assert_eq!(client.push(first).await.status, 200, "requests with the old token may still be on their way");
}

#[tokio::test]
async fn the_interval_between_tokens_can_be_switched_off() {
    let stage = Stage::set_with(|settings| settings.provider_token_interval = std::time::Duration::ZERO).await;
    let mut client = stage.apns().await;
    for issued_at in [NOW, NOW - 1] {
        let push = Push::to(&device(1)).with("authorization", bearer(issued_at));
        assert_eq!(client.push(push).await.status, 200);
    }
}

#[tokio::test]
async fn a_key_of_another_team_may_not_push_to_the_app() {
    let stage = Stage::set_with(|settings| {
        settings.keys = vec![ProviderKey::from_p8("KEY1234567", "OTHERTEAM1", &CREDENTIALS.p8_pem).unwrap()];
    })
    .await;
    let claims = json!({"iss": "OTHERTEAM1", "iat": NOW});
    let authorization = format!("bearer {}", provider_token("KEY1234567", &claims));
    let reply = stage.apns().await.push(Push::to(&device(1)).with("authorization", authorization)).await;
    assert_eq!((reply.status, reply.reason()), (400, "TopicDisallowed"));
}

#[tokio::test]
async fn a_client_certificate_stands_in_for_the_token_and_for_its_own_topic_only() {
    let stage = Stage::set().await;
    let mut client = stage.apns_with_certificate().await;
    let push = Push::to(&device(1)).without("authorization");
    assert_eq!(client.push(push.clone()).await.status, 200);
    let foreign = client.push(push.with("apns-topic", "com.example.other")).await;
    assert_eq!(foreign.reason(), "TopicDisallowed");
}

#[tokio::test]
async fn a_refusal_stands_in_the_ledger_with_a_reason_for_people() {
    let stage = Stage::set().await;
    stage.apns().await.push(Push::to(&device(1)).with("apns-priority", "7")).await;
    let refused = stage.simulator.ledger().refused();
    assert_eq!((refused[0].status, refused[0].reason.as_str()), (400, "BadPriority"));
    assert_eq!(refused[0].why, "apns-priority is neither 10, 5 nor 1");
    assert_eq!(refused[0].device_token, device(1));
    assert_eq!(stage.simulator.ledger().counts(), Counts { refused: 1, apns_connections: 1, ..Counts::default() });
}

#[tokio::test]
async fn the_ledger_keeps_as_many_pushes_as_it_was_told_and_counts_on() {
    let stage = Stage::set_with(|settings| settings.ledger_capacity = 2).await;
    let mut client = stage.apns().await;
    for number in 1..=3 {
        client.push(Push::to(&device(number))).await;
    }
    let ledger = stage.simulator.ledger();
    let kept: Vec<u64> = ledger.accepted().iter().map(|push| push.number).collect();
    assert_eq!((kept, ledger.counts().accepted), (vec![2, 3], 3));
    assert_eq!(ledger.accepted_for(&device(3)).len(), 1);
    ledger.clear();
    assert_eq!((ledger.accepted().len(), ledger.counts()), (0, Counts::default()));
}
