//! The measurements: processor time per notification, memory per notification in flight, memory through a long run,
//! and the cost of one bare signature verification and of one webhook's check.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, KeyPair, ParsedPublicKey},
};

use pushrelay::admission::webhook::{
    self,
    signing::{WebhookSigningKey, sign},
};

use crate::{
    material::{Material, signing_key},
    process::own_cpu,
    subject::{Bench, Subject},
};

/// Callers at once while processor time is measured: what a Mattermost node on 32 cores opens (8 per core).
const CALLERS: usize = 256;

/// Connections to the sink while processor time is measured.
const CONNECTIONS: usize = 4;

/// Connections to the sink while answers are held: enough for 10,000 streams at 1,000 on each, with some to spare,
/// so that every notification is at the provider and none waits for a stream.
const CONNECTIONS_HELD: usize = 12;

/// Notifications sent before processor time is measured.
const WARM_UP: usize = 5_000;

/// Notifications sent before idle memory is read, so that code and connections are already there.
const WARM_UP_MEMORY: usize = 1_000;
const WARM_UP_MEMORY_CALLERS: usize = 16;

/// Notifications between two readings of memory in the long run.
const STRETCH: usize = 10_000;

/// Verifications measured at a time, and the number of different signatures among them.
const VERIFICATIONS: usize = 20_000;
const SIGNATURES: usize = 500;

/// How often it is asked whether all notifications have reached the sink, and how many times: 30 s in all.
const HELD_INTERVAL: Duration = Duration::from_millis(20);
const HELD_ASKED: usize = 1_500;

/// Processor time of one window.
pub(crate) struct Cpu {
    /// Microseconds per notification.
    pub(crate) micros: f64,
    /// Notifications per second of wall time, on whatever cores the machine has for all three processes.
    pub(crate) rate: f64,
}

pub(crate) fn cpu(subject: Subject, material: &Material, notifications: usize) -> Result<Cpu> {
    let mut bench = Bench::start(subject, material, CONNECTIONS)?;
    send(&mut bench, WARM_UP, CALLERS)?;
    send(&mut bench, notifications, CALLERS)
}

/// Sends and checks that each answer was OK and each notification reached the sink.
fn send(bench: &mut Bench, notifications: usize, callers: usize) -> Result<Cpu> {
    bench.load.ask(&format!("prepare {notifications}"))?;
    let taken_before = bench.sink.ask_number("taken")?;
    let before = bench.process().cpu()?;
    let wall_micros = bench.load.ask_number(&format!("run {callers}"))?;
    let used = bench.process().cpu()?.saturating_sub(before);
    let taken = bench.sink.ask_number("taken")? - taken_before;
    ensure!(
        taken >= notifications as u64,
        "{notifications} notifications were answered OK, but only {taken} reached the sink"
    );
    Ok(Cpu {
        micros: used.as_secs_f64() * 1e6 / notifications as f64,
        rate: notifications as f64 * 1e6 / wall_micros as f64,
    })
}

/// Memory of the subject, resident, in KiB.
pub(crate) struct Held {
    /// After a short warm-up, with its few callers still connected.
    pub(crate) idle: u64,
    /// With all callers connected and nothing sent.
    pub(crate) connected: u64,
    /// With every notification at the sink and no answer given: the first on each connection.
    pub(crate) first: u64,
    /// The same once more over the same connections, which by now have answered.
    pub(crate) again: u64,
    /// After every answer, the callers still connected.
    pub(crate) after: u64,
    pub(crate) notifications: usize,
}

impl Held {
    /// What is above idle in a reading, in KiB per notification. The caller's connection is part of it.
    pub(crate) fn per_one(&self, reading: u64) -> f64 {
        (reading as f64 - self.idle as f64) / self.notifications as f64
    }
}

pub(crate) fn held(subject: Subject, material: &Material, notifications: usize) -> Result<Held> {
    let mut bench = Bench::start(subject, material, CONNECTIONS_HELD)?;
    send(&mut bench, WARM_UP_MEMORY, WARM_UP_MEMORY_CALLERS)?;
    let idle = bench.process().resident_kib()?;

    bench.load.ask(&format!("open {notifications}"))?;
    let connected = bench.process().resident_kib()?;
    let first = hold(&mut bench, notifications)?;
    let again = hold(&mut bench, notifications)?;
    let after = bench.process().resident_kib()?;
    Ok(Held { idle, connected, first, again, after, notifications })
}

/// Sends one notification on each open connection, reads memory when the sink has them all, and lets them go.
fn hold(bench: &mut Bench, notifications: usize) -> Result<u64> {
    bench.load.ask(&format!("prepare {notifications}"))?;
    bench.sink.ask("hold")?;
    bench.load.ask("send")?;
    let mut asked = 0;
    loop {
        let at_sink = bench.sink.ask_number("held")?;
        if at_sink == notifications as u64 {
            break;
        }
        asked += 1;
        ensure!(asked < HELD_ASKED, "only {at_sink} of {notifications} notifications reached the sink at once");
        #[expect(clippy::disallowed_methods, reason = "this process has nothing else to do while it waits")]
        thread::sleep(HELD_INTERVAL);
    }
    let reading = bench.process().resident_kib()?;
    bench.sink.ask("release")?;
    bench.load.ask("drain")?;
    Ok(reading)
}

/// Memory after each stretch of a long run, resident, in KiB.
pub(crate) struct Flat {
    pub(crate) readings: Vec<u64>,
    pub(crate) notifications: usize,
}

impl Flat {
    /// A reading after each tenth of the run.
    pub(crate) fn tenths(&self) -> impl Iterator<Item = u64> {
        let tenth = (self.readings.len() / 10).max(1);
        self.readings.chunks(tenth).filter_map(|readings| readings.last().copied())
    }

    /// The largest reading less the one after the first tenth, in KiB.
    pub(crate) fn growth(&self) -> u64 {
        let peak = self.readings.iter().copied().max().unwrap_or_default();
        peak.saturating_sub(self.tenths().next().unwrap_or_default())
    }
}

pub(crate) fn flat(subject: Subject, material: &Material, notifications: usize) -> Result<Flat> {
    let mut bench = Bench::start(subject, material, CONNECTIONS)?;
    let mut readings = Vec::new();
    let mut sent = 0;
    while sent < notifications {
        let stretch = STRETCH.min(notifications - sent);
        send(&mut bench, stretch, CALLERS)?;
        sent += stretch;
        readings.push(bench.process().resident_kib()?);
    }
    Ok(Flat { readings, notifications })
}

/// Microseconds of processor time for one ES256 verification with a key parsed ahead. 160 bytes are signed, about what
/// the header and claims of a notification's signature have.
pub(crate) fn verification(material: &Material) -> Result<f64> {
    let key = signing_key(material.directory())?;
    let random = SystemRandom::new();
    let signed = (0..SIGNATURES)
        .map(|index| {
            let text = format!("{index:0160}");
            let signature = key.sign(&random, text.as_bytes())?;
            Ok((text, signature))
        })
        .collect::<Result<Vec<_>>>()?;
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())?;
    let before = own_cpu()?;
    for (text, signature) in signed.iter().cycle().take(VERIFICATIONS) {
        public.verify_sig(text.as_bytes(), signature.as_ref())?;
    }
    let used = own_cpu()?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / VERIFICATIONS as f64)
}

/// The two kinds of signed webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Webhook {
    Hmac,
    Ed25519,
}

impl Webhook {
    pub(crate) const ALL: [Self; 2] = [Self::Hmac, Self::Ed25519];

    /// How many are measured at a time: half a second or so, for the clock has ticks of 10 ms.
    fn checks(self) -> usize {
        match self {
            Self::Hmac => 400_000,
            Self::Ed25519 => 20_000,
        }
    }
}

/// Bytes of a webhook's body: about what a notification has.
const WEBHOOK_BODY_BYTES: usize = 1024;

/// When the webhooks were signed, and are checked.
const WEBHOOK_TIME: u64 = 1_800_000_000;

/// Microseconds of processor time to check one webhook: headers, signature and body, in this process.
pub(crate) fn webhook(kind: Webhook) -> Result<f64> {
    let signing = match kind {
        Webhook::Hmac => WebhookSigningKey::generate_symmetric(),
        Webhook::Ed25519 => WebhookSigningKey::generate_ed25519(),
    };
    let (checking, signing) = ([signing.relay_key()], [signing]);
    let signed = (0..SIGNATURES)
        .map(|index| {
            let body = format!("{index:0WEBHOOK_BODY_BYTES$}");
            Ok((sign(&signing, &format!("msg_{index}"), WEBHOOK_TIME, body.as_bytes())?, body))
        })
        .collect::<Result<Vec<_>>>()?;
    let before = own_cpu()?;
    for (headers, body) in signed.iter().cycle().take(kind.checks()) {
        webhook::check(headers.as_sent(), body.as_bytes(), &checking, WEBHOOK_TIME)?;
    }
    let used = own_cpu()?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / kind.checks() as f64)
}
