//! The configuration file of `mattermost-push-proxy`, JSON, becomes the document that TOML becomes too, so that all that
//! follows is the same: variables, checks, settings. What this module adds is the file's own rules: names of keys in any
//! case, `null` as if absent, defaults, and what the reference makes of odd values.
//!
//! It opens no file but to ask whether there is one: where the reference looks for its configuration is one of its rules.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use http::HeaderName;
use serde_json::{Map, Value};

use super::document::{Document, Entry, Given, Section, Wording};
use super::finding::{Findings, Place, did_you_mean, quote};
use super::keys;

/// The list of targets at Apple.
const APPLE: &str = "ApplePushSettings";

/// The list of targets at Google.
const ANDROID: &str = "AndroidPushSettings";

/// Seconds for all attempts, if the file does not say.
const SEND_TIMEOUT_S: i64 = 30;

/// Seconds for one attempt, if the file does not say.
const RETRY_TIMEOUT_S: i64 = 8;

/// Seconds; the longest that `keys` allows for either.
const LONGEST_S: i64 = 600;

/// Where the reference writes its log if it is told to, but not where.
const LOG_FILE: &str = "./logs/push_proxy.log";

/// As many files set aside as `keys` allows.
const MOST_LOG_FILES: u32 = 10_000;

/// Our group and key, and what the reference calls it.
const WORDS: [(&str, &str, &str); 20] = [
    ("", "listen", "ListenAddress"),
    ("throttle", "per_second", "ThrottlePerSec"),
    ("throttle", "vary_by_headers", "ThrottleVaryByHeader"),
    ("throttle", "max_callers", "ThrottleMemoryStoreSize"),
    ("ops", "metrics", "EnableMetrics"),
    ("delivery", "deadline", "SendTimeoutSec"),
    ("delivery", "attempt_timeout", "RetryTimeoutSec"),
    ("log", "console", "EnableConsoleLog"),
    ("log", "file", "LogFileLocation"),
    ("log", "format", "LogFormat"),
    ("log", "filter", "LogLevel"),
    ("target", "name", "Type"),
    ("target", "topic", "ApplePushTopic"),
    ("target", "key_file", "AppleAuthKeyFile"),
    ("target", "key_id", "AppleAuthKeyID"),
    ("target", "team_id", "AppleTeamID"),
    ("target", "certificate_file", "ApplePushCertPrivate"),
    ("target", "certificate_password", "ApplePushCertPassword"),
    ("target", "sandbox", "ApplePushUseDevelopment"),
    ("target", "service_account_file", "ServiceFileLocation"),
];

/// Further keys that the file may have.
const FURTHER: [&str; 4] = [APPLE, ANDROID, "EnableFileLog", "AndroidApiKey"];

/// What the reference calls one of our keys.
pub(super) fn word(group: &str, key: &str) -> Option<&'static str> {
    WORDS.iter().find(|(g, k, _)| (*g, *k) == (group, key)).map(|(_, _, word)| *word)
}

/// Where the reference finds a file of that name: in `config` first. (It looks in `/tmp` before that, where anybody may
/// put one, and so we do not.) Only for its own format: nobody expects it of other files.
pub(super) fn find(name: &Path) -> PathBuf {
    let is_json = name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    if name.is_absolute() || !is_json {
        return name.to_owned();
    }
    let places = [Path::new("config"), Path::new("../config")];
    places.into_iter().map(|place| place.join(name)).find(|path| path.exists()).unwrap_or_else(|| name.to_owned())
}

/// Reads a file's text.
pub(super) fn parse(text: &str, file: &Arc<str>, findings: &mut Findings) -> Option<Document> {
    let place = Place::File(file.clone());
    let fields = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => {
            let remedy = "write the configuration of mattermost-push-proxy as one object, { … }";
            findings.problem(&place, "", "is JSON, but not an object", remedy);
            return None;
        }
        Err(error) => {
            // The library's text ends with the place, and quotes nothing.
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            let remedy = "mend this first; the values are looked at when the whole file can be read";
            findings.problem(&Place::Line(file.clone(), error.line()), "", format!("is not JSON: {what}"), remedy);
            return None;
        }
    };
    let mut document = Document::of_reference(&place);
    let mut reader = Reader { place: &place, findings };
    reader.top(&fields, &mut document);
    Some(document)
}

/// Whether a file's top level says anything under that word of the reference.
pub(super) fn says(text: &str, word: &str) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return false };
    !Object { path: String::new(), fields: &fields }.get(word).is_null()
}

/// What can only be said when the variables are known.
pub(super) fn finish(document: &Document, findings: &mut Findings) {
    let given = |word: &str| {
        let (group, key, _) = WORDS.iter().find(|(_, _, known)| *known == word)?;
        document.all().find(|section| section.group.name == *group)?.entries.get(*key)
    };
    findings.forget_warnings(|word| given(word).is_some_and(|entry| matches!(entry.place, Place::Variable(_))));
}

/// The fields of a `null`.
static NOTHING: OnceLock<Map<String, Value>> = OnceLock::new();

/// One object of the file.
struct Object<'a> {
    /// Its place in the file, such as `ApplePushSettings[0].`; empty for the file itself.
    path: String,
    fields: &'a Map<String, Value>,
}

struct Reader<'a> {
    place: &'a Place,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn top(&mut self, fields: &Map<String, Value>, document: &mut Document) {
        let file = Object { path: String::new(), fields };
        self.report_unknown(&file, |name| {
            word_is_of(name, |group| group != "target") || [APPLE, ANDROID, "EnableFileLog"].contains(&name)
        });
        let listen = self.listen(&file);
        self.set(document.section(&keys::TOP), "listen", listen);
        // What a reference file means and cannot say.
        self.set(document.section(&keys::TOP), "compatibility", Given::Text("strict".to_owned()));
        self.set(document.section(&keys::AUTH), "mode", Given::Text("off".to_owned()));
        self.set(document.section(&keys::MEMORY), "enabled", Given::Boolean(false));
        self.set(document.section(&keys::REMOVAL_GUARD), "enabled", Given::Boolean(false));
        self.set(document.section(&keys::BREAKER), "failures", Given::Integer("0".to_owned()));
        self.timeouts(&file, document);
        self.throttle(&file, document);
        let metrics = self.flag(&file, "EnableMetrics");
        self.set(document.section(&keys::OPS), "metrics", Given::Boolean(metrics));
        self.log(&file, document.section(&keys::LOG));
        for (index, fields) in self.list(&file, APPLE) {
            self.apple(&Object { path: format!("{APPLE}[{index}]."), fields }, document);
        }
        for (index, fields) in self.list(&file, ANDROID) {
            self.android(&Object { path: format!("{ANDROID}[{index}]."), fields }, document);
        }
    }

    /// As Go's server reads it: no host is every address, no port is 80.
    fn listen(&mut self, file: &Object<'_>) -> Given {
        let text = self.text(file, "ListenAddress").unwrap_or_default();
        let address = match text.rsplit_once(':') {
            _ if text.is_empty() => {
                let what = "is not given, which means port 80 on every address";
                self.warning("ListenAddress", what, "write \":8066\", the port that chat servers expect");
                "[::]:80".to_owned()
            }
            Some(("", port)) => format!("[::]:{port}"),
            Some(("localhost", port)) => format!("127.0.0.1:{port}"),
            _ => text,
        };
        Given::Text(address)
    }

    fn timeouts(&mut self, file: &Object<'_>, document: &mut Document) {
        let given = |seconds: Option<i64>, otherwise| seconds.filter(|seconds| *seconds != 0).unwrap_or(otherwise);
        let mut send = given(self.whole(file, "SendTimeoutSec"), SEND_TIMEOUT_S);
        if send > LONGEST_S {
            self.warning(
                "SendTimeoutSec",
                "is more than ten minutes, which no caller waits for: it counts as 600",
                "write 25",
            );
            send = LONGEST_S;
        }
        let retry = given(self.whole(file, "RetryTimeoutSec"), RETRY_TIMEOUT_S).min(send.max(1));
        let delivery = document.section(&keys::DELIVERY);
        self.set(delivery, "deadline", Given::Text(format!("{send}s")));
        self.set(delivery, "attempt_timeout", Given::Text(format!("{retry}s")));
        // The reference stops after five seconds and drops what still runs.
        let stop = Given::Text(format!("{}s", (send.max(0) + 1).min(LONGEST_S)));
        self.set(document.section(&keys::TOP), "shutdown_deadline", stop);
    }

    fn throttle(&mut self, file: &Object<'_>, document: &mut Document) {
        // The reference counts, and turns nobody away: its counter begins anew with each request. Mattermost sends nothing again,
        // so what was refused in its place would be lost.
        if self.whole(file, "ThrottlePerSec").is_some_and(|per_second| per_second > 0) {
            let what = "is not enforced: mattermost-push-proxy turns nobody away either, whatever stands there";
            let remedy = "take it out; PUSHRELAY_THROTTLE__PER_SECOND sets a limit, and what is over it is lost";
            self.warning("ThrottlePerSec", what, remedy);
        }
        let headers = self.text(file, "ThrottleVaryByHeader").unwrap_or_default();
        let memory = self.whole(file, "ThrottleMemoryStoreSize").unwrap_or_default();
        let throttle = document.section(&keys::THROTTLE);
        // Without a limit these two mean nothing; a variable may set one.
        let (headers, impossible): (Vec<_>, Vec<_>) =
            headers.split_whitespace().partition(|header| HeaderName::try_from(*header).is_ok());
        if !impossible.is_empty() {
            let what = "holds what is no header's name, and so never there: names are separated by spaces";
            self.warning("ThrottleVaryByHeader", what, "write for example \"X-Forwarded-For\"");
        }
        let headers = headers.into_iter().map(|header| Given::Text(header.to_ascii_lowercase())).collect();
        self.set(throttle, "vary_by_headers", Given::Array(headers));
        if memory > 0 {
            let memory = memory.clamp(1_000, 10_000_000);
            self.set(throttle, "max_callers", Given::Integer(memory.to_string()));
        }
        // A reverse proxy stands beside the relay. From elsewhere anybody could call themselves somebody new.
        let beside = ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
        let beside = beside.map(|network| Given::Text(network.to_owned())).into();
        self.set(document.section(&keys::CLIENT_IP), "trusted_proxies", Given::Array(beside));
    }

    fn log(&mut self, file: &Object<'_>, log: &mut Section) {
        let console = self.flag(file, "EnableConsoleLog");
        let into_file = self.flag(file, "EnableFileLog");
        let location = self.text(file, "LogFileLocation");
        let format = self.text(file, "LogFormat").unwrap_or_default();
        let level = self.text(file, "LogLevel");
        // Without any switch a file is older than both of them.
        self.set(log, "console", Given::Boolean(console || !into_file));
        if into_file {
            self.set(log, "file", Given::Text(location.unwrap_or_else(|| LOG_FILE.to_owned())));
            // The reference deletes none, and what it has left under these names counts.
            self.set(log, "file_keep", Given::Integer(MOST_LOG_FILES.to_string()));
        }
        let format = if format == "json" { "json" } else { "human" };
        self.set(log, "format", Given::Text(format.to_owned()));
        if let Some(level) = level {
            let filter = match level.to_ascii_lowercase().as_str() {
                "fatal" | "panic" => Some("error".to_owned()),
                known @ ("trace" | "debug" | "info" | "warn" | "error") => Some(known.to_owned()),
                _ => None,
            };
            match filter {
                Some(filter) => self.set(log, "filter", Given::Text(filter)),
                None => self.warning("LogLevel", "is not a known level and counts as \"info\"", "write \"info\""),
            }
        }
    }

    fn apple(&mut self, target: &Object<'_>, document: &mut Document) {
        self.report_unknown(target, |name| {
            word_is_of(name, |group| group == "target") && name != "ServiceFileLocation"
        });
        let section = self.target(target, APPLE, "apns", document);
        let topic = self.text(target, "ApplePushTopic");
        let sandbox = self.flag(target, "ApplePushUseDevelopment");
        let key = ["AppleAuthKeyFile", "AppleAuthKeyID", "AppleTeamID"].map(|name| self.text(target, name));
        let certificate = self.text(target, "ApplePushCertPrivate");
        let password = self.text(target, "ApplePushCertPassword");
        if let Some(topic) = topic {
            self.set(section, "topic", Given::Text(topic));
        }
        if sandbox {
            self.set(section, "sandbox", Given::Boolean(true));
        }
        match (key, certificate) {
            // A whole key goes before a certificate.
            (key @ [Some(_), Some(_), Some(_)], _) | (key, None) => {
                for (name, text) in ["key_file", "key_id", "team_id"].into_iter().zip(key) {
                    if let Some(text) = text {
                        self.set(section, name, Given::Text(text));
                    }
                }
            }
            (_, Some(certificate)) => {
                self.set(section, "certificate_file", Given::Text(certificate));
                if let Some(password) = password {
                    self.set(section, "certificate_password", Given::Text(password));
                }
            }
        }
    }

    fn android(&mut self, target: &Object<'_>, document: &mut Document) {
        self.report_unknown(target, |name| ["Type", "ServiceFileLocation", "AndroidApiKey"].contains(&name));
        let section = self.target(target, ANDROID, "fcm", document);
        if self.text(target, "AndroidApiKey").is_some() {
            let what = "belongs to an interface that Google switched off in July 2024; it is not used";
            self.warning(&format!("{}AndroidApiKey", target.path), what, "take it out");
        }
        if let Some(file) = self.text(target, "ServiceFileLocation") {
            self.set(section, "service_account_file", Given::Text(file));
        }
    }

    fn target<'d>(
        &mut self,
        target: &Object<'_>,
        list: &'static str,
        provider: &str,
        document: &'d mut Document,
    ) -> &'d mut Section {
        let name = self.text(target, "Type");
        let section = document.add(&keys::TARGET, self.place.clone());
        section.wording = Wording::Reference(list);
        if let Some(name) = name {
            section.alias = super::document::variable_word(&name);
            self.set(section, "name", Given::Text(name));
        }
        self.set(section, "provider", Given::Text(provider.to_owned()));
        section
    }

    fn set(&self, section: &mut Section, key: &str, given: Given) {
        section.entries.insert(key.to_owned(), Entry { place: self.place.clone(), given });
    }

    /// A text that is not empty.
    fn text(&mut self, object: &Object<'_>, name: &str) -> Option<String> {
        match object.get(name) {
            Value::Null => None,
            Value::String(text) => (!text.is_empty()).then(|| text.clone()),
            other => {
                self.wrong(object, name, "text in quotes", other);
                None
            }
        }
    }

    fn whole(&mut self, object: &Object<'_>, name: &str) -> Option<i64> {
        match object.get(name) {
            Value::Null => None,
            other => {
                let number = other.as_i64();
                if number.is_none() {
                    self.wrong(object, name, "a whole number", other);
                }
                number
            }
        }
    }

    fn flag(&mut self, object: &Object<'_>, name: &str) -> bool {
        match object.get(name) {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            other => {
                self.wrong(object, name, "true or false", other);
                false
            }
        }
    }

    fn list<'o>(&mut self, object: &Object<'o>, name: &str) -> Vec<(usize, &'o Map<String, Value>)> {
        let items = match object.get(name) {
            Value::Null => return Vec::new(),
            Value::Array(items) => items,
            other => {
                self.wrong(object, name, "a list of objects", other);
                return Vec::new();
            }
        };
        let mut objects = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::Object(fields) => objects.push((index, fields)),
                // In which nothing stands, like any other.
                Value::Null => objects.push((index, NOTHING.get_or_init(Map::new))),
                other => self.wrong(object, &format!("{name}[{index}]"), "an object", other),
            }
        }
        objects
    }

    /// The reference does not start with such a value either. What it is, is not shown: it may be a secret.
    fn wrong(&mut self, object: &Object<'_>, name: &str, wanted: &str, given: &Value) {
        let given = match given {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(number) if number.is_f64() => "a number with a point",
            Value::Number(_) => "a number",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let what = format!("must be {wanted}, not {given}");
        self.findings.problem(self.place, format!("{}{name}", object.path), what, "");
    }

    fn warning(&mut self, key: &str, what: &str, remedy: &str) {
        self.findings.warning(self.place, key, what, remedy);
    }

    /// The reference ignores what it does not know, slips of the pen included.
    fn report_unknown(&mut self, object: &Object<'_>, known: impl Fn(&str) -> bool) {
        let words = || WORDS.iter().map(|(_, _, word)| *word).chain(FURTHER).filter(|word| known(word));
        for name in object.fields.keys().filter(|name| !words().any(|word| word.eq_ignore_ascii_case(name))) {
            let key = format!("{}{}", object.path, quote(name).trim_matches('`'));
            let remedy = match did_you_mean(name, words()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "take it out, unless it is a remark".to_owned(),
            };
            self.warning(&key, "is not a known key and is ignored, as mattermost-push-proxy does", &remedy);
        }
    }
}

impl<'a> Object<'a> {
    /// The value of a key in whatever case; `null` if it is absent.
    fn get(&self, name: &str) -> &'a Value {
        let in_any_case = || self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.fields.get(name).or_else(in_any_case).unwrap_or(&Value::Null)
    }
}

/// Whether it is the reference's word for a key of such a group.
fn word_is_of(name: &str, is: impl Fn(&str) -> bool) -> bool {
    WORDS.iter().any(|(group, _, word)| is(group) && *word == name)
}
