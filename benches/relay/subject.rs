//! What is measured, and how one of them is started beside a sink and a load generator.

use std::{
    fmt,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    material::{Auth, Keeps, Material, Relay, Senders},
    process::{Helper, Subprocess},
};

/// How long the relay may take from its start until it accepts connections.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How much of the relay's log is shown when it does not start, in lines.
const LOG_TAIL_LINES: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Subject {
    Forwarder,
    RelayOff,
    RelayRequired,
    RelayCrowd,
    RelayQueue,
    RelayJournal,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Forwarder => "bare forwarder",
            Self::RelayOff => "relay, auth off",
            Self::RelayRequired => "relay, signatures required",
            Self::RelayCrowd => "the same, 10,000 servers",
            Self::RelayQueue => "the same, one server, queue",
            Self::RelayJournal => "the same, queue and journal",
        })
    }
}

/// A subject with a sink behind it and a load generator before it. All three end when this is dropped.
pub(crate) struct Bench {
    pub(crate) load: Helper,
    subject: Running,
    pub(crate) sink: Helper,
}

enum Running {
    Helper(Helper),
    Relay(Subprocess),
}

impl Bench {
    /// Starts all three and returns when the subject accepts connections. `connections` go to the sink.
    pub(crate) fn start(subject: Subject, material: &Material, connections: usize) -> Result<Self> {
        let directory = material.directory().to_str().context("the temporary directory's name is not UTF-8")?;
        let mut sink = Helper::start("sink", &[directory])?;
        let sink_port: u16 = sink.answer()?.parse()?;
        let senders = if subject == Subject::RelayCrowd { Senders::CROWD } else { Senders::ONE };
        let (subject, port) = match subject {
            Subject::Forwarder => {
                let arguments = [directory, &sink_port.to_string(), &connections.to_string()];
                let mut forwarder = Helper::start("forwarder", &arguments)?;
                let port = forwarder.answer()?.parse()?;
                (Running::Helper(forwarder), port)
            }
            relay => {
                let auth = if relay == Subject::RelayOff { Auth::Off } else { Auth::Required };
                let keeps = match relay {
                    Subject::RelayQueue => Keeps::Queue,
                    Subject::RelayJournal => Keeps::QueueAndJournal,
                    _ => Keeps::Nothing,
                };
                let relay = match relay {
                    Subject::RelayCrowd => Relay { auth, tenants: Vec::new(), crowd: Some(senders), keeps },
                    _ => Relay { auth, tenants: vec![(senders, String::new())], crowd: None, keeps },
                };
                let (relay, port) = start_relay(&relay, material, sink_port, connections)?;
                (Running::Relay(relay), port)
            }
        };
        let load = start_load(material, port, senders)?;
        Ok(Self { load, subject, sink })
    }

    /// The process that is measured.
    pub(crate) fn process(&self) -> &Subprocess {
        match &self.subject {
            Running::Helper(helper) => &helper.process,
            Running::Relay(process) => process,
        }
    }
}

/// The real binary as an operator runs it, one log line per notification included.
pub(crate) fn start_relay(
    relay: &Relay,
    material: &Material,
    sink_port: u16,
    connections: usize,
) -> Result<(Subprocess, u16)> {
    let port = free_port()?;
    let config = material.relay_config(relay, port, sink_port, connections)?;
    let log = material.path(&format!("relay-{port}.log"));
    let out = File::create(&log)?;
    let child = Command::new(env!("CARGO_BIN_EXE_pushrelay"))
        .arg("serve")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stderr(out.try_clone()?)
        .stdout(out)
        .spawn()
        .context("cannot start pushrelay")?;
    let mut relay = Subprocess(child);
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = relay.0.try_wait()?;
        if ended.is_some() || start.elapsed() > START_PATIENCE {
            let what = ended.map_or_else(|| "does not listen".to_owned(), |status| format!("ended ({status})"));
            let log = fs::read_to_string(&log)?;
            let skip = log.lines().count().saturating_sub(LOG_TAIL_LINES);
            let tail: Vec<_> = log.lines().skip(skip).collect();
            bail!("pushrelay {what}; the end of its log:\n{}", tail.join("\n"));
        }
        #[expect(clippy::disallowed_methods, reason = "this process has nothing else to do while it waits")]
        thread::sleep(Duration::from_millis(20));
    }
    Ok((relay, port))
}

/// A load generator before whatever listens at this port.
pub(crate) fn start_load(material: &Material, port: u16, senders: Senders) -> Result<Helper> {
    let directory = material.directory().to_str().context("the temporary directory's name is not UTF-8")?;
    Helper::start("load", &[directory, &port.to_string(), senders.name, &senders.count.to_string()])
}

/// A port nobody listens on now. It could be taken before the relay binds it; the relay then says so and ends.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
