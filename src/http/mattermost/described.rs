//! The published description has the fields that are read here, with their types, their limits and their order.

use std::fmt::Debug;

use yaml_rust2::{Yaml, YamlLoader};

use super::*;
use crate::http::openapi::DESCRIPTION;

fn description() -> Yaml {
    let mut documents = YamlLoader::load_from_str(DESCRIPTION).unwrap();
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

/// The names of a struct's fields as it prints them, with their names on the wire.
fn fields_of(value: &impl Debug) -> Vec<String> {
    let printed = format!("{value:#?}");
    let names = printed.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    names.map(|(name, _)| if name == "kind" { "type".to_owned() } else { name.to_owned() }).collect()
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

/// Holds one schema against the struct that its bodies are read into.
fn hold<F: Debug + Fields<'static>>(schema: &str) {
    let description = description();
    let schema = &description["components"]["schemas"][schema];
    let required = texts(&schema["required"]);
    let properties = schema["properties"].as_hash().unwrap();
    let described: Vec<_> = properties.keys().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(described, fields_of(&F::default()));

    for (name, property) in properties {
        let name = name.as_str().unwrap();
        let mut fields = F::default();
        let (_, slot) = fields.slot(name).unwrap_or_else(|| panic!("`{name}` is described and not read"));
        let expected = match slot {
            Slot::Text(_) => "string",
            Slot::Whole(_) => "integer",
            Slot::Flag(_) => "boolean",
        };
        // What must be there cannot be null.
        if required.contains(&name) {
            assert_eq!(property["type"].as_str(), Some(expected), "{name}");
        } else {
            assert_eq!(texts(&property["type"]), [expected, "null"], "{name}");
        }
        if expected == "integer" {
            assert_eq!(property["minimum"].as_i64(), Some(i64::MIN), "{name}");
            assert_eq!(property["maximum"].as_i64(), Some(i64::MAX), "{name}");
        }
        assert!(property["description"].as_str().is_some_and(|text| text.len() > 10), "{name}");
    }
}

#[test]
fn the_description_has_the_fields_of_a_push() {
    hold::<Push<'_>>("Push");
}

#[test]
fn the_description_has_the_fields_of_a_receipt() {
    hold::<Receipt<'_>>("Ack");
}

#[test]
fn the_description_has_the_limits_of_texts() {
    let description = description();
    let properties = &description["components"]["schemas"]["Push"]["properties"];
    let said = |name: &str| properties[name]["description"].as_str().unwrap().replace(',', "");
    assert!(said("message").contains(&format!("{MESSAGE_BYTES} bytes of UTF-8")));
    assert!(said("message").contains(&format!("first {} are passed on", MESSAGE_BYTES - 1)));
    assert!(said("channel_name").contains(&format!("{CHANNEL_NAME_BYTES} bytes of UTF-8")));
}

#[test]
fn the_description_names_every_kind_of_push() {
    let description = description();
    let kind = &description["components"]["schemas"]["Push"]["properties"]["type"];
    let named = texts(&kind["examples"]);
    let known: Vec<_> = PushKind::LABELS.into_iter().filter(|label| *label != "other").collect();
    assert_eq!(named, known);
    for label in known {
        assert!(kind["description"].as_str().unwrap().contains(&format!("`{label}`")), "{label}");
    }
}
