//! What commands print. `println!` panics when the reader has gone, as in `pushrelay config print | head -1`.
//!
//! Whatever a command prints passes here, since nearly each prints some text of a stranger's: an id, a path, a relay's answer. What a
//! terminal would act on is escaped, in the form in which JSON and TOML read it back.

use std::fmt::{self, Display, Write as _};
use std::io::{self, ErrorKind, Write};

use super::Failure;
use crate::telemetry::is_deceptive;

/// Prints a text as it is. A reader who has gone wants no more, which is no failure: the command does what it was asked all
/// the same. A full disk is one.
pub(super) fn print(text: impl Display) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    told(write_harmless(&mut output, text).and_then(|()| output.flush()))
}

/// Prints a text as a line.
pub(super) fn say(line: impl Display) -> Result<(), Failure> {
    print(format_args!("{line}\n"))
}

/// Prints a line for the person at the terminal, beside the command's result. If it cannot be printed, nobody is there.
pub(super) fn remark(line: impl Display) {
    let _ = write_harmless(&mut io::stderr().lock(), format_args!("{line}\n"));
}

/// Writes a text in which nothing moves a cursor, turns the text around or is not seen. Line ends and tabs stay: a caller's
/// text that may hold those is a cell of a [`table`](super::table::table) or a JSON string.
fn write_harmless(output: &mut impl Write, text: impl Display) -> io::Result<()> {
    let mut harmless = Harmless { output, failed: None };
    match write!(harmless, "{text}") {
        Ok(()) => Ok(()),
        Err(fmt::Error) => Err(harmless.failed.unwrap_or_else(|| io::Error::other("a value that cannot be shown"))),
    }
}

struct Harmless<'a, W> {
    output: &'a mut W,
    failed: Option<io::Error>,
}

impl<W: Write> fmt::Write for Harmless<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        let acted_on = |c: char| is_deceptive(c) && c != '\n' && c != '\t';
        for (at, c) in text.char_indices().filter(|(_, c)| acted_on(*c)) {
            self.write(&text[plain..at])?;
            plain = at + c.len_utf8();
            // All of them have four digits.
            self.write(&format!("\\u{:04x}", u32::from(c)))?;
        }
        self.write(&text[plain..])
    }
}

impl<W: Write> Harmless<'_, W> {
    fn write(&mut self, text: &str) -> fmt::Result {
        self.output.write_all(text.as_bytes()).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}

fn told(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::running(format!("cannot write to the standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_as_json_and_toml_read_it_back() {
        let shown = |text: &str| {
            let mut output = Vec::new();
            write_harmless(&mut output, text).unwrap();
            String::from_utf8(output).unwrap()
        };
        for (text, expected) in [
            ("Grüße 你好 👋\tund\n", "Grüße 你好 👋\tund\n"),
            ("a\u{1b}[2Jb\r", "a\\u001b[2Jb\\u000d"),
            ("\u{7f}\u{85}\u{9b}", "\\u007f\\u0085\\u009b"),
            ("\u{202e}x\u{2066}\u{200b}\u{feff}", "\\u202ex\\u2066\\u200b\\ufeff"),
        ] {
            assert_eq!(shown(text), expected);
        }
        let text = "DEL \u{7f}, C1 \u{9b}, around \u{202e}, unseen \u{200b}";
        let json = shown(&serde_json::json!({ "id": text }).to_string());
        assert!(!json.chars().any(is_deceptive), "{json:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["id"], text);
    }

    #[test]
    fn a_reader_who_has_gone_is_no_failure_and_a_full_disk_is() {
        assert!(told(Ok(())).is_ok());
        assert!(told(Err(ErrorKind::BrokenPipe.into())).is_ok());
        let failure = told(Err(ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.text.starts_with("cannot write to the standard output"), "{}", failure.text);
    }
}
