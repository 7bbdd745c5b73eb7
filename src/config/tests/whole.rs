//! Configurations that work, with real key files on the disk.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::delivery::breaker::BreakerSettings;
use crate::delivery::lifetime::LifetimeSettings;
use crate::delivery::removal_guard::RemovalGuardSettings;
use crate::sender::ProviderSettings;
use crate::sender::apns::credential::Credential;
use crate::sender::network::ProxySettings;

const SERVER: &str = "[[server]]\nname = \"example\"\nid = \"abc\"\nkey_files = [\"server.pem\"]\n";
const ANDROID: &str =
    "[[target]]\nname = \"android_rn\"\nprovider = \"fcm\"\nservice_account_file = \"account.json\"\n";
const APPLE_KEY: &str = "[[target]]\nname = \"apple_rn\"\nprovider = \"apns\"\ntopic = \"com.example.chat\"\n\
                         key_file = \"AuthKey.p8\"\nkey_id = \"ABC1234567\"\nteam_id = \"DEF1234567\"\n";
const APPLE_CERTIFICATE: &str = "[[target]]\nname = \"apple_rnbeta\"\nprovider = \"apns\"\n\
                                 topic = \"com.example.beta\"\ncertificate_file = \"certificate.pem\"\n";

/// `pushrelay.toml` and every file that the constants above name.
pub(super) fn whole(toml: &str) -> TempDir {
    let directory = directory(toml);
    let write = |name: &str, content: &str| fs::write(directory.path().join(name), content).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["apple".to_owned()]).unwrap().self_signed(&key).unwrap();
    write("server.pem", &key.public_key_pem());
    write("AuthKey.p8", &key.serialize_pem());
    write("certificate.pem", &format!("{}{}", certificate.pem(), key.serialize_pem()));
    write("ca.pem", &certificate.pem());
    let rsa = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    let account = serde_json::json!({
        "type": "service_account", "project_id": "example", "client_email": "relay@example", "private_key": pem,
    });
    write("account.json", &account.to_string());
    directory
}

fn loaded(toml: &str, environment: &[(&str, &str)]) -> Loaded {
    load_from(whole(toml).path(), environment).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_file_with_a_server_and_an_android_app_works_and_says_only_that_metrics_are_open() {
    let Loaded { settings, warnings, .. } = loaded(&format!("{SERVER}{ANDROID}"), &[]);
    let [target] = settings.targets.as_slice() else { panic!("{:?}", settings.targets) };
    assert_eq!(target.name.as_str(), "android_rn");
    assert!(matches!(target.provider, ProviderSettings::Fcm(_)));
    assert!(matches!(target.network.proxy, ProxySettings::Environment));
    assert_eq!((target.network.connections, target.network.connect_timeout), (4, Duration::from_secs(5)));
    assert!(target.network.endpoint.is_none() && target.network.extra_authorities.is_empty());
    let [server] = settings.admission.servers.as_slice() else { panic!("{:?}", settings.admission.servers) };
    assert_eq!((server.id.as_str(), server.name.as_str(), server.keys.len()), ("abc", "example", 1));
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert_eq!(warning.key, "ops.listen");
}

#[test]
fn the_network_of_a_target_is_as_configured() {
    let network = "endpoint = \"https://127.0.0.1:2197\"\nca_file = \"ca.pem\"\nconnections = 2\nconnect_timeout = \"1s\"\n\
                   proxy_file = \"proxy\"\n";
    let directory = whole(&format!("compatibility = \"strict\"\n{SERVER}{ANDROID}{network}"));
    fs::write(directory.path().join("proxy"), "http://relay:canary@proxy.example:3128\r\n").unwrap();
    let Loaded { settings, .. } = load_from(directory.path(), &[]).unwrap();
    let target = &settings.targets[0];
    assert_eq!(target.compatibility, Compatibility::Strict);
    assert_eq!(target.network.endpoint.as_ref().unwrap().as_str(), "https://127.0.0.1:2197/");
    assert_eq!(target.network.extra_authorities.len(), 1);
    assert_eq!((target.network.connections, target.network.connect_timeout), (2, Duration::from_secs(1)));
    let ProxySettings::Fixed(proxy) = &target.network.proxy else { panic!("{:?}", target.network.proxy) };
    assert_eq!(proxy.address.as_str(), "http://proxy.example:3128/");
    let printed = format!("{settings:?}");
    let header = proxy.authorization.as_ref().unwrap().expose();
    assert!(!printed.contains("canary") && !printed.contains(header) && !printed.contains("PRIVATE KEY"), "{printed}");
}

#[test]
fn how_hard_the_relay_tries_is_as_configured() {
    let Loaded { settings, .. } = loaded(&format!("{SERVER}{ANDROID}"), &[]);
    let seconds = Duration::from_secs;
    let LifetimeSettings { message, call, badge, session } = settings.lifetimes;
    assert_eq!([message, call, badge, session], [14_400, 30, 86_400, 604_800].map(seconds));
    let BreakerSettings { failures, first_pause, longest_pause } = settings.breaker;
    assert_eq!((failures, first_pause, longest_pause), (10, seconds(1), seconds(60)));
    let RemovalGuardSettings { count, share_percent, window } = settings.removal_guard.unwrap();
    assert_eq!((count, share_percent, window), (20, 50, seconds(300)));

    let tables = "[ttl]\nmessage = \"1h\"\ncall = \"45s\"\nbadge = \"2h\"\nsession = \"1day\"\n\
                  [breaker]\nfailures = 0\nfirst_pause = \"2s\"\nlongest_pause = \"5m\"\n\
                  [removal_guard]\ncount = 100\nshare_percent = 80\nwindow = \"10m\"\n";
    let Loaded { settings, .. } = loaded(&format!("{SERVER}{ANDROID}{tables}"), &[]);
    let LifetimeSettings { message, call, badge, session } = settings.lifetimes;
    assert_eq!([message, call, badge, session], [3_600, 45, 7_200, 86_400].map(seconds));
    let BreakerSettings { failures, first_pause, longest_pause } = settings.breaker;
    assert_eq!((failures, first_pause, longest_pause), (0, seconds(2), seconds(300)));
    let RemovalGuardSettings { count, share_percent, window } = settings.removal_guard.unwrap();
    assert_eq!((count, share_percent, window), (100, 80, seconds(600)));

    let off = [("PUSHRELAY_REMOVAL_GUARD__ENABLED", "false")];
    assert_eq!(loaded(&format!("{SERVER}{ANDROID}"), &off).settings.removal_guard, None);
}

#[test]
fn no_file_is_needed() {
    let directory = whole("");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let Loaded { settings, .. } = load(
        None,
        variables(&[
            ("PUSHRELAY_TARGET__ANDROID_RN__PROVIDER", "fcm"),
            ("PUSHRELAY_TARGET__ANDROID_RN__SERVICE_ACCOUNT_FILE", &path("account.json")),
            ("PUSHRELAY_SERVER__CHAT__ID", "abc"),
            ("PUSHRELAY_SERVER__CHAT__KEY_FILES", &format!("{}, {}", path("server.pem"), path("server.pem"))),
        ]),
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(settings.targets[0].name.as_str(), "android_rn");
    assert_eq!(settings.admission.servers[0].name, "chat");
    assert_eq!(settings.admission.servers[0].keys.len(), 2);
}

#[test]
fn a_file_that_is_no_service_account_is_told_so_with_a_remedy() {
    let directory = whole(&format!("{SERVER}{ANDROID}"));
    fs::write(directory.path().join("account.json"), "{\"private_key\": \"canary\"").unwrap();
    let text = load_from(directory.path(), &[]).unwrap_err().to_string();
    assert!(
        text.contains("pushrelay.toml:8: target[android_rn].service_account_file: the file is not a JSON"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn an_apple_app_has_a_key_or_a_certificate() {
    let Loaded { settings, .. } =
        loaded(&format!("{SERVER}{APPLE_KEY}port = 2197\nsandbox = true\n{APPLE_CERTIFICATE}"), &[]);
    let [key, certificate] = settings.targets.as_slice() else { panic!("{:?}", settings.targets) };
    let ProviderSettings::Apns(key) = &key.provider else { panic!("{key:?}") };
    assert_eq!((key.topic.as_str(), key.port, key.sandbox), ("com.example.chat", 2197, true));
    assert!(matches!(key.credential, Credential::Key(_)));
    let ProviderSettings::Apns(certificate) = &certificate.provider else { panic!("{certificate:?}") };
    assert_eq!((certificate.port, certificate.sandbox), (443, false));
    assert!(matches!(certificate.credential, Credential::Certificate(_)));
}

#[test]
fn a_file_that_is_no_apple_key_is_named_and_not_shown() {
    for (toml, file, key) in
        [(APPLE_KEY, "AuthKey.p8", "key_file"), (APPLE_CERTIFICATE, "certificate.pem", "certificate_file")]
    {
        let directory = whole(&format!("{SERVER}{toml}"));
        fs::write(directory.path().join(file), "canary").unwrap();
        let text = load_from(directory.path(), &[]).unwrap_err().to_string();
        assert!(text.contains(&format!(".{key}: ")) && !text.contains("canary"), "{text}");
        assert!(text.ends_with("1 problem; nothing was started."), "{text}");
    }
}
