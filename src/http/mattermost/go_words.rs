//! What Go's `encoding/json` (up to Go 1.26) says of a body that it does not decode, word for word: operators search
//! their chat servers' logs for it. Where [`lenient`](super::lenient) found a body wanting, this goes over it once more, in
//! Go's order: a mistake in the JSON anywhere in the first value comes first, then the first value of a wrong type.
//!
//! It only finds words. Whether a body is taken is decided elsewhere, so that a body that is costs nothing here. Of the
//! body the words quote one character or one number at most, and they are for the caller, not for the log.

use std::fmt;

use super::lenient::{self, Fields, Slot};

/// Levels of nesting. Go stops behind it, and so the memory for a scan is bounded.
const MAX_DEPTH: usize = 10_000;

/// The most of a number that is quoted, bytes; an `int64` has 20. Go quotes all of it, and so sends a body back.
const QUOTED_NUMBER_BYTES: usize = 64;

/// What Go says. `Display` has the words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GoError<'b> {
    /// Nothing but white space.
    #[error("EOF")]
    Empty,
    #[error("unexpected EOF")]
    EndsEarly,
    #[error("invalid character '{}' {place}", Quoted(*byte))]
    Unexpected { byte: u8, place: &'static str },
    #[error("json: cannot unmarshal {value} into Go value of type model.{go_name}")]
    NotAStruct { value: Value<'b>, go_name: &'static str },
    #[error("json: cannot unmarshal {value} into Go struct field {go_name}.{field} of type {go_type}")]
    WrongType { value: Value<'b>, go_name: &'static str, field: &'static str, go_type: &'static str },
}

/// A value, as far as words need it: a container is told by the bracket that opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'b> {
    Null,
    Flag,
    Text,
    /// Named by its kind, because no number is wanted.
    Number(&'b str),
    /// Named by its digits, because some number is wanted.
    ThisNumber(&'b str),
    Array,
    Object,
}

/// What is wrong with the first JSON value of the body, in Go's eyes.
pub(super) fn check<'b, F: Fields<'b>>(body: &'b [u8]) -> Result<(), GoError<'b>> {
    let mut scan = Scan { body, at: 0 };
    let mut fields = F::default();
    let mut wrong = None;
    // The containers around the place that is read, which tells an array from an object.
    let mut open: Vec<Value<'b>> = Vec::new();
    let mut field = None;
    loop {
        let bracket = scan.token()?;
        let value = scan.value()?;
        let mismatch = match field.take() {
            Some((name, slot)) => wrong_type::<F>(value, name, &slot),
            None if open.is_empty() && !matches!(value, Value::Object | Value::Null) => {
                Some(GoError::NotAStruct { value, go_name: F::GO_NAME })
            }
            None => None,
        };
        wrong = wrong.or(mismatch);

        let mut has_ended = true;
        if let Value::Array | Value::Object = value {
            open.push(value);
            if open.len() > MAX_DEPTH {
                return Err(GoError::Unexpected { byte: bracket, place: "exceeded max depth" });
            }
            has_ended = scan.token()? == closing(value);
        }
        while has_ended {
            let Some(container) = open.last() else { return wrong.map_or(Ok(()), Err) };
            match (container, scan.token()?) {
                (_, b',') => {
                    scan.at += 1;
                    has_ended = false;
                }
                (container, byte) if byte == closing(*container) => {
                    scan.at += 1;
                    open.pop();
                }
                (Value::Object, byte) => {
                    return Err(GoError::Unexpected { byte, place: "after object key:value pair" });
                }
                (_, byte) => return Err(GoError::Unexpected { byte, place: "after array element" }),
            }
        }
        if let Some(Value::Object) = open.last() {
            let key = scan.key()?;
            // One that is no Unicode is no field's name.
            let key = (open.len() == 1).then(|| serde_json::from_slice::<String>(key).ok()).flatten();
            field = key.and_then(|key| lenient::find(&mut fields, &key));
        }
    }
}

fn closing(container: Value<'_>) -> u8 {
    if container == Value::Array { b']' } else { b'}' }
}

fn wrong_type<'b, F: Fields<'b>>(value: Value<'b>, field: &'static str, slot: &Slot<'_, '_>) -> Option<GoError<'b>> {
    let value = match (slot, value) {
        (_, Value::Null) | (Slot::Text(_), Value::Text) | (Slot::Flag(_), Value::Flag) => return None,
        (Slot::Whole(_), Value::Number(digits)) if digits.parse::<i64>().is_ok() => return None,
        (Slot::Whole(_), Value::Number(digits)) => Value::ThisNumber(digits),
        (_, other) => other,
    };
    Some(GoError::WrongType { value, go_name: F::GO_NAME, field, go_type: F::go_type(field) })
}

/// A place in the body. Its parts leave it behind what they have read.
struct Scan<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Scan<'b> {
    /// The next byte, which is not taken.
    fn peek(&self) -> Result<u8, GoError<'b>> {
        self.body.get(self.at).copied().ok_or(GoError::EndsEarly)
    }

    /// The next byte that is not white space. It is not taken.
    fn token(&mut self) -> Result<u8, GoError<'b>> {
        let before = self.at;
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.body.get(self.at) {
            self.at += 1;
        }
        self.peek().map_err(|ends| if before == 0 { GoError::Empty } else { ends })
    }

    fn unexpected<T>(&self, place: &'static str) -> Result<T, GoError<'b>> {
        let byte = self.peek()?;
        Err(GoError::Unexpected { byte, place })
    }

    /// A value of which nothing has been read; of a container only the bracket that opens it.
    fn value(&mut self) -> Result<Value<'b>, GoError<'b>> {
        let first = self.peek()?;
        match first {
            b'-' | b'0'..=b'9' => return self.number(),
            b'"' | b'{' | b'[' | b't' | b'f' | b'n' => self.at += 1,
            _ => return self.unexpected("looking for beginning of value"),
        }
        match first {
            b'"' => self.rest_of_text().map(|()| Value::Text),
            b'{' => Ok(Value::Object),
            b'[' => Ok(Value::Array),
            b't' => self.rest_of_word(&TRUE).map(|()| Value::Flag),
            b'f' => self.rest_of_word(&FALSE).map(|()| Value::Flag),
            _ => self.rest_of_word(&NULL).map(|()| Value::Null),
        }
    }

    /// A key with its quotes, and the colon behind it.
    fn key(&mut self) -> Result<&'b [u8], GoError<'b>> {
        if self.token()? != b'"' {
            return self.unexpected("looking for beginning of object key string");
        }
        let start = self.at;
        self.at += 1;
        self.rest_of_text()?;
        let key = &self.body[start..self.at];
        if self.token()? != b':' {
            return self.unexpected("after object key");
        }
        self.at += 1;
        Ok(key)
    }

    fn rest_of_text(&mut self) -> Result<(), GoError<'b>> {
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    self.rest_of_escape()?;
                }
                0..=0x1f => return self.unexpected("in string literal"),
                _ => self.at += 1,
            }
        }
    }

    fn rest_of_escape(&mut self) -> Result<(), GoError<'b>> {
        let kind = self.peek()?;
        if !matches!(kind, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' | b'u') {
            return self.unexpected("in string escape code");
        }
        self.at += 1;
        for _ in 0..if kind == b'u' { 4 } else { 0 } {
            if !self.peek()?.is_ascii_hexdigit() {
                return self.unexpected("in \\u hexadecimal character escape");
            }
            self.at += 1;
        }
        Ok(())
    }

    fn rest_of_word(&mut self, letters: &[(u8, &'static str)]) -> Result<(), GoError<'b>> {
        for (letter, place) in letters {
            if self.peek()? != *letter {
                return self.unexpected(place);
            }
            self.at += 1;
        }
        Ok(())
    }

    /// A zero ends the whole part: what is behind it is for the next to judge.
    fn number(&mut self) -> Result<Value<'b>, GoError<'b>> {
        let start = self.at;
        self.take(b"-");
        if !self.take(b"0") {
            self.digits("in numeric literal")?;
        }
        if self.take(b".") {
            self.digits("after decimal point in numeric literal")?;
        }
        if self.take(b"eE") {
            self.take(b"+-");
            self.digits("in exponent of numeric literal")?;
        }
        let number = str::from_utf8(&self.body[start..self.at]).expect("digits, points and signs are ASCII");
        Ok(Value::Number(number))
    }

    /// One or more.
    fn digits(&mut self, place: &'static str) -> Result<(), GoError<'b>> {
        if !self.peek()?.is_ascii_digit() {
            return self.unexpected(place);
        }
        while self.take(b"0123456789") {}
        Ok(())
    }

    /// Takes the next byte if it is one of these.
    fn take(&mut self, these: &[u8]) -> bool {
        let is_one = self.body.get(self.at).is_some_and(|byte| these.contains(byte));
        self.at += usize::from(is_one);
        is_one
    }
}

const TRUE: [(u8, &str); 3] = [
    (b'r', "in literal true (expecting 'r')"),
    (b'u', "in literal true (expecting 'u')"),
    (b'e', "in literal true (expecting 'e')"),
];
const FALSE: [(u8, &str); 4] = [
    (b'a', "in literal false (expecting 'a')"),
    (b'l', "in literal false (expecting 'l')"),
    (b's', "in literal false (expecting 's')"),
    (b'e', "in literal false (expecting 'e')"),
];
const NULL: [(u8, &str); 3] = [
    (b'u', "in literal null (expecting 'u')"),
    (b'l', "in literal null (expecting 'l')"),
    (b'l', "in literal null (expecting 'l')"),
];

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Flag => f.write_str("bool"),
            Self::Text => f.write_str("string"),
            Self::Number(_) => f.write_str("number"),
            Self::ThisNumber(digits) => match digits.get(..QUOTED_NUMBER_BYTES) {
                Some(cut) if cut.len() < digits.len() => write!(f, "number {cut}…"),
                _ => write!(f, "number {digits}"),
            },
            Self::Array => f.write_str("array"),
            Self::Object => f.write_str("object"),
        }
    }
}

/// A byte between Go's single quotes, taken for the character of that number (ISO 8859-1): of a character of several
/// bytes the first is named.
struct Quoted(u8);

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\'' => f.write_str(r"\'"),
            b'\\' => f.write_str(r"\\"),
            0x07 => f.write_str(r"\a"),
            0x08 => f.write_str(r"\b"),
            0x0b => f.write_str(r"\v"),
            0x0c => f.write_str(r"\f"),
            b'\n' => f.write_str(r"\n"),
            b'\r' => f.write_str(r"\r"),
            b'\t' => f.write_str(r"\t"),
            byte @ (0..=0x1f | 0x7f) => write!(f, r"\x{byte:02x}"),
            // Not to be seen: controls, the no-break space and the soft hyphen.
            byte @ (0x80..=0xa0 | 0xad) => write!(f, r"\u{byte:04x}"),
            byte => write!(f, "{}", char::from(byte)),
        }
    }
}

#[cfg(test)]
#[path = "go_words_tests.rs"]
mod tests;
