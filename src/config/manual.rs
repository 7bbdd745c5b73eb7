//! The reference of all keys as Markdown, made from the table that parsing uses. `docs/configuration.md` holds a copy,
//! and a test compares them.

use std::fmt::Write;

use super::environment::variable;
use super::keys::{GROUPS, Group, Key, Otherwise};
use super::kind::{Kind, Shape};

/// Every table with its keys: kind and range, default, meaning.
pub fn manual() -> String {
    let mut text = String::new();
    for group in GROUPS {
        // Writing to a String cannot fail.
        let _ = write!(text, "### {}\n\n{}\n\n", heading(group), about(group));
        text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in group.keys {
            let only = key.only.map(|only| format!(" *({only} only)*")).unwrap_or_default();
            let _ = writeln!(
                text,
                "| `{}`{only} | {} | {} | {}{} |",
                key.name,
                key.kind.words().replace('|', "\\|"),
                otherwise(key),
                key.about,
                as_file(key),
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn heading(group: &Group) -> String {
    match (group.name, group.repeated) {
        ("", _) => "Top level".to_owned(),
        (name, false) => format!("`[{name}]`"),
        (name, true) => format!("`[[{name}]]`"),
    }
}

fn about(group: &Group) -> String {
    let example = group.keys.last().map(|key| variable(group, "<NAME>", key.name)).unwrap_or_default();
    format!("{} A variable looks like `{example}`.", group.about)
}

/// As it would be written in the file.
fn otherwise(key: &Key) -> String {
    match key.otherwise {
        Otherwise::Default(text) if matches!(key.kind.shape(), Shape::Text) => format!("`\"{text}\"`"),
        Otherwise::Default(text) => format!("`{text}`"),
        Otherwise::Required => "**required**".to_owned(),
        Otherwise::Absent(meaning) => meaning.to_owned(),
    }
}

fn as_file(key: &Key) -> String {
    let what = if matches!(key.kind, Kind::Secrets) { "them, one a line" } else { "the value" };
    key.file_name().map(|name| format!(" Or `{name}`: a file that holds {what}.")).unwrap_or_default()
}
