//! How one event becomes one line, as a flat JSON object or for a terminal. In both, what a caller wrote cannot begin a
//! line of its own, move a terminal's cursor or forge a field: control characters are escaped and texts are quoted.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::log::LogFormat;

/// Formats events in this format.
pub(super) struct Line(pub(super) LogFormat);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let level = metadata.level();
        // A library's line, or one for those who read the sources, says where it comes from.
        let module = metadata.target();
        let module = (*level > Level::INFO || !module.starts_with("pushrelay")).then_some(module);
        match self.0 {
            LogFormat::Json => {
                out.write_str("{\"ts\":\"")?;
                SystemTime.format_time(&mut out)?;
                write!(out, "\",\"level\":\"{}\"", lower(*level))?;
                let mut fields = JsonFields { out: &mut out, result: Ok(()) };
                if let Some(module) = module {
                    fields.text("module", module);
                }
                event.record(&mut fields);
                fields.result?;
                out.write_str("}\n")
            }
            LogFormat::Human => {
                SystemTime.format_time(&mut out)?;
                write!(out, " {level:>5}")?;
                if let Some(module) = module {
                    write!(out, " {module}:")?;
                }
                // The message first, whatever order the fields were declared in.
                let mut message = HumanMessage { out: &mut out, result: Ok(()) };
                event.record(&mut message);
                message.result?;
                let mut fields = HumanFields { out: &mut out, result: Ok(()) };
                event.record(&mut fields);
                fields.result?;
                out.write_char('\n')
            }
        }
    }
}

fn lower(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Whether a character could make a line look like another: those that terminals act on, those that begin a line for some
/// readers, and those that are not seen or have what follows read from right to left.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The bridge from the `log` crate adds fields about the source; the line says what is needed of them.
fn is_shown(name: &str) -> bool {
    !name.starts_with("log.")
}

struct JsonFields<'a, 'w> {
    out: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl JsonFields<'_, '_> {
    fn field(&mut self, name: &str, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() && is_shown(name) {
            let name = if name == "message" { "msg" } else { name };
            // Names are identifiers in our sources and need no escaping.
            self.result = write!(self.out, ",\"{name}\":").and_then(|()| value(self.out));
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.field(name, |out| {
            out.write_char('"')?;
            JsonEscaped(out).write_str(text)?;
            out.write_char('"')
        });
    }
}

impl Visit for JsonFields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field.name(), |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field.name(), |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.field(field.name(), |out| write!(out, "{value}"));
        } else {
            // JSON has no number for it.
            self.record_debug(field, &value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field.name(), |out| write!(out, "{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field.name(), |out| {
            out.write_char('"')?;
            write!(JsonEscaped(out), "{value:?}")?;
            out.write_char('"')
        });
    }
}

/// Writes what stands between the quotes of a JSON string (RFC 8259, section 7). DEL, the C1 controls and what turns a text
/// around need no escape there, but whoever shows the line acts on them. All of them have four digits.
struct JsonEscaped<'a, W>(&'a mut W);

impl<W: Write> Write for JsonEscaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly every text, looked through by bytes.
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return self.0.write_str(text);
        }
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            if c != '"' && c != '\\' && !is_deceptive(c) {
                continue;
            }
            self.0.write_str(&text[plain..at])?;
            plain = at + c.len_utf8();
            match c {
                '"' => self.0.write_str("\\\"")?,
                '\\' => self.0.write_str("\\\\")?,
                '\n' => self.0.write_str("\\n")?,
                deceptive => write!(self.0, "\\u{:04x}", u32::from(deceptive))?,
            }
        }
        self.0.write_str(&text[plain..])
    }
}

/// Writes the event's message and nothing else.
struct HumanMessage<'a, 'w> {
    out: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for HumanMessage<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.result = self.out.write_char(' ').and_then(|()| write!(ControlsEscaped(self.out), "{value:?}"));
        }
    }
}

/// Writes the event's fields without its message.
struct HumanFields<'a, 'w> {
    out: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for HumanFields<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() && field.name() != "message" && is_shown(field.name()) {
            // A text that looks like fields must not be read as such.
            let is_word = !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_.:/+".contains(c));
            let mut out = ControlsEscaped(self.out);
            self.result = if is_word {
                write!(out, " {}={value}", field.name())
            } else {
                write!(out, " {}={value:?}", field.name())
            };
        }
    }

    /// What was given to be displayed comes here too, and holds texts as a text does.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Escapes what deceives and leaves the rest as it is.
struct ControlsEscaped<'a, W>(&'a mut W);

impl<W: Write> Write for ControlsEscaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_deceptive(*c)) {
            self.0.write_str(&text[plain..at])?;
            plain = at + c.len_utf8();
            write!(self.0, "{}", c.escape_default())?;
        }
        self.0.write_str(&text[plain..])
    }
}
