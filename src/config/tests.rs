//! The configuration as its users meet it: a file, variables, and what is said about them.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::keys::{GROUPS, Key, Otherwise};
use crate::config::kind::{Kind, Shape};

mod effective;
mod known;
mod problems;
mod reference;
mod servers_directory;
mod status;
mod template;
mod tls;
mod whole;

/// A directory with `pushrelay.toml` in it.
fn directory(toml: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pushrelay.toml"), toml).unwrap();
    directory
}

fn load_from(directory: &Path, environment: &[(&str, &str)]) -> Result<Loaded, Problems> {
    load(Some(&directory.join("pushrelay.toml")), variables(environment))
}

fn variables(environment: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    environment.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// What is said about a file and variables, without the name of the temporary directory.
fn said(toml: &str, environment: &[(&str, &str)]) -> String {
    let directory = directory(toml);
    let text = load_from(directory.path(), environment).unwrap_err().to_string();
    text.replace(&format!("{}/", directory.path().display()), "")
}

/// The settings of a document that lacks nothing but what the disk would have to hold.
fn settings_without_targets(toml: &str, environment: &[(&str, &str)]) -> (Settings, Findings) {
    let mut findings = Findings::default();
    let mut document = Document::parse(toml, &"pushrelay.toml".into(), &mut findings).unwrap();
    environment::apply(&mut document, variables(environment), &mut findings);
    let settings = settings(&mut document, Path::new(""), &mut findings);
    (settings, findings)
}

#[test]
fn traces_go_to_a_collector_that_is_named_if_the_build_can_send_them() {
    let endpoint = |endpoint: &str| {
        let (settings, findings) =
            settings_without_targets(&format!("[traces]\nendpoint = \"{endpoint}\"\nsample_percent = 5"), &[]);
        (settings.traces, findings.finish().map_err(|problems| problems.to_string()))
    };
    assert_eq!(settings_without_targets("[traces]\nsample_percent = 5", &[]).0.traces, None);
    if cfg!(feature = "otlp") {
        let (traces, _) = endpoint("http://127.0.0.1:4318/v1/traces");
        let traces = traces.unwrap();
        assert_eq!((traces.service_name.as_str(), traces.sample_percent), ("pushrelay", 5));
        for wrong in ["localhost:4318", "grpc://collector:4317", "collector"] {
            let (traces, said) = endpoint(wrong);
            assert_eq!(traces, None);
            assert!(said.unwrap_err().contains("is no address of a collector"), "{wrong}");
        }
    } else {
        let (traces, said) = endpoint("http://127.0.0.1:4318/v1/traces");
        assert_eq!(traces, None);
        assert!(said.unwrap_err().contains("--features otlp"));
    }
}

#[test]
fn a_journal_is_kept_where_there_is_a_directory_for_it() {
    let journal = |toml| settings_without_targets(toml, &[]).0.journal;
    let usual = crate::journal::JournalSettings {
        directory: "data/journal".into(),
        keep: Duration::from_hours(24),
        max_bytes: 512 << 20,
    };
    assert_eq!(journal("data_dir = \"data\""), Some(usual.clone()));
    assert_eq!(journal(""), None);
    assert_eq!(journal("data_dir = \"data\"\n[journal]\nenabled = false"), None);
    let smaller = crate::journal::JournalSettings { keep: Duration::from_hours(2), max_bytes: 16 << 20, ..usual };
    let toml = "data_dir = \"data\"\n[journal]\nkeep = \"2h\"\nmax_size = \"16MiB\"";
    assert_eq!(journal(toml), Some(smaller));
    let (settings, findings) = settings_without_targets("[journal]\nkeep = \"2h\"", &[]);
    let said = format!("{findings:?}");
    assert!(settings.journal.is_none() && said.contains("journal") && said.contains("data_dir"), "{said}");
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let (settings, _) = settings_without_targets("", &[]);
    let Settings { http, admission, delivery, log, compatibility, shutdown_deadline, targets, .. } = settings;
    assert_eq!(http.listen.to_string(), "0.0.0.0:8066");
    assert_eq!(http.ops_listen, None);
    assert_eq!(http.max_body_bytes, 262_144);
    assert_eq!((http.header_timeout, http.body_timeout), (Duration::from_secs(10), Duration::from_secs(10)));
    assert_eq!(http.idle_timeout, Duration::from_secs(120));
    assert_eq!((http.max_in_flight, http.max_connections), (10_000, 16_384));
    assert_eq!(admission.mode, crate::admission::AuthMode::Required);
    assert!(admission.allow_unsigned_test);
    assert_eq!(admission.unsigned_tests_per_minute.get(), 10);
    let minute = |count, burst| {
        let [count, burst] = [count, burst].map(|number| std::num::NonZeroU32::new(number).unwrap());
        Some(crate::admission::rate::Rate::new(count, Duration::from_mins(1), burst))
    };
    assert_eq!((admission.device_rate, admission.refusal_rate), (minute(180, 60), minute(600, 600)));
    assert!(admission.servers.is_empty() && targets.is_empty());
    assert_eq!((delivery.deadline, delivery.attempt_timeout), (Duration::from_secs(25), Duration::from_secs(8)));
    assert_eq!(delivery.max_attempts, 3);
    assert_eq!((log.format, log.filter.as_str()), (LogFormat::Json, "info"));
    assert_eq!(compatibility, Compatibility::Improved);
    assert_eq!(shutdown_deadline, Duration::from_secs(28));
}

#[test]
fn a_file_sets_every_key_and_a_variable_beats_the_file() {
    let toml = r#"
        listen = "127.0.0.1:1"
        compatibility = "strict"
        shutdown_deadline = "1m"
        http = { max_body = "1MiB", header_timeout = "1s", body_timeout = "2s", max_in_flight = 0x10, max_connections = 1_000 }
        ops.listen = "127.0.0.1:2"
        [auth]
        mode = "observe"
        allow_unsigned_test = false
        unsigned_tests_per_minute = 1
        device_per_minute = 0
        refusals_per_minute = 0
        [delivery]
        deadline = "10s"
        attempt_timeout = "500ms"
        max_attempts = 10
        [log]
        format = "human"
        filter = "pushrelay=warn"
    "#;
    let environment = [
        ("PUSHRELAY_LISTEN", "127.0.0.1:3"),
        ("PUSHRELAY_HTTP__MAX_BODY", "2MiB"),
        ("PUSHRELAY_AUTH__ALLOW_UNSIGNED_TEST", "true"),
        ("PUSHRELAY_DELIVERY__MAX_ATTEMPTS", "4"),
        ("PUSHRELAY_LOG__FORMAT", ""),
        ("PUSHRELAY_CONFIG", "anything"),
        ("PUSHRELAY_COMMIT", "anything"),
        ("PUSHRELAY_PORT", "tcp://10.0.0.1:8066"),
        ("PATH", "/bin"),
    ];
    let (settings, _) = settings_without_targets(toml, &environment);
    let Settings { http, admission, delivery, log, compatibility, shutdown_deadline, .. } = settings;
    assert_eq!(http.listen.to_string(), "127.0.0.1:3");
    assert_eq!(http.ops_listen.unwrap().to_string(), "127.0.0.1:2");
    assert_eq!(http.max_body_bytes, 2 << 20);
    assert_eq!((http.header_timeout, http.body_timeout), (Duration::from_secs(1), Duration::from_secs(2)));
    assert_eq!((http.max_in_flight, http.max_connections), (16, 1_000));
    assert_eq!(admission.mode, crate::admission::AuthMode::Observe);
    assert!(admission.allow_unsigned_test);
    assert_eq!(admission.unsigned_tests_per_minute.get(), 1);
    assert_eq!((admission.device_rate, admission.refusal_rate), (None, None));
    assert_eq!((delivery.deadline, delivery.attempt_timeout), (Duration::from_secs(10), Duration::from_millis(500)));
    assert_eq!(delivery.max_attempts, 4);
    // An empty variable is none.
    assert_eq!((log.format, log.filter.as_str()), (LogFormat::Human, "pushrelay=warn"));
    assert_eq!(compatibility, Compatibility::Strict);
    assert_eq!(shutdown_deadline, Duration::from_mins(1));
}

#[test]
fn every_key_is_checked_and_a_wrong_value_is_reported_under_its_own_path() {
    for group in GROUPS {
        for key in group.keys {
            // A date is a value of no kind.
            let provider = key.only.filter(|_| key.name != "provider").map(|only| format!("provider = \"{only}\"\n"));
            let name = if group.repeated && key.name != "name" { "name = \"x\"\n" } else { "" };
            let header = match (group.name, group.repeated) {
                ("", _) => String::new(),
                (name, false) => format!("[{name}]\n"),
                (name, true) => format!("[[{name}]]\n"),
            };
            let toml = format!("{header}{name}{}{} = 2026-01-01\n", provider.unwrap_or_default(), key.name);
            let path = match (group.name, group.repeated) {
                ("", _) => key.name.to_owned(),
                (group, true) if key.name == "name" => format!("{group}[#1].name"),
                (group, true) => format!("{group}[x].{}", key.name),
                (group, false) => format!("{group}.{}", key.name),
            };
            let line = toml.lines().count();
            let text = said(&toml, &[]);
            let expected = format!("pushrelay.toml:{line}: {path}: must be ");
            assert!(text.contains(&expected), "{expected}\n{text}");
        }
    }
}

#[test]
fn a_wrong_default_would_not_stay_hidden() {
    // Whatever shape a default has, it is parsed like a value that was given: see `keys`.
    let shapes = GROUPS.into_iter().flat_map(|group| group.keys).filter_map(|key| match key {
        Key { otherwise: Otherwise::Default(_), kind, .. } => Some(kind.shape()),
        _ => None,
    });
    for shape in shapes {
        assert_ne!(shape, Shape::Array, "lists have no defaults: `Kind::parse` does not read them");
    }
}

#[test]
fn a_variable_reaches_a_target_by_name_whatever_its_spelling() {
    let toml = "[[target]]\nname = \"apple-rn.Beta\"\nprovider = \"fcm\"\nservice_account_file = \"a\"\n";
    let text = said(toml, &[("PUSHRELAY_TARGET__APPLE_RN_BETA__SERVICE_ACCOUNT_FILE", "no/b")]);
    assert!(
        text.contains("PUSHRELAY_TARGET__APPLE_RN_BETA__SERVICE_ACCOUNT_FILE: cannot read `no/b`: no such file"),
        "{text}"
    );
    assert!(!text.contains("`a`"), "{text}");
}

#[test]
fn targets_and_servers_can_come_from_variables_alone() {
    let text = load(
        None,
        variables(&[
            ("PUSHRELAY_TARGET__ANDROID_RN__PROVIDER", "fcm"),
            ("PUSHRELAY_TARGET__ANDROID_RN__SERVICE_ACCOUNT_FILE", "no/such/file"),
            ("PUSHRELAY_SERVER__CHAT__ID", "abc"),
            ("PUSHRELAY_SERVER__CHAT__KEYS", "bm8=, bm8="),
        ]),
    )
    .unwrap_err()
    .to_string();
    assert!(text.contains("PUSHRELAY_TARGET__ANDROID_RN__SERVICE_ACCOUNT_FILE: cannot read `no/such/file`"), "{text}");
    assert!(text.contains("PUSHRELAY_SERVER__CHAT__KEYS: one of the keys is not a P-256 public key"), "{text}");
    assert!(text.ends_with("2 problems; nothing was started."), "{text}");
}

#[test]
fn a_name_that_a_variable_gives_beats_the_one_in_the_variables_own_name() {
    let text =
        load(None, variables(&[("PUSHRELAY_TARGET__X__NAME", "Apple.RN"), ("PUSHRELAY_TARGET__X__PROVIDER", "apns")]))
            .unwrap_err()
            .to_string();
    assert!(text.contains("target[Apple.RN].topic: is missing"), "{text}");
    assert!(text.contains("set PUSHRELAY_TARGET__X__TOPIC to"), "{text}");
}

#[test]
fn a_secret_from_a_variable_replaces_the_file_that_held_it() {
    let toml =
        "[[target]]\nname = \"x\"\nprovider = \"fcm\"\nservice_account_file = \"a\"\nproxy_file = \"no-proxy-file\"\n";
    assert!(said(toml, &[]).contains("proxy_file: cannot read `no-proxy-file`"));
    let text = said(toml, &[("PUSHRELAY_TARGET__X__PROXY", "none")]);
    assert!(!text.contains("proxy"), "{text}");
}

#[test]
fn no_finding_and_no_debug_print_shows_a_secret() {
    let toml = r#"
        [[target]]
        name = "a"
        provider = "apns"
        topic = "t"
        certificate_file = "missing"
        certificate_password = ["canary"]
        proxy = "ftp://canary:canary@canary:1"
        endpoint = "https://canary:canary@host"

        [[target]]
        name = "b"
        provider = "apns"
        topic = "t"
        key_file = """-----BEGIN PRIVATE KEY-----
canary"""
        key_id = "k"
        team_id = "t"

        [[target]]
        name = "c"
        provider = "fcm"
        service_account_file = '{"private_key": "canary"}'

        [[server]]
        name = "s"
        id = "i"
        keys = ["-----BEGIN PRIVATE KEY-----canary", "canary"]
    "#;
    let text = said(toml, &[("PUSHRELAY_TARGET__A__PROXY_FILE", "/nowhere")]);
    assert!(!text.contains("canary"), "{text}");
    let text = said(toml, &[]);
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("target[a].proxy: is not an http:// address"), "{text}");
    assert!(text.contains("target[a].certificate_password: must be text in quotes, not a list"), "{text}");

    let proxy = Kind::Proxy.parse("http://canary:canary@host:3128").unwrap();
    let password = Kind::Secret.parse("canary").unwrap();
    assert!(!format!("{proxy:?}{password:?}").contains("canary"));
}

#[test]
fn the_warnings_name_what_is_open() {
    let toml = r#"
        [auth]
        mode = "off"
        [delivery]
        deadline = "30s"
        [log]
        filter = "pushrelay=debug,info"
        [[target]]
        name = "x"
        provider = "apns"
        sandbox = true
        endpoint = "https://localhost:1"
    "#;
    let (_, findings) = settings_without_targets(toml, &[]);
    let warnings: Vec<String> =
        findings.warnings().iter().map(|w| format!("{}{} {}", w.place, w.key, w.what)).collect();
    let starts = |start: &str| assert!(warnings.iter().any(|w| w.starts_with(start)), "{start}\n{warnings:#?}");
    starts("pushrelay.toml:3: auth.mode nobody is asked who they are");
    starts("pushrelay.toml:5: delivery.deadline is not below the 30 s");
    starts("pushrelay.toml:5: delivery.deadline is longer than shutdown_deadline");
    starts("pushrelay.toml:7: log.filter writes several lines");
    starts("pushrelay.toml:11: target[x].sandbox reaches only builds");
    starts("pushrelay.toml:12: target[x].endpoint takes the place");
    starts("pushrelay.toml: ops.listen health and metrics can be read");
    assert_eq!(warnings.len(), 7, "{warnings:#?}");
}

#[cfg(unix)]
#[test]
fn a_password_in_a_file_that_everybody_may_read_is_worth_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let directory =
        directory("[[target]]\nname = \"x\"\nprovider = \"fcm\"\nproxy = \"http://user:password@host:1\"\n");
    let file = directory.path().join("pushrelay.toml");
    for (mode, warnings) in [(0o644, 1), (0o640, 0)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let mut findings = Findings::default();
        build(Some(&file), Vec::new(), &mut findings);
        let found = findings.warnings().iter().filter(|w| w.key == "target[x].proxy").count();
        assert_eq!(found, warnings, "{mode:o}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", name in "[A-Z_]{0,12}", value in "\\PC*") {
        let mut findings = Findings::default();
        let mut document = Document::parse(&text, &"f".into(), &mut findings)
            .unwrap_or_else(|| Document::empty(&Place::Nowhere));
        environment::apply(&mut document, variables(&[(&format!("PUSHRELAY_{name}"), &value)]), &mut findings);
        settings(&mut document, Path::new("/nowhere"), &mut findings);
        prop_assert!(findings.finish().is_err(), "there is never a target");
    }

    #[test]
    fn no_value_of_any_key_makes_it_panic(
        lines in proptest::collection::vec((0..GROUPS.len(), 0..32usize, 0..9usize), 0..12),
    ) {
        const VALUES: [&str; 9] =
            ["\"\"", "\"none\"", "\"apns\"", "\"fcm\"", "-1", "true", "[\"x\", 1]", "{ a = 1 }", "1.5"];
        let mut toml = String::new();
        for (group, key, value) in lines {
            let Group { name, keys, .. } = GROUPS[group];
            let Key { name: key, .. } = &keys[key % keys.len()];
            let lines = match (*name, GROUPS[group].repeated) {
                ("", _) => format!("{key} = {}\n", VALUES[value]),
                (name, true) => format!("[[{name}]]\n{key} = {}\n", VALUES[value]),
                (name, false) => format!("[{name}]\n{key} = {}\n", VALUES[value]),
            };
            toml.push_str(&lines);
        }
        let mut findings = Findings::default();
        if let Some(mut document) = Document::parse(&toml, &"f".into(), &mut findings) {
            settings(&mut document, Path::new("/nowhere"), &mut findings);
        }
        prop_assert!(findings.finish().is_err());
    }
}
