//! The only wiring: settings become a running relay.

mod credentials;
pub mod descriptors;
mod expiry;
mod learning;
mod listeners;
mod servers;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admission::Admission;
use crate::admission::learned::Learned;
use crate::clock::Clock;
use crate::config::{QueueUse, ServersDirectory, Settings};
use crate::http::{Build, Edge};
use crate::journal::{Journal, JournalSettings};
use crate::notification::TargetName;
use crate::queue::{OpenError, Queue};
use crate::relay::{Relay, RelaySettings};
use crate::sender::apns::KeysInUse;
use crate::sender::{LeftOut, Sender, SetupError, TargetSettings};
use crate::shutdown::Shutdown;
use crate::telemetry::log::DroppedLines;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{TraceSettings, Traces};
use credentials::Credentials;
pub use listeners::{BindError, Listeners};

/// Asks for what may change while the relay runs to be read again: chat servers and credentials. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    servers: servers::Reload,
    credentials: credentials::Asked,
}

impl Reload {
    /// Reads everything again soon, and says so in the log even if nothing is different.
    pub fn ask(&self) {
        self.servers.ask();
        self.credentials.ask();
    }
}

/// What runs. The commit is known to a build that sets `PUSHRELAY_COMMIT`; the image takes it as a build argument.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    hash: match option_env!("PUSHRELAY_COMMIT") {
        Some(hash) => hash,
        None => "",
    },
};

/// The longest wait at the end for a disk that has stopped.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(1);

/// The longest wait at the end for a collector that does not take the last spans.
const TRACES_PATIENCE: Duration = Duration::from_secs(1);

/// What could not be set up, all of it.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SetupErrors(Vec<Unusable>);

impl SetupErrors {
    /// Whether all of it may pass by itself: another process that ends, a disk that has room again.
    pub fn may_pass(&self) -> bool {
        self.0.iter().all(|error| matches!(error, Unusable::Queue(error) if error.may_pass()))
    }
}

/// Something that a relay is not started without.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Target(#[from] SetupError),
    #[error("the queue: {0}; with `queue.when_unusable = \"continue\"` the relay runs without one")]
    Queue(#[from] OpenError),
}

/// A relay, set up and not yet serving.
#[derive(Debug)]
pub struct App {
    edge: Edge,
    queue: Option<Queue>,
    admission: Arc<Admission>,
    servers_directory: Option<ServersDirectory>,
    relay: Arc<Relay>,
    credentials: Credentials,
    /// What is to be saved.
    learned: Option<Arc<Learned>>,
    /// To be written out at the end.
    journal: Option<Journal>,
    spans: Option<Spans>,
    clock: Clock,
    reload: Reload,
    shutdown: Shutdown,
    summary: Summary,
}

/// What the log says about a relay when it starts to serve.
#[derive(Debug)]
struct Summary {
    targets: usize,
    /// Absent if there are none.
    left_out: Option<usize>,
    servers: usize,
    auth: &'static str,
    has_status_page: bool,
    /// Of what operators ask for: TLS is for the chat servers' address only.
    ops_scheme: &'static str,
}

impl App {
    /// Sets everything up. Opens no connection to a provider yet. A target that cannot be set up is an error, unless the
    /// settings leave such targets out; with those, a relay without any target runs, too.
    #[allow(clippy::too_many_lines, reason = "the parts of a process, wired in one place")]
    pub fn new(
        settings: Settings,
        clock: &Clock,
        shutdown: &Shutdown,
        dropped_lines: DroppedLines,
    ) -> Result<Self, SetupErrors> {
        let metrics = Arc::new(Metrics::new(BUILD.version, dropped_lines).timed_by(clock));
        let mut keys = KeysInUse::default();
        let mut errors = Vec::new();
        let SetUp { senders, targets, left_out: refused } =
            set_up(&settings.targets, settings.tolerate_broken_targets, clock, &mut keys, &mut errors);
        let left_out = [settings.left_out, refused].concat();
        let queue = match settings.queue.as_ref().map(|queue| open_queue(queue, clock)).transpose() {
            Ok(queue) => queue.flatten(),
            Err(error) => {
                errors.push(error.into());
                None
            }
        };
        if !errors.is_empty() {
            return Err(SetupErrors(errors));
        }
        let journal = settings.journal.and_then(|journal| start_journal(journal, clock, &metrics));
        for LeftOut { name, problem, .. } in &left_out {
            let target = name.as_str();
            tracing::error!(
                target,
                problem,
                "a target could not be set up, and the relay runs without it: mend it or take it out of the file, then restart"
            );
        }
        let summary = Summary {
            targets: senders.len(),
            left_out: (!left_out.is_empty()).then_some(left_out.len()),
            servers: settings.admission.servers.len(),
            auth: settings.admission.mode.as_str(),
            has_status_page: settings.http.status.is_some(),
            ops_scheme: if settings.http.tls.is_some() && settings.http.ops_listen.is_none() {
                "https"
            } else {
                "http"
            },
        };
        let places = settings.http.max_in_flight;
        let relay = Relay::new(
            senders,
            left_out,
            RelaySettings {
                compatibility: settings.compatibility,
                delivery: settings.delivery,
                memory: settings.memory,
                lifetimes: settings.lifetimes,
                breaker: settings.breaker,
                removal_guard: settings.removal_guard,
            },
            queue.clone(),
            journal.clone(),
            clock.clone(),
            Arc::clone(&metrics),
            shutdown.clone(),
        );
        let (traces, spans) = match settings.traces {
            Some(traces) => start_traces(&traces, clock, &metrics).unzip(),
            None => (None, None),
        };
        let relay = match settings.data_dir.as_deref() {
            Some(directory) => relay.keeping_removals(directory).remembering_in(directory),
            None => relay,
        };
        let relay = Arc::new(relay.among(places).traced(traces.unwrap_or_default()));
        let credentials = Credentials {
            sources: settings.credentials,
            targets,
            keys,
            relay: Arc::clone(&relay),
            metrics: Arc::clone(&metrics),
            clock: clock.clone(),
        };
        let learned = learning::load(settings.admission.mode, settings.data_dir.as_deref());
        let mut admission = Admission::new(settings.admission, clock.clone());
        if let Some(learned) = &learned {
            admission = admission.learning(Arc::clone(learned), Arc::clone(&metrics));
        }
        let admission = Arc::new(admission);
        let edge = Edge::new(
            &settings.http,
            settings.compatibility,
            BUILD,
            Arc::clone(&admission),
            Arc::clone(&relay),
            metrics,
            clock,
        );
        let (servers_directory, reload) = (settings.servers_directory, Reload::default());
        let (clock, shutdown) = (clock.clone(), shutdown.clone());
        Ok(Self {
            edge,
            queue,
            admission,
            servers_directory,
            relay,
            credentials,
            learned,
            journal,
            spans,
            clock,
            reload,
            shutdown,
            summary,
        })
    }

    /// Has everything read again when this is asked, which may have been made before there was a relay.
    #[must_use]
    pub fn reloaded_by(self, reload: Reload) -> Self {
        Self { reload, ..self }
    }

    /// For whoever is told to read chat servers and credentials again.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves until told to stop, then finishes what runs. Ends when the last request is answered or the shutdown is
    /// forced.
    pub async fn run(self, listeners: Listeners) {
        let Summary { targets, left_out, servers, auth, has_status_page, ops_scheme } = self.summary;
        // A bound socket always knows its address; an empty one in the log would harm nobody.
        let shown =
            |listener: &TcpListener| listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let address = shown(&listeners.ingest);
        let ops = listeners.ops.as_ref().map(shown);
        let waiting = self.queue.as_ref().map(|queue| queue.stats().targets.iter().map(|own| own.waiting).sum::<u64>());
        tracing::info!(address, ops, targets, left_out, servers, auth, waiting, version = BUILD.version, "listening");
        let ops = ops.as_ref().unwrap_or(&address);
        if has_status_page {
            tracing::info!(url = %format_args!("{ops_scheme}://{ops}/status"), "there is a status page");
        } else {
            tracing::info!(
                remedy =
                    "status.enabled = true (PUSHRELAY_STATUS__ENABLED=true) or a password in [status] puts it there",
                "there is no status page: it was switched off, or not asked for at an address that others may reach"
            );
        }
        let Reload { servers, credentials } = self.reload;
        tokio::spawn(servers::follow(self.servers_directory, self.admission, servers, self.shutdown.clone()));
        tokio::spawn(credentials::follow(self.credentials, credentials, self.shutdown.clone()));
        let (relay, guarded) = (Arc::clone(&self.relay), Arc::clone(&self.relay));
        let saving = Arc::clone(&self.relay);
        tokio::spawn(async move { saving.save_removals_regularly().await });
        tokio::spawn(expiry::remind(self.relay, self.clock.clone(), self.shutdown.clone()));
        if let Some(learned) = &self.learned {
            tokio::spawn(learning::save_regularly(Arc::clone(learned), self.clock, self.shutdown.clone()));
        }
        let spans = self.spans.map(|Spans { sending, stop }| (tokio::spawn(sending), stop));
        let worker = tokio::spawn(async move { relay.work().await });
        self.edge.run(listeners.ingest, listeners.ops, self.shutdown.clone()).await;
        // What the worker has begun ends, unless the operator insists: what it leaves is tried after the next start.
        tokio::select! {
            _ = worker => {}
            () = self.shutdown.forced() => {}
        }
        if let Some(queue) = &self.queue {
            // What was acknowledged is on the disk. A disk that hangs must not keep the process from ending.
            tokio::select! {
                () = queue.close() => {}
                () = self.shutdown.forced() => {}
            }
        }
        tokio::select! {
            () = guarded.save_removals() => {}
            () = self.shutdown.forced() => {}
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "once, at the end: a disk that hangs must not hold an operator who insists"
        )]
        let remembering = tokio::task::spawn_blocking(move || guarded.close_memory());
        tokio::select! {
            _ = remembering => {}
            () = self.shutdown.forced() => {}
        }
        if let Some(learned) = &self.learned {
            learning::save(learned, false).await;
        }
        if let Some((sending, stop)) = spans {
            stop.cancel();
            // A collector that hangs must not keep the process from ending.
            let _ = tokio::time::timeout(TRACES_PATIENCE, sending).await;
        }
        if let Some(journal) = &self.journal {
            // Blocks, but nobody is served any more. What is not written by then is diagnostics.
            journal.flush(JOURNAL_PATIENCE);
        }
    }
}

/// What became of the configured targets.
struct SetUp {
    senders: Vec<(TargetName, Sender)>,
    /// The settings of those that send.
    targets: Vec<TargetSettings>,
    left_out: Vec<LeftOut>,
}

/// Makes a sender for each target. One that cannot be made is an error, or left out if such targets are tolerated.
fn set_up(
    settings: &[TargetSettings],
    tolerates_broken: bool,
    clock: &Clock,
    keys: &mut KeysInUse,
    errors: &mut Vec<Unusable>,
) -> SetUp {
    let mut made = SetUp { senders: Vec::new(), targets: Vec::new(), left_out: Vec::new() };
    for target in settings {
        match Sender::new(target, clock, keys) {
            Ok(sender) => {
                if let Some(problem) = sender.credential_problem() {
                    let target = target.name.as_str();
                    tracing::error!(target, problem, "a target cannot deliver");
                }
                made.senders.push((target.name.clone(), sender));
                made.targets.push(target.clone());
            }
            Err(SetupError { target: name, problem }) if tolerates_broken => {
                made.left_out.push(LeftOut { name, platform: target.provider.platform(), problem });
            }
            Err(error) => errors.push(error.into()),
        }
    }
    made
}

/// `None` if there is none and the operator would rather have a relay without one than no relay.
fn open_queue(queue: &QueueUse, clock: &Clock) -> Result<Option<Queue>, OpenError> {
    match Queue::open(&queue.settings, clock.clone()) {
        Ok(queue) => Ok(Some(queue)),
        Err(error) if queue.is_required => Err(error),
        Err(error) => {
            tracing::error!(%error, "the queue cannot be used, and the relay runs without it: what a provider does not take at once is lost");
            Ok(None)
        }
    }
}

/// What sends spans, to be run, and how it is told to send the last ones.
struct Spans {
    sending: Pin<Box<dyn Future<Output = ()> + Send>>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spans").finish_non_exhaustive()
    }
}

/// A relay without traces is as good as one with them, but for whoever looks at them.
fn start_traces(settings: &TraceSettings, clock: &Clock, metrics: &Metrics) -> Option<(Traces, Spans)> {
    let stop = CancellationToken::new();
    match Traces::start(settings, clock, stop.clone().cancelled_owned()) {
        Ok((traces, sending)) => {
            let own = traces.clone();
            metrics.traces(move || own.dropped());
            Some((traces, Spans { sending: Box::pin(sending), stop }))
        }
        Err(error) => {
            tracing::error!(%error, "there are no traces");
            None
        }
    }
}

/// A relay without a journal is as good as one with it, but for whoever asks what became of a notification.
fn start_journal(journal: JournalSettings, clock: &Clock, metrics: &Metrics) -> Option<Journal> {
    match Journal::start(journal, clock.clone()) {
        Ok(journal) => {
            let own = journal.clone();
            metrics.journal(move || own.dropped());
            Some(journal)
        }
        Err(error) => {
            tracing::error!(%error, "no journal is kept: there is no thread for it");
            None
        }
    }
}
