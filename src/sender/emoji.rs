//! Emoji codes: `:smile:` becomes 😄 before a text is shown on a phone.
//!
//! The names and the way a text is read are those of the Go library behind `mattermost-push-proxy`
//! (github.com/kyokomi/emoji), so that a phone shows the same after a change of relays. Nothing is known here about
//! custom emoji: they have no character, and their codes stay as written.

use std::borrow::Cow;

mod table;

use table::TABLE;

/// What follows an emoji that was put in place of a code: the Go library pads each with a space.
const PADDING: char = ' ';

/// Replaces every known `:name:` by its characters and a space; unknown codes stay as written. Allocates only if there
/// is something to replace.
///
/// Read from left to right, each colon opens a name, which the next colon or white space closes. The closing character
/// is used up even if the name is unknown: `:unknown:smile:` holds no `:smile:`.
pub fn expand(text: &str) -> Cow<'_, str> {
    let mut expanded = String::new();
    // Bytes of `text` that `expanded` accounts for. Not 0 once a code was replaced.
    let mut done = 0;
    let mut at = 0;
    while let Some(opening) = text[at..].find(':').map(|found| at + found) {
        let start = opening + 1;
        let Some((length, closing)) = text[start..].char_indices().find(|(_, c)| *c == ':' || c.is_whitespace()) else {
            break;
        };
        let end = start + length;
        at = end + closing.len_utf8();
        if closing != ':' {
            continue;
        }
        if length == 0 {
            // Of several colons in a row the last one opens the name.
            at = end;
        } else if let Some(emoji) = Emoji::named(&text[start..end]) {
            if done == 0 {
                expanded.reserve(text.len());
            }
            expanded.push_str(&text[done..opening]);
            emoji.push_to(&mut expanded);
            done = at;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    expanded.push_str(&text[done..]);
    Cow::Owned(expanded)
}

/// What a name stands for.
enum Emoji {
    /// An entry of the table.
    Known(&'static str),
    /// `flag-xx` with two letters the table does not have, such as a code not yet assigned.
    Flag([char; 2]),
}

impl Emoji {
    fn named(name: &str) -> Option<Self> {
        if let Ok(found) = TABLE.binary_search_by(|(entry, _)| (*entry).cmp(name)) {
            return Some(Self::Known(TABLE[found].1));
        }
        match name.strip_prefix("flag-")?.as_bytes() {
            [first, second] => Some(Self::Flag([regional_indicator(*first)?, regional_indicator(*second)?])),
            _ => None,
        }
    }

    fn push_to(&self, text: &mut String) {
        match self {
            Self::Known(characters) => {
                text.push_str(characters);
                text.push(PADDING);
            }
            // The Go library does not pad these.
            Self::Flag(letters) => text.extend(letters),
        }
    }
}

/// Two of these next to each other are shown as a flag (Unicode's Enclosed Alphanumeric Supplement).
fn regional_indicator(letter: u8) -> Option<char> {
    letter.is_ascii_lowercase().then(|| char::from_u32(0x1_F1E6 + u32::from(letter - b'a'))).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_can_be_searched_and_holds_only_names_a_text_can_hold() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        for (name, characters) in &TABLE {
            assert!(!name.contains(|c: char| c == ':' || c.is_whitespace()), "{name}");
            assert_eq!(expand(&format!(":{name}:")), format!("{characters} "));
        }
    }

    #[test]
    fn texts_are_read_as_the_go_library_reads_them() {
        #[derive(serde::Deserialize)]
        struct Vector {
            text: String,
            expanded: String,
        }
        let vectors: Vec<Vector> =
            serde_json::from_str(include_str!("../../tests/fixtures/emoji_vectors.json")).unwrap();
        assert!(vectors.len() > 200);
        for Vector { text, expanded } in vectors {
            assert_eq!(expand(&text), expanded, "{text:?}");
        }
    }

    #[test]
    fn a_text_without_a_known_code_is_not_copied() {
        for text in ["", "plain", "at 10:30: go", ":custom_emoji:", "::", ":", "a:b c:d"] {
            assert!(matches!(expand(text), Cow::Borrowed(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_of_unknown_names_is_kept_whatever_stands_between_the_colons(text in "[:qwé \u{a0}\n😄]{0,40}") {
            prop_assert_eq!(expand(&text), text.as_str());
        }
    }
}
