//! What one tenant notices of another one's flood: the answers to a few requests a second, timed alone, while the other
//! tenant sends twenty times what it may to the same relay, and while it sends that to another relay on the same machine.
//!
//! The last is the control. All processes share the machine's processors, so that a flood slows down whoever runs beside it;
//! what the first relay's answers lose more than that, they lose because the two tenants have one relay.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    material::{Auth, Keeps, Material, Relay, Senders},
    pace::Paced,
    process::Helper,
    subject::{start_load, start_relay},
};

/// How long the provider takes for an answer, milliseconds: a sink that answers at once, beside which anything shows, and one
/// as far away as a provider may be.
pub(crate) const PROVIDER_MILLIS: [u64; 2] = [0, 20];

/// What the loud tenant may send in a second, and what it sends.
const LOUD_MAY: usize = 100;
const LOUD_SENDS: usize = 20 * LOUD_MAY;

/// What the quiet tenant sends in a second.
const QUIET_SENDS: usize = 300;

/// How long the quiet tenant is timed, seconds: 1,500 answers, fifteen of them above the 99th percentile.
const SECONDS: usize = 5;

/// How long the flood runs before the quiet tenant is timed. Its burst is over by then.
const LEAD: Duration = Duration::from_millis(1_200);

/// Seconds of flood: the lead, the window and some to spare, for its end must not be measured.
const LOUD_SECONDS: usize = SECONDS + 2;

/// Connections of each, so many that none is busy when its turn comes.
const QUIET_CONNECTIONS: usize = 32;
const LOUD_CONNECTIONS: usize = 128;

/// Connections to the sink.
const CONNECTIONS: usize = 4;

/// The quiet tenant's answers.
pub(crate) struct Round {
    pub(crate) alone: Paced,
    /// While the loud tenant floods another relay.
    pub(crate) elsewhere: Paced,
    /// While it floods the same one.
    pub(crate) flooded: Paced,
    /// The loud tenant's own.
    pub(crate) flood: Paced,
}

pub(crate) fn round(material: &Material, provider_millis: u64) -> Result<Round> {
    let directory = material.directory().display().to_string();
    let mut sink = Helper::start("sink", &[&directory])?;
    let sink_port: u16 = sink.answer()?.parse()?;
    sink.ask(&format!("delay {provider_millis}"))?;
    let relay = Relay {
        auth: Auth::Required,
        tenants: vec![
            (Senders::QUIET, String::new()),
            (Senders::LOUD, format!("per_second = {LOUD_MAY}\nburst = {LOUD_MAY}")),
        ],
        crowd: None,
        keeps: Keeps::Nothing,
    };
    let (_relay, port) = start_relay(&relay, material, sink_port, CONNECTIONS)?;
    let (_other, other_port) = start_relay(&relay, material, sink_port, CONNECTIONS)?;
    let mut quiet = start_load(material, port, Senders::QUIET)?;
    quiet.ask(&format!("open {QUIET_CONNECTIONS}"))?;
    // Code, connections and streams are there before anything is timed.
    window(&mut quiet, 1)?;

    let alone = window(&mut quiet, SECONDS)?;
    let (elsewhere, _) = flooded(&mut quiet, material, other_port)?;
    let (flooded, flood) = flooded(&mut quiet, material, port)?;
    for paced in [&alone, &elsewhere, &flooded] {
        ensure!(paced.too_many == 0, "the quiet tenant was turned away {} times", paced.too_many);
    }
    Ok(Round { alone, elsewhere, flooded, flood })
}

/// The quiet tenant while the loud one floods the relay at this port, and the loud one.
fn flooded(quiet: &mut Helper, material: &Material, port: u16) -> Result<(Paced, Paced)> {
    let mut loud = start_load(material, port, Senders::LOUD)?;
    loud.ask(&format!("open {LOUD_CONNECTIONS}"))?;
    loud.ask(&format!("prepare {}", LOUD_SENDS * LOUD_SECONDS))?;
    loud.tell(&format!("pace {LOUD_SENDS}"))?;
    #[expect(clippy::disallowed_methods, reason = "this process has nothing else to do while it waits")]
    thread::sleep(LEAD);
    let timed = window(quiet, SECONDS)?;
    let flood: Paced = loud.answer()?.parse()?;
    let let_through = LOUD_MAY * (LOUD_SECONDS + 2);
    ensure!(flood.ok <= let_through, "{} of the flood were let through, at most {let_through} may be", flood.ok);
    ensure!(flood.ok >= LOUD_MAY * LOUD_SECONDS / 2, "only {} of the flood were let through: is it refused?", flood.ok);
    Ok((timed, flood))
}

/// So many seconds of the quiet tenant. Its requests are made before the clock starts.
fn window(quiet: &mut Helper, seconds: usize) -> Result<Paced> {
    quiet.ask(&format!("prepare {}", QUIET_SENDS * seconds))?;
    quiet.ask(&format!("pace {QUIET_SENDS}"))?.parse()
}
