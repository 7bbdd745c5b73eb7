//! Configurations of mattermost-push-proxy, as its users have them.

use serde_json::{Value, json};

use super::whole::whole;
use super::*;
use crate::admission::AuthMode;
use crate::sender::ProviderSettings;
use crate::sender::apns::credential::Credential;

/// A directory with working credentials, and a configuration in which each target has some.
fn usual() -> (TempDir, Value) {
    let directory = whole("");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let json = json!({
        "ListenAddress": "127.0.0.1:8066",
        "EnableMetrics": true,
        "SendTimeoutSec": 20,
        "RetryTimeoutSec": 5,
        "ApplePushSettings": [
            { "Type": "apple_rn", "ApplePushTopic": "com.example.chat", "AppleAuthKeyFile": path("AuthKey.p8"),
              "AppleAuthKeyID": "ABC1234567", "AppleTeamID": "DEF1234567", "ApplePushUseDevelopment": true },
            { "Type": "apple_rnbeta", "ApplePushTopic": "com.example.beta", "ApplePushUseDevelopment": false,
              "ApplePushCertPrivate": path("certificate.pem"), "ApplePushCertPassword": "" },
        ],
        "AndroidPushSettings": [{ "Type": "android_rn", "ServiceFileLocation": path("account.json") }],
        "EnableConsoleLog": true,
        "LogFormat": "json",
    });
    (directory, json)
}

fn loaded_file(directory: &TempDir, json: &Value) -> Result<Loaded, Problems> {
    loaded_with(directory, json, &[])
}

fn loaded_with(directory: &TempDir, json: &Value, environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let file = directory.path().join("mattermost-push-proxy.json");
    fs::write(&file, json.to_string()).unwrap();
    load(Some(&file), variables(environment))
}

fn keys_of(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.key.as_str()).collect()
}

#[test]
fn a_file_with_three_targets_becomes_settings_that_mean_the_same() {
    let (directory, json) = usual();
    let Loaded { settings, warnings, file } = loaded_file(&directory, &json).unwrap();
    assert_eq!(file, Some(directory.path().join("mattermost-push-proxy.json")));
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8066");
    assert_eq!(settings.admission.mode, AuthMode::Off);
    assert_eq!(settings.compatibility, Compatibility::Strict);
    assert_eq!(settings.delivery.deadline, Duration::from_secs(20));
    assert_eq!(settings.delivery.attempt_timeout, Duration::from_secs(5));
    assert_eq!(settings.log.format, LogFormat::Json);
    assert!(settings.left_out.is_empty() && settings.tolerate_broken_targets);
    assert_eq!(
        (settings.removal_guard, settings.breaker.failures),
        (None, 0),
        "each push asks, each answer is passed on"
    );
    let names: Vec<_> = settings.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["apple_rn", "apple_rnbeta", "android_rn"]);
    let ProviderSettings::Apns(apple) = &settings.targets[0].provider else { panic!("not Apple's") };
    assert_eq!((apple.topic.as_str(), apple.sandbox), ("com.example.chat", true));
    let keys = keys_of(&warnings);
    assert_eq!(keys, ["ApplePushSettings[apple_rn].ApplePushUseDevelopment", "auth.mode"]);
}

#[test]
fn the_defaults_and_coercions_are_those_of_mattermost_push_proxy() {
    let (directory, usual) = usual();
    for (key, value, listen, deadline, attempt, format) in [
        ("SendTimeoutSec", json!(null), "127.0.0.1:8066", 30, 5, LogFormat::Json),
        ("SendTimeoutSec", json!(0), "127.0.0.1:8066", 30, 5, LogFormat::Json),
        ("RetryTimeoutSec", json!(0), "127.0.0.1:8066", 20, 8, LogFormat::Json),
        ("RetryTimeoutSec", json!(40), "127.0.0.1:8066", 20, 20, LogFormat::Json),
        ("SendTimeoutSec", json!(100_000), "127.0.0.1:8066", 600, 5, LogFormat::Json),
        ("ListenAddress", json!(":8066"), "[::]:8066", 20, 5, LogFormat::Json),
        ("ListenAddress", json!(""), "[::]:80", 20, 5, LogFormat::Json),
        ("ListenAddress", json!("localhost:1"), "127.0.0.1:1", 20, 5, LogFormat::Json),
        ("LogFormat", json!("plain"), "127.0.0.1:8066", 20, 5, LogFormat::Human),
    ] {
        let mut json = usual.clone();
        json[key] = value.clone();
        let settings =
            loaded_file(&directory, &json).unwrap_or_else(|problems| panic!("{key} {value}: {problems}")).settings;
        assert_eq!(settings.http.listen.to_string(), listen, "{key} {value}");
        assert_eq!(settings.delivery.deadline, Duration::from_secs(deadline), "{key} {value}");
        assert_eq!(settings.delivery.attempt_timeout, Duration::from_secs(attempt), "{key} {value}");
        assert_eq!(settings.log.format, format, "{key} {value}");
    }
}

#[test]
fn capitals_of_keys_do_not_matter_and_a_variable_beats_the_file() {
    let (directory, json) = usual();
    let lower: Value = serde_json::from_str(
        &json
            .to_string()
            .replace("SendTimeoutSec", "sendtimeoutsec")
            .replace("ServiceFileLocation", "SERVICEFILELOCATION"),
    )
    .unwrap();
    let loaded = loaded_with(&directory, &lower, &[("PUSHRELAY_AUTH__MODE", "observe")]);
    let settings = loaded.unwrap_or_else(|problems| panic!("{problems}")).settings;
    assert_eq!((settings.delivery.deadline, settings.targets.len()), (Duration::from_secs(20), 3));
    assert_eq!(settings.admission.mode, AuthMode::Observe);
}

#[test]
fn what_is_ignored_is_said() {
    let (directory, usual) = usual();
    for (key, value, warned) in [
        ("ThrottlePerSec", json!(300), "ThrottlePerSec"),
        ("ThrotlePerSec", json!(300), "ThrotlePerSec"),
        ("ApplePushServer", json!("gateway.push.apple.com:2195"), "ApplePushServer"),
        ("LogLevel", json!("loud"), "LogLevel"),
        ("ListenAddress", json!(""), "ListenAddress"),
        ("SendTimeoutSec", json!(30), "SendTimeoutSec"),
    ] {
        let mut json = usual.clone();
        json[key] = value;
        let warnings = loaded_file(&directory, &json).unwrap().warnings;
        assert!(keys_of(&warnings).contains(&warned), "{key}: {warnings:?}");
    }
    let mut json = usual.clone();
    json["AndroidPushSettings"][0]["AndroidApiKey"] = json!("canary");
    let warnings = loaded_file(&directory, &json).unwrap().warnings;
    assert!(keys_of(&warnings).contains(&"AndroidPushSettings[0].AndroidApiKey"));
    assert!(!format!("{warnings:?}").contains("canary"));
}

#[test]
fn a_whole_key_goes_before_a_certificate_and_half_a_key_behind_it() {
    let (directory, usual) = usual();
    let certificate = usual["ApplePushSettings"][1]["ApplePushCertPrivate"].clone();
    for (team, is_key) in [("DEF1234567", true), ("", false)] {
        let mut json = usual.clone();
        json["ApplePushSettings"][0]["ApplePushCertPrivate"] = certificate.clone();
        json["ApplePushSettings"][0]["AppleTeamID"] = json!(team);
        let settings = loaded_file(&directory, &json).unwrap().settings;
        let ProviderSettings::Apns(apple) = &settings.targets[0].provider else { panic!("not Apple's") };
        assert_eq!(matches!(apple.credential, Credential::Key(_)), is_key, "{team}");
    }
}

#[test]
fn a_target_that_cannot_be_set_up_is_left_out_and_the_others_run() {
    let (directory, usual) = usual();
    for (list, index, key, value, reason) in [
        (
            "ApplePushSettings",
            0,
            "AppleAuthKeyFile",
            "/nowhere/AuthKey.p8",
            "ApplePushSettings[apple_rn].AppleAuthKeyFile: cannot read `/nowhere/AuthKey.p8`: no such file; ",
        ),
        (
            "ApplePushSettings",
            1,
            "ApplePushCertPrivate",
            "",
            "ApplePushSettings[apple_rnbeta]: has neither a key nor a certificate; give AppleAuthKeyFile, ",
        ),
        (
            "ApplePushSettings",
            1,
            "ApplePushTopic",
            "",
            "ApplePushSettings[apple_rnbeta].ApplePushTopic: is missing: The app's bundle id; add \"ApplePushTopic\": …",
        ),
        (
            "AndroidPushSettings",
            0,
            "ServiceFileLocation",
            "",
            "AndroidPushSettings[android_rn].ServiceFileLocation: is missing",
        ),
    ] {
        let mut json = usual.clone();
        json[list][index][key] = json!(value);
        let settings = loaded_file(&directory, &json).unwrap().settings;
        let [left] = settings.left_out.as_slice() else { panic!("{key}: {:?}", settings.left_out) };
        assert_eq!(settings.targets.len(), 2, "{key}");
        assert_eq!(usual[list][index]["Type"], left.name.as_str());
        assert!(left.problem.starts_with(reason), "{}", left.problem);
    }
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_the_place() {
    let (directory, usual) = usual();
    let account = usual["AndroidPushSettings"][0].clone();
    for (key, value, place) in [
        ("AndroidPushSettings", json!([account, account]), "AndroidPushSettings[android_rn].Type"),
        ("AndroidPushSettings", json!({}), "AndroidPushSettings"),
        ("SendTimeoutSec", json!("30"), "SendTimeoutSec"),
        ("SendTimeoutSec", json!(-1), "SendTimeoutSec"),
        ("EnableMetrics", json!("true"), "EnableMetrics"),
        ("LogFileLocation", json!(7), "LogFileLocation"),
        ("ApplePushSettings", json!([1]), "ApplePushSettings[0]"),
        ("ListenAddress", json!("nonsense"), "ListenAddress"),
    ] {
        let mut json = usual.clone();
        json[key] = value.clone();
        let problems = loaded_file(&directory, &json).unwrap_err();
        assert_eq!(keys_of(problems.list()), [place], "{value}");
    }
    fs::write(directory.path().join("broken.json"), "{\n\"ListenAddress\": canary}").unwrap();
    let broken = load(Some(&directory.path().join("broken.json")), variables(&[])).unwrap_err().to_string();
    assert!(broken.contains("broken.json:2: is not JSON") && !broken.contains("canary"), "{broken}");
}

#[test]
fn nobody_is_turned_away_whatever_the_file_says_of_it_unless_a_variable_says_so() {
    use crate::http::Vary;
    let (directory, usual) = usual();
    for (per_second, headers, memory, names, callers) in [
        (json!(300), "X-Forwarded-For", 50_000, vec!["x-forwarded-for"], 50_000),
        (json!(1), "  X-Real-IP\tX-Tenant ", 0, vec!["x-real-ip", "x-tenant"], 50_000),
        (json!(5), "", 7, vec![], 1_000),
        (json!(0), "X-Forwarded-For", 50_000, vec!["x-forwarded-for"], 50_000),
        (json!(null), "", 0, vec![], 50_000),
    ] {
        let mut json = usual.clone();
        let warned = per_second.as_u64().is_some_and(|per_second| per_second > 0);
        json["ThrottlePerSec"] = per_second;
        json["ThrottleVaryByHeader"] = json!(headers);
        json["ThrottleMemoryStoreSize"] = json!(memory);
        let loaded = loaded_file(&directory, &json).unwrap();
        assert!(loaded.settings.http.throttle.is_none());
        assert_eq!(keys_of(&loaded.warnings).contains(&"ThrottlePerSec"), warned);

        let loaded = loaded_with(&directory, &json, &[("PUSHRELAY_THROTTLE__PER_SECOND", "2")]).unwrap();
        assert!(!keys_of(&loaded.warnings).contains(&"ThrottlePerSec"));
        let http = loaded.settings.http;
        let throttle = http.throttle.unwrap();
        let Vary::Headers(found) = throttle.vary else { panic!("by address") };
        assert_eq!(
            (throttle.per_second.get(), found, throttle.max_keys),
            (2, names.iter().map(|name| name.parse().unwrap()).collect(), callers)
        );
        let believed = |address: &str| http.client_address.trusts(address.parse().unwrap());
        assert!(believed("10.0.0.1") && believed("::1"));
        assert!(!believed("203.0.113.7"));
    }
}

#[test]
fn a_file_without_a_target_starts_as_it_does_there() {
    let (directory, _) = usual();
    let loaded = loaded_file(&directory, &json!({ "ApplePushSettings": [{ "Type": "apple" }] })).unwrap();
    assert_eq!((loaded.settings.targets.len(), loaded.settings.left_out.len()), (0, 1));
    let nothing = loaded_file(&directory, &json!({})).unwrap();
    assert!(nothing.warnings.iter().any(|warning| warning.what == "names no target: no push can arrive"));
}

#[test]
fn the_log_goes_where_the_reference_writes_it() {
    let (directory, usual) = usual();
    for (console, into_file, location, expected) in [
        (false, false, "a.log", (true, None)),
        (true, false, "a.log", (true, None)),
        (false, true, "a.log", (false, Some("a.log"))),
        (true, true, "logs/a.log", (true, Some("logs/a.log"))),
        (false, true, "", (false, Some("./logs/push_proxy.log"))),
    ] {
        let mut json = usual.clone();
        json["EnableConsoleLog"] = json!(console);
        json["EnableFileLog"] = json!(into_file);
        json["LogFileLocation"] = json!(location);
        let log = loaded_file(&directory, &json).unwrap().settings.log;
        let file = log.file.map(|file| file.path);
        assert_eq!((log.console, file.as_deref()), (expected.0, expected.1.map(Path::new)), "{console} {into_file}");
    }
}

#[test]
fn the_toml_that_migrate_prints_gives_the_same_settings() {
    let (directory, usual) = usual();
    let mut with_a_broken_one = usual.clone();
    with_a_broken_one["AndroidPushSettings"].as_array_mut().unwrap().push(json!({ "Type": "android" }));
    let mut everywhere = usual.clone();
    everywhere["ListenAddress"] = json!(":8066");
    for json in [usual, with_a_broken_one, everywhere] {
        let original = loaded_file(&directory, &json).unwrap().settings;
        let toml = migrate(&directory.path().join("mattermost-push-proxy.json"), Path::new("/")).unwrap().toml;
        fs::write(directory.path().join("pushrelay.toml"), &toml).unwrap();
        let mut migrated =
            load_from(directory.path(), &[]).unwrap_or_else(|problems| panic!("{problems}\n{toml}")).settings;
        // What the file cannot say: a broken target of ours is a problem, and stands in a comment here.
        migrated.tolerate_broken_targets = true;
        migrated.left_out.clone_from(&original.left_out);
        // It was read from another file.
        migrated.credentials.clone_from(&original.credentials);
        // Of ours only: chat servers may be added beside it.
        assert!(migrated.servers_directory.take().is_some() && original.servers_directory.is_none());
        assert_eq!(format!("{migrated:?}"), format!("{original:?}"), "{toml}");
    }
}

#[test]
fn a_variable_ends_a_warning_about_the_key_and_the_rest_of_the_file_holds() {
    use crate::http::Vary;
    let (directory, mut json) = usual();
    json["ThrottleVaryByHeader"] = json!("X-Forwarded-For, X-Tenant");
    let loaded = loaded_with(&directory, &json, &[("PUSHRELAY_THROTTLE__PER_SECOND", "2")]).unwrap();
    assert_eq!(
        keys_of(&loaded.warnings),
        ["ApplePushSettings[apple_rn].ApplePushUseDevelopment", "ThrottleVaryByHeader", "auth.mode"]
    );
    let throttle = loaded.settings.http.throttle.unwrap();
    let Vary::Headers(names) = throttle.vary else { panic!("by address") };
    assert_eq!(names, ["x-tenant"]);
    assert!(loaded.settings.http.client_address.trusts("10.0.0.1".parse().unwrap()));
}

#[test]
fn a_password_that_everybody_may_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, mut json) = usual();
    json["ApplePushSettings"][1]["ApplePushCertPassword"] = json!("canary");
    let file = directory.path().join("mattermost-push-proxy.json");
    fs::write(&file, json.to_string()).unwrap();
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = load(Some(&file), variables(&[])).unwrap().warnings;
        let about =
            warnings.iter().find(|warning| warning.key == "ApplePushSettings[apple_rnbeta].ApplePushCertPassword");
        assert_eq!(about.is_some(), warned, "{mode:o}: {warnings:?}");
    }
}

#[test]
fn what_migrate_writes_is_toml_and_no_key_whatever_stands_in_the_file() {
    let (directory, _) = usual();
    let json = json!({
        "ApplePushSettings": [
            { "Type": "two\nlines", "ApplePushTopic": "a\nlisten = \"b\"\u{7f}", "ApplePushCertPrivate": "c\nd",
              "ApplePushCertPassword": "e\nf" },
            { "ApplePushTopic": "nameless" },
            null,
        ],
        "AndroidPushSettings": [{ "Type": "android", "ServiceFileLocation": "-----BEGIN PRIVATE KEY-----\ncanary" }],
    });
    let file = directory.path().join("any.json");
    fs::write(&file, json.to_string()).unwrap();
    let migrated = migrate(&file, Path::new("/")).unwrap();
    assert!(migrated.holds_a_secret);
    let text = migrated.toml;
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("No target of it can be used") && text.contains("\"nameless\""), "{text}");
    // No line of a target that was left out is in force.
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(!table.contains_key("target") && table["listen"].as_str() == Some("[::]:80"), "{text}");
}

#[test]
fn migrate_makes_relative_paths_whole_and_keeps_what_cannot_be_set_up_as_a_comment() {
    let directory = whole("");
    let json = json!({
        "ApplePushSettings": [{ "Type": "apple", "ApplePushTopic": "t", "ApplePushCertPrivate": "no.pem",
                                "ApplePushCertPassword": "quo\"te" }],
        "AndroidPushSettings": [{ "Type": "android_rn", "ServiceFileLocation": "account.json" }],
    });
    let file = directory.path().join("any.json");
    fs::write(&file, json.to_string()).unwrap();
    let toml = migrate(&file, directory.path()).unwrap().toml;
    let whole = directory.path().join("account.json");
    assert!(toml.contains(&format!("\nservice_account_file = \"{}\"\n", whole.display())), "{toml}");
    assert!(toml.contains("\n# [[target]]\n# name = \"apple\"\n"), "{toml}");
    assert!(toml.contains("\n# certificate_password = \"quo\\\"te\"\n"), "{toml}");
}
