//! The only wiring: settings become a running relay.

mod servers;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::admission::Admission;
use crate::clock::Clock;
use crate::config::{ServersDirectory, Settings};
use crate::http::{Build, Edge, HttpSettings};
use crate::relay::Relay;
use crate::sender::apns::KeysInUse;
use crate::sender::{Sender, SetupError};
use crate::shutdown::Shutdown;
use crate::telemetry::log::DroppedLines;
use crate::telemetry::metrics::Metrics;
pub use servers::Reload;

/// What runs. The commit is known to a build that sets `PUSHRELAY_COMMIT`; the image takes it as a build argument.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    hash: match option_env!("PUSHRELAY_COMMIT") {
        Some(hash) => hash,
        None => "",
    },
};

/// The sockets a relay serves on, bound before anything else starts: a port in use is an error at start.
#[derive(Debug)]
pub struct Listeners {
    /// For chat servers.
    pub ingest: TcpListener,
    /// For operators, if they have their own.
    pub ops: Option<TcpListener>,
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (key `{key}`): {error}; {}", remedy(error, *address))]
pub struct BindError {
    address: SocketAddr,
    key: &'static str,
    error: io::Error,
}

fn remedy(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("another process has it: ss -ltnp | grep {}", address.port()),
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has this address".to_owned(),
        io::ErrorKind::PermissionDenied => "ports below 1024 are for privileged users: choose a higher one".to_owned(),
        _ => "choose another address".to_owned(),
    }
}

impl Listeners {
    /// Binds what the settings name.
    pub async fn bind(settings: &HttpSettings) -> Result<Self, BindError> {
        let bind = async |address: SocketAddr, key| {
            TcpListener::bind(address).await.map_err(|error| BindError { address, key, error })
        };
        let ingest = bind(settings.listen, "listen").await?;
        let ops = match settings.ops_listen {
            Some(address) => Some(bind(address, "ops.listen").await?),
            None => None,
        };
        Ok(Self { ingest, ops })
    }
}

/// Targets that could not be set up, all of them.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SetupErrors(Vec<SetupError>);

/// A relay, set up and not yet serving.
#[derive(Debug)]
pub struct App {
    edge: Edge,
    admission: Arc<Admission>,
    servers_directory: Option<ServersDirectory>,
    reload: Reload,
    shutdown: Shutdown,
    summary: Summary,
}

/// What the log says about a relay when it starts to serve.
#[derive(Debug)]
struct Summary {
    targets: usize,
    servers: usize,
    auth: &'static str,
}

impl App {
    /// Sets everything up. Opens no connection to a provider yet.
    pub fn new(
        settings: Settings,
        clock: &Clock,
        shutdown: &Shutdown,
        dropped_lines: DroppedLines,
    ) -> Result<Self, SetupErrors> {
        let metrics = Arc::new(Metrics::new(BUILD.version, dropped_lines));
        let mut senders = Vec::new();
        let mut keys = KeysInUse::default();
        let mut errors = Vec::new();
        for target in &settings.targets {
            match Sender::new(target, clock, &mut keys) {
                Ok(sender) => {
                    if let Some(problem) = sender.credential_problem() {
                        let target = target.name.as_str();
                        tracing::error!(target, problem, "a target cannot deliver");
                    }
                    senders.push((target.name.clone(), sender));
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(SetupErrors(errors));
        }
        let summary = Summary {
            targets: senders.len(),
            servers: settings.admission.servers.len(),
            auth: settings.admission.mode.as_str(),
        };
        let relay = Arc::new(Relay::new(senders, settings.delivery, clock.clone(), Arc::clone(&metrics)));
        let admission = Arc::new(Admission::new(settings.admission, clock.clone()));
        let edge =
            Edge::new(&settings.http, settings.compatibility, BUILD, Arc::clone(&admission), relay, metrics, clock);
        let (servers_directory, reload) = (settings.servers_directory, Reload::default());
        Ok(Self { edge, admission, servers_directory, reload, shutdown: shutdown.clone(), summary })
    }

    /// For whoever is told to read the chat servers again.
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves until told to stop, then finishes what runs. Ends when the last request is answered or the shutdown is
    /// forced.
    pub async fn run(self, listeners: Listeners) {
        let Summary { targets, servers, auth } = self.summary;
        // A bound socket always knows its address; an empty one in the log would harm nobody.
        let shown =
            |listener: &TcpListener| listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
        let address = shown(&listeners.ingest);
        let ops = listeners.ops.as_ref().map(shown);
        tracing::info!(address, ops, targets, servers, auth, version = BUILD.version, "listening");
        tokio::spawn(servers::follow(self.servers_directory, self.admission, self.reload, self.shutdown.clone()));
        self.edge.run(listeners.ingest, listeners.ops, self.shutdown).await;
    }
}
