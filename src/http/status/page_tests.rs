//! What the page says of a snapshot, and that no text from outside is more than a text on it.

use super::*;
use crate::delivery::breaker::{BreakerState, Position, Why};
use crate::http::status::percentiles::Estimate;
use crate::notification::{Platform, ServerId, TargetName};
use crate::relay::Refuses;
use crate::telemetry::metrics::Totals;
use crate::telemetry::queue::Waiting;

const HOSTILE: &str = "</td><script>alert(1)</script><img src=x onerror=\"alert(2)\">'&";

fn rate(per_second: f64) -> Rate {
    #[allow(clippy::cast_possible_truncation, reason = "a small literal")]
    let values = vec![per_second as f32; 10];
    Rate { per_second, series: Series { values, seen: 10 } }
}

fn target(name: &str) -> TargetReadiness {
    TargetReadiness {
        name: TargetName::new(name),
        platform: Platform::Apple,
        problem: None,
        left_out: false,
        last: None,
        credential_expires_at: None,
        credential_days_left: None,
        breaker: BreakerState::default(),
        removals_withheld: None,
        rate_limit: None,
        waiting: None,
    }
}

fn target_view(name: &str) -> TargetView {
    TargetView {
        name: TargetName::new(name),
        delivered: rate(12.34),
        last_minute: [700, 1, 2, 0, 0, 3],
        since_start: [12_345, 1, 2, 0, 0, 3],
        latency: [Some(Estimate::At(0.042)), Some(Estimate::At(1.5)), Some(Estimate::Over(10.0))],
    }
}

fn trouble(text: &str) -> Trouble {
    Trouble {
        at: 1_000_000,
        count: 3,
        ack_id: text.to_owned(),
        server: text.to_owned(),
        target: text.to_owned(),
        kind: "message",
        reason: "Unregistered",
        text: text.to_owned(),
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        version: "1.2.3",
        commit: "0123456789abcdef",
        now: 1_000_065,
        uptime: Duration::from_secs(7_500),
        is_ready: true,
        standing: "ready",
        in_flight: 17,
        view: View {
            admitted: rate(20.0),
            delivered: rate(12.34),
            failed: rate(0.0),
            refused_per_second: 0.5,
            waiting: 42,
            waiting_series: Series::default(),
            totals: Totals { admitted: 20_000, delivered: 12_345, failed: 6, refused: 9 },
            targets: vec![target_view("apple_rn")],
        },
        readiness: vec![target("apple_rn")],
        queue_refuses: None,
        certificate_days_left: Some(200),
        servers: Servers { are_counted: true, busiest: vec![], count: 0 },
        failures: vec![],
        refused: vec![],
        refusals: vec![],
    }
}

/// A page's text, without its markup.
fn text(html: &str) -> String {
    let mut text = String::new();
    let mut is_markup = false;
    for c in html.chars() {
        match c {
            '<' => is_markup = true,
            '>' => {
                is_markup = false;
                text.push(' ');
            }
            c if !is_markup => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(snapshot: &Snapshot, words: &[&str]) {
    let said = text(&page(snapshot));
    for words in words {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
}

#[test]
fn a_relay_that_is_well_says_how_much_it_does_and_that_nothing_needs_attention() {
    says(
        &snapshot(),
        &[
            "pushrelay ready Version 1.2.3 (0123456789ab) · up 2 h 5 min · 1970-01-12 13:47:45 UTC",
            "Nothing needs it.",
            "In 20.0 /s",
            "peak 20.0/s · 20,000 since the start",
            "Waiting on disk 42",
            "In flight 17 Refused 0.5/s, 9 since the start Certificate for chat servers 200 days",
            "apple_rn apple ready 12.3/s 42 ms 1.5 s over 10 s – – does not end",
            "apple_rn 700 of 12,345 1 of 1 2 of 2 – – 3 of 3",
            "There is no queue on disk",
            "No registered server has sent anything today",
            "Nothing has failed since the start.",
        ],
    );
}

#[test]
fn whatever_needs_attention_is_said_in_words_and_comes_first() {
    let mut snapshot = snapshot();
    let breaker = BreakerState {
        position: Position::Open,
        cause: Some((Why::Credentials, "InvalidProviderToken")),
        open_for: Duration::from_secs(90),
        next_try_in: Duration::from_secs(7),
        opened: 1,
    };
    snapshot.readiness = vec![
        target("well"),
        TargetReadiness { problem: Some("said once".to_owned()), breaker, ..target("broken") },
        TargetReadiness { problem: Some("the last 7 attempts met trouble: timeout".to_owned()), ..target("troubled") },
        TargetReadiness { removals_withheld: Some("25 of 30".to_owned()), ..target("guarded") },
        TargetReadiness { rate_limit: Some(12.5), ..target("slow") },
        TargetReadiness { credential_days_left: Some(3), credential_expires_at: Some(7), ..target("ending") },
        TargetReadiness {
            waiting: Some(Waiting { waiting: 1_234, oldest: Duration::from_secs(65), buried: 2 }),
            ..target("queued")
        },
    ];
    snapshot.certificate_days_left = Some(-1);
    snapshot.queue_refuses = Some(Refuses::Full);
    says(
        &snapshot,
        &[
            "The queue is full: what a provider does not take at once is lost (queue_full)",
            "broken Left alone for 1 min 30 s: its provider does not accept this target's credentials or topic \
             (InvalidProviderToken)"
                .replace('\'', "&#39;")
                .as_str(),
            "Asked again in 7 s.",
            "troubled the last 7 attempts met trouble: timeout",
            "guarded Removals are withheld: 25 of 30",
            "slow The provider&#39;s quota was met: at most 12.5 notifications a second",
            "ending The credential needs to be renewed: 3 days",
            "The certificate for chat servers needs to be renewed: expired",
            "broken apple left alone",
            "troubled apple in trouble",
            "guarded apple removals withheld",
            "slow apple slowed down",
            "1,234, oldest 1 min 5 s",
            "oldest 1 min 5 s",
        ],
    );
    let said = text(&page(&snapshot));
    assert!(!said.contains("said once"), "the breaker says it: {said}");
    assert!(said.find("broken apple") < said.find("guarded apple"), "{said}");
}

#[test]
fn no_text_from_outside_is_markup() {
    let mut snapshot = snapshot();
    let hostile = TargetReadiness {
        problem: Some(HOSTILE.to_owned()),
        removals_withheld: Some(HOSTILE.to_owned()),
        ..target(HOSTILE)
    };
    snapshot.readiness = vec![hostile];
    snapshot.view.targets = vec![target_view(HOSTILE)];
    snapshot.servers.busiest = vec![BusyServer {
        id: ServerId::new(HOSTILE).unwrap(),
        name: HOSTILE.to_owned(),
        sent_today: 1,
        daily_quota: None,
    }];
    snapshot.failures = vec![trouble(HOSTILE)];
    snapshot.refused = vec![trouble(HOSTILE)];
    snapshot.refusals = vec![(HOSTILE.to_owned(), 1)];
    let html = page(&snapshot);
    let shown = html.matches("&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;").count();
    // Attention: name and text, twice. Both tables of targets. A server's id and name. Four texts of each trouble. A reason.
    assert_eq!(shown, 4 + 2 + 2 + 4 + 4 + 1);
    assert!(!html.contains("<img") && !html.contains("alert(1)</script>"), "{html}");
    assert_eq!(html.matches("<script").count(), 1, "its own");
}

#[test]
fn the_page_keeps_to_its_own_policy() {
    let mut snapshot = snapshot();
    snapshot.failures = vec![trouble("x")];
    let html = page(&snapshot);
    for word in [" style=", "<style", " onclick", "javascript:", "http://", "https://", "//cdn", "<img", "<form"] {
        assert!(!html.contains(word), "{word} in {html}");
    }
    for (name, file) in [("script.js", super::super::SCRIPT), ("style.css", super::super::STYLE)] {
        assert!(html.contains(&format!("\"status/{name}\"")));
        for word in ["http:", "https:", "url(", "@import", "eval("] {
            assert!(!file.contains(word), "{word} in {name}");
        }
    }
}

#[test]
fn however_much_there_is_the_page_has_a_bound() {
    let mut snapshot = snapshot();
    let long = "&".repeat(10_000);
    snapshot.readiness = (0..1_000).map(|number| target(&format!("target-{number}"))).collect();
    snapshot.view.targets = (0..1_000).map(|number| target_view(&format!("target-{number}"))).collect();
    snapshot.refusals = (0..1_000).map(|number| (format!("reason-{number}"), 1)).collect();
    snapshot.servers.busiest =
        vec![BusyServer { id: ServerId::new(&long).unwrap(), name: long.clone(), sent_today: 1, daily_quota: Some(7) }];
    snapshot.servers.count = 500;
    says(
        &snapshot,
        &["And 950 more; /readyz has all.", "And 990 more; /metrics has all.", "And 499 more; they sent less."],
    );
    assert!(page(&snapshot).len() < 256 * 1024, "{}", page(&snapshot).len());
}

#[test]
fn nobody_is_counted_where_nothing_is_checked() {
    let mut snapshot = snapshot();
    snapshot.servers.are_counted = false;
    says(&snapshot, &["Nobody is counted, because auth.mode is off."]);
}
