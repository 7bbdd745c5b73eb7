//! One chat server's file as a text that is written or changed: what a program adds to it, with everything that people have
//! written there left as it is. Pure; `servers_directory` reads and writes the disk.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::only_section;
use super::keys::SERVER;
use super::servers::key_and_end;
use crate::admission::key::VerifyingKey;
use crate::admission::site::Site;
use crate::clock::rfc3339;
use crate::notification::ServerId;

/// The indentation of an item on a line of its own.
const INDENT: &str = "    ";

/// What a new file says.
#[derive(Clone, Debug)]
pub struct NewServer<'a> {
    /// The file's name, without `.toml`, and the server's.
    pub name: &'a str,
    /// What it calls itself.
    pub id: &'a ServerId,
    /// Where it is, if that is known.
    pub site: Option<&'a Site>,
    /// What it signs with.
    pub key: &'a VerifyingKey,
    /// Lines for people: when it was written, and from what.
    pub about: &'a [String],
}

/// Why a file is not changed by a program. `Display` says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// What it says has another form than a program can change.
    #[error("its `{0}` has a form that is not changed by a program: edit the file by hand")]
    Form(&'static str),
    /// The old key stands elsewhere.
    #[error(
        "the key that is replaced stands in a file of its own (key_files), which is not changed by a program: \
         put the new key in beside it by hand"
    )]
    KeyFile,
}

impl NewServer<'_> {
    /// The whole file.
    pub(super) fn toml(&self) -> String {
        let mut text = String::new();
        for line in self.about {
            text += &comment(line);
        }
        text += &format!("id = {}\n", quoted(self.id.as_str()));
        if let Some(site) = self.site {
            text += &format!("site = {}\n", quoted(&site.to_string()));
        }
        text += &format!("keys = [\"{}\"]\n", base64(self.key));
        text
    }
}

/// What is changed in a file.
#[derive(Clone, Debug)]
pub enum Edit<'a> {
    /// Whether it may send nothing.
    Disabled(bool),
    /// Where it is.
    Site(&'a Site),
    /// A new key beside those there are, which count until this second since the Unix epoch.
    Key {
        /// The new one.
        new: &'a VerifyingKey,
        /// The end of those without an end.
        until: u64,
        /// A line for people.
        about: &'a str,
    },
}

/// The changed text. The caller reads it again and compares: what comes out must say what was wanted and nothing else.
pub(super) fn edited(text: &str, edit: &Edit<'_>) -> Result<String, EditError> {
    let table = only_section(DeTable::parse(text).map_err(|_| EditError::Form("TOML"))?.into_inner(), SERVER.name);
    let changes = match edit {
        Edit::Disabled(disabled) => vec![set(text, &table, "disabled", &disabled.to_string())],
        Edit::Site(site) => vec![set(text, &table, "site", &quoted(&site.to_string()))],
        Edit::Key { new, until, about } => add_key(text, &table, new, *until, about)?,
    };
    Ok(apply(text, changes))
}

/// A piece of the text, and what takes its place.
type Change = (Range<usize>, String);

fn apply(text: &str, mut changes: Vec<Change>) -> String {
    changes.sort_by_key(|(at, _)| (at.start, at.end));
    let mut result = String::with_capacity(text.len() + 256);
    let mut done = 0;
    for (at, new) in changes {
        result.push_str(&text[done..at.start]);
        result.push_str(&new);
        done = at.end;
    }
    result.push_str(&text[done..]);
    result
}

/// In place of the value that it has, or on a line at the end: all keys of such a file stand at its top.
fn set(text: &str, table: &DeTable<'_>, key: &str, value: &str) -> Change {
    match find(table, key) {
        Some((_, old)) => (old.span(), value.to_owned()),
        None => append(text, &format!("{key} = {value}\n")),
    }
}

fn append(text: &str, line: &str) -> Change {
    let break_before = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    (text.len()..text.len(), format!("{break_before}{line}"))
}

fn find<'t, 'd>(table: &'t DeTable<'d>, key: &str) -> Option<(Range<usize>, &'t Spanned<DeValue<'d>>)> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, value)| (name.span(), value))
}

fn add_key(
    text: &str,
    table: &DeTable<'_>,
    new: &VerifyingKey,
    until: u64,
    about: &str,
) -> Result<Vec<Change>, EditError> {
    if find(table, "key_files").is_some_and(|(_, files)| !matches!(files.get_ref(), DeValue::Array(a) if a.is_empty()))
    {
        return Err(EditError::KeyFile);
    }
    let added = format!("\"{}\"", base64(new));
    let Some((name, list)) = find(table, "keys") else {
        return Ok(vec![append(text, &format!("{}keys = [{added}]\n", comment(about)))]);
    };
    let DeValue::Array(items) = list.get_ref() else { return Err(EditError::Form("keys")) };
    let line = text[..name.start].rfind('\n').map_or(0, |at| at + 1);
    let mut changes = vec![(line..line, comment(about))];
    let mut is_there = false;
    for item in items {
        let DeValue::String(said) = item.get_ref() else { return Err(EditError::Form("keys")) };
        let (key, end) = key_and_end(said).ok_or(EditError::Form("keys"))?;
        let key = VerifyingKey::from_text(key).map_err(|_| EditError::Form("keys"))?;
        if key == *new {
            // A server that has gone back to an old key.
            is_there = true;
            changes.push((item.span(), added.clone()));
        } else if end.is_none() {
            changes.push((item.span(), format!("\"{} until {}\"", base64(&key), rfc3339(until))));
        }
    }
    if !is_there {
        changes.push(first_item(text, list.span(), items.iter().next().map(Spanned::span), &added));
    }
    Ok(changes)
}

/// Before the first item, on a line of its own if that has one.
fn first_item(text: &str, list: Range<usize>, first: Option<Range<usize>>, added: &str) -> Change {
    let Some(first) = first else { return (list, format!("[{added}]")) };
    let before = &text[list.start..first.start];
    let separator = match before.rsplit_once('\n') {
        Some((_, indent)) if indent.trim().is_empty() => format!(",\n{indent}"),
        Some(_) => format!(",\n{INDENT}"),
        None => ", ".to_owned(),
    };
    (first.start..first.start, format!("{added}{separator}"))
}

fn base64(key: &VerifyingKey) -> String {
    STANDARD.encode(key.spki_der())
}

/// On one line, whatever is in it: control characters, line ends among them, are escaped.
fn comment(line: &str) -> String {
    let escaped = line.chars().map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() });
    format!("# {}\n", escaped.collect::<String>())
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admission::signing::SigningKey;

    const UNTIL: u64 = 1_798_761_600;

    fn texts(toml: &str) -> Vec<String> {
        let table: toml::Table = toml.parse().unwrap();
        let keys = table["keys"].as_array().unwrap();
        keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_flag_is_set_where_it_stands_or_at_the_end_and_comments_stay() {
        for (before, after) in [
            ("id = \"a\" # mine\n# end", "id = \"a\" # mine\n# end\ndisabled = true\n"),
            ("id = \"a\"\n", "id = \"a\"\ndisabled = true\n"),
            ("disabled=false# why\nid = \"a\"", "disabled=true# why\nid = \"a\""),
            ("\"disabled\"  =  false\r\nid = \"a\"\r\n", "\"disabled\"  =  true\r\nid = \"a\"\r\n"),
            ("", "disabled = true\n"),
            ("[[server]]\nid = \"a\"", "[[server]]\nid = \"a\"\ndisabled = true\n"),
            ("[[server]]\ndisabled = false\nid = \"a\"\n", "[[server]]\ndisabled = true\nid = \"a\"\n"),
        ] {
            assert_eq!(edited(before, &Edit::Disabled(true)).unwrap(), after);
        }
        let site = Site::parse("https://chat.example.com").unwrap();
        assert_eq!(edited("a = 1\n", &Edit::Site(&site)).unwrap(), "a = 1\nsite = \"https://chat.example.com\"\n");
    }

    #[test]
    fn a_new_key_stands_first_and_the_old_ones_get_an_end() {
        let [old, older, new] = [(); 3].map(|()| SigningKey::generate());
        let (o, oo, n) = (old.public_base64(), older.public_base64(), new.public_base64());
        let pem = format!("-----BEGIN PUBLIC KEY-----\\n{o}\\n-----END PUBLIC KEY-----");
        let ended = format!("{o} until 2027-01-01T00:00:00Z");
        let kept = format!("{oo} until 2026-01-01");
        for (keys, expected) in [
            (format!("keys = [\"{o}\"] # x"), vec![&n, &ended]),
            (format!("keys = [\n  # the first\n  \"{o}\", # x\n]"), vec![&n, &ended]),
            (format!("keys = [ # x\n\t\"{o}\"]"), vec![&n, &ended]),
            (format!("keys = [\"{pem}\", \"{kept}\"]"), vec![&n, &ended, &kept]),
            ("keys = []".to_owned(), vec![&n]),
            ("webhook_keys = [\"x\"]".to_owned(), vec![&n]),
            (format!("keys = [\"{o}\", \"{n} until 2026-01-01\"]"), vec![&ended, &n]),
        ] {
            let before = format!("# top\nid = \"a\"\n{keys}\n# bottom\nburst = 1\n");
            let key = new.verifying_key();
            let after = edited(&before, &Edit::Key { new: &key, until: UNTIL, about: "why\nnot" }).unwrap();
            assert_eq!(texts(&after).iter().collect::<Vec<_>>(), expected, "{after}");
            assert!(after.starts_with("# top\nid = \"a\"\n") && after.contains("# why\\nnot\n"), "{after}");
            assert!(after.contains("# bottom\nburst = 1\n"), "{after}");
            for comment in ["# x", "# the first"] {
                assert_eq!(before.contains(comment), after.contains(comment), "{after}");
            }
        }
    }

    #[test]
    fn what_a_program_cannot_change_is_left_to_people() {
        let key = SigningKey::generate().verifying_key();
        let edit = Edit::Key { new: &key, until: UNTIL, about: "" };
        for (before, expected) in [
            ("key_files = [\"a.pem\"]\n", EditError::KeyFile),
            ("keys = \"x\"\n", EditError::Form("keys")),
            ("keys = [1]\n", EditError::Form("keys")),
            ("keys = [\"x until never\"]\n", EditError::Form("keys")),
            ("keys = [\n", EditError::Form("TOML")),
        ] {
            assert_eq!(edited(before, &edit), Err(expected), "{before}");
        }
    }

    proptest! {
        #[test]
        fn a_new_file_is_toml_whatever_the_server_calls_itself(id in "\\PC{1,60}", about in ".{0,80}") {
            let id = ServerId::new(&id).unwrap();
            let key = SigningKey::generate().verifying_key();
            let about = [about];
            let new = NewServer { name: "a", id: &id, site: None, key: &key, about: &about };
            let table: toml::Table = new.toml().parse().unwrap();
            prop_assert_eq!(table["id"].as_str(), Some(id.as_str()));
            prop_assert_eq!(table.len(), 2);
        }
    }
}
