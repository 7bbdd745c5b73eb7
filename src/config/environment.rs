//! Environment variables over the file: `PUSHRELAY_HTTP__MAX_BODY`, `PUSHRELAY_TARGET__APPLE_RN__TOPIC`.
//!
//! The environment is given, never read here, so that tests need not change the process's own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::document::{Document, Entry, Given, Section, variable_word};
use super::finding::{Findings, Place, did_you_mean};
use super::keys::{self, GROUPS, Group};

/// What all of them begin with.
const PREFIX: &str = "PUSHRELAY_";

/// Variables of that prefix that other parts of the program read, `PUSHRELAY_COMMIT` when it is built: whoever builds and
/// starts it in one environment has that set. `PUSHRELAY_BACKUP_PASSPHRASE` is for `pushrelay backup` and `restore`.
const ELSEWHERE: [&str; 3] = ["PUSHRELAY_CONFIG", "PUSHRELAY_COMMIT", "PUSHRELAY_BACKUP_PASSPHRASE"];

/// Whether a variable may set a key of ours.
pub(super) fn is_ours(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX))
}

/// Whether a variable is meant to set a key of ours.
pub(super) fn is_setting(name: &OsStr) -> bool {
    is_ours(name) && name.to_str().is_some_and(|name| !ELSEWHERE.contains(&name))
}

/// The variable that sets `key` of `group`; `alias` names one of a repeated group.
pub(super) fn variable(group: &Group, alias: &str, key: &str) -> String {
    let key = key.to_ascii_uppercase();
    match (group.name, group.repeated) {
        ("", _) => format!("{PREFIX}{key}"),
        (name, false) => format!("{PREFIX}{}__{key}", name.to_ascii_uppercase()),
        (name, true) => format!("{PREFIX}{}__{alias}__{key}", name.to_ascii_uppercase()),
    }
}

/// Lays the variables over the document. An empty variable counts as none: compose files pass those on.
pub(super) fn apply(
    document: &mut Document,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    findings: &mut Findings,
) {
    // Sorted, so that nothing depends on the order in which the system lists them.
    let ours: BTreeMap<String, OsString> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .filter(|(name, value)| !ELSEWHERE.contains(&name.as_str()) && !is_service_link(name, &value.to_string_lossy()))
        .collect();
    for (name, value) in ours {
        let place = Place::Variable(name.clone());
        let Some((group, alias, key)) = meaning(&name) else {
            unknown(document, &name, findings);
            continue;
        };
        let Ok(text) = value.into_string() else {
            findings.problem(&place, "", "is not text (UTF-8)", "set it to text, or unset it");
            continue;
        };
        if text.is_empty() {
            continue;
        }
        if let Some(section) = find(document, group, &alias, &place, findings) {
            section.set(&key, text, place);
        }
    }
}

/// Which key a variable sets; `None` if there is no such key.
fn meaning(name: &str) -> Option<(&'static Group, String, String)> {
    let rest = name.strip_prefix(PREFIX)?;
    let (group, alias, key) = match rest.split_once("__") {
        None => (&keys::TOP, "", rest),
        Some((group, rest)) => {
            let group = keys::group(&group.to_ascii_lowercase()).filter(|group| !group.name.is_empty())?;
            // From the right: a name may itself hold two underscores, a key cannot.
            let (alias, key) = if group.repeated { rest.rsplit_once("__")? } else { ("", rest) };
            (group, alias, key)
        }
    };
    let key = key.to_ascii_lowercase();
    (group.knows(&key) && group.repeated != alias.is_empty()).then(|| (group, variable_word(alias), key))
}

/// The section that a variable means; made if it names one that the file does not have.
fn find<'a>(
    document: &'a mut Document,
    group: &'static Group,
    alias: &str,
    place: &Place,
    findings: &mut Findings,
) -> Option<&'a mut Section> {
    if !group.repeated {
        return Some(document.section(group));
    }
    let matching = |section: &Section| section.group.name == group.name && section.alias == alias;
    match document.repeated.iter().filter(|section| matching(section)).count() {
        0 => {
            let section = document.add(group, place.clone());
            alias.clone_into(&mut section.alias);
            section.set("name", alias.to_ascii_lowercase(), place.clone());
        }
        1 => {}
        _ => {
            let what = format!("fits more than one {} of the file", group.name);
            findings.problem(place, "", what, "give them names that differ in letters or digits, or use the file only");
            return None;
        }
    }
    document.repeated.iter_mut().find(|section| matching(section))
}

impl Section {
    fn set(&mut self, key: &str, text: String, place: Place) {
        // A variable also replaces the other way of giving the same secret: `x` in the file, `x_file` in the variable.
        for secret in self.group.keys.iter().filter(|key| key.kind.is_secret()) {
            let file_name = secret.file_name().unwrap_or_default();
            let other = match key {
                _ if key == secret.name => file_name.as_str(),
                _ if key == file_name => secret.name,
                _ => continue,
            };
            if self.entries.get(other).is_some_and(|entry| !matches!(entry.place, Place::Variable(_))) {
                self.entries.remove(other);
            }
        }
        self.entries.insert(key.to_owned(), Entry { place, given: Given::Untyped(text) });
    }
}

fn unknown(document: &Document, name: &str, findings: &mut Findings) {
    let mut known: Vec<String> = Vec::new();
    for group in GROUPS {
        if group.repeated {
            for section in document.sections(group) {
                known.extend(group.names().map(|key| section.variable(&key)));
            }
        } else {
            known.extend(group.names().map(|key| variable(group, "", &key)));
        }
    }
    // The prefix is the same for all and would make everything look alike.
    let bare = |name: &'_ str| name.trim_start_matches(PREFIX).to_owned();
    let bare_known: Vec<String> = known.iter().map(|name| bare(name)).collect();
    let meant = did_you_mean(&bare(&name.to_ascii_uppercase()), bare_known.iter().map(String::as_str));
    // The name may be anything here; the names of known variables are plain.
    let place = Place::Variable(name.escape_debug().to_string());
    let remedy = match meant {
        Some(meant) => format!("did you mean {PREFIX}{meant}?"),
        None => {
            format!("unset it, or name a key: {PREFIX}LISTEN, {PREFIX}HTTP__MAX_BODY, {PREFIX}TARGET__<NAME>__TOPIC")
        }
    };
    findings.problem(&place, "", "sets no known key", remedy);
}

/// Kubernetes tells every container about the services beside it, in Docker's old manner: a service called `pushrelay`
/// arrives as `PUSHRELAY_SERVICE_HOST`, `PUSHRELAY_PORT=tcp://…`, `PUSHRELAY_PORT_8066_TCP_ADDR` and so on. Nobody wrote
/// those for us. (Source: Kubernetes documentation, "Discovering services", environment variables.)
fn is_service_link(name: &str, value: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let protocol = |text: &str| matches!(text, "TCP" | "UDP" | "SCTP");
    let parts: Vec<&str> = name.split('_').collect();
    // A key's variable holds two underscores in a row, or is one of the few of the top level.
    !name.contains("__")
        && match parts.as_slice() {
            [.., "SERVICE", "HOST" | "PORT"] => true,
            [.., "PORT", port, kind] | [.., "PORT", port, kind, "PROTO" | "PORT" | "ADDR"]
                if number(port) && protocol(kind) =>
            {
                true
            }
            // By value: `PUSHRELAY_TARGET_X_PORT=2197` is a slip that should be told.
            [.., "PORT"] => value.contains("://"),
            // Named ports: PUSHRELAY_SERVICE_PORT_HTTP.
            parts => parts.windows(2).any(|pair| pair == ["SERVICE", "PORT"]),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_makes_are_not_taken_for_ours() {
        for name in [
            "PUSHRELAY_SERVICE_HOST",
            "PUSHRELAY_SERVICE_PORT",
            "PUSHRELAY_SERVICE_PORT_HTTP",
            "PUSHRELAY_OPS_SERVICE_PORT_HTTP_METRICS",
            "PUSHRELAY_PORT",
            "PUSHRELAY_PORT_8066_TCP",
            "PUSHRELAY_OPS_PORT_9090_TCP_ADDR",
            "PUSHRELAY_PORT_8066_TCP_PROTO",
        ] {
            assert!(is_service_link(name, "tcp://10.0.0.1:8066"), "{name}");
        }
    }

    #[test]
    fn no_variable_of_a_key_is_taken_for_a_service_link() {
        for group in GROUPS {
            for key in group.names() {
                let name = variable(group, "APPLE_RN", &key);
                assert!(!is_service_link(&name, "tcp://10.0.0.1:8066"), "{name}");
                let (found, alias, key_found) = meaning(&name).unwrap();
                assert_eq!((found.name, key_found), (group.name, key));
                assert_eq!(alias, if group.repeated { "APPLE_RN" } else { "" });
            }
        }
        assert!(!is_service_link("PUSHRELAY_PROT", "tcp://10.0.0.1:8066"));
        assert!(!is_service_link("PUSHRELAY_TARGET_APPLE_RN_PORT", "2197"));
    }

    #[test]
    fn a_name_may_hold_two_underscores() {
        let (_, alias, key) = meaning("PUSHRELAY_TARGET__MY__APP__TOPIC").unwrap();
        assert_eq!((alias.as_str(), key.as_str()), ("MY__APP", "topic"));
    }
}
