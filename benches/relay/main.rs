//! What a notification costs: the real binary over loopback, beside a bare forwarder and one bare signature
//! verification measured in the same run. `docs/performance.md` says how to read it. This file holds the command line
//! and the plan of a run.

mod coalesced;
mod flood;
mod forwarder;
mod load;
mod material;
mod measure;
mod pace;
mod process;
mod report;
mod request;
mod sink;
mod subject;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::{material::Material, measure::Webhook, report::Findings, subject::Subject};

/// Measures what a notification costs. Takes one to two minutes; see docs/performance.md.
#[derive(Parser)]
struct Arguments {
    /// Follow memory through 1,000,000 notifications instead of 100,000.
    #[arg(long)]
    long: bool,

    /// Rounds of processor time; each measures every subject once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Notifications in each window of processor time.
    #[arg(long, default_value_t = 40_000)]
    notifications: usize,

    /// Notifications in flight at once while memory is measured.
    #[arg(long, default_value_t = 10_000)]
    in_flight: usize,

    /// Measure only these parts.
    #[arg(long, value_delimiter = ',', default_values_t = [Part::Cpu, Part::Held, Part::Flat])]
    #[arg(value_enum)]
    only: Vec<Part>,

    /// Measure only these subjects.
    #[arg(long, value_delimiter = ',')]
    #[arg(default_values_t = Subject::value_variants().iter().copied())]
    #[arg(value_enum)]
    subjects: Vec<Subject>,

    /// Given by `cargo bench`. Without it (`cargo test --all-targets`) nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,

    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Processor time per notification.
    Cpu,
    /// Memory per notification in flight.
    Held,
    /// Memory through a long run.
    Flat,
    /// One tenant's answers while another floods; only if it is named.
    Flood,
}

/// The processes this program starts of itself.
#[derive(Subcommand)]
#[command(hide = true)]
enum Role {
    Sink { directory: PathBuf },
    Forwarder { directory: PathBuf, sink_port: u16, connections: usize },
    Load { directory: PathBuf, port: u16, name: String, count: usize },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.role {
        Some(Role::Sink { directory }) => sink::run(directory),
        Some(Role::Forwarder { directory, sink_port, connections }) => {
            forwarder::run(directory, *sink_port, *connections)
        }
        Some(Role::Load { directory, port, name, count }) => load::run(directory, *port, name, *count),
        None if arguments.bench => measure(&arguments),
        None => Ok(()),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let material = Material::create()?;
    let mut findings = Findings::default();
    let asked = |part| arguments.only.contains(&part);
    // Memory is asked of a relay with one server: what 10,000 need stands in `admission::registry`.
    // What a queue and a journal need is a matter of what is in them.
    let small = || {
        let of_memory = [Subject::Forwarder, Subject::RelayOff, Subject::RelayRequired];
        arguments.subjects.iter().filter(move |subject| of_memory.contains(subject))
    };

    if asked(Part::Cpu) {
        // In alternation, so that a noisy minute of the machine meets all of them.
        for round in 1..=arguments.rounds {
            progress(&format!("processor time, round {round} of {}", arguments.rounds));
            findings.verification.push(measure::verification(&material)?);
            for kind in Webhook::ALL {
                findings.webhooks.entry(kind).or_default().push(measure::webhook(kind)?);
            }
            for &subject in &arguments.subjects {
                let cpu = measure::cpu(subject, &material, arguments.notifications)?;
                findings.cpu.entry(subject).or_default().push(cpu);
            }
        }
    }
    if asked(Part::Held) {
        for &subject in small() {
            progress(&format!("memory with {} in flight, {subject}", arguments.in_flight));
            findings.held.push((subject, measure::held(subject, &material, arguments.in_flight)?));
        }
    }
    if asked(Part::Flat) {
        let notifications = if arguments.long { 1_000_000 } else { 100_000 };
        // The relay with everything on if it is asked for: it is the one that could remember too much.
        if let Some(&subject) = small().max() {
            progress(&format!("memory through {notifications} notifications, {subject}"));
            findings.flat.push((subject, measure::flat(subject, &material, notifications)?));
        }
    }
    if asked(Part::Flood) {
        // Each round waits for nothing but the clock: a longer one says more than many.
        for round in 1..=arguments.rounds {
            progress(&format!("a flood, round {round} of {}", arguments.rounds));
            for provider in flood::PROVIDER_MILLIS {
                findings.floods.entry(provider).or_default().push(flood::round(&material, provider)?);
            }
        }
    }
    findings.print();
    Ok(())
}

#[expect(clippy::print_stderr, reason = "keeps the report on standard output clean")]
fn progress(text: &str) {
    eprintln!("{text} …");
}
