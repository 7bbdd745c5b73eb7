//! `[auth]` and `[[server]]`: who may send.

use std::num::NonZeroU32;

use super::finding::Findings;
use super::values::Values;
use crate::admission::key::VerifyingKey;
use crate::admission::{AdmissionSettings, AuthMode, ServerSettings};
use crate::notification::ServerId;

/// Builds the settings of admission. `servers` are those whose section was right; `none` says that there was no section.
pub(super) fn admission(
    auth: &Values<'_>,
    servers: Vec<ServerSettings>,
    none: bool,
    findings: &mut Findings,
) -> AdmissionSettings {
    let mode = match auth.choice("mode") {
        "off" => AuthMode::Off,
        "observe" => AuthMode::Observe,
        _ => AuthMode::Required,
    };
    match mode {
        AuthMode::Required if none && !auth.is_wrong("mode") => findings.problem(
            &auth.place(""),
            "server",
            "there is none, and auth.mode is \"required\": nobody could send anything",
            "add [[server]] with name, id and keys for each chat server, or set auth.mode to \"observe\" for a while",
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
    AdmissionSettings {
        mode,
        allow_unsigned_test: auth.flag("allow_unsigned_test"),
        unsigned_tests_per_minute: NonZeroU32::new(auth.number("unsigned_tests_per_minute")).unwrap_or(NonZeroU32::MIN),
        servers,
    }
}

/// Builds one server. `None` if anything about it is wrong; what, is among the findings then.
pub(super) fn server(values: &Values<'_>, findings: &mut Findings) -> Option<ServerSettings> {
    let keys = keys(values, findings);
    let id = ServerId::new(values.text("id")?)?;
    Some(ServerSettings { id, name: values.text("name")?.to_owned(), keys: keys? })
}

fn keys(values: &Values<'_>, findings: &mut Findings) -> Option<Vec<VerifyingKey>> {
    let files = values.files("key_files", findings);
    // A wrong list or an unreadable file is among the findings already.
    let mut wrong = files.len() < values.texts("key_files").len()
        || ["keys", "key_files"].into_iter().any(|name| values.is_wrong(name));
    let mut keys = Vec::new();
    let from_texts = values.texts("keys").iter().cloned().map(|text| ("keys", text));
    let from_files = files.iter().map(|content| ("key_files", String::from_utf8_lossy(content).into_owned()));
    for (name, text) in from_texts.chain(from_files) {
        match VerifyingKey::from_text(&text) {
            Ok(key) => keys.push(key),
            Err(error) => {
                wrong = true;
                let remedy = "AsymmetricSigningPublicKey in <site>/api/v4/config/client?format=old is what is needed";
                values.problem(findings, name, format!("one of the keys {error}"), remedy);
            }
        }
    }
    if keys.is_empty() && !wrong {
        let remedy = values.how_to_give("keys", "[\"…\"] with the server's AsymmetricSigningPublicKey");
        values.problem(findings, "keys", "is missing: nothing the server signs could be checked", remedy);
        wrong = true;
    }
    (!wrong).then_some(keys)
}
