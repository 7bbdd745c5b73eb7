//! Apple's two kinds of credentials in all the files operators have, and a provider token's life.

use std::process::Command;
use std::time::Duration;

use pushrelay::clock::Clock;
use pushrelay::simulator::{Credentials, Fault, Provider};

use crate::support::push::apple_token;
use crate::support::{Plan, Push, Scene};

/// `openssl` with these arguments, in this folder.
fn openssl(folder: &std::path::Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let output = output.expect("the openssl command is installed (Debian package openssl)");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A scene whose APNs target uses a certificate: `target` are its lines, `prepare` are openssl commands that make the
/// file from `client.pem`.
async fn scene_with_certificate(target: &str, prepare: &'static [&'static str]) -> Scene {
    let files = move |folder: &std::path::Path, _: &Credentials| {
        for arguments in prepare {
            openssl(folder, arguments);
        }
        if prepare.iter().any(|arguments| arguments.contains("encrypted.key")) {
            let certificate = std::fs::read_to_string(folder.join("client.crt")).unwrap();
            let key = std::fs::read_to_string(folder.join("encrypted.key")).unwrap();
            std::fs::write(folder.join("encrypted.pem"), certificate + &key).unwrap();
        }
    };
    Scene::new(Plan { apple: target.to_owned(), files: Some(Box::new(files)), ..Plan::default() }).await
}

async fn expect_delivery_by_certificate(scene: &Scene) {
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    let accepted = scene.simulator.ledger().accepted();
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].header("authorization"), None, "a certificate needs no token");
    let expiry = scene.metric(r#"pushrelay_credential_expires_timestamp_seconds{target="apple_rn"}"#).await;
    assert!(expiry > 1_700_000_000.0, "operators can see when it ends: {expiry}");
}

#[tokio::test]
async fn a_certificate_with_a_plain_key_delivers() {
    let scene = scene_with_certificate("certificate_file = \"client.pem\"", &[]).await;
    expect_delivery_by_certificate(&scene).await;
}

#[tokio::test]
async fn a_certificate_with_an_encrypted_key_delivers() {
    let scene = scene_with_certificate(
        "certificate_file = \"encrypted.pem\"\ncertificate_password = \"canary-password\"",
        &[
            "x509 -in client.pem -out client.crt",
            "pkcs8 -topk8 -v2 aes-256-cbc -in client.pem -out encrypted.key -passout pass:canary-password",
        ],
    )
    .await;
    expect_delivery_by_certificate(&scene).await;
}

#[tokio::test]
async fn a_certificate_with_a_key_in_the_old_encrypted_form_delivers() {
    let scene = scene_with_certificate(
        "certificate_file = \"encrypted.pem\"\ncertificate_password = \"canary-password\"",
        &[
            "x509 -in client.pem -out client.crt",
            "ec -aes128 -in client.pem -out encrypted.key -passout pass:canary-password",
        ],
    )
    .await;
    expect_delivery_by_certificate(&scene).await;
}

#[cfg(feature = "p12")]
#[tokio::test]
async fn a_pkcs12_file_delivers() {
    let scene = scene_with_certificate(
        "certificate_file = \"client.p12\"\ncertificate_password = \"canary-password\"",
        &["pkcs12 -export -in client.pem -out client.p12 -passout pass:canary-password"],
    )
    .await;
    expect_delivery_by_certificate(&scene).await;
}

#[tokio::test]
async fn a_provider_token_is_renewed_under_load_before_apple_refuses_it() {
    let clock = Clock::manual(1_800_000_000);
    let scene = Scene::new(Plan { clock: Some(clock.clone()), ..Plan::default() }).await;
    // Four hours of pushes, eight at a time, the clock moving between them.
    for round in 0..48 {
        let pushes: Vec<_> = (0..8).map(|phone| Push::apple(&apple_token(round * 8 + phone))).collect();
        let answers = futures_util::future::join_all(pushes.iter().map(|push| scene.post(push))).await;
        for answer in answers {
            answer.expect_ok();
        }
        clock.advance(Duration::from_mins(5));
    }
    let counts = scene.simulator.ledger().counts();
    assert_eq!((counts.accepted, counts.refused), (48 * 8, 0), "no push met an old token");
    assert!(scene.simulator.ledger().violations().is_empty());
}

#[tokio::test]
async fn a_provider_token_that_apple_calls_expired_is_replaced_once_and_the_push_arrives() {
    let clock = Clock::manual(1_800_000_000);
    let scene = Scene::new(Plan { clock: Some(clock.clone()), ..Plan::default() }).await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    clock.advance(Duration::from_mins(30));
    scene.simulator.faults().add(Fault::answer(403, "ExpiredProviderToken").on(Provider::Apns).times(1)).unwrap();
    scene.post(&Push::apple(&apple_token(2))).await.expect_ok();
    assert_eq!(scene.simulator.ledger().counts().refused, 1);
}

#[tokio::test]
async fn a_provider_token_is_never_minted_more_than_once_in_twenty_minutes() {
    let clock = Clock::manual(1_800_000_000);
    let scene = Scene::new(Plan { clock: Some(clock.clone()), ..Plan::default() }).await;
    scene.simulator.faults().add(Fault::answer(403, "ExpiredProviderToken").on(Provider::Apns).times(20)).unwrap();
    for phone in 0..10 {
        scene.post(&Push::apple(&apple_token(phone))).await.expect_fail(200, "ExpiredProviderToken");
        clock.advance(Duration::from_secs(30));
    }
    scene.simulator.faults().clear();
    // The longest pause that refused credentials make.
    clock.advance(Duration::from_mins(1));
    // The simulator answers TooManyProviderTokenUpdates to a second token within 20 minutes.
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
}

#[tokio::test]
async fn an_oauth_token_is_fetched_once_for_many_and_renewed_ahead_of_its_expiry() {
    let clock = Clock::manual(1_800_000_000);
    let scene = Scene::new(Plan { clock: Some(clock.clone()), ..Plan::default() }).await;
    let send = async |from: u32, count: u32| {
        let pushes: Vec<_> = (from..from + count).map(|phone| Push::android(&format!("android-{phone}"))).collect();
        for answer in futures_util::future::join_all(pushes.iter().map(|push| scene.post(push))).await {
            answer.expect_ok();
        }
    };
    send(0, 50).await;
    assert_eq!(scene.simulator.ledger().counts().token_requests, 1, "one request for fifty pushes");
    for round in 1..=6 {
        clock.advance(Duration::from_mins(20));
        send(round * 100, 5).await;
    }
    let counts = scene.simulator.ledger().counts();
    assert_eq!((counts.accepted, counts.refused), (80, 0), "no push met an expired token");
    assert!((2..=4).contains(&counts.token_requests), "two hours need two or three tokens: {counts:?}");
}
