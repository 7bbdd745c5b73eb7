//! What kinds of values there are: how each is written, in which range, and how it is read from text.
//!
//! Pure: no file is opened here and nothing is known about keys.

use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use super::finding::{did_you_mean, quote};
use super::proxy;
use crate::private::Private;
use crate::sender::network::ProxySettings;

/// A kind of value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Any text that is not empty.
    Text,
    /// A text that nobody may see.
    Secret,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Yes or no.
    Flag,
    /// A whole number in a range, both ends included.
    Count(u64, u64),
    /// One of these numbers.
    OneOf(&'static [u64]),
    /// A time with its unit, in a range of milliseconds, both ends included.
    Duration(u64, u64),
    /// A number of bytes with its unit, in a range, both ends included.
    Size(u64, u64),
    /// `ip:port`.
    Address,
    /// The path of a file.
    File,
    /// Several texts.
    Texts,
    /// Several texts that nobody may see.
    Secrets,
    /// Several paths.
    Files,
    /// `https://host:port`.
    Endpoint,
    /// Which forward proxy to use.
    Proxy,
    /// Which log lines are written.
    Filter,
}

/// A value that was read.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Secret(Private),
    Flag(bool),
    /// Counts, ports and sizes in bytes.
    Number(u64),
    Duration(Duration),
    Address(SocketAddr),
    Texts(Vec<String>),
    Secrets(Vec<Private>),
    Endpoint(Url),
    Proxy(ProxySettings),
}

/// How TOML writes a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Integer,
    Boolean,
    Array,
}

/// Why a text is not a value of its kind, and what to write instead.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl Kind {
    /// How TOML writes it.
    pub(super) fn shape(self) -> Shape {
        match self {
            Self::Flag => Shape::Boolean,
            Self::Count(..) | Self::OneOf(_) => Shape::Integer,
            Self::Texts | Self::Secrets | Self::Files => Shape::Array,
            _ => Shape::Text,
        }
    }

    /// Whether its values must not be shown. (A proxy's address may carry a password.)
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets | Self::Proxy)
    }

    /// In words, with the range: for the documentation and for the remedy when something else was given.
    pub(super) fn words(self) -> String {
        match self {
            Self::Text => "a text in quotes".to_owned(),
            Self::Secret => "a secret in quotes".to_owned(),
            Self::Choice(words) => {
                format!("one of {}", words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", "))
            }
            Self::Flag => "true or false".to_owned(),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::OneOf(numbers) => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" or "),
            Self::Duration(least, most) => {
                format!("a time from \"{}\" to \"{}\"", show_duration(least), show_duration(most))
            }
            Self::Size(least, most) => format!("a size from \"{}\" to \"{}\"", show_size(least), show_size(most)),
            Self::Address => "\"address:port\"".to_owned(),
            Self::File => "the path of a file in quotes".to_owned(),
            Self::Texts => "a list of texts, [\"…\", \"…\"]".to_owned(),
            Self::Secrets => "a list of secrets, [\"…\", \"…\"]".to_owned(),
            Self::Files => "a list of paths, [\"…\", \"…\"]".to_owned(),
            Self::Endpoint => "\"https://host:port\"".to_owned(),
            Self::Proxy => "\"environment\", \"none\" or \"http://user:password@host:port\"".to_owned(),
            Self::Filter => "a filter such as \"info\" or \"pushrelay=debug,info\"".to_owned(),
        }
    }

    /// Reads a value of any shape but [`Shape::Array`]; of those only secrets, as a file holds them: one a line.
    pub(super) fn parse(self, text: &str) -> Result<Value, Fault> {
        let otherwise =
            |what: &str| Fault::new(format!("{} is not {what}", quote(text)), format!("write {}", self.words()));
        let outside = || Fault::new(format!("{} is out of range", quote(text)), format!("choose {}", self.words()));
        if text.is_empty() && self.shape() == Shape::Text {
            return Err(Fault::new("is empty", format!("write {}, or leave the key out", self.words())));
        }
        match self {
            Self::Text | Self::File | Self::Texts | Self::Files => Ok(Value::Text(text.to_owned())),
            Self::Secret => Ok(Value::Secret(Private::new(text))),
            Self::Secrets => Ok(Value::Secrets(text.split_ascii_whitespace().map(Private::new).collect())),
            Self::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::Choice(words) => Err(Fault::new(
                format!("{} is not {}", quote(text), self.words()),
                match did_you_mean(&text.to_ascii_lowercase(), words.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => "write one of them".to_owned(),
                },
            )),
            Self::Flag => match text {
                "true" => Ok(Value::Flag(true)),
                "false" => Ok(Value::Flag(false)),
                _ => Err(otherwise("true or false")),
            },
            Self::Count(least, most) => match text.parse::<i128>() {
                Err(_) => Err(otherwise("a whole number")),
                Ok(number) => match u64::try_from(number) {
                    Ok(number) if (least..=most).contains(&number) => Ok(Value::Number(number)),
                    _ => Err(outside()),
                },
            },
            Self::OneOf(numbers) => match text.parse() {
                Ok(number) if numbers.contains(&number) => Ok(Value::Number(number)),
                _ => Err(otherwise("possible here")),
            },
            Self::Duration(least, most) => {
                let duration = humantime::parse_duration(text).map_err(|_| otherwise("a time with a unit (ms, s, m, h)"))?;
                let range = Duration::from_millis(least)..=Duration::from_millis(most);
                range.contains(&duration).then_some(Value::Duration(duration)).ok_or_else(outside)
            }
            Self::Size(least, most) => {
                let bytes = parse_size(text).ok_or_else(|| otherwise("a size with a unit (B, KiB, MiB)"))?;
                (least..=most).contains(&bytes).then_some(Value::Number(bytes)).ok_or_else(outside)
            }
            Self::Address => text.parse().map(Value::Address).map_err(|_| {
                Fault::new(
                    format!("{} is not an IP address and a port", quote(text)),
                    match text.rsplit_once(':').unwrap_or(("", text)) {
                        ("" | "*", port) if port.parse::<u16>().is_ok() => {
                            format!("write \"0.0.0.0:{port}\" for every address of this machine, \"127.0.0.1:{port}\" for itself only")
                        }
                        ("localhost", port) => format!("write \"127.0.0.1:{port}\""),
                        _ => "write for example \"0.0.0.0:8066\", \"127.0.0.1:8066\" or \"[::]:8066\"".to_owned(),
                    },
                )
            }),
            Self::Endpoint => parse_endpoint(text).map(Value::Endpoint),
            Self::Proxy => proxy::parse(text).map(Value::Proxy),
            // Only ASCII goes in: tracing-subscriber 0.3.23 panics when a directive such as ` A¡=` makes it cut inside a
            // character. Names of Rust modules with other letters do not occur here.
            Self::Filter if !names_levels(text) => Err(otherwise("a log filter: a bare word in it must be a level")),
            Self::Filter if text.is_ascii() && tracing_subscriber::EnvFilter::try_new(text).is_ok() => {
                Ok(Value::Text(text.to_owned()))
            }
            Self::Filter => Err(otherwise("a log filter")),
        }
    }
}

/// Whether each bare word of a filter is a level. The library takes any other for the name of a module, of which
/// everything is wanted and of all others nothing: a slip of the pen would silence the log.
fn names_levels(filter: &str) -> bool {
    filter.split(',').map(str::trim).filter(|word| !word.contains(['=', '['])).all(|word| {
        let levels = ["", "off", "error", "warn", "info", "debug", "trace"];
        levels.iter().any(|level| word.eq_ignore_ascii_case(level))
    })
}

/// `1024`-based sizes only: whoever writes `KB` may mean either.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) fn show_size(bytes: u64) -> String {
    match bytes {
        _ if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes > 0 && bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

fn show_duration(millis: u64) -> String {
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

/// Only scheme, host and port: the paths are the providers' own.
fn parse_endpoint(text: &str) -> Result<Url, Fault> {
    let remedy = "write \"https://host:port\" and nothing behind it; the paths are the provider's own";
    // The text is not shown: people put passwords into addresses.
    let url = Url::parse(text).map_err(|error| Fault::new(format!("is not an address: {error}"), remedy))?;
    if url.scheme() != "https" {
        return Err(Fault::new("is not an https address; providers are spoken to over TLS only", remedy));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new("holds a user name or a password, which no provider asks for", remedy));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new("has something behind the host and the port", remedy));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_carry_a_unit_of_1024() {
        for (text, bytes) in [
            ("64KiB", Some(65_536)),
            ("64 KiB", Some(65_536)),
            ("2MiB", Some(2_097_152)),
            ("17B", Some(17)),
            ("64", None),
            ("64KB", None),
            ("KiB", None),
            ("-1B", None),
            ("18446744073709551615MiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    #[test]
    fn durations_carry_a_unit_and_stay_in_range() {
        let kind = Kind::Duration(100, 60_000);
        for (text, result) in [
            ("100ms", "Ok(Duration(100ms))"),
            ("1m", "Ok(Duration(60s))"),
            ("30", "`30` is not a time with a unit (ms, s, m, h)"),
            ("-1s", "`-1s` is not a time with a unit (ms, s, m, h)"),
            ("99ms", "`99ms` is out of range"),
            ("61s", "`61s` is out of range"),
        ] {
            let shown = match kind.parse(text) {
                Err(fault) => fault.what,
                ok => format!("{ok:?}"),
            };
            assert_eq!(shown, result);
        }
        assert_eq!(kind.words(), "a time from \"100ms\" to \"1m\"");
    }

    #[test]
    fn an_address_in_the_shape_of_other_programs_is_told_its_own_shape() {
        for (text, remedy) in [
            (":8066", "write \"0.0.0.0:8066\" for every address of this machine, \"127.0.0.1:8066\" for itself only"),
            ("8066", "write \"0.0.0.0:8066\" for every address of this machine, \"127.0.0.1:8066\" for itself only"),
            ("localhost:8066", "write \"127.0.0.1:8066\""),
            ("10.0.0.1", "write for example \"0.0.0.0:8066\", \"127.0.0.1:8066\" or \"[::]:8066\""),
        ] {
            assert_eq!(Kind::Address.parse(text).unwrap_err().remedy, remedy, "{text}");
        }
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port_and_never_shown() {
        for text in [
            "http://canary",
            "https://canary:canary@host",
            "https://host/canary",
            "https://host/?canary",
            "https://host/#canary",
            "canary",
        ] {
            let fault = Kind::Endpoint.parse(text).unwrap_err();
            assert!(!fault.what.contains("canary"), "{}", fault.what);
        }
        assert!(Kind::Endpoint.parse("https://127.0.0.1:2197").is_ok());
    }

    #[test]
    fn a_filter_that_the_library_would_trip_over_is_refused() {
        assert_eq!(Kind::Filter.parse(" A¡=").unwrap_err().what, "` A¡=` is not a log filter");
        assert!(Kind::Filter.parse("pushrelay=debug,info").is_ok());
        assert!(Kind::Filter.parse("pushrelay=loud").is_err());
        assert!(Kind::Filter.parse("inof").is_err(), "would be taken for a module's name");
    }

    proptest! {
        #[test]
        fn no_text_makes_any_kind_panic(text in "\\PC*") {
            for kind in [
                Kind::Text, Kind::Secret, Kind::Secrets, Kind::Flag, Kind::Count(1, 2), Kind::OneOf(&[443]), Kind::Duration(1, 2),
                Kind::Size(1, 2), Kind::Address, Kind::File, Kind::Endpoint, Kind::Proxy, Kind::Filter,
            ] {
                let _ = kind.parse(&text);
            }
        }

        #[test]
        fn a_size_is_read_as_it_is_shown(bytes in 0..u64::MAX) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }
    }
}
