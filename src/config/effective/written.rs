//! What a configuration comes to, as TOML for people and as JSON for programs.

use serde_json::{Map, Value, json};

use super::{Effective, Origin, Setting, Shown, Table, Wanted};
use crate::config::migrate::quoted;

impl Effective {
    /// As TOML, each key with who says so behind it. Nothing is secret in it; where it says `"(set)"`, the value is left out.
    pub fn toml(&self, wanted: Wanted) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let settings: Vec<_> = table.wanted(wanted).collect();
            if settings.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            if let Some(remark) = &table.remark {
                text += &format!("# {}\n", on_one_line(remark));
            }
            match (table.name, table.repeated) {
                ("", _) => {}
                (name, true) => text += &format!("[[{name}]]\n"),
                (name, false) => text += &format!("[{name}]\n"),
            }
            for setting in settings {
                text += &setting.toml();
            }
        }
        text
    }

    /// As JSON: tables as objects, several of one name as a list of them, and each key as `{"value": …, "from": …}`. A key
    /// that is not set has the value `null`.
    pub fn json(&self, wanted: Wanted) -> Value {
        let mut all = Map::new();
        for table in &self.tables {
            let settings: Map<_, _> =
                table.wanted(wanted).map(|setting| (setting.key.clone(), setting.json())).collect();
            match (table.name, table.repeated) {
                _ if settings.is_empty() => {}
                ("", _) => all.extend(settings),
                (name, false) => drop(all.insert(name.to_owned(), settings.into())),
                (name, true) => {
                    if let Value::Array(tables) = all.entry(name).or_insert_with(|| json!([])) {
                        tables.push(settings.into());
                    }
                }
            }
        }
        all.into()
    }
}

impl Table {
    /// The name of one of several is always among them: without it nobody knows whose the others are.
    fn wanted(&self, wanted: Wanted) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(move |setting| {
            let names = self.repeated && setting.key == "name";
            match (wanted, &setting.origin) {
                (Wanted::All, _) | (Wanted::Changed, Origin::Given(_)) | (Wanted::Defaults, Origin::Default) => true,
                (Wanted::Changed | Wanted::Defaults, _) => names,
            }
        })
    }
}

impl Setting {
    fn toml(&self) -> String {
        let key = &self.key;
        let from = on_one_line(self.origin.words());
        match &self.value {
            Shown::Absent(meaning) => format!("# {key} is not set: {meaning}\n"),
            Shown::Aside(text, why) => format!("# {key} = {}  # {from}; {why}\n", quoted(text)),
            Shown::Text(text) => format!("{key} = {}  # {from}\n", quoted(text)),
            Shown::Number(number) => format!("{key} = {number}  # {from}\n"),
            Shown::Flag(flag) => format!("{key} = {flag}  # {from}\n"),
            Shown::List(texts) => {
                let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
                format!("{key} = [{}]  # {from}\n", texts.join(", "))
            }
        }
    }

    fn json(&self) -> Value {
        let value = match &self.value {
            Shown::Absent(_) => Value::Null,
            Shown::Aside(text, _) | Shown::Text(text) => json!(text),
            Shown::Number(number) => json!(number),
            Shown::Flag(flag) => json!(flag),
            Shown::List(texts) => json!(texts),
        };
        json!({ "value": value, "from": self.origin.words() })
    }
}

impl Origin {
    fn words(&self) -> &str {
        match self {
            Self::Default => "default",
            Self::Given(by) => by,
        }
    }
}

/// The names of files and targets are in comments: no line end of theirs may end one.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() }).collect()
}
