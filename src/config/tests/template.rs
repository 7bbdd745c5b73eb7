//! `config/pushrelay.toml` and `docs/configuration.md` say what the code says.

use std::collections::BTreeSet;

use super::*;
use crate::config::document::Given;

const TEMPLATE: &str = include_str!("../../../config/pushrelay.toml");
const PAGE: &str = include_str!("../../../docs/configuration.md");

/// The template with every `#key = value` and `#[table]` line in force. Prose begins with `# `.
fn uncommented() -> String {
    let in_force = |line: &str| {
        line.strip_prefix('#')
            .filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
            .map(str::to_owned)
    };
    TEMPLATE.lines().map(|line| in_force(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

fn parse(text: &str) -> Document {
    let mut findings = Findings::default();
    let document = Document::parse(text, &"pushrelay.toml".into(), &mut findings);
    document.unwrap_or_else(|| panic!("{}", findings.finish().unwrap_err()))
}

fn sections<'a>(document: &'a mut Document, group: &'static Group) -> Vec<&'a document::Section> {
    if group.repeated { document.sections(group).collect() } else { vec![&*document.section(group)] }
}

#[test]
fn the_template_as_it_stands_lacks_only_targets_and_servers() {
    let text = said(TEMPLATE, &[]);
    assert!(text.contains("pushrelay.toml: target: there is none"), "{text}");
    assert!(text.contains("pushrelay.toml: server: there is none"), "{text}");
    assert!(text.ends_with("2 problems; nothing was started."), "{text}");
}

#[test]
fn every_line_of_the_template_can_be_put_in_force() {
    let text = said(&uncommented(), &[]);
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        let about_a_missing_file =
            ["cannot read `keys/", "cannot read `servers/", "cannot read `servers.d`", "/servers.d`: no such file"]
                .iter()
                .any(|words| line.contains(words));
        let about_this_build =
            cfg!(not(feature = "otlp")) && line.contains("traces.endpoint: this program was built without");
        assert!(about_a_missing_file || about_this_build || line.contains("nothing was started"), "{text}");
    }
}

#[test]
fn the_template_names_every_key_and_states_the_true_defaults() {
    let mut document = parse(&uncommented());
    for group in GROUPS {
        let sections = sections(&mut document, group);
        for key in group.keys {
            let file_name = key.file_name();
            let names = [Some(key.name), file_name.as_deref()];
            let entries: Vec<_> =
                sections.iter().flat_map(|s| names.into_iter().flatten().filter_map(|n| s.entries.get(n))).collect();
            assert!(!entries.is_empty(), "{}.{} is not in the template", group.name, key.name);
            let Otherwise::Default(default) = key.otherwise else { continue };
            for entry in entries {
                let stated = match &entry.given {
                    Given::Text(text) | Given::Integer(text) => text.clone(),
                    Given::Boolean(flag) => flag.to_string(),
                    other => panic!("{}: {other:?}", key.name),
                };
                assert_eq!(stated, default, "{}.{}", group.name, key.name);
            }
        }
    }
}

#[test]
fn the_page_holds_the_reference_that_the_code_gives() {
    let (_, rest) = PAGE.split_once("<!-- keys: made from src/config/keys.rs -->\n").expect("the opening mark");
    let (section, _) = rest.split_once("<!-- end of keys -->").expect("the closing mark");
    let expected = manual();
    assert!(
        section.trim() == expected.trim(),
        "docs/configuration.md is behind; put this between the marks:\n\n{expected}"
    );
}

#[test]
fn every_variable_the_page_mentions_sets_a_key() {
    let mentioned: BTreeSet<&str> = PAGE
        .split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| word.starts_with("PUSHRELAY_") && word.contains("__") && !word.ends_with('_'))
        .collect();
    assert!(mentioned.len() > 3, "{mentioned:?}");
    for name in mentioned {
        let text = load(None, variables(&[(name, "x")])).unwrap_err().to_string();
        assert!(!text.contains("sets no known key"), "{text}");
    }
}
