//! `pushrelay health`: asks a running relay how it is, for health checks in images without a shell or a `curl`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use url::Url;

use super::Failure;
use super::output::say;
use super::send::{causes, is_this_machine};
use crate::config::{self, ProbeAddress};

/// The longest `--timeout`: whoever starts this every few seconds must not pile them up.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer read, bytes. `/readyz` has some 200 for each target.
const MAX_BODY: usize = 1 << 20;

/// The most of a relay's own words that are repeated, characters.
const LONGEST_REASON: usize = 300;

/// Ask a running relay whether it lives, or whether it can deliver.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one line and ends with 0 if all is well and with 1 if not, whatever the reason: made for
HEALTHCHECK in images that have no shell. Without --url it finds the relay by the configuration that
the relay was started with, of which it reads only the addresses.

The address is ops.listen if the configuration (or PUSHRELAY_OPS__LISTEN) names one, and listen
otherwise; without a configuration 127.0.0.1:8066. An address such as 0.0.0.0 is asked at loopback.

If that address speaks TLS, its certificate is looked at only if it is not a loopback address: no
certificate is made out to 127.0.0.1, nothing secret is sent, and whoever can answer there runs on
this machine already. Where clients must show certificates, give the relay an ops.listen.

Examples:
  pushrelay health
  pushrelay health --config /etc/pushrelay/pushrelay.toml
  pushrelay health --ready --timeout 5s
  pushrelay health --url https://push.example.com

In a Dockerfile:
  ENV PUSHRELAY_CONFIG=/etc/pushrelay/pushrelay.toml
  HEALTHCHECK CMD [\"/usr/local/bin/pushrelay\", \"health\"]")]
pub(super) struct Health {
    /// The relay's address, instead of the one that the configuration says; /healthz is asked behind it.
    #[arg(long, value_name = "URL", value_parser = super::http_url)]
    url: Option<Url>,
    /// The relay's configuration; without one, the environment says it all.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Ask whether it can deliver (/readyz) instead of whether it lives.
    #[arg(long)]
    ready: bool,
    /// The longest wait for the answer, connecting included.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = timeout)]
    timeout: Duration,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| format!("{error}; write 2s or 500ms"))?;
    match timeout {
        Duration::ZERO => Err("is no time at all".to_owned()),
        _ if timeout > LONGEST_TIMEOUT => Err("is longer than a minute".to_owned()),
        _ => Ok(timeout),
    }
}

impl Health {
    pub(super) fn run(self) -> Result<(), Failure> {
        let base = match &self.url {
            Some(url) => url.clone(),
            None => self.configured()?,
        };
        let url = page(&base, self.ready);
        // One request needs no threads beside this one, which would cost more than the request.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::running(format!("cannot start: {error}")))?;
        let started = Instant::now();
        let asked = runtime.block_on(async { tokio::time::timeout(self.timeout, ask(&url)).await });
        // A look-up of a name that hangs must not be waited for.
        runtime.shutdown_background();
        let shown = shown(&url);
        let Ok(answer) = asked else {
            let timeout = humantime::format_duration(self.timeout);
            return Err(Failure::running(format!("{shown} has not answered within {timeout}")));
        };
        let (status, body) = answer.map_err(|problem| Failure::running(format!("{shown}: {problem}")))?;
        let word = judge(status, &body).map_err(|problem| Failure::running(format!("{shown}: {problem}")))?;
        say(format_args!("{shown}: {word} ({:.0} ms)", started.elapsed().as_secs_f64() * 1_000.0))
    }

    fn configured(&self) -> Result<Url, Failure> {
        // A health check knows 0 and 1 only: a configuration that cannot be read is no code of its own here.
        let ProbeAddress { address, tls } = config::probe_address(self.config.as_deref(), std::env::vars_os())
            .map_err(|problems| {
                let first = problems.list().first().map(ToString::to_string).unwrap_or_default();
                Failure::running(format!("it is not known where to ask: {}", first.replace("\n    → ", "; ")))
            })?;
        if address.port() == 0 {
            return Err(Failure::running(
                "the configuration lets the relay listen on any free port: say which with --url http://127.0.0.1:PORT",
            ));
        }
        let scheme = if tls { "https" } else { "http" };
        Url::parse(&format!("{scheme}://{address}")).map_err(Failure::running)
    }
}

/// Whether what answers at this address is a relay that lives, asked for at most 2 s: it is on this machine.
pub(super) async fn is_relay(base: &Url) -> bool {
    let asked = tokio::time::timeout(Duration::from_secs(2), ask(&page(base, false))).await;
    asked.is_ok_and(|answer| answer.is_ok_and(|(status, body)| judge(status, &body).is_ok()))
}

/// The page to ask: behind the relay's address, unless that names one itself.
fn page(base: &Url, ready: bool) -> Url {
    let path = base.path().trim_end_matches('/');
    let (relay, named) = match path.rsplit_once('/') {
        Some((relay, page @ ("healthz" | "readyz"))) => (relay, page),
        _ => (path, "healthz"),
    };
    let mut url = base.clone();
    url.set_path(&format!("{relay}/{}", if ready { "readyz" } else { named }));
    url
}

/// Without a password, should there be one in it.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

async fn ask(url: &Url) -> Result<(u16, Vec<u8>), String> {
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        // A name can be made to mean anything, `localhost` as well.
        _ => false,
    };
    let mut client = reqwest::Client::builder()
        // What is at the address is asked, and nothing that it names.
        .redirect(reqwest::redirect::Policy::none())
        // See the help for why that is no loss at loopback. And in clear there is no certificate to look at, but the
        // authorities of the system would be read all the same, which takes longer than the request.
        .tls_danger_accept_invalid_certs(is_loopback || url.scheme() == "http");
    if is_this_machine(url) {
        // A proxy that the environment names would look for the relay on its own machine.
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| format!("cannot set up HTTP: {}", causes(&error)))?;
    let answer = client.get(url.clone()).send().await;
    let mut answer = answer.map_err(|error| format!("no answer: {}", causes(&error.without_url())))?;
    let mut body = Vec::new();
    while let Some(chunk) =
        answer.chunk().await.map_err(|error| format!("broken answer: {}", causes(&error.without_url())))?
    {
        if body.len() + chunk.len() > MAX_BODY {
            return Err("the answer is larger than 1 MiB: no relay?".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok((answer.status().as_u16(), body))
}

/// What a relay says of itself: the word for well, or why it is not.
fn judge(status: u16, body: &[u8]) -> Result<String, String> {
    let report: Option<Value> = serde_json::from_slice(body).ok();
    let word = report.as_ref().and_then(|report| report["status"].as_str());
    match (status, word) {
        (200, Some(word)) => Ok(plain(word)),
        (_, None) => Err(format!("HTTP {status} with something that no relay says")),
        (_, Some(word)) => {
            let targets = report.as_ref().and_then(|report| report["targets"].as_array());
            let broken = targets
                .into_iter()
                .flatten()
                .filter_map(|target| Some(format!("; {}: {}", target["name"].as_str()?, target["problem"].as_str()?)));
            Err(plain(&format!("{word} (HTTP {status}){}", broken.collect::<String>())))
        }
    }
}

/// On one line that is not too long, and without anything that moves a terminal's cursor.
fn plain(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_REASON).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST_REASON).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_asked_behind_the_relays_address() {
        for (base, ready, expected) in [
            ("http://127.0.0.1:8066", false, "http://127.0.0.1:8066/healthz"),
            ("http://127.0.0.1:8066/", true, "http://127.0.0.1:8066/readyz"),
            ("http://127.0.0.1:8066/healthz", false, "http://127.0.0.1:8066/healthz"),
            ("http://127.0.0.1:8066/healthz", true, "http://127.0.0.1:8066/readyz"),
            ("http://127.0.0.1:8066/readyz", false, "http://127.0.0.1:8066/readyz"),
            ("https://example.com/push/", false, "https://example.com/push/healthz"),
        ] {
            assert_eq!(page(&Url::parse(base).unwrap(), ready).as_str(), expected, "{base}");
        }
    }

    #[test]
    fn a_relay_is_believed_and_a_stranger_is_not() {
        let broken = r#"{"status":"no target can deliver","targets":[{"name":"a","ready":false,"problem":"key\nrevoked"},
            {"name":"b","ready":true}]}"#;
        for (status, body, expected) in [
            (200, r#"{"status":"ok"}"#, Ok("ok")),
            (200, "<html>", Err("HTTP 200 with something that no relay says")),
            (200, "{}", Err("HTTP 200 with something that no relay says")),
            (404, "not found", Err("HTTP 404 with something that no relay says")),
            (503, r#"{"status":"draining","targets":[]}"#, Err("draining (HTTP 503)")),
            (503, broken, Err("no target can deliver (HTTP 503); a: key revoked")),
        ] {
            let judged = judge(status, body.as_bytes());
            assert_eq!(judged.as_deref().map_err(String::as_str), expected, "{body}");
        }
        let long = judge(500, format!(r#"{{"status":"{}"}}"#, "ä".repeat(400)).as_bytes()).unwrap_err();
        assert_eq!(long.chars().count(), LONGEST_REASON + 1);
    }

    #[test]
    fn a_timeout_is_a_time_of_at_most_a_minute() {
        for (text, right) in [("2s", true), ("1m", true), ("61s", false), ("0s", false), ("2", false), ("", false)] {
            assert_eq!(timeout(text).is_ok(), right, "{text}");
        }
    }
}
