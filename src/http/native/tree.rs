//! JSON as strictly as RFC 8259 lets a receiver be: one object and nothing behind it, and no name twice in an object, since
//! two readers would disagree about which one counts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

use super::problem::{Path, Problems};

/// Why a body is not an object in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotJson {
    #[error("the body is empty")]
    Empty,
    #[error("the JSON ends before it is complete")]
    EndsEarly,
    #[error("not valid JSON, or nested too deeply, at line {line}, column {column}")]
    Syntax { line: usize, column: usize },
    #[error("the body is JSON, but not an object")]
    NotAnObject,
}

impl From<serde_json::Error> for NotJson {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            Category::Eof => Self::EndsEarly,
            _ => Self::Syntax { line: error.line(), column: error.column() },
        }
    }
}

/// The members of the body; names that stand there twice are among the problems. `serde_json` bounds the depth at 128.
pub(super) fn read(body: &[u8], problems: &mut Problems) -> Result<Map<String, Value>, NotJson> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(NotJson::Empty);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = Tree { path: Path::Root, problems }.deserialize(&mut json)?;
    json.end()?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(NotJson::NotAnObject),
    }
}

/// One value of it.
struct Tree<'a> {
    path: Path<'a>,
    problems: &'a mut Problems,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = Path::Item(&self.path, list.len());
            match items.next_element_seed(Tree { path, problems: &mut *self.problems })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let path = Path::Member(&self.path, &name);
            let value = members.next_value_seed(Tree { path, problems: &mut *self.problems })?;
            if object.contains_key(&name) {
                self.problems.add(path, "stands there twice");
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(body: &str) -> Result<Map<String, Value>, NotJson> {
        read(body.as_bytes(), &mut Problems::default())
    }

    #[test]
    fn what_is_not_one_object_is_told_apart() {
        let syntax = |line, column| Err(NotJson::Syntax { line, column });
        let deep = format!("{{\"a\":{}", "[".repeat(200));
        let table = [
            ("", Err(NotJson::Empty)),
            (" \n", Err(NotJson::Empty)),
            ("{", Err(NotJson::EndsEarly)),
            (r#"{"a":"#, Err(NotJson::EndsEarly)),
            ("[]", Err(NotJson::NotAnObject)),
            ("7", Err(NotJson::NotAnObject)),
            ("{a:1}", syntax(1, 2)),
            ("{}\n{}", syntax(2, 1)),
            (r#"{"a":1,}"#, syntax(1, 8)),
            (&deep, syntax(1, 132)),
        ];
        for (body, expected) in table {
            assert_eq!(of(body), expected, "{body}");
        }
        assert!(read(b"{\"a\":\"\xff\"}", &mut Problems::default()).is_err(), "texts are Unicode");
    }

    #[test]
    fn a_name_that_stands_there_twice_is_a_problem_wherever_it_is() {
        let mut problems = Problems::default();
        read(br#"{"a":1,"b":{"c":1,"c":2},"d":[{"e":1,"e":1}],"a":2}"#, &mut problems).unwrap();
        let lines = ["b.c: stands there twice", "d[0].e: stands there twice", "a: stands there twice"];
        assert_eq!(problems.lines(), lines);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("\\PC{0,4}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_read_as_it_was_written(value in any_json()) {
            let mut problems = Problems::default();
            let members = read(json!({"v": value}).to_string().as_bytes(), &mut problems).unwrap();
            prop_assert_eq!(&members["v"], &value);
            prop_assert_eq!(problems.count(), 0);
        }

        #[test]
        fn no_bytes_whatever_cause_a_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&body, &mut Problems::default());
        }
    }
}
