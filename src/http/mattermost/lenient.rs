//! JSON as Go's `encoding/json` decoder reads it into a flat struct, because that is what chat servers have been sending
//! to for years: key names match without regard to case, a later duplicate wins, `null` leaves a field as it is, unknown
//! fields may hold anything, what follows the first value is not looked at, and text that is no Unicode becomes U+FFFD.
//! A wrong type is an error.
//!
//! Known differences from Go: `-0.0` counts as the whole number 0, and unknown fields may be nested deeper than 10,000
//! levels. Nothing here recurses: known fields hold no containers, and `serde_json` skips unknown ones in a loop with one
//! byte per level, so that the size of the body bounds the depth.
//!
//! Nothing is known here about pushes, and no error quotes the body: it holds message texts and device tokens.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;

/// A struct that is filled field by field.
pub(super) trait Fields<'de>: Default {
    /// The field of this name (lower case), and the name; `None` if there is none.
    fn slot(&mut self, name: &str) -> Option<(&'static str, Slot<'_, 'de>)>;

    /// What the reference calls the struct, for [`go_words`](super::go_words).
    const GO_NAME: &'static str;

    /// The type that the field of this name (lower case) has there.
    fn go_type(field: &str) -> &'static str;
}

/// The field of this name in any case.
pub(super) fn find<'f, 'de, F: Fields<'de>>(fields: &'f mut F, name: &str) -> Option<(&'static str, Slot<'f, 'de>)> {
    let as_written = name.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase());
    if as_written { fields.slot(name) } else { fields.slot(&folded(name)) }
}

/// Where a value goes, and with that its type. Texts are borrowed from the body unless they hold escapes.
#[derive(Debug)]
pub(super) enum Slot<'f, 'de> {
    Text(&'f mut Cow<'de, str>),
    Whole(&'f mut i64),
    Flag(&'f mut bool),
}

/// What is wrong with a body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is nothing, or only white space.
    #[error("the body is empty")]
    Empty,
    /// The body was cut off, or its sender forgot a bracket.
    #[error("the JSON ends before it is complete")]
    EndsEarly,
    /// It is not JSON. Both numbers count from 1; the column counts bytes.
    #[error("not valid JSON at line {line}, column {column}")]
    Syntax {
        /// The line.
        line: usize,
        /// The byte in the line.
        column: usize,
    },
    /// It is JSON, but an array, a text, a number.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A field holds something else.
    #[error("field `{field}` is not {expected}")]
    WrongType {
        /// The field's name on the wire.
        field: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
}

/// Fills the fields from the first JSON value of the body. `repaired` is where the texts live if the body had to be
/// repaired first, which is tried only when reading it as it is has failed.
pub(super) fn read<'de, F: Fields<'de>>(body: &'de [u8], repaired: &'de mut Vec<u8>) -> Result<F, Unreadable> {
    match read_unicode(body) {
        Ok(fields) => Ok(fields),
        Err(error) => match repair(body) {
            None => Err(error),
            Some(unicode) => {
                *repaired = unicode;
                read_unicode(repaired)
            }
        },
    }
}

fn read_unicode<'de, F: Fields<'de>>(body: &'de [u8]) -> Result<F, Unreadable> {
    let mut fields = F::default();
    let mut last = None;
    // Without `Deserializer::end`: what follows the first value does not count.
    let result = serde_json::Deserializer::from_slice(body)
        .deserialize_any(Object { fields: &mut fields, last: &mut last })
        .map_err(|error| match (error.classify(), last) {
            (Category::Data, Some((field, expected))) => Unreadable::WrongType { field, expected },
            (Category::Data, None) => Unreadable::NotAnObject,
            (Category::Eof, _) if body.trim_ascii().is_empty() => Unreadable::Empty,
            (Category::Eof, _) => Unreadable::EndsEarly,
            (Category::Syntax | Category::Io, _) => Unreadable::Syntax { line: error.line(), column: error.column() },
        });
    result.map(|()| fields)
}

struct Object<'f, F> {
    fields: &'f mut F,
    /// The known field that was read last: at fault if a value's type is.
    last: &'f mut Option<(&'static str, &'static str)>,
}

impl<'de, F: Fields<'de>> Visitor<'de> for Object<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Key(self.fields))? {
            if let Some((name, slot)) = field {
                *self.last = Some((name, slot.expected()));
                map.next_value_seed(slot)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Key<'f, F>(&'f mut F);

impl<'f, 'de: 'f, F: Fields<'de>> DeserializeSeed<'de> for Key<'f, F> {
    type Value = Option<(&'static str, Slot<'f, 'de>)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'f, 'de: 'f, F: Fields<'de>> Visitor<'de> for Key<'f, F> {
    type Value = Option<(&'static str, Slot<'f, 'de>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(find(self.0, name))
    }
}

/// Two characters outside ASCII are another case of a letter in it: U+017F of `s` and U+212A of `k`.
fn folded(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

impl Slot<'_, '_> {
    fn expected(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Whole(_) => "a whole number",
            Self::Flag(_) => "true or false",
        }
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// The types that a slot does not expect end in an error by serde's defaults and by [`wrong`].
impl<'de> Visitor<'de> for Slot<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        let Self::Text(slot) = self else { return Err(wrong()) };
        *slot = Cow::Borrowed(text);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let Self::Text(slot) = self else { return Err(wrong()) };
        *slot = Cow::Owned(text.to_owned());
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        let Self::Whole(slot) = self else { return Err(wrong()) };
        *slot = number;
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.visit_i64(i64::try_from(number).map_err(|_| wrong::<E>())?)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        // serde_json reads `-0` as a float.
        if number.to_bits() == (-0.0_f64).to_bits() { self.visit_i64(0) } else { Err(wrong()) }
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        let Self::Flag(slot) = self else { return Err(wrong()) };
        *slot = flag;
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Becomes [`Unreadable::WrongType`], which has the words.
fn wrong<E: Error>() -> E {
    E::custom("wrong type")
}

/// The body as Unicode, replaced as Go does: every byte that is not part of a character, and every `\u` escape of half a
/// surrogate pair, becomes U+FFFD. `None` if there is nothing to replace.
fn repair(body: &[u8]) -> Option<Vec<u8>> {
    let mut unicode = Vec::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        unicode.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            unicode.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    // A byte becomes three: the same length means that no byte was replaced.
    let mut replaced = unicode.len() != body.len();

    // A backslash outside a text is a syntax error anyway, so that texts need not be told from the rest.
    let mut at = 0;
    while let Some(escape) = unicode[at..].iter().position(|b| *b == b'\\').map(|found| at + found) {
        let Some(unit) = escaped_unit(&unicode[escape..]) else {
            at = unicode.len().min(escape + 2);
            continue;
        };
        at = escape + 6;
        match unit {
            0xd800..=0xdbff if matches!(escaped_unit(&unicode[at..]), Some(0xdc00..=0xdfff)) => at += 6,
            0xd800..=0xdfff => {
                unicode[escape + 2..at].copy_from_slice(b"fffd");
                replaced = true;
            }
            _ => {}
        }
    }
    replaced.then_some(unicode)
}

/// The UTF-16 unit of a `\uXXXX` at the very start.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}
