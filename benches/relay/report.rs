//! What was measured, in words and tables, with the aims beside the ratios. It judges, but a missed aim is no failure:
//! a shared machine is noisy, and a timed test would fail for its neighbours.
#![allow(clippy::print_stdout, reason = "this is what the program is for")]

use std::collections::BTreeMap;

use crate::{
    measure::{Cpu, Flat, Held},
    subject::Subject,
};

/// Relay without authentication, as a multiple of the bare forwarder.
const AIM_OFF: f64 = 1.5;
/// Relay with signatures required, as a multiple of the bare forwarder and one bare verification.
const AIM_REQUIRED: f64 = 1.25;
/// KiB per notification in flight.
const AIM_HELD_KIB: f64 = 12.0;
/// Memory is flat if it grew by no more than this many MiB after the first tenth of the run. Four bytes kept of each of
/// a million notifications would be as much; what an allocator keeps in reserve is about one.
const AIM_GROWTH_MIB: f64 = 4.0;

/// Everything measured, by round.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) verification: Vec<f64>,
    pub(crate) cpu: BTreeMap<Subject, Vec<Cpu>>,
    pub(crate) held: Vec<(Subject, Held)>,
    pub(crate) flat: Vec<(Subject, Flat)>,
}

impl Findings {
    pub(crate) fn print(&self) {
        self.print_cpu();
        self.print_held();
        self.print_flat();
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
        for (subject, held) in &self.held {
            let readings = [("first on its connection", held.first), ("once more", held.again)];
            for (which, reading) in readings {
                aim(&format!("KiB per one in flight, {which}: {subject}"), held.per_one(reading), AIM_HELD_KIB);
            }
        }
        for (subject, flat) in &self.flat {
            aim(&format!("MiB of growth after the first tenth: {subject}"), mib(flat.growth()), AIM_GROWTH_MIB);
        }
    }

    /// The median of a subject; not a number if it was not measured.
    fn micros(&self, subject: Subject) -> f64 {
        let windows = self.cpu.get(&subject).map(Vec::as_slice).unwrap_or_default();
        median(&windows.iter().map(|cpu| cpu.micros).collect::<Vec<_>>())
    }
}

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

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
