//! `pushrelay check`: will this configuration deliver? Reads everything that `serve` would read, goes the way of a push to each
//! provider, and starts nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;
use url::Url;

use super::Failure;
use super::health::is_relay;
use crate::app::descriptors::Room;
use crate::app::{BindError, Listeners};
use crate::cli::output::{print, say};
use crate::clock::Clock;
use crate::config::{self, Loaded, ProbeAddress};
use crate::doctor::{self, Finding, Standing, Taken};
use crate::http::Standing as TlsStanding;
use crate::sender::apns::KeysInUse;
use crate::sender::{Sender, TargetSettings};

/// The longest `--timeout`: nobody waits longer for one step.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(2);

/// Say whether a configuration will deliver, and if not, why
#[derive(Debug, Args)]
#[command(after_help = "\
Reads keys, certificates and service accounts and reports every problem at once, with its place and
a remedy. Then it goes the way of a push for each target: name, connection (through the proxy, if
there is one), TLS, HTTP/2, clock, credentials. Apple is asked with a push to a device token that
cannot exist, Google with a message that is only to be checked: no phone is woken. A step that fails
says what to do; those behind it are skipped. A relay that runs is not disturbed.

With --offline nobody is asked: a key that Apple has revoked still looks right then.

Apple counts the tokens that are made from a signing key: no more than one in 20 minutes. Beside a
relay that runs, or soon after another check, it may therefore answer with a warning that says so.

Exit codes: 0 all well (warnings included), 1 a step failed, 78 the configuration is wrong.

Examples:
  pushrelay check --config /etc/pushrelay/pushrelay.toml
  pushrelay check --config mattermost-push-proxy.json --timeout 30s
  pushrelay check --offline --config pushrelay.toml     in a pipeline, without the network
  pushrelay check --json --config pushrelay.toml        for programs: docs/check.md has the fields")]
pub(super) struct Check {
    /// The configuration file; without one, the environment says it all.
    #[arg(long, short, value_name = "FILE", env = "PUSHRELAY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Read and try everything, and ask nobody.
    #[arg(long)]
    offline: bool,
    /// The longest wait for each step; targets are looked at side by side.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    timeout: Duration,
    /// Print one JSON object for programs.
    #[arg(long)]
    json: bool,
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| format!("{error}; write 10s or 500ms"))?;
    match timeout {
        Duration::ZERO => Err("is no time at all".to_owned()),
        _ if timeout > LONGEST_TIMEOUT => Err("is longer than two minutes".to_owned()),
        _ => Ok(timeout),
    }
}

/// What `--json` prints; docs/check.md describes it.
#[derive(Debug, Default, Serialize)]
struct Report {
    result: &'static str,
    targets: usize,
    servers: usize,
    problems: Vec<String>,
    warnings: Vec<String>,
    findings: Vec<Finding>,
}

/// The configuration as far as nobody need be asked.
#[derive(Default)]
struct Reading<'a> {
    problems: Vec<String>,
    warnings: Vec<String>,
    good: Vec<String>,
    /// The targets that can be set up.
    targets: Vec<(&'a TargetSettings, Sender)>,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let loaded = match config::load(self.config.as_deref(), std::env::vars_os()) {
            Ok(loaded) => loaded,
            Err(problems) => {
                if self.json {
                    let problems = problems.list().iter().map(ToString::to_string).collect();
                    print_json(&Report { result: "configuration_error", problems, ..Report::default() })?;
                }
                return Err(Failure::configuration(problems));
            }
        };
        let Reading { problems, warnings, good, targets } = read(&loaded);
        let mut report = Report {
            result: "",
            targets: loaded.settings.targets.len(),
            servers: loaded.settings.admission.servers.len(),
            problems,
            warnings,
            findings: Vec::new(),
        };
        if !self.json {
            for warning in &report.warnings {
                say(format_args!("warning: {warning}"))?;
            }
            for line in good {
                say(line)?;
            }
        }
        if !self.json && report.problems.is_empty() {
            let Report { targets, servers, .. } = report;
            say(format_args!("The configuration is right. Targets: {targets}, servers: {servers}."))?;
        }
        if !self.offline {
            report.findings = super::block_on(async { Ok(prove(&loaded, &targets, self.timeout, self.config).await) })?;
        }
        let failures: Vec<_> = report.findings.iter().filter(|finding| finding.is_failure()).map(place).collect();
        report.result = match (report.problems.as_slice(), failures.as_slice()) {
            ([], []) => "ok",
            ([], _) => "failed",
            // Of a target that is left out, while the others deliver.
            _ => "configuration_error",
        };
        if self.json {
            print_json(&report)?;
        } else {
            print(table(&report.findings))?;
        }
        if !report.problems.is_empty() {
            return Err(Failure::configuration(report.problems.join("\n")));
        }
        if failures.is_empty() { Ok(()) } else { Err(Failure::running(format!("failed: {}", failures.join(", ")))) }
    }
}

fn print_json(report: &Report) -> Result<(), Failure> {
    say(serde_json::to_string_pretty(report).map_err(Failure::running)?)
}

fn read(loaded: &Loaded) -> Reading<'_> {
    let settings = &loaded.settings;
    let mut reading = Reading {
        problems: settings
            .left_out
            .iter()
            .map(|left| format!("target `{}` would be left out: {}", left.name, left.problem))
            .collect(),
        warnings: loaded.warnings.iter().map(ToString::to_string).collect(),
        ..Reading::default()
    };
    if let Some((what, remedy)) = Room::raised_for(settings).problem() {
        reading.warnings.push(format!("{what}\n    → {remedy}"));
    }
    let mut keys = KeysInUse::default();
    for target in &settings.targets {
        match Sender::new(target, &Clock::System, &mut keys) {
            // `serve` starts with it, for the sake of the other targets; whoever asks wants to know.
            Ok(sender) => {
                if let Some(problem) = sender.credential_problem() {
                    reading.problems.push(format!("target `{}`: {problem}", target.name));
                    continue;
                }
                let platform = sender.platform().as_str();
                reading.good.push(format!("target {} ({platform}): credentials read", target.name));
                reading.targets.push((target, sender));
            }
            Err(error) => reading.problems.push(error.to_string()),
        }
    }
    if let Some(tls) = &settings.http.tls {
        match tls.standing(Clock::System.unix_seconds()) {
            TlsStanding::Good(_) => reading.good.push(format!("TLS: the certificate ends on {}", tls.ends())),
            TlsStanding::EndsSoon(_) => {
                reading.warnings.push(format!("TLS: the certificate ends soon, on {}", tls.ends()));
            }
            TlsStanding::Refused(why) => reading
                .warnings
                .push(format!("TLS: the certificate {why}: chat servers refuse it (it ends on {})", tls.ends())),
        }
    }
    reading
}

/// What is found on this machine and on the way to each target.
async fn prove(
    loaded: &Loaded,
    targets: &[(&TargetSettings, Sender)],
    timeout: Duration,
    config: Option<PathBuf>,
) -> Vec<Finding> {
    let settings = &loaded.settings;
    let examine = targets.iter().map(|(target, sender)| doctor::examine(target, sender, &Clock::System, timeout));
    let targets = join_all(examine);
    let machine = async {
        let queue = settings.queue.as_ref().map(|queue| queue.is_required);
        let data_dir = settings.data_dir.as_deref();
        let mut findings = data_dir.map_or_else(Vec::new, |path| doctor::places(path, queue, &Clock::System));
        findings.extend(listening(loaded, config).await);
        findings
    };
    let (mut findings, targets) = tokio::join!(machine, targets);
    findings.extend(targets.into_iter().flatten());
    findings
}

async fn listening(loaded: &Loaded, config: Option<PathBuf>) -> Vec<Finding> {
    let attempts = Listeners::attempt(&loaded.settings.http);
    let in_use = attempts.iter().any(|(_, _, attempt)| attempt.as_ref().is_err_and(BindError::is_in_use));
    let runs = in_use && a_relay_runs(config).await;
    let taken = |attempt: Result<(), BindError>| match attempt {
        Ok(()) => Taken::Free,
        Err(error) if error.is_in_use() && runs => Taken::ByARelay,
        Err(error) if error.is_in_use() => Taken::BySomebody,
        Err(error) => Taken::Never { what: error.problem(), remedy: error.remedy() },
    };
    attempts.into_iter().map(|(key, address, attempt)| doctor::listening(key, address, &taken(attempt))).collect()
}

async fn a_relay_runs(config: Option<PathBuf>) -> bool {
    let Ok(ProbeAddress { address, tls }) = config::probe_address(config.as_deref(), std::env::vars_os()) else {
        return false;
    };
    let scheme = if tls { "https" } else { "http" };
    match Url::parse(&format!("{scheme}://{address}")) {
        Ok(url) => is_relay(&url).await,
        Err(_) => false,
    }
}

/// Where a finding was made, in two words.
fn place(finding: &Finding) -> String {
    match &finding.target {
        Some(target) => format!("{target} {}", finding.step.as_str()),
        None => finding.step.as_str().to_owned(),
    }
}

/// For people: a block for this machine and one for each target, each remedy below what it mends.
fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut block = None;
    for finding in findings {
        let name =
            finding.target.as_ref().map_or_else(|| "this machine".to_owned(), |target| format!("target {target}"));
        if block.as_ref() != Some(&name) {
            text.push_str(&format!("\n{name}\n"));
            block = Some(name);
        }
        let word = match &finding.standing {
            Standing::Failed { .. } => "FAIL",
            Standing::Warning { .. } => "WARN",
            standing => standing.as_str(),
        };
        text.push_str(&format!("  {word:<8}{:<12} {}\n", finding.step.as_str(), finding.what));
        if let Some(remedy) = finding.standing.remedy() {
            text.push_str(&format!("{:22} → {remedy}\n", ""));
        }
    }
    if !findings.is_empty() {
        let count = |word| findings.iter().filter(|finding| finding.standing.as_str() == word).count();
        let (ok, warn, fail, skipped) = (count("ok"), count("warn"), count("fail"), count("skipped"));
        text.push_str(&format!("\n{ok} ok, {warn} to look at, {fail} failed, {skipped} skipped\n"));
    }
    text
}
