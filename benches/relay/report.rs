//! What was measured, in words and tables, with the aims beside the ratios. It judges, but a missed aim is no failure:
//! a shared machine is noisy, and a timed test would fail for its neighbours.
#![allow(clippy::print_stdout, reason = "this is what the program is for")]

use std::collections::BTreeMap;

use crate::{
    flood::Round,
    measure::{Cpu, Flat, Held, Webhook},
    pace::Paced,
    subject::Subject,
};

/// Relay without authentication, as a multiple of the bare forwarder.
const AIM_OFF: f64 = 1.5;
/// Relay with signatures required, as a multiple of the bare forwarder and one bare verification.
const AIM_REQUIRED: f64 = 1.25;
/// Relay with 10,000 servers that all send, as a multiple of the same with one.
const AIM_CROWD: f64 = 1.1;
/// Relay with a queue that nothing goes to, as a multiple of the same without one.
const AIM_QUEUE: f64 = 1.03;
/// KiB per notification in flight.
const AIM_HELD_KIB: f64 = 12.0;
/// Memory is flat if it grew by no more than this many MiB after the first tenth of the run. Four bytes kept of each of
/// a million notifications would be as much; what an allocator keeps in reserve is about one.
const AIM_GROWTH_MIB: f64 = 4.0;
/// A tenant's 99th percentile while another one floods, as a multiple of the same without the flood.
const AIM_FLOOD: f64 = 1.2;

/// Everything measured, by round.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) verification: Vec<f64>,
    pub(crate) webhooks: BTreeMap<Webhook, Vec<f64>>,
    pub(crate) cpu: BTreeMap<Subject, Vec<Cpu>>,
    pub(crate) held: Vec<(Subject, Held)>,
    pub(crate) flat: Vec<(Subject, Flat)>,
    /// By how long the provider takes, milliseconds.
    pub(crate) floods: BTreeMap<u64, Vec<Round>>,
}

impl Findings {
    pub(crate) fn print(&self) {
        self.print_cpu();
        self.print_held();
        self.print_flat();
        self.print_floods();
        self.print_aims();
    }

    fn print_cpu(&self) {
        if self.cpu.is_empty() && self.verification.is_empty() {
            return;
        }
        println!("\nProcessor time per notification, user and system, of the process measured:");
        println!("{:30}{:>12}{:>12}{:>12}{:>16}", "", "median µs", "least", "most", "per s, median");
        if !self.verification.is_empty() {
            let (least, most) = spread(self.verification.iter().copied());
            println!("{:30}{:12.1}{least:12.1}{most:12.1}", "bare ES256 verification", median(&self.verification));
        }
        for (kind, times) in &self.webhooks {
            let name = match kind {
                Webhook::Hmac => "one webhook's check, HMAC",
                Webhook::Ed25519 => "one webhook's check, Ed25519",
            };
            let (least, most) = spread(times.iter().copied());
            println!("{name:30}{:12.1}{least:12.1}{most:12.1}", median(times));
        }
        for (subject, windows) in &self.cpu {
            let (least, most) = spread(windows.iter().map(|cpu| cpu.micros));
            let rates: Vec<_> = windows.iter().map(|cpu| cpu.rate).collect();
            println!("{subject:30}{:12.1}{least:12.1}{most:12.1}{:16.0}", self.micros(*subject), median(&rates));
        }
    }

    fn print_held(&self) {
        if self.held.is_empty() {
            return;
        }
        println!(
            "\nResident memory with all notifications at the sink and none answered, MiB (above idle per notification, KiB):"
        );
        println!("{:30}{:>8}{:>16}{:>16}{:>16}{:>16}", "", "idle", "connected", "in flight", "once more", "answered");
        for (subject, held) in &self.held {
            print!("{subject:30}{:8.1}", mib(held.idle));
            for reading in [held.connected, held.first, held.again, held.after] {
                print!("{:8.1} ({:5.2})", mib(reading), held.per_one(reading));
            }
            println!();
        }
    }

    fn print_flat(&self) {
        for (subject, flat) in &self.flat {
            println!("\nResident memory of the {subject} through {} notifications, MiB:", flat.notifications);
            let tenths: Vec<_> = flat.tenths().map(|kib| format!("{:.1}", mib(kib))).collect();
            println!("after each tenth: {}", tenths.join(" "));
        }
    }

    fn print_floods(&self) {
        if self.floods.is_empty() {
            return;
        }
        println!(
            "\nA quiet tenant's answers, alone and while another one floods this relay or another, ms (median of the rounds, least and most):"
        );
        println!("{:44}{:>24}{:>24}{:>14}", "", "50th percentile", "99th percentile", "sent late");
        for (provider, rounds) in &self.floods {
            for (name, of) in FLOOD_ROWS {
                let times =
                    |time: fn(&Paced) -> u64| rounds.iter().map(|round| millis(time(of(round)))).collect::<Vec<_>>();
                print!("{:44}", format!("provider takes {provider} ms, {name}"));
                for times in [times(|paced| paced.p50), times(|paced| paced.p99)] {
                    let (least, most) = spread(times.iter().copied());
                    print!("{:>24}", format!("{:.2} ({least:.2}…{most:.2})", median(&times)));
                }
                println!("{:14.2}", median(&times(|paced| paced.late_p99)));
            }
            let share = |round: &Round| round.flood.too_many as f64 / (round.flood.ok + round.flood.too_many) as f64;
            let shares: Vec<_> = rounds.iter().map(|round| 100.0 * share(round)).collect();
            println!("{:44}{:.1} % of the flood were answered with 429", "", median(&shares));
        }
    }

    fn print_aims(&self) {
        println!("\n{:68}{:>10}{:>10}", "", "measured", "aim ≤");
        let forwarder = self.micros(Subject::Forwarder);
        let verification = median(&self.verification);
        aim("auth off ÷ bare forwarder", self.micros(Subject::RelayOff) / forwarder, AIM_OFF);
        aim(
            "signatures required ÷ (bare forwarder + bare verification)",
            self.micros(Subject::RelayRequired) / (forwarder + verification),
            AIM_REQUIRED,
        );
        let crowd = self.micros(Subject::RelayCrowd) / self.micros(Subject::RelayRequired);
        aim("10,000 servers ÷ one server, signatures required", crowd, AIM_CROWD);
        let queue = self.micros(Subject::RelayQueue) / self.micros(Subject::RelayRequired);
        aim("with a queue ÷ without, signatures required", queue, AIM_QUEUE);
        for (subject, held) in &self.held {
            let readings = [("first on its connection", held.first), ("once more", held.again)];
            for (which, reading) in readings {
                aim(&format!("KiB per one in flight, {which}: {subject}"), held.per_one(reading), AIM_HELD_KIB);
            }
        }
        for (subject, flat) in &self.flat {
            aim(&format!("MiB of growth after the first tenth: {subject}"), mib(flat.growth()), AIM_GROWTH_MIB);
        }
        for (provider, rounds) in &self.floods {
            let p99 =
                |of: fn(&Round) -> &Paced| median(&rounds.iter().map(|round| of(round).p99 as f64).collect::<Vec<_>>());
            let what = format!("99th percentile, flood ÷ alone, the provider takes {provider} ms");
            aim(&what, p99(|round| &round.flooded) / p99(|round| &round.alone), AIM_FLOOD);
        }
    }

    /// The median of a subject; not a number if it was not measured.
    fn micros(&self, subject: Subject) -> f64 {
        let windows = self.cpu.get(&subject).map(Vec::as_slice).unwrap_or_default();
        median(&windows.iter().map(|cpu| cpu.micros).collect::<Vec<_>>())
    }
}

/// One of a round's two timings.
type Timing = fn(&Round) -> &Paced;

/// The rows of the table of floods.
const FLOOD_ROWS: [(&str, Timing); 3] =
    [("alone", |round| &round.alone), ("flood elsewhere", |round| &round.elsewhere), ("flood", |round| &round.flooded)];

fn aim(what: &str, measured: f64, aim: f64) {
    if measured.is_nan() {
        println!("{what:68}{:>10}{aim:10.2}", "-");
    } else {
        let verdict = if measured <= aim { "PASS" } else { "over" };
        println!("{what:68}{measured:10.2}{aim:10.2}  {verdict}");
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

fn spread(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
