//! Modules import only rightward:
//! `main → cli → app → {http, enrolment, backup, doctor} → {admission, relay} → {delivery, queue, sender, journal} → {notification, message, outcome, clock}`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The ring of each module; a module may import from rings with a higher number only.
const RINGS: &[(&str, u8)] = &[
    ("cli", 1),
    ("app", 2),
    ("http", 3),
    ("enrolment", 3),
    ("backup", 3),
    ("doctor", 3),
    ("admission", 4),
    ("relay", 4),
    ("delivery", 5),
    ("queue", 5),
    ("journal", 5),
    ("sender", 5),
    ("notification", 6),
    ("message", 6),
    ("outcome", 6),
    ("clock", 6),
];

/// Open to all but the last ring, and importing only from it (`config` apart, which gathers everybody's settings).
const OPEN: &[&str] = &["telemetry", "shutdown", "named_file"];

/// What every module may use, the last ring included: the type that keeps secrets from being printed.
const EVERYWHERE: &[&str] = &["private"];

/// Only these import `config`.
const CONFIG_READERS: &[&str] = &["cli", "app"];

/// Who may import a module that is in no ring.
const ALLOWED_BESIDE_THE_RINGS: &[(&str, &[&str])] = &[
    // The gate and the relay meet in the type `Admitted`, which only the gate can make.
    ("relay", &["admission"]),
    // A notification is about a message.
    ("notification", &["message"]),
    // The command line plays the chat server, starts the simulator and reads the configuration.
    ("cli", &["simulator"]),
];

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The top-level module that a file belongs to.
fn module(source: &Path, file: &Path) -> String {
    let first = file.strip_prefix(source).unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The modules named after `crate::` outside of comments.
fn imports(text: &str) -> Vec<String> {
    // Tests inside a module may borrow what they need to build a case.
    let text = text.split("#[cfg(test)]").next().unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| {
        line.split("crate::")
            .skip(1)
            .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>())
    })
    .collect()
}

fn is_allowed(from: &str, to: &str) -> bool {
    let ring = |name: &str| RINGS.iter().find(|(module, _)| *module == name).map(|(_, ring)| *ring);
    if from == to || EVERYWHERE.contains(&to) {
        return true;
    }
    if ALLOWED_BESIDE_THE_RINGS.iter().any(|(module, may)| *module == from && may.contains(&to)) {
        return true;
    }
    if to == "config" {
        return CONFIG_READERS.contains(&from);
    }
    if OPEN.contains(&to) {
        return ring(from) != Some(6) && !OPEN.contains(&from);
    }
    match (from, ring(from), ring(to)) {
        ("main", _, _) => to == "cli",
        // Gathers the leaves' settings; no one but cli and app sees the result.
        ("config", _, Some(to)) => to >= 3,
        (from, _, Some(to)) if OPEN.contains(&from) => to == 6,
        (_, Some(from), Some(to)) => from < to,
        _ => false,
    }
}

#[test]
fn modules_import_only_rightward() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 20, "the source was found");

    let mut broken: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    for file in &files {
        let from = module(&source, file);
        if from == "lib" {
            continue;
        }
        for to in imports(&fs::read_to_string(file).unwrap()) {
            // A lower-case word is a module; `crate::Something` would be a re-export, and there are none.
            if !is_allowed(&from, &to) {
                broken.insert((from.clone(), to), file.clone());
            }
        }
    }
    assert!(broken.is_empty(), "imports against the rule: {broken:#?}");
}

#[test]
fn the_rule_tells_right_from_wrong() {
    for (from, to, allowed) in [
        ("cli", "app", true),
        ("app", "cli", false),
        ("http", "relay", true),
        ("relay", "http", false),
        ("sender", "delivery", false),
        ("journal", "queue", false),
        ("sender", "config", false),
        ("app", "config", true),
        ("cli", "backup", true),
        ("backup", "queue", true),
        ("backup", "config", false),
        ("clock", "telemetry", false),
        ("telemetry", "outcome", true),
        ("telemetry", "relay", false),
        ("notification", "private", true),
        ("simulator", "sender", false),
    ] {
        assert_eq!(is_allowed(from, to), allowed, "{from} → {to}");
    }
}
