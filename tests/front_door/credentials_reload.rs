//! Keys, certificates and service accounts that are replaced while the relay runs.

use std::cell::Cell;
use std::fs;
use std::time::Duration;

use pushrelay::clock::Clock;
use pushrelay::config::{self, TargetReading};
use pushrelay::sender::apns::KeysInUse;
use pushrelay::sender::{Proof, Sender};
use pushrelay::simulator::{Action, Credentials, Fault, FcmAccount, Provider, ProviderKey, SimulatorSettings};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;

use crate::support::push::apple_token;
use crate::support::{Plan, Push, Scene};

/// The id of the key that takes the first one's place.
const NEW_KEY_ID: &str = "KEYNEW1234";

/// The longest wait for an answer of the simulator: generous, since it only ends a test that has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A `.p8` file, and what Apple knows of it under the second key's id.
fn new_key() -> (String, ProviderKey) {
    let pem = KeyPair::generate().unwrap().serialize_pem();
    let key = ProviderKey::from_p8(NEW_KEY_ID, "TEAM123456", &pem).unwrap();
    (pem, key)
}

/// The key file of an account of this name in this project; without a `token_uri` for its public half.
fn account(credentials: &Credentials, name: &str, token_uri: &str) -> String {
    credentials.service_account_json(token_uri).replace("push@", &format!("{name}@"))
}

fn reloads(target: &str, result: &str) -> String {
    format!(r#"pushrelay_credential_reloads_total{{result="{result}",target="{target}"}}"#)
}

impl Scene {
    /// As editors do it: written aside, then renamed.
    fn put(&self, name: &str, text: &str) {
        let aside = self.folder.path().join("aside");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.folder.path().join(name)).unwrap();
    }

    /// Puts a key where the target's is, under the second key's id, and asks for it to be read.
    fn put_key(&self, pem: &str) {
        self.put("AuthKey.p8", pem);
        let text = fs::read_to_string(self.folder.path().join("pushrelay.toml")).unwrap();
        self.put("pushrelay.toml", &text.replace("KEY1234567", NEW_KEY_ID));
        self.reload.ask();
    }

    fn put_account(&self, credentials: &Credentials, name: &str) {
        let token_uri = format!("https://localhost:{}/token", self.simulator.fcm_address().port());
        self.put("service-account.json", &account(credentials, name, &token_uri));
        self.reload.ask();
    }

    async fn expect_reloads(&self, target: &str, result: &str, count: f64) {
        self.wait_for_metric(&reloads(target, result), count).await;
    }
}

fn knowing(change: impl FnOnce(&mut SimulatorSettings) + 'static) -> Plan {
    Plan { simulator: Some(Box::new(change)), ..Plan::default() }
}

/// Which connections pushes were accepted on, in order, without repetition.
fn connections(scene: &Scene) -> Vec<u64> {
    let mut connections: Vec<_> = scene.simulator.ledger().accepted().iter().map(|push| push.connection).collect();
    connections.dedup();
    connections
}

#[tokio::test]
async fn a_new_signing_key_takes_the_old_ones_place_and_no_push_is_lost() {
    let (pem, key) = new_key();
    let scene = Scene::new(knowing(|simulator| simulator.keys.push(key))).await;
    let replaced = Cell::new(false);
    let pushing = async {
        for number in 0.. {
            scene.post(&Push::apple(&apple_token(number))).await.expect_ok();
            if replaced.get() {
                return number + 1;
            }
        }
        unreachable!("there is always another number")
    };
    let replacing = async {
        // Once something was sent with the old one.
        scene.simulator.ledger().wait_for(1).await;
        scene.put_key(&pem);
        scene.expect_reloads("apple_rn", "swapped", 1.0).await;
        replaced.set(true);
    };
    let (sent, ()) = tokio::join!(pushing, replacing);
    scene.post(&Push::apple(&apple_token(sent))).await.expect_ok();
    assert_eq!(scene.simulator.ledger().accepted().len(), sent as usize + 1, "each arrived once");
    assert!(connections(&scene).len() > 1, "the new key has connections of its own");
    assert!(scene.simulator.ledger().violations().is_empty());
    assert_eq!(scene.metric(&reloads("android_rn", "swapped")).await.to_bits(), 0.0_f64.to_bits());
}

#[tokio::test]
async fn a_key_that_apple_has_revoked_is_replaced_and_the_target_delivers_again() {
    let (pem, key) = new_key();
    let scene = Scene::new(knowing(|simulator| simulator.keys = vec![key])).await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_fail(200, "InvalidProviderToken");
    scene.expect_metric(r#"pushrelay_target_ready{target="apple_rn"}"#, 0.0).await;
    scene.put_key(&pem);
    scene.expect_reloads("apple_rn", "swapped", 1.0).await;
    // What the old key met says nothing about the new one.
    scene.expect_metric(r#"pushrelay_target_ready{target="apple_rn"}"#, 1.0).await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
}

#[tokio::test]
async fn a_key_that_apple_refuses_is_turned_down_and_the_old_one_goes_on_delivering() {
    let (good, key) = new_key();
    let (unknown, _) = new_key();
    let scene = Scene::new(knowing(|simulator| simulator.keys.push(key))).await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    scene.put_key(&unknown);
    scene.expect_reloads("apple_rn", "refused", 1.0).await;
    scene.post(&Push::apple(&apple_token(2))).await.expect_ok();
    assert_eq!(connections(&scene).len(), 1, "with the old key, on the old connection");

    // Whoever asks is told again, and the right one is taken as soon as it is there.
    scene.reload.ask();
    scene.expect_reloads("apple_rn", "refused", 2.0).await;
    scene.put_key(&good);
    scene.expect_reloads("apple_rn", "swapped", 1.0).await;
    scene.post(&Push::apple(&apple_token(3))).await.expect_ok();
}

#[tokio::test]
async fn whoever_goes_back_to_the_old_key_finds_its_provider_token() {
    let (pem, key) = new_key();
    let scene = Scene::new(knowing(|simulator| simulator.keys.push(key))).await;
    let before = |name: &str| fs::read_to_string(scene.folder.path().join(name)).unwrap();
    let (old_key, old_configuration) = (before("AuthKey.p8"), before("pushrelay.toml"));
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    scene.put_key(&pem);
    scene.expect_reloads("apple_rn", "swapped", 1.0).await;
    scene.put("AuthKey.p8", &old_key);
    scene.put("pushrelay.toml", &old_configuration);
    scene.reload.ask();
    // The simulator answers TooManyProviderTokenUpdates to a second token within 20 minutes.
    scene.expect_reloads("apple_rn", "swapped", 2.0).await;
    scene.post(&Push::apple(&apple_token(2))).await.expect_ok();
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_holds_up_no_other_target() {
    let other = Credentials::generate().unwrap();
    let public = FcmAccount::from_json(&account(&other, "second", "")).unwrap();
    let scene = Scene::new(knowing(|simulator| simulator.accounts.push(public))).await;
    scene.put("AuthKey.p8", "-----BEGIN PRIVATE KEY-----\nMIGT");
    scene.put_account(&other, "second");
    scene.expect_reloads("apple_rn", "unreadable", 1.0).await;
    scene.expect_reloads("android_rn", "swapped", 1.0).await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    scene.post(&Push::android("android-1")).await.expect_ok();

    // Nor does a configuration that cannot be read at all.
    scene.put("pushrelay.toml", "listen = ");
    scene.reload.ask();
    scene.expect_reloads("apple_rn", "unreadable", 2.0).await;
    scene.expect_reloads("android_rn", "unreadable", 1.0).await;
    scene.post(&Push::apple(&apple_token(2))).await.expect_ok();
    scene.post(&Push::android("android-2")).await.expect_ok();
}

/// Signs push certificates for the simulator's app.
struct Authority(Issuer<'static, KeyPair>, CertificateDer<'static>);

impl Authority {
    fn generate() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap().der().clone();
        Self(Issuer::new(parameters, key), certificate)
    }

    /// Good until the end of this year.
    fn certificate(&self, topic: &str, last_year: i32) -> String {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]), topic);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        parameters.signed_by(&key, &self.0).unwrap().pem() + &key.serialize_pem()
    }
}

#[tokio::test]
async fn an_expired_certificate_is_replaced_by_a_good_one_and_the_target_delivers_again() {
    let authority = Authority::generate();
    let trusted = authority.1.clone();
    let expired = authority.certificate("com.example.chat", 2020);
    let good = authority.certificate("com.example.chat", 2030);
    let scene = Scene::new(Plan {
        apple: "certificate_file = \"client.pem\"".to_owned(),
        // January 2027.
        clock: Some(Clock::manual(1_800_000_000)),
        simulator: Some(Box::new(move |simulator| simulator.client_authority = Some(trusted))),
        files: Some(Box::new(move |folder, _| fs::write(folder.join("client.pem"), expired).unwrap())),
        ..Plan::default()
    })
    .await;
    let days = r#"pushrelay_credential_expires_days{target="apple_rn"}"#;
    scene.post(&Push::apple(&apple_token(1))).await.expect_fail(200, "certificate");
    assert!(scene.metric(days).await < -2_000.0, "{}", scene.metric(days).await);
    assert!(scene.ready().await.1.to_string().contains("the certificate expired on 2020-12-31"));

    // Another expired one is no better.
    scene.put("client.pem", &authority.certificate("com.example.chat", 2021));
    scene.reload.ask();
    scene.expect_reloads("apple_rn", "refused", 1.0).await;

    scene.put("client.pem", &good);
    scene.reload.ask();
    scene.expect_reloads("apple_rn", "swapped", 1.0).await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    assert!(scene.metric(days).await > 1_000.0, "{}", scene.metric(days).await);
    assert!(!scene.ready().await.1.to_string().contains("expired"));
}

#[tokio::test]
async fn a_service_account_that_google_has_forgotten_is_replaced_by_one_of_the_same_project_only() {
    let other = Credentials::generate().unwrap();
    let elsewhere = Credentials::generate_for("com.example.chat", "TEAM123456", "another-project").unwrap();
    let accounts = vec![
        FcmAccount::from_json(&account(&other, "second", "")).unwrap(),
        FcmAccount::from_json(&account(&elsewhere, "third", "")).unwrap(),
    ];
    let scene = Scene::new(knowing(|simulator| simulator.accounts = accounts)).await;
    scene.post(&Push::android("android-1")).await.expect_fail(200, "");
    // It would be taken, and every device token be called another project's.
    scene.put_account(&elsewhere, "third");
    scene.expect_reloads("android_rn", "refused", 1.0).await;
    scene.put_account(&other, "unheard-of");
    scene.expect_reloads("android_rn", "refused", 2.0).await;
    scene.put_account(&other, "second");
    scene.expect_reloads("android_rn", "swapped", 1.0).await;
    scene.post(&Push::android("android-1")).await.expect_ok();
    assert_eq!(scene.simulator.ledger().accepted().len(), 1, "what was only to be checked reached no phone");
}

/// Turns the clock until a count is reached.
async fn turn_until(scene: &Scene, clock: &Clock, by: Duration, sample: &str) {
    let reached = async {
        while scene.metric(sample).await < 1.0 {
            clock.advance(by);
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{sample} never was 1"));
}

#[tokio::test]
async fn a_changed_file_is_noticed_without_a_signal() {
    let (pem, key) = new_key();
    let clock = Clock::manual(1_800_000_000);
    let plan = knowing(|simulator| simulator.keys.push(key));
    let scene = Scene::new(Plan { clock: Some(clock.clone()), ..plan }).await;
    scene.put("AuthKey.p8", &pem);
    let text = fs::read_to_string(scene.folder.path().join("pushrelay.toml")).unwrap();
    scene.put("pushrelay.toml", &text.replace("KEY1234567", NEW_KEY_ID));
    turn_until(&scene, &clock, Duration::from_secs(5), &reloads("apple_rn", "swapped")).await;
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
}

#[tokio::test]
async fn while_google_cannot_be_asked_the_old_account_stays_and_it_is_asked_again() {
    let other = Credentials::generate().unwrap();
    let public = FcmAccount::from_json(&account(&other, "second", "")).unwrap();
    let clock = Clock::manual(1_800_000_000);
    let plan = knowing(|simulator| simulator.accounts.push(public));
    let scene = Scene::new(Plan { clock: Some(clock.clone()), ..plan }).await;
    scene.post(&Push::android("android-1")).await.expect_ok();
    scene.simulator.faults().add(Fault::answer(503, "unavailable").on(Provider::OAuth)).unwrap();
    scene.put_account(&other, "second");
    scene.expect_reloads("android_rn", "unknown", 1.0).await;
    scene.post(&Push::android("android-2")).await.expect_ok();
    scene.simulator.faults().clear();
    turn_until(&scene, &clock, Duration::from_secs(60), &reloads("android_rn", "swapped")).await;
    scene.post(&Push::android("android-3")).await.expect_ok();
}

#[tokio::test]
async fn an_account_that_is_known_to_be_useless_is_replaced_even_if_google_cannot_be_asked() {
    let other = Credentials::generate().unwrap();
    let accounts = vec![FcmAccount::from_json(&account(&other, "second", "")).unwrap()];
    let scene = Scene::new(knowing(|simulator| simulator.accounts = accounts)).await;
    scene.post(&Push::android("android-1")).await.expect_fail(200, "");
    scene.simulator.faults().add(Fault::answer(503, "unavailable").on(Provider::OAuth)).unwrap();
    scene.put_account(&other, "second");
    scene.expect_reloads("android_rn", "swapped", 1.0).await;
}

#[tokio::test]
async fn a_provider_that_does_not_answer_holds_up_no_other_target() {
    let (pem, key) = new_key();
    let other = Credentials::generate().unwrap();
    let public = FcmAccount::from_json(&account(&other, "second", "")).unwrap();
    let scene = Scene::new(knowing(|simulator| {
        simulator.keys.push(key);
        simulator.accounts.push(public);
    }))
    .await;
    scene.simulator.faults().add(Fault::new(Action::Hold).on(Provider::OAuth)).unwrap();
    scene.put_account(&other, "second");
    scene.simulator.ledger().wait_until(|counts| counts.held == 1).await;
    scene.put_key(&pem);
    scene.expect_reloads("apple_rn", "swapped", 1.0).await;
    scene.expect_metric(&reloads("android_rn", "swapped"), 0.0).await;
    scene.simulator.faults().clear();
    scene.expect_reloads("android_rn", "swapped", 1.0).await;
}

#[tokio::test]
async fn credentials_are_proven_without_waking_a_phone() {
    let (_, key) = new_key();
    // Each proof makes a provider token of its own.
    let right = Scene::new(knowing(|simulator| simulator.provider_token_interval = Duration::ZERO)).await;
    let wrong = Scene::new(knowing(|simulator| {
        simulator.keys = vec![key];
        simulator.accounts.clear();
    }))
    .await;
    let prove = async |scene: &Scene| {
        let file = scene.folder.path().join("pushrelay.toml");
        let settings = config::load(Some(&file), std::iter::empty()).unwrap().settings;
        let mut keys = KeysInUse::default();
        let mut proofs = Vec::new();
        for target in &settings.targets {
            proofs.push(Sender::new(target, &Clock::System, &mut keys).unwrap().prove(PATIENCE).await);
        }
        proofs
    };
    assert_eq!(prove(&right).await, [Proof::Accepted, Proof::Accepted]);
    let refused = |reason| Proof::Refused { reason };
    assert_eq!(prove(&wrong).await, [refused("InvalidProviderToken"), refused("oauth invalid_grant")]);
    for scene in [&right, &wrong] {
        assert!(scene.simulator.ledger().accepted().is_empty());
    }
    right.simulator.faults().add(Fault::answer(503, "Shutdown").on(Provider::Apns)).unwrap();
    right.simulator.faults().add(Fault::answer(503, "unavailable").on(Provider::OAuth)).unwrap();
    let unknown = |reason| Proof::Unknown { reason };
    assert_eq!(prove(&right).await, [unknown("Shutdown"), unknown("oauth unavailable")]);
}

/// What is read again is what was loaded, and says where it lies.
#[tokio::test]
async fn the_configuration_names_the_files_of_each_target() {
    let scene = Scene::usual().await;
    let file = scene.folder.path().join("pushrelay.toml");
    let settings = config::load(Some(&file), std::iter::empty()).unwrap().settings;
    let reading = settings.credentials.read().unwrap();
    assert_eq!(reading.remainder, settings.credentials.remainder());
    for (TargetReading { name, files, settings: read }, loaded) in reading.targets.iter().zip(&settings.targets) {
        assert!(read.as_ref().unwrap().has_credential_of(loaded), "{name}");
        assert_eq!(files.len(), 1, "{name}");
        assert!(files[0].starts_with(scene.folder.path()), "{name}");
    }
    let stamps = settings.credentials.stamps(&reading.targets);
    assert_eq!(stamps, settings.credentials.stamps(&reading.targets));
    scene.put("AuthKey.p8", "another");
    assert_ne!(stamps, settings.credentials.stamps(&reading.targets));

    let text = fs::read_to_string(&file).unwrap();
    for (line, is_credential) in [("key_id = \"KEYNEW1234\"", true), ("topic = \"com.example.other\"", false)] {
        let key = line.split(' ').next().unwrap();
        let old = text.lines().find(|line| line.starts_with(key)).unwrap();
        scene.put("pushrelay.toml", &format!("# A comment.\n{}", text.replace(old, line)));
        let now = settings.credentials.read().unwrap().remainder;
        assert_eq!(now == settings.credentials.remainder(), is_credential, "{line}");
    }
}
