//! The published description has the fields that are read here, with their limits and words.

use yaml_rust2::{Yaml, YamlLoader};

use super::*;
use crate::http::openapi::DESCRIPTION;

fn description() -> Yaml {
    YamlLoader::load_from_str(DESCRIPTION).unwrap().remove(0)
}

fn texts(list: &Yaml) -> Vec<&str> {
    list.as_vec().into_iter().flatten().filter_map(Yaml::as_str).collect()
}

fn names(object: &Yaml) -> Vec<&str> {
    object.as_hash().unwrap().keys().map(|name| name.as_str().unwrap()).collect()
}

/// The examples of a request, as JSON.
fn examples(description: &Yaml) -> Vec<Value> {
    let content = &description["paths"]["/v1/notifications"]["post"]["requestBody"]["content"]["application/json"];
    content["examples"].as_hash().unwrap().values().map(|example| json(&example["value"])).collect()
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => text.as_str().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Boolean(flag) => (*flag).into(),
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(members) => {
            members.iter().map(|(name, value)| (name.as_str().unwrap().to_owned(), json(value))).collect()
        }
        other => panic!("{other:?} has no place in an example"),
    }
}

fn problems(body: &Value) -> Vec<String> {
    decode(body.to_string().as_bytes()).err().map(|error| error.lines()).unwrap_or_default()
}

#[test]
fn the_description_has_the_fields_of_a_message_and_no_others() {
    let description = description();
    let schema = &description["components"]["schemas"]["Message"];
    assert_eq!(names(&schema["properties"]), FIELDS);
    assert_eq!(schema["additionalProperties"].as_bool(), Some(false));

    // What is listed is also read: the fullest example has every field, and every field is understood.
    let fullest = examples(&description).into_iter().max_by_key(|example| example.as_object().unwrap().len()).unwrap();
    let mut given: Vec<_> = fullest.as_object().unwrap().keys().map(String::as_str).collect();
    let mut all = FIELDS.to_vec();
    given.sort_unstable();
    all.sort_unstable();
    assert_eq!(given, all);
    assert_eq!(problems(&fullest), Vec::<String>::new());

    let required = texts(&schema["required"]);
    for name in FIELDS {
        let mut without = fullest.clone();
        without.as_object_mut().unwrap().remove(name);
        let is_missed = problems(&without).contains(&format!("{name}: is missing"));
        assert_eq!(is_missed, required.contains(&name), "{name}");
        let may_be_null = texts(&schema["properties"][name]["type"]).contains(&"null");
        assert_eq!(may_be_null, !is_missed, "{name}");
    }
}

#[test]
fn the_examples_are_understood_and_show_every_kind() {
    let description = description();
    let mut kinds = Vec::new();
    for example in examples(&description) {
        assert_eq!(problems(&example), Vec::<String>::new(), "{example}");
        kinds.push(example["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, Kind::ALL.map(Kind::as_str));
    assert_eq!(texts(&description["components"]["schemas"]["Message"]["properties"]["kind"]["enum"]), kinds);
}

#[test]
fn the_description_has_the_limits_of_each_field() {
    let description = description();
    let properties = &description["components"]["schemas"]["Message"]["properties"];
    for (name, limit) in [
        ("id", MAX_ID),
        ("target", MAX_TARGET),
        ("title", MAX_TITLE),
        ("body", MAX_BODY),
        ("sound", MAX_NAME),
        ("thread_id", MAX_NAME),
        ("category", MAX_NAME),
        ("collapse_id", MAX_COLLAPSE_ID),
    ] {
        let bounds = (properties[name]["minLength"].as_i64(), properties[name]["maxLength"].as_i64());
        assert_eq!(bounds, (Some(1), i64::try_from(limit).ok()), "{name}");
    }
    for (name, limit) in [("badge", MAX_BADGE), ("ttl_s", MAX_TTL)] {
        let bounds = (properties[name]["minimum"].as_i64(), properties[name]["maximum"].as_i64());
        assert_eq!(bounds, (Some(0), Some(i64::from(limit))), "{name}");
    }
    let devices = &properties["devices"];
    assert_eq!(
        (devices["minItems"].as_i64(), devices["maxItems"].as_i64()),
        (Some(1), i64::try_from(MAX_DEVICES).ok())
    );
    assert_eq!(devices["items"]["maxLength"].as_i64(), i64::try_from(MAX_DEVICE).ok());
}

#[test]
fn the_description_has_the_names_that_are_not_the_callers() {
    let description = description();
    let schema = &description["components"]["schemas"]["Message"];
    let data = &schema["properties"]["data"]["propertyNames"];
    assert_eq!(data["maxLength"].as_i64(), i64::try_from(MAX_DATA_NAME).ok());
    let whole = RESERVED.iter().map(|name| format!("{name}$"));
    let beginnings = RESERVED_BEGINNINGS.iter().map(|beginning| beginning.replace('.', r"\."));
    let pattern = format!("^({})", whole.chain(beginnings).collect::<Vec<_>>().join("|"));
    assert_eq!(data["not"]["pattern"].as_str(), Some(pattern.as_str()));

    let pattern = format!("^({})$", HAVE_FIELDS.map(|(name, _)| name).join("|"));
    assert_eq!(schema["properties"]["fcm"]["propertyNames"]["not"]["pattern"].as_str(), Some(pattern.as_str()));

    let told = schema["description"].as_str().unwrap();
    for name in ALERT_FIELDS {
        assert!(told.contains(&format!("`{name}`")), "{name}");
    }
    let told = schema["properties"]["apns"]["description"].as_str().unwrap();
    for name in NOT_IN_BACKGROUND {
        assert!(told.contains(&format!("`{name}`")), "{name}");
    }
}
