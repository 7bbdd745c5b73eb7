//! How a registered server is shown: as a line, as a page, and as JSON. Its secrets are not among it.

use std::fmt::Display;

use serde_json::{Value, json};

use crate::admission::ServerSettings;
use crate::admission::rate::Rate;
use crate::admission::registry::Fingerprint;
use crate::cli::table::table;
use crate::clock::rfc3339;
use crate::config::{KnownServer, KnownServers};
use crate::notification::TargetName;

/// How much of a fingerprint stands in a list: four groups of four digits, enough to tell a server's keys apart.
const SHORT: usize = 4 * 5 - 1;

/// Where a server is written, if not in a file of its own.
const CONFIGURATION: &str = "(the configuration itself)";

pub(super) fn list(known: &KnownServers, now: u64) -> String {
    let rows = known.servers().map(|server| {
        let settings = server.settings;
        let keys = settings.keys.live(now).iter().map(|key| short(&key.fingerprint())).collect::<Vec<_>>();
        [
            settings.name.clone(),
            settings.id.to_string(),
            if settings.disabled { "disabled" } else { "yes" }.to_owned(),
            or_dash(schemes(settings).join(",")),
            or_dash(keys.join(", ")),
            targets(settings).map_or_else(|| "all".to_owned(), |targets| targets.join(",")),
            or_dash(limits(settings).join(", ")),
            server.file.as_ref().map_or_else(|| CONFIGURATION.to_owned(), |file| file.display().to_string()),
        ]
    });
    table(["NAME", "ID", "MAY SEND", "SCHEMES", "KEYS", "TARGETS", "LIMITS", "FILE"], rows)
}

pub(super) fn show(server: &KnownServer<'_>, now: u64) -> String {
    let settings = server.settings;
    let mut text = String::new();
    let mut line = |what: &str, value: &dyn Display| {
        text += &format!("{what:12} {}\n", value.to_string().escape_debug());
    };
    line("name", &settings.name);
    line("id", &settings.id);
    if let Some(site) = &settings.site {
        line("site", site);
    }
    line("may send", &if settings.disabled { "no: disabled" } else { "yes" });
    line("schemes", &or_dash(schemes(settings).join(", ")));
    for (key, until) in settings.keys.all() {
        let until = until.map(|until| format!(" ({} {})", end_word(until, now), rfc3339(until))).unwrap_or_default();
        line("key", &format!("{}{until}", key.fingerprint()));
    }
    match settings.webhook_keys.as_slice().len() {
        0 => {}
        count => line("webhook keys", &count),
    }
    for certificate in &settings.certificates {
        line("certificate", &hexadecimal(certificate));
    }
    line("targets", &targets(settings).map_or_else(|| "all".to_owned(), |targets| targets.join(", ")));
    line("limits", &or_dash(limits(settings).join(", ")));
    match &server.file {
        Some(file) => line("file", &file.display()),
        None => line("file", &CONFIGURATION),
    }
    text
}

pub(super) fn json(server: &KnownServer<'_>, now: u64) -> Value {
    let settings = server.settings;
    let keys = settings.keys.all().map(|(key, until)| {
        json!({
            "fingerprint": key.fingerprint(),
            "until": until.map(rfc3339),
            "ended": until.is_some_and(|until| until < now),
        })
    });
    json!({
        "name": settings.name,
        "id": settings.id.as_str(),
        "site": settings.site.as_ref().map(ToString::to_string),
        "disabled": settings.disabled,
        "schemes": schemes(settings),
        "keys": keys.collect::<Vec<_>>(),
        "webhook_keys": settings.webhook_keys.as_slice().len(),
        "certificate_fingerprints": settings.certificates.iter().map(hexadecimal).collect::<Vec<_>>(),
        "targets": targets(settings),
        "per_second": settings.rate.map(per_second),
        "burst": settings.rate.map(Rate::burst),
        "daily_quota": settings.daily_quota,
        "file": server.file.as_ref().map(|file| file.display().to_string()),
    })
}

/// As it was configured, which was a whole number; the interval between two has been rounded to nanoseconds.
fn per_second(rate: Rate) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a million")]
    let whole = rate.per_second().round() as u64;
    whole
}

/// As `openssl x509 -fingerprint` prints it.
fn hexadecimal(fingerprint: &Fingerprint) -> String {
    fingerprint.map(|byte| format!("{byte:02X}")).join(":")
}

fn short(fingerprint: &str) -> String {
    format!("{}…", &fingerprint[..SHORT])
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn end_word(until: u64, now: u64) -> &'static str {
    if until < now { "ended" } else { "until" }
}

fn schemes(settings: &ServerSettings) -> Vec<&'static str> {
    let all = [
        (settings.schemes.mattermost, "mattermost"),
        (settings.schemes.webhook, "webhook"),
        (settings.schemes.certificate, "certificate"),
    ];
    all.into_iter().filter_map(|(allowed, word)| allowed.then_some(word)).collect()
}

/// Nothing if it may push to all.
fn targets(settings: &ServerSettings) -> Option<Vec<&str>> {
    settings.targets.as_ref().map(|targets| targets.iter().map(TargetName::as_str).collect())
}

fn limits(settings: &ServerSettings) -> Vec<String> {
    let rate = settings.rate.map(|rate| format!("{}/s (burst {})", per_second(rate), rate.burst()));
    let quota = settings.daily_quota.map(|quota| format!("{quota}/day"));
    rate.into_iter().chain(quota).collect()
}
