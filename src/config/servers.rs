//! `[auth]` and `[[server]]`: who may send. A file of the servers directory is a `[[server]]` too.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::finding::{Findings, did_you_mean, quote};
use super::values::Values;
use crate::admission::key::VerifyingKey;
use crate::admission::rate::Rate;
use crate::admission::registry::{Fingerprint, Schemes, ServerKeys, WebhookKey, WebhookKeys};
use crate::admission::site::Site;
use crate::admission::{AdmissionSettings, AuthMode, ServerSettings};
use crate::notification::{ServerId, TargetName};

/// The most keys of a server for each way of signing. A wrong signature is tried with each of them, at 70 µs: a server has
/// its current key, and an old one or two for a while.
const MOST_KEYS: usize = 8;

const MINUTE: Duration = Duration::from_mins(1);

/// Whether anybody may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registered {
    /// Somebody may, or would if the entry were right.
    Somebody,
    /// There is a directory, and nobody in it.
    NobodyYet,
    /// Nor is there a directory that somebody could be put into.
    Nobody,
}

/// Builds the settings of admission. `servers` are those whose section was right.
pub(super) fn admission(
    auth: &Values<'_>,
    servers: Vec<ServerSettings>,
    registered: Registered,
    findings: &mut Findings,
) -> AdmissionSettings {
    let mode = match auth.choice("mode") {
        "off" => AuthMode::Off,
        "observe" => AuthMode::Observe,
        _ => AuthMode::Required,
    };
    match mode {
        AuthMode::Required if registered == Registered::Nobody && !auth.is_wrong("mode") => findings.problem(
            &auth.place(""),
            "server",
            "there is none, and auth.mode is \"required\": nobody could send anything",
            "add [[server]] with name, id and keys for each chat server, or set auth.mode to \"observe\" for a while",
        ),
        AuthMode::Required if registered == Registered::NobodyYet => findings.warning(
            &auth.place(""),
            "server",
            "there is none yet, and auth.mode is \"required\": nobody can send anything",
            "put a file for each chat server into the servers directory; the relay need not be restarted",
        ),
        AuthMode::Required => {}
        AuthMode::Observe => {
            let what = "unsigned requests are sent too: whoever knows a device token can push to that phone";
            auth.warning(findings, "mode", what, "set it to \"required\" once the log shows no more refusals");
        }
        AuthMode::Off => {
            let what = "nobody is asked who they are: whoever knows a device token can push to that phone";
            let remedy = auth.in_words(
                "set it to \"required\" and register the chat servers",
                "PUSHRELAY_AUTH__MODE=observe shows what would be refused; to require signatures, turn this file into a \
                 pushrelay.toml with `pushrelay migrate` and register the chat servers in it",
            );
            auth.warning(findings, "mode", what, remedy);
        }
    }
    let refusals = auth.number("refusals_per_minute");
    AdmissionSettings {
        mode,
        allow_unsigned_test: auth.flag("allow_unsigned_test"),
        unsigned_tests_per_minute: NonZeroU32::new(auth.number("unsigned_tests_per_minute")).unwrap_or(NonZeroU32::MIN),
        device_rate: rate(auth.number("device_per_minute"), MINUTE, auth.number("device_burst")),
        refusal_rate: rate(refusals, MINUTE, refusals),
        servers,
    }
}

/// A rate that both numbers give; none if `count` is 0.
fn rate(count: u32, per: Duration, burst: u32) -> Option<Rate> {
    Some(Rate::new(NonZeroU32::new(count)?, per, NonZeroU32::new(burst)?))
}

/// Builds one server. `None` if anything about it is wrong; what, is among the findings then. `targets` are the names of
/// those that are configured.
pub(super) fn server(
    values: &Values<'_>,
    targets: &BTreeSet<String>,
    findings: &mut Findings,
) -> Option<ServerSettings> {
    let keys = keys(values, findings);
    let webhook_keys = webhook_keys(values, findings);
    let certificates = certificates(values, findings);
    let schemes = schemes(values, keys.as_ref(), webhook_keys.as_ref(), certificates.as_deref(), findings);
    let allowed = allowed_targets(values, targets, findings);
    let rate = own_rate(values, findings);
    let site = site(values, findings);
    let numbers_are_right = ["burst", "daily_quota", "disabled"].into_iter().all(|name| !values.is_wrong(name));
    let settings = ServerSettings {
        id: ServerId::new(values.text("id")?)?,
        name: values.text("name")?.to_owned(),
        site: site?,
        keys: keys?,
        webhook_keys: webhook_keys?,
        certificates: certificates?,
        schemes: schemes?,
        targets: allowed?,
        rate: rate?,
        daily_quota: values.optional_number("daily_quota"),
        disabled: values.flag("disabled"),
    };
    numbers_are_right.then_some(settings)
}

/// `None` if it is wrong, `Some(None)` if there is none.
#[allow(clippy::option_option, reason = "an address that is wrong and one that was not given are two things")]
fn site(values: &Values<'_>, findings: &mut Findings) -> Option<Option<Site>> {
    if values.is_wrong("site") {
        return None;
    }
    let Some(text) = values.text("site") else { return Some(None) };
    match Site::parse(text) {
        Ok(site) => Some(Some(site)),
        Err(error) => {
            values.problem(findings, "site", error.to_string(), "write https://chat.example.com, as people type it");
            None
        }
    }
}

fn keys(values: &Values<'_>, findings: &mut Findings) -> Option<ServerKeys> {
    let files = values.files("key_files", findings);
    // A wrong list or an unreadable file is among the findings already.
    let mut wrong = files.len() < values.texts("key_files").len()
        || ["keys", "key_files"].into_iter().any(|name| values.is_wrong(name));
    let mut keys = ServerKeys::default();
    let from_texts = values.texts("keys").iter().cloned().map(|text| ("keys", text));
    let from_files = files.iter().map(|content| ("key_files", String::from_utf8_lossy(content).into_owned()));
    for (name, text) in from_texts.chain(from_files) {
        let Some((text, until)) = key_and_end(&text) else {
            wrong = true;
            let what = "one of the keys has an end that is not a date";
            let remedy = "write MFkw… until 2026-12-31, or MFkw… until 2026-12-31T12:00:00Z";
            values.problem(findings, name, what, remedy);
            continue;
        };
        match VerifyingKey::from_text(text) {
            Ok(key) => keys.add(key, until),
            Err(error) => {
                wrong = true;
                let remedy = "AsymmetricSigningPublicKey in <site>/api/v4/config/client?format=old is what is needed";
                values.problem(findings, name, format!("one of the keys {error}"), remedy);
            }
        }
    }
    if keys.len() > MOST_KEYS {
        wrong = true;
        let what = format!("are {} keys, and each costs time with every wrong signature", keys.len());
        values.problem(findings, "keys", what, format!("keep at most {MOST_KEYS}: the current one and a few old ones"));
    }
    if keys.is_empty()
        && !wrong
        && !["webhook_keys", "webhook_keys_file", "certificate_fingerprints"]
            .into_iter()
            .any(|name| values.was_given(name))
    {
        let remedy = values.how_to_give("keys", "[\"…\"] with the server's AsymmetricSigningPublicKey");
        values.problem(findings, "keys", "is missing: nothing the server signs could be checked", remedy);
        wrong = true;
    }
    (!wrong).then_some(keys)
}

/// A key's text and the last second in which it counts. `None` if something that is no date stands where its end belongs.
pub(super) fn key_and_end(text: &str) -> Option<(&str, Option<u64>)> {
    let text = text.trim();
    let last_two = text.rsplit_once(char::is_whitespace).and_then(|(rest, last)| {
        let (key, word) = rest.trim_end().rsplit_once(char::is_whitespace)?;
        (word == "until").then_some((key, last))
    });
    match last_two {
        None => Some((text, None)),
        Some((key, end)) => Some((key, Some(last_second(end)?))),
    }
}

/// The last second of a day (`2026-12-31`, UTC), or a time as RFC 3339 writes it, in seconds since the Unix epoch.
fn last_second(text: &str) -> Option<u64> {
    let whole_day = || OffsetDateTime::parse(&format!("{text}T23:59:59Z"), &Rfc3339);
    let time = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| whole_day()).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

fn webhook_keys(values: &Values<'_>, findings: &mut Findings) -> Option<WebhookKeys> {
    let mut keys = WebhookKeys::default();
    let mut wrong = values.is_wrong("webhook_keys");
    let secrets = values.secrets("webhook_keys");
    for text in secrets {
        match WebhookKey::from_text(text.expose()) {
            Ok(key) => keys.add(key, text.expose()),
            Err(error) => {
                wrong = true;
                let remedy = "give a shared secret, whsec_…, or an Ed25519 public key, whpk_…";
                values.problem(findings, "webhook_keys", format!("one of the keys cannot be used: {error}"), remedy);
            }
        }
    }
    if secrets.len() > MOST_KEYS {
        wrong = true;
        let what = format!("are {} keys, and each costs time with every wrong signature", secrets.len());
        values.problem(findings, "webhook_keys", what, format!("keep at most {MOST_KEYS}"));
    }
    (!wrong).then_some(keys)
}

fn certificates(values: &Values<'_>, findings: &mut Findings) -> Option<Vec<Fingerprint>> {
    let mut fingerprints = Vec::new();
    let mut wrong = values.is_wrong("certificate_fingerprints");
    for text in values.texts("certificate_fingerprints") {
        if let Some(fingerprint) = fingerprint(text) {
            fingerprints.push(fingerprint);
        } else {
            wrong = true;
            let what = format!("{} is not the SHA-256 of a certificate: 64 hexadecimal digits", quote(text));
            let remedy = "copy what `openssl x509 -in client.pem -noout -fingerprint -sha256` prints behind the `=`";
            values.problem(findings, "certificate_fingerprints", what, remedy);
        }
    }
    (!wrong).then_some(fingerprints)
}

/// Hexadecimal, with colons or spaces between the bytes or without.
fn fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn schemes(
    values: &Values<'_>,
    keys: Option<&ServerKeys>,
    webhook_keys: Option<&WebhookKeys>,
    certificates: Option<&[Fingerprint]>,
    findings: &mut Findings,
) -> Option<Schemes> {
    let has_keys = Schemes {
        mattermost: !keys?.is_empty(),
        webhook: !webhook_keys?.as_slice().is_empty(),
        certificate: !certificates?.is_empty(),
    };
    if !values.was_given("schemes") {
        return Some(has_keys);
    }
    let mut schemes = Schemes::default();
    let mut wrong = values.is_wrong("schemes");
    for word in values.texts("schemes") {
        let (scheme, has_keys, key) = match word.as_str() {
            "mattermost" => (&mut schemes.mattermost, has_keys.mattermost, "keys"),
            "webhook" => (&mut schemes.webhook, has_keys.webhook, "webhook_keys"),
            "certificate" => (&mut schemes.certificate, has_keys.certificate, "certificate_fingerprints"),
            other => {
                wrong = true;
                let what = format!("{} is no way to sign", quote(other));
                values.problem(findings, "schemes", what, "write \"mattermost\", \"webhook\" or \"certificate\"");
                continue;
            }
        };
        *scheme = true;
        if !has_keys {
            wrong = true;
            let what = format!("names {word}, for which there are no keys");
            values.problem(findings, "schemes", what, format!("add {key}, or take {word} out"));
        }
    }
    if schemes == Schemes::default() && !wrong {
        wrong = true;
        let remedy = "name one, or leave the key out; disabled = true is for a server that may send nothing";
        values.problem(findings, "schemes", "is empty: the server could send nothing", remedy);
    }
    (!wrong).then_some(schemes)
}

/// `None` if the list is wrong, `Some(None)` if there is none.
#[allow(clippy::option_option, reason = "a list that is wrong and one that was not given are two things")]
fn allowed_targets(
    values: &Values<'_>,
    known: &BTreeSet<String>,
    findings: &mut Findings,
) -> Option<Option<BTreeSet<TargetName>>> {
    if values.is_wrong("targets") {
        return None;
    }
    if !values.was_given("targets") {
        return Some(None);
    }
    let names = values.texts("targets");
    if names.is_empty() {
        let remedy = "name some, or leave the key out for all; disabled = true is for a server that may send nothing";
        values.problem(findings, "targets", "is empty: the server could push nowhere", remedy);
        return None;
    }
    for name in names.iter().filter(|name| !known.contains(*name)) {
        let remedy = match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "write the name of a [[target]], without a version".to_owned(),
        };
        values.warning(findings, "targets", format!("names {}, and there is no such target", quote(name)), remedy);
    }
    Some(Some(names.iter().map(|name| TargetName::new(name)).collect()))
}

/// `None` if it is wrong, `Some(None)` if there is none.
#[allow(clippy::option_option, reason = "a rate that is wrong and one that was not given are two things")]
fn own_rate(values: &Values<'_>, findings: &mut Findings) -> Option<Option<Rate>> {
    if values.is_wrong("per_second") {
        return None;
    }
    let burst = values.optional_number("burst");
    match values.optional_number("per_second") {
        None if burst.is_some() => {
            let remedy = values.how_to_give("per_second", "a whole number, or take burst out");
            values.problem(findings, "burst", "says how many may come at once, and per_second is missing", remedy);
            None
        }
        None => Some(None),
        Some(count) => Some(rate(count, Duration::from_secs(1), burst.unwrap_or(count))),
    }
}
