//! The page, made of a snapshot. Pure: the same snapshot makes the same text. Each text that comes from outside the program
//! goes through [`Escaped`], names of targets and servers included.

use std::fmt::Write as _;
use std::time::Duration;

use super::escape::Escaped;
use super::sampler::{Rate, SECONDS, TargetView, View};
use super::sparkline::Series;
use super::words;
use crate::admission::BusyServer;
use crate::clock::rfc3339;
use crate::relay::{Refuses, TargetReadiness};
use crate::telemetry::metrics::TargetFigures;
use crate::telemetry::recent::Trouble;

/// Targets that are shown, those with a problem first: more than anybody configures. `/readyz` has all.
const MOST_TARGETS: usize = 50;

/// Reasons of refusals that are shown, the most frequent first.
const MOST_REASONS: usize = 10;

/// From so many days before its end on, a credential needs attention: as the log has it.
const DAYS_AHEAD: i64 = 30;

/// What stands before all that a snapshot says. Addresses are relative, so that the page works below a proxy's path, too.
const HEAD: &str = "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta name=\"robots\" content=\"noindex\">
<title>pushrelay status</title>
<link rel=\"stylesheet\" href=\"status/style.css\">
<script src=\"status/script.js\" defer></script>
<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>
</head>
<body>
";

/// Everything on the page.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: &'static str,
    /// Empty if unknown.
    pub(super) commit: &'static str,
    /// Seconds since the Unix epoch.
    pub(super) now: u64,
    pub(super) uptime: Duration,
    /// As `/readyz` has it.
    pub(super) is_ready: bool,
    pub(super) standing: &'static str,
    pub(super) in_flight: usize,
    pub(super) view: View,
    pub(super) readiness: Vec<TargetReadiness>,
    pub(super) queue_refuses: Option<Refuses>,
    /// Whole days until the end of the certificate that chat servers are shown; absent without TLS.
    pub(super) certificate_days_left: Option<i64>,
    pub(super) servers: Servers,
    pub(super) failures: Vec<Trouble>,
    pub(super) refused: Vec<Trouble>,
    /// Reasons and how many were refused for each since the start, the most frequent first.
    pub(super) refusals: Vec<(String, u64)>,
}

/// Who sends.
#[derive(Debug)]
pub(super) struct Servers {
    /// Whether anybody is counted.
    pub(super) are_counted: bool,
    /// Those that sent the most.
    pub(super) busiest: Vec<BusyServer>,
    /// How many have sent anything today.
    pub(super) count: usize,
}

/// The whole page.
pub(super) fn page(snapshot: &Snapshot) -> String {
    let mut page = String::with_capacity(24 * 1024);
    page.push_str(HEAD);
    page.push_str("<main id=\"live\">\n");
    page.push_str(&live(snapshot));
    page.push_str("</main>\n<footer><p><a href=\"status\">Reload</a> <span id=\"connection\"></span></p>\n");
    page.push_str("<noscript><p>Without JavaScript this page loads itself again every ten seconds.</p></noscript>\n");
    page.push_str(
        "<p>Rates are of the last 10 seconds, verdicts and latencies of the last minute, plots of the last 10 minutes. A \
         latency is estimated within a step of the histogram: 5, 10, 25, 50, 100, 250, 500 ms, 1, 2.5, 5, 10 s.</p>\n",
    );
    page.push_str("</footer>\n</body>\n</html>\n");
    page
}

/// What changes while the page is open.
pub(super) fn live(snapshot: &Snapshot) -> String {
    let mut html = String::with_capacity(24 * 1024);
    header(&mut html, snapshot);
    attention(&mut html, snapshot);
    figures(&mut html, snapshot);
    let targets = targets_in_order(snapshot);
    target_table(&mut html, snapshot, &targets);
    verdict_table(&mut html, &targets);
    server_table(&mut html, &snapshot.servers);
    trouble_table(&mut html, "Last failures", "Nothing has failed since the start.", snapshot.now, &snapshot.failures);
    trouble_table(&mut html, "Last refusals", "Nobody was refused since the start.", snapshot.now, &snapshot.refused);
    reason_table(&mut html, &snapshot.refusals);
    html
}

fn header(html: &mut String, snapshot: &Snapshot) {
    let Snapshot { version, commit, now, uptime, is_ready, standing, .. } = snapshot;
    let class = if *is_ready { "good" } else { "bad" };
    let commit = commit.get(..12).unwrap_or(commit);
    let commit = if commit.is_empty() { String::new() } else { format!(" ({})", Escaped(commit)) };
    let _ = write!(
        html,
        "<header><h1>pushrelay <span class=\"state {class}\">{standing}</span></h1>\n\
         <p class=\"quiet\">Version {version}{commit} · up {uptime} · <time datetime=\"{now}\">{shown} UTC</time></p></header>\n",
        version = Escaped(version),
        standing = Escaped(standing),
        uptime = words::duration(*uptime),
        now = rfc3339(*now),
        shown = rfc3339(*now).replace('T', " ").trim_end_matches('Z'),
    );
}

/// What an operator must do something about, or will wonder about.
fn attention(html: &mut String, snapshot: &Snapshot) {
    let mut points: Vec<(Option<&str>, String)> = Vec::new();
    points.extend(snapshot.queue_refuses.map(|why| {
        (None, format!("The queue {}: what a provider does not take at once is lost ({})", why.words(), why.reason()))
    }));
    for target in &snapshot.readiness {
        let name = Some(target.name.as_str());
        let broken = words::breaker(&target.breaker);
        if broken.is_none()
            && let Some(problem) = &target.problem
        {
            points.push((name, problem.clone()));
        }
        points.extend(broken.map(|broken| (name, broken)));
        points.extend(
            target.removals_withheld.iter().map(|withheld| (name, format!("Removals are withheld: {withheld}"))),
        );
        points.extend(target.rate_limit.map(|limit| {
            (name, format!("The provider's quota was met: at most {} notifications a second", words::rate(limit)))
        }));
        points.extend(
            target
                .credential_days_left
                .filter(|days| *days < DAYS_AHEAD)
                .map(|days| (name, format!("The credential needs to be renewed: {}", words::days(days)))),
        );
    }
    points.extend(
        snapshot
            .certificate_days_left
            .filter(|days| *days < DAYS_AHEAD)
            .map(|days| (None, format!("The certificate for chat servers needs to be renewed: {}", words::days(days)))),
    );
    html.push_str("<section><h2>Attention</h2>\n");
    if points.is_empty() {
        html.push_str("<p class=\"quiet\">Nothing needs it.</p>\n");
    } else {
        let hidden = points.len().saturating_sub(MOST_TARGETS);
        html.push_str("<ul class=\"attention\">\n");
        for (target, text) in points.iter().take(MOST_TARGETS) {
            html.push_str("<li>");
            if let Some(target) = target {
                let _ = write!(html, "<strong>{}</strong> ", Escaped(target));
            }
            let _ = writeln!(html, "{}</li>", Escaped(text));
        }
        html.push_str("</ul>\n");
        and_more(html, hidden, "/readyz has all");
    }
    html.push_str("</section>\n");
}

fn figures(html: &mut String, snapshot: &Snapshot) {
    let view = &snapshot.view;
    html.push_str("<section><h2>Now</h2>\n<div class=\"figures\">\n");
    let mut rate = |name: &str, rate: &Rate, total: u64, what: &str| {
        figure(html, name, &words::rate(rate.per_second), "/s", &rate.series, what, &total_in_words(total));
    };
    rate("In", &view.admitted, view.totals.admitted, "Notifications admitted a second");
    rate("Delivered", &view.delivered, view.totals.delivered, "Notifications delivered a second");
    rate("Failed", &view.failed, view.totals.failed, "Notifications failed a second");
    let oldest = snapshot.readiness.iter().filter_map(|target| target.waiting).filter(|waiting| waiting.waiting > 0);
    let oldest = oldest.map(|waiting| waiting.oldest).max();
    let oldest = oldest.map_or("nothing waits".to_owned(), |age| format!("oldest {}", words::duration(age)));
    figure(
        html,
        "Waiting on disk",
        &words::count(view.waiting),
        "",
        &view.waiting_series,
        "Notifications on disk",
        &oldest,
    );
    let _ = write!(
        html,
        "</div>\n<dl class=\"row\"><div><dt>In flight</dt><dd>{}</dd></div><div><dt>Refused</dt><dd>{}/s, {}</dd></div>",
        words::count(snapshot.in_flight as u64),
        words::rate(view.refused_per_second),
        total_in_words(view.totals.refused),
    );
    if let Some(days) = snapshot.certificate_days_left {
        let _ = write!(html, "<div><dt>Certificate for chat servers</dt><dd>{}</dd></div>", words::days(days));
    }
    html.push_str("</dl></section>\n");
}

fn total_in_words(total: u64) -> String {
    format!("{} since the start", words::count(total))
}

/// One figure with its plot. Only `name`, `unit`, `what` and `below` of the program's own go in here.
fn figure(html: &mut String, name: &str, value: &str, unit: &str, series: &Series, what: &str, below: &str) {
    let peak = words::rate(f64::from(series.peak()));
    let label = format!("{what}, last 10 minutes; peak {peak}");
    let _ = writeln!(
        html,
        "<figure><figcaption>{name}</figcaption><p class=\"value\">{value}<span class=\"unit\">{unit}</span></p>{plot}\
         <p class=\"quiet\">peak {peak}{unit} · {below}</p></figure>",
        plot = series.svg(SECONDS, &label),
    );
}

/// Each target that is shown, with what is known of its attempts.
type Target<'a> = (&'a TargetReadiness, Option<&'a TargetView>);

fn targets_in_order(snapshot: &Snapshot) -> Vec<Target<'_>> {
    let mut targets: Vec<Target<'_>> = snapshot
        .readiness
        .iter()
        .map(|target| (target, snapshot.view.targets.iter().find(|view| view.name == target.name)))
        .collect();
    // Stable: by name among those that are well, and among those that are not.
    targets.sort_by_key(|(target, _)| target.problem.is_none() && words::breaker(&target.breaker).is_none());
    targets
}

fn target_table(html: &mut String, snapshot: &Snapshot, targets: &[Target<'_>]) {
    html.push_str("<section><h2>Targets</h2>\n");
    if targets.is_empty() {
        html.push_str("<p class=\"quiet\">There is none: nothing can be delivered.</p></section>\n");
        return;
    }
    table(
        html,
        "What each target delivers and how long its provider takes",
        &["Target", "State", "Delivered", "Last 10 min", "p50", "p90", "p99", "Waiting", "Given up", "Credential"],
    );
    for (target, view) in targets.iter().take(MOST_TARGETS) {
        let (class, state) = state(target);
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{} <span class=\"quiet\">{}</span></th>",
            Escaped(target.name.as_str()),
            target.platform.as_str()
        );
        cell(html, "State", &format!("<span class=\"state {class}\">{state}</span>"));
        let (rate, plot) = view.map_or((NONE.to_owned(), String::new()), |view| {
            let label = format!("Delivered a second, last 10 minutes; peak {:.1}", view.delivered.series.peak());
            (words::rate(view.delivered.per_second) + "/s", view.delivered.series.svg(SECONDS, &label))
        });
        cell(html, "Delivered", &rate);
        cell(html, "Last 10 min", &plot);
        let latency = view.map_or([None; 3], |view| view.latency);
        for (name, estimate) in ["p50", "p90", "p99"].into_iter().zip(latency) {
            cell(html, name, &words::latency(estimate));
        }
        let waiting = target.waiting.map_or(NONE.to_owned(), |waiting| match waiting.waiting {
            0 => "0".to_owned(),
            number => format!("{}, oldest {}", words::count(number), words::duration(waiting.oldest)),
        });
        long_cell(html, "Waiting", &waiting);
        cell(html, "Given up", &target.waiting.map_or(NONE.to_owned(), |waiting| words::count(waiting.buried)));
        long_cell(html, "Credential", &target.credential_days_left.map_or("does not end".to_owned(), words::days));
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>\n");
    and_more(html, targets.len().saturating_sub(MOST_TARGETS), "/readyz has all");
    if snapshot.readiness.iter().all(|target| target.waiting.is_none()) {
        html.push_str(
            "<p class=\"quiet\">There is no queue on disk: what a provider does not take at once fails.</p>\n",
        );
    }
    html.push_str("</section>\n");
}

/// A target's state in a word or two, and how it is coloured.
fn state(target: &TargetReadiness) -> (&'static str, &'static str) {
    use crate::delivery::breaker::Position;
    match (target.breaker.position, &target.problem) {
        _ if target.left_out => ("bad", "not set up"),
        (Position::Open, _) => ("bad", "left alone"),
        (Position::HalfOpen, _) => ("bad", "being tried"),
        (Position::Closed, Some(_)) => ("bad", "in trouble"),
        _ if target.removals_withheld.is_some() => ("warn", "removals withheld"),
        _ if target.rate_limit.is_some() => ("warn", "slowed down"),
        _ => ("good", "ready"),
    }
}

fn verdict_table(html: &mut String, targets: &[Target<'_>]) {
    let with_attempts: Vec<_> = targets.iter().filter_map(|(_, view)| *view).take(MOST_TARGETS).collect();
    if with_attempts.is_empty() {
        return;
    }
    let headings: Vec<_> = TargetFigures::VERDICTS.iter().map(|label| words::verdict(label)).collect();
    html.push_str("<section><h2>Verdicts</h2>\n");
    let columns: Vec<_> = std::iter::once("Target").chain(headings.iter().copied()).collect();
    table(html, "What attempts at the providers ended with: in the last minute, and since the start", &columns);
    for view in with_attempts {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", Escaped(view.name.as_str()));
        for ((heading, minute), all) in headings.iter().zip(view.last_minute).zip(view.since_start) {
            let figures = format!("{} <span class=\"quiet\">of {}</span>", words::count(minute), words::count(all));
            cell(html, heading, if all == 0 { NONE } else { &figures });
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></section>\n");
}

fn server_table(html: &mut String, servers: &Servers) {
    html.push_str("<section><h2>Chat servers today</h2>\n");
    if !servers.are_counted {
        html.push_str("<p class=\"quiet\">Nobody is counted, because auth.mode is off.</p></section>\n");
        return;
    }
    if servers.busiest.is_empty() {
        html.push_str("<p class=\"quiet\">No registered server has sent anything today (UTC).</p></section>\n");
        return;
    }
    table(
        html,
        "The registered servers that sent the most today (UTC)",
        &["Id", "Name", "Notifications", "Daily quota"],
    );
    for server in &servers.busiest {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", Escaped(shown(server.id.as_str())));
        text_cell(html, "Name", shown(&server.name));
        cell(html, "Notifications", &words::count(server.sent_today.into()));
        cell(html, "Daily quota", &server.daily_quota.map_or(NONE.to_owned(), |quota| words::count(quota.into())));
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>\n");
    and_more(html, servers.count.saturating_sub(servers.busiest.len()), "they sent less");
    html.push_str("</section>\n");
}

fn trouble_table(html: &mut String, heading: &str, none: &str, now: u64, troubles: &[Trouble]) {
    let _ = writeln!(html, "<section><h2>{heading}</h2>");
    if troubles.is_empty() {
        let _ = writeln!(html, "<p class=\"quiet\">{none}</p></section>");
        return;
    }
    table(
        html,
        "The newest first; what is the same but for its time is one line",
        &["Last", "Times", "Server", "Target", "Kind", "Why", "Ack id"],
    );
    for trouble in troubles {
        let ago = words::duration(Duration::from_secs(now.saturating_sub(trouble.at)));
        let _ = write!(
            html,
            "<tr><td data-label=\"Last\"><time datetime=\"{}\">{ago} ago</time></td>",
            rfc3339(trouble.at)
        );
        cell(html, "Times", &words::count(trouble.count));
        text_cell(html, "Server", &trouble.server);
        text_cell(html, "Target", &trouble.target);
        cell(html, "Kind", &Escaped(trouble.kind).to_string());
        let mut why = Escaped(&trouble.text).to_string();
        if !trouble.text.contains(trouble.reason) {
            let _ = write!(why, " <span class=\"quiet\">{}</span>", Escaped(trouble.reason));
        }
        long_cell(html, "Why", &why);
        text_cell(html, "Ack id", &trouble.ack_id);
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></section>\n");
}

fn reason_table(html: &mut String, refusals: &[(String, u64)]) {
    if refusals.is_empty() {
        return;
    }
    html.push_str("<section><h2>Refusals by reason</h2>\n");
    table(html, "Notifications that were not admitted, since the start", &["Reason", "Times"]);
    for (reason, count) in refusals.iter().take(MOST_REASONS) {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", Escaped(reason));
        cell(html, "Times", &words::count(*count));
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table>\n");
    and_more(html, refusals.len().saturating_sub(MOST_REASONS), "/metrics has all");
    html.push_str("</section>\n");
}

/// Characters of a configured text that are shown; those of callers are cut before they get here.
const SHOWN_CHARS: usize = 64;

fn shown(text: &str) -> &str {
    text.char_indices().nth(SHOWN_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// Begins a table.
fn table(html: &mut String, caption: &str, columns: &[&str]) {
    let _ = write!(html, "<table><caption>{caption}</caption><thead><tr>");
    for column in columns {
        let _ = write!(html, "<th scope=\"col\">{column}</th>");
    }
    html.push_str("</tr></thead><tbody>\n");
}

/// In place of what is not there.
const NONE: &str = "–";

/// One cell; `content` is HTML. The label takes the place of the column's heading on narrow screens, where a cell without
/// content is left out.
fn cell(html: &mut String, label: &str, content: &str) {
    let class = if content == NONE { " class=\"none\"" } else { "" };
    let _ = write!(html, "<td data-label=\"{label}\"{class}>{content}</td>");
}

/// One cell with a text that may be long, and come from anywhere.
fn text_cell(html: &mut String, label: &str, text: &str) {
    if text.is_empty() {
        cell(html, label, NONE);
    } else {
        long_cell(html, label, &Escaped(text).to_string());
    }
}

/// The same with HTML.
fn long_cell(html: &mut String, label: &str, content: &str) {
    if content == NONE {
        cell(html, label, NONE);
    } else {
        let _ = write!(html, "<td data-label=\"{label}\" class=\"long\">{content}</td>");
    }
}

fn and_more(html: &mut String, hidden: usize, remark: &str) {
    if hidden > 0 {
        let _ = writeln!(html, "<p class=\"quiet\">And {} more; {remark}.</p>", words::count(hidden as u64));
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
