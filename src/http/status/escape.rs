//! Texts from outside, made harmless for a page.

use std::fmt::{self, Display, Formatter, Write as _};

/// A text as HTML shows it, in an element or between the quotes of an attribute. Control characters, which could end a line
/// of an event, and those that turn the direction of writing, which could make a text look like another, are replaced.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    f.write_char('\u{fffd}')?;
                }
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_be_markup_end_a_line_or_turn_its_neighbours_around() {
        for (text, shown) in [
            ("chat-1", "chat-1"),
            ("Grüße 你好", "Grüße 你好"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onload='x'", "&quot; onload=&#39;x&#39;"),
            ("&lt;", "&amp;lt;"),
            ("a\r\ndata: b\0", "a\u{fffd}\u{fffd}data: b\u{fffd}"),
            ("a\u{202e}b\u{2066}c\u{2028}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }
}
