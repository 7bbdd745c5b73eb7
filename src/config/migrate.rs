//! A configuration of `mattermost-push-proxy` as the TOML that means the same, with comments on what can now be switched on.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::document::{Document, Given, Section};
use super::finding::{Finding, Findings, Place, Problems};
use super::kind::Kind;
use super::values::is_content;
use super::{Settings, read, reference, settings};

/// What was made of a file.
#[derive(Debug)]
pub struct Migrated {
    /// The file that was read, where it was found.
    pub file: PathBuf,
    /// The text of a `pushrelay.toml`.
    pub toml: String,
    /// Whether a secret stands in it, so that it should not be left readable to everybody.
    pub holds_a_secret: bool,
    /// What was ignored in the file, and what is worth knowing.
    pub warnings: Vec<Finding>,
}

/// Turns the reference's file into ours. Relative paths are made absolute, from `directory`, the one that the reference
/// is started in: ours are relative to the file, wherever that will be.
///
/// Variables play no part. Secrets that stand in the file stand in the result.
///
/// # Errors
/// What keeps the file from being used at all.
pub fn migrate(file: &Path, directory: &Path) -> Result<Migrated, Problems> {
    let file = reference::find(file);
    let mut findings = Findings::default();
    let document = read(Some(&file), &mut findings);
    if document.as_ref().is_some_and(|document| !document.is_reference) {
        let place = Place::File(file.display().to_string().into());
        let remedy = "it can be used as it is: pushrelay serve --config";
        findings.problem(&place, "", "is not JSON, the format of mattermost-push-proxy", remedy);
    }
    let built = document.map(|mut document| {
        reference::finish(&document, &mut findings);
        let settings = settings(&mut document, directory, &mut findings);
        (document, settings)
    });
    let warnings = findings.finish()?;
    let (document, settings) = built.expect("whoever reads nothing reports why");
    let toml = written(&file, &document, &settings, directory);
    let holds_a_secret = document.all().any(|section| {
        section.group.keys.iter().any(|key| key.kind.is_secret() && section.entries.contains_key(key.name))
    });
    Ok(Migrated { file, toml, holds_a_secret, warnings })
}

fn written(file: &Path, document: &Document, settings: &Settings, directory: &Path) -> String {
    let mut toml = format!(
        "# Made by `pushrelay migrate` from {}. It means the same as that file, but for one thing: a target that\n\
         # cannot be set up is an error at the start, instead of being left out.\n\
         # What can be switched on now stands in comments; config/pushrelay.toml documents every key.\n",
        file.display().to_string().escape_debug()
    );
    if settings.targets.is_empty() {
        toml.push_str("#\n# No target of it can be used, so this one starts nothing yet: see below.\n");
    }
    for section in document.all().filter(|section| !section.entries.is_empty()) {
        let name = section.text("name").map_or_else(|| section.path(""), str::to_owned);
        let left_out = settings.left_out.iter().find(|left| section.group.repeated && left.name.as_str() == name);
        match left_out {
            None => write_section(&mut toml, section, directory, ""),
            // As good as not there: the reference does not start it either.
            Some(left) => {
                let _ = write!(toml, "\n# Left out, as it cannot be used: {}\n", left.problem.escape_debug());
                write_section(&mut toml, section, directory, "# ");
            }
        }
    }
    toml
}

fn write_section(toml: &mut String, section: &Section, directory: &Path, before: &str) {
    let name = section.group.name;
    toml.push_str(if before.is_empty() { "\n" } else { "" });
    let _ = match (name, section.group.repeated) {
        ("", _) => Ok(()),
        (name, true) => writeln!(toml, "{before}[[{name}]]"),
        (name, false) => writeln!(toml, "{before}[{name}]"),
    };
    for key in section.group.keys {
        let Some(entry) = section.entries.get(key.name) else { continue };
        let value = value(&entry.given, matches!(key.kind, Kind::File), directory);
        let _ = writeln!(toml, "{before}{} = {value}", key.name);
        for line in note(name, key.name) {
            let _ = writeln!(toml, "{before}# {line}");
        }
    }
}

fn value(given: &Given, is_path: bool, directory: &Path) -> String {
    match given {
        // Somebody pasted a key where its path belongs; what was made of it is among the comments already.
        Given::Text(text) | Given::Untyped(text) if is_path && is_content(text) => {
            quoted("not shown: the content of a file instead of its path")
        }
        Given::Text(text) | Given::Untyped(text) if is_path => {
            // `./config/key.p8` reads better without the dot.
            let path = directory.join(Path::new(text).strip_prefix(".").unwrap_or(Path::new(text)));
            quoted(&path.display().to_string())
        }
        Given::Text(text) | Given::Untyped(text) => quoted(text),
        Given::Integer(number) => number.clone(),
        Given::Boolean(flag) => flag.to_string(),
        Given::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| value(item, is_path, directory)).collect();
            format!("[{}]", items.join(", "))
        }
        Given::Other(name) => unreachable!("the reader of the reference's files makes no {name}"),
    }
}

/// On one line, whatever is in it: a comment of several lines would not be one. What JSON writes is a basic string of TOML,
/// which only wants one character more escaped.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// What to think about beside a value.
fn note(group: &str, key: &str) -> &'static [&'static str] {
    match (group, key) {
        ("", "compatibility") => &[
            "compatibility = \"improved\" cuts texts between characters, fits payloads to the provider's limit instead of",
            "failing, and tells chat servers why a push failed.",
            "data_dir = \"/var/lib/pushrelay\" keeps on disk what Apple or Google does not take now, and delivers it later; an OK",
            "then means delivered or kept (docs/delivery.md).",
        ],
        ("auth", "mode") => &[
            "Nobody is asked who they are. First mode = \"observe\": everything is still sent, and the log says what would be",
            "refused. Then mode = \"required\", and one of these for each chat server:",
            "[[server]]",
            "name = \"chat.example.com\"",
            "id = \"DiagnosticId in https://chat.example.com/api/v4/config/client?format=old\"",
            "keys = [\"AsymmetricSigningPublicKey in the same document\"]",
        ],
        ("ops", "metrics") => &[
            "With metrics = true, listen = \"127.0.0.1:9066\" keeps them, /readyz and the status page apart from the address of chat",
            "servers.",
        ],
        ("log", "format") => &["format = \"json\" for log collectors and for the commands of docs/operate.md."],
        ("delivery", "deadline") => {
            &["Mattermost waits 30 s for an answer: deadline = \"25s\" leaves time to give it."]
        }
        ("breaker", "failures") => {
            &["failures = 10 lets a push to a provider that does not work fail at once instead of after its deadline."]
        }
        ("removal_guard", "enabled") => &[
            "enabled = true keeps chat servers from forgetting every phone of an app whose certificate or topic is wrong.",
        ],
        ("throttle", "vary_by_headers") => &[
            "Without vary_by_headers each client address is a caller, which needs no header.",
            "ThrottlePerSec is left out: mattermost-push-proxy turns nobody away. With per_second = 300 a caller that asks more often",
            "hears 429, and Mattermost does not send again what was refused.",
        ],
        ("client_ip", "trusted_proxies") => {
            &["Headers are believed only from these. Name the addresses of your own reverse proxies and no others."]
        }
        ("target", "certificate_password") => &["certificate_password_file = \"…\" keeps it out of this file."],
        ("target", "certificate_file") => {
            &["A certificate ends after a year; a signing key does not: key_file, key_id and team_id instead of it."]
        }
        _ => &[],
    }
}
