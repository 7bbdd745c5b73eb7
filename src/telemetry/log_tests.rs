//! Lines as their readers see them: one event is one line, whatever a caller wrote.

use std::io::Write;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::notification::{Content, DeviceToken, MattermostContent, PushKind, ServerId, TargetName, Transport};
use crate::private::Private;

/// What is logged while `events` runs.
fn logged(format: LogFormat, events: impl FnOnce()) -> String {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&written);
    let subscriber = tracing_subscriber::fmt()
        .event_format(Line(format))
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || Sink(Arc::clone(&sink)))
        .finish();
    tracing::subscriber::with_default(subscriber, events);
    String::from_utf8(std::mem::take(&mut *written.lock().unwrap())).unwrap()
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The one JSON line that `events` logs, without its time.
fn json_line(events: impl FnOnce()) -> Value {
    let text = logged(LogFormat::Json, events);
    assert_eq!(text.matches('\n').count(), 1, "{text:?}");
    let mut line: Value = serde_json::from_str(&text).unwrap();
    let time = line.as_object_mut().unwrap().remove("ts").unwrap();
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    line
}

/// The one human line that `events` logs, without its time.
fn human_line(events: impl FnOnce()) -> String {
    let text = logged(LogFormat::Human, events);
    let line = text.strip_suffix('\n').unwrap();
    assert!(!line.contains(char::is_control), "{line:?}");
    line.split_once(' ').unwrap().1.to_owned()
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn subject(ack_id: &str) -> Subject<'_> {
    Subject { ack_id, server: "srv", target: "apple_rn", kind: "message" }
}

fn ended(outcome: &Outcome, reason: Option<Reason>) -> Ending<'_> {
    Ending { outcome, reason, observed: None, attempts: 2, took: Duration::from_millis(31) }
}

#[test]
fn a_delivered_notification_is_one_flat_object() {
    assert_eq!(
        json_line(|| notification_line(&subject("abc"), &ended(&Outcome::Delivered, None))),
        json!({
            "level": "info", "msg": "notification", "ack_id": "abc", "server": "srv", "target": "apple_rn",
            "kind": "message", "outcome": "delivered", "attempts": 2, "ms": 31,
        })
    );
}

#[test]
fn a_failed_notification_is_a_warning_with_the_providers_word_and_what_the_caller_was_told() {
    let outcome = Outcome::Failed { text: "APNs refuses the topic".into() };
    let ending = Ending { observed: Some("unknown_server"), ..ended(&outcome, Some("BadTopic")) };
    let line = json_line(|| notification_line(&subject("abc"), &ending));
    assert_eq!(line["level"], "warn");
    assert_eq!(line["outcome"], "failed");
    assert_eq!(line["reason"], "BadTopic");
    assert_eq!(line["observed"], "unknown_server");
    assert_eq!(line["error"], "APNs refuses the topic");
}

#[test]
fn a_removal_is_not_a_warning_and_a_refusal_is() {
    let line = json_line(|| notification_line(&subject("a"), &ended(&Outcome::Remove, Some("Unregistered"))));
    assert_eq!((&line["level"], &line["outcome"]), (&json!("info"), &json!("removed")));
    let line = json_line(|| refusal_line(&subject("a"), CLIENT, "wrong_key"));
    assert_eq!(
        (&line["level"], &line["outcome"], &line["reason"], &line["client"]),
        (&json!("warn"), &json!("refused"), &json!("wrong_key"), &json!("192.0.2.1"))
    );
}

#[test]
fn for_a_terminal_words_are_bare_and_everything_else_is_quoted() {
    assert_eq!(
        human_line(|| refusal_line(&subject("apple_rn-v2"), CLIENT, "wrong_key")),
        " WARN notification ack_id=apple_rn-v2 server=srv target=apple_rn kind=message outcome=refused reason=wrong_key client=192.0.2.1"
    );
    let forged = human_line(|| refusal_line(&subject("x outcome=delivered"), CLIENT, "wrong_key"));
    assert!(forged.contains(r#"ack_id="x outcome=delivered""#), "{forged}");
    assert!(human_line(|| refusal_line(&subject(""), CLIENT, "r")).contains(r#"ack_id="""#));
    let forged = human_line(|| tracing::warn!(error = %"x outcome=delivered", took = ?Duration::from_millis(3), "y"));
    assert_eq!(forged, r#" WARN y error="x outcome=delivered" took=3ms"#);
}

#[test]
fn a_line_of_ours_names_its_module_only_below_info_and_a_librarys_always() {
    assert_eq!(json_line(|| tracing::info!("x")).get("module"), None);
    assert_eq!(json_line(|| tracing::debug!("x"))["module"], "pushrelay::telemetry::log::tests");
    assert_eq!(json_line(|| tracing::warn!(target: "rustls", "x"))["module"], "rustls");
}

#[test]
fn numbers_and_truths_are_json_and_other_values_are_texts() {
    let line = json_line(|| tracing::info!(count = -3_i64, ready = true, wait = ?Duration::from_secs(1), "x"));
    assert_eq!((&line["count"], &line["ready"], &line["wait"]), (&json!(-3), &json!(true), &json!("1s")));
    let line = json_line(|| tracing::info!(deadline_s = 0.5, none = f64::NAN, "x"));
    assert_eq!((&line["deadline_s"], &line["none"]), (&json!(0.5), &json!("NaN")));
}

#[test]
fn a_callers_text_is_cut_between_characters() {
    assert_eq!(bounded("short"), "short");
    assert_eq!(bounded(&"x".repeat(65)).len(), 64);
    assert_eq!(bounded(&"é".repeat(40)), "é".repeat(32));
    assert_eq!(bounded(&format!("x{}", "é".repeat(40))).len(), 63);
}

#[test]
fn no_token_no_text_and_no_signature_reaches_a_line() {
    let canary = || Private::new("canary");
    let notification = Notification {
        ack_id: "abc".into(),
        server_id: ServerId::new("srv").unwrap(),
        target: TargetName::new("apple_rn"),
        app_version: 2,
        device: DeviceToken::new("canary").unwrap(),
        kind: PushKind::Message,
        transport: Transport::Standard,
        signature: canary(),
        content: Content::Mattermost(MattermostContent {
            message: canary(),
            channel_name: canary(),
            sender_name: canary(),
            override_username: canary(),
            override_icon_url: canary(),
            ..MattermostContent::default()
        }),
    };
    for format in [LogFormat::Json, LogFormat::Human] {
        let text = logged(format, || {
            notification_line(&Subject::of(&notification), &ended(&Outcome::Delivered, None));
            refusal_line(&Subject::of(&notification), CLIENT, "wrong_key");
            tracing::debug!(?notification, "a developer's mistake");
        });
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains("canary"), "{text}");
    }
}

/// The guard of outputs opened as `init` opens them, and what reaches the console.
fn opened(console: bool, file: Option<LogFileSettings>) -> (LogGuard, Arc<Mutex<Vec<u8>>>) {
    let written = Arc::new(Mutex::new(Vec::new()));
    let settings = LogSettings { console, file, format: LogFormat::Json, filter: "info".to_owned() };
    let guard = open(&settings, Clock::System, Sink(Arc::clone(&written)), io::sink()).unwrap();
    (guard, written)
}

#[test]
fn the_same_lines_go_to_the_console_and_to_the_file_and_to_the_console_if_there_is_no_other() {
    for (console, with_file, on_console) in [(true, true, true), (false, true, false), (false, false, true)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/a.log");
        let file = with_file.then(|| LogFileSettings { path: path.clone(), max_bytes: 10_000, keep: 1 });
        let (guard, written) = opened(console, file);
        let subscriber =
            tracing_subscriber::fmt().event_format(Line(LogFormat::Json)).with_writer(guard.outputs.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("one");
            tracing::warn!(n = 2, "two");
        });
        assert!(guard.finish(Instant::now() + Duration::from_secs(60)));
        assert_eq!(guard.dropped_lines().count(), 0);
        let console = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        for (text, expected) in [(&console, on_console), (&file, with_file)] {
            assert_eq!(text.lines().count(), if expected { 2 } else { 0 }, "{text}");
        }
        assert!(console == file || console.is_empty() || file.is_empty());
    }
}

#[test]
fn lines_that_the_file_does_not_take_are_among_the_dropped() {
    let file = LogFileSettings { path: "/dev/full".into(), max_bytes: 10_000, keep: 1 };
    let (guard, written) = opened(true, Some(file));
    guard.outputs.make_writer().write_all(b"one\n").unwrap();
    assert!(guard.finish(Instant::now() + Duration::from_secs(60)));
    assert_eq!(guard.dropped_lines().count(), 1);
    assert_eq!(*written.lock().unwrap(), b"one\n", "the console has it");
}

#[test]
fn a_filter_that_does_not_parse_is_quoted_with_an_example() {
    assert!(parse_filter("pushrelay=debug,info").is_ok());
    let error = parse_filter("pushrelay=loud").unwrap_err().to_string();
    assert!(error.starts_with("`pushrelay=loud` is not a log filter"), "{error}");
    assert!(error.ends_with("try `info` or `pushrelay=debug,info`"), "{error}");
}

#[test]
fn what_turns_a_text_around_or_hides_in_it_is_escaped_and_other_scripts_are_not() {
    let ack_id = "a\u{202e}b\u{2066}c\u{200b}d\u{2028}e\u{feff}f";
    let raw = logged(LogFormat::Json, || refusal_line(&subject(ack_id), CLIENT, "wrong_key"));
    assert!(raw.contains(r#""ack_id":"a\u202eb\u2066c\u200bd\u2028e\ufefff""#), "{raw}");
    assert_eq!(json_line(|| refusal_line(&subject(ack_id), CLIENT, "wrong_key"))["ack_id"], ack_id);
    let human = human_line(|| refusal_line(&subject(ack_id), CLIENT, "wrong_key"));
    assert!(human.is_ascii() && human.contains("202e"), "{human}");
    let raw = logged(LogFormat::Json, || refusal_line(&subject("übung-日本-שלום"), CLIENT, "wrong_key"));
    assert!(raw.contains("übung-日本-שלום"), "{raw}");
}

#[test]
fn one_that_a_later_one_made_needless_has_its_line() {
    assert_eq!(
        json_line(|| superseded_line(&subject("a"), 3, Some("ServiceUnavailable"), Duration::from_millis(31))),
        json!({
            "level": "info", "msg": "notification", "ack_id": "a", "server": "srv", "target": "apple_rn",
            "kind": "message", "outcome": "superseded", "reason": "ServiceUnavailable", "attempts": 3, "ms": 31,
        })
    );
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_once_and_twice_only_to_whoever_asks() {
    for (filter, lines) in [("info", 1), ("debug", 1), ("info,rustls_platform_verifier=error", 2)] {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let subscriber = tracing_subscriber::fmt()
            .event_format(Line(LogFormat::Json))
            .with_env_filter(without_echoes(parse_filter(filter).unwrap(), filter))
            .with_writer(move || Sink(Arc::clone(&sink)))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "rustls_platform_verifier::verification::others", "failed to verify TLS certificate");
            tracing::warn!("ours");
        });
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), lines, "{filter}: {text}");
        assert!(text.contains("ours"));
    }
}

proptest! {
    #[test]
    fn whatever_a_caller_writes_stays_within_its_field(text in "\\PC*|[\\x00-\\x1f\\x7f\u{80}-\u{9f}\"\\\\ =a]*") {
        let line = json_line(|| tracing::warn!(text, "x"));
        prop_assert_eq!(line, json!({"level": "warn", "msg": "x", "text": text}));
        let raw = logged(LogFormat::Json, || tracing::warn!(text, "x"));
        prop_assert!(!raw.trim_end_matches('\n').contains(char::is_control));
        human_line(|| tracing::warn!(text, "x"));
    }
}
