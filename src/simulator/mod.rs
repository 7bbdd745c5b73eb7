//! Stand-ins for Apple's and Google's push services, on the wire, strict, with faults on demand and an inbox page.
//!
//! `pushrelay simulate` runs one by hand, the end-to-end tests run one per test. It is the independent check of the
//! senders, and therefore shares no code with them: what is misunderstood there must not be misunderstood here too.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use pushrelay::simulator::{Credentials, Fault, Provider, Simulator, SimulatorSettings};
//!
//! let credentials = Credentials::generate()?;
//! let simulator = Simulator::start(SimulatorSettings::new(&credentials)).await?;
//! simulator.faults().add(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns).times(2))?;
//! // … point a relay at simulator.apns_address() and let it trust credentials.authority_pem …
//! let pushes = simulator.ledger().wait_for(1).await;
//! assert!(simulator.ledger().violations().is_empty());
//! simulator.stop().await;
//! # Ok(()) }
//! ```

mod apns;
mod assertion;
mod card;
mod connection;
mod credentials;
mod exchange;
mod faults;
mod fcm_message;
mod frames;
mod google;
mod inbox;
mod ledger;
mod listen;
mod provider_token;
mod settings;
mod tokens;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use credentials::{CredentialFiles, Credentials};
pub use faults::{Action, Fault, Faults, GoAway, Matching, Provider, Refuse, Reset, Stall, Times, TooManyFaults};
pub use ledger::{Counts, Ledger, Push, Refusal, Unprocessed, Violation};
pub use settings::{ApnsApp, CredentialError, FcmAccount, Now, ProviderKey, SimulatorSettings, system_time};
pub use tokens::{APNS_TOKENS, DocumentedToken, FCM_TOKENS, TokenOutcome};

use connection::StreamLimits;
use exchange::Core;
use listen::{Door, House};

/// A running simulator. Dropping it stops it too, without waiting for the end.
#[derive(Debug)]
pub struct Simulator {
    core: Running,
    apns_address: SocketAddr,
    fcm_address: SocketAddr,
    inbox_address: SocketAddr,
    token_uri: String,
}

struct Running {
    house: House,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.house.core.ledger.fmt(f)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.house.stop.cancel();
    }
}

impl Simulator {
    /// Binds the three listeners and serves them in the background of the present tokio runtime.
    pub async fn start(settings: SimulatorSettings) -> io::Result<Self> {
        let apns_tls = listen::apns_tls(&settings)?;
        let google_tls = listen::google_tls(&settings)?;
        let apns = listen::bind(settings.apns_listen, settings.allow_remote).await?;
        let fcm = listen::bind(settings.fcm_listen, settings.allow_remote).await?;
        let inbox = listen::bind(settings.inbox_listen, settings.allow_remote).await?;
        let (apns_address, fcm_address) = (apns.local_addr()?, fcm.local_addr()?);
        let inbox_address = inbox.local_addr()?;

        let port = fcm_address.port();
        let mut audiences: Vec<String> = settings.token_uri.clone().into_iter().collect();
        audiences.push(format!("https://localhost:{port}/token"));
        audiences.push(format!("https://{fcm_address}/token"));
        let token_uri = audiences[0].clone();

        let core = Arc::new(Core {
            ledger: Ledger::new(settings.ledger_capacity),
            faults: Faults::default(),
            apns: apns::Apns::new(settings.apps, settings.keys, settings.provider_token_interval),
            google: google::Google::new(settings.accounts, audiences),
            now: settings.now,
        });
        let house = House {
            core: Arc::clone(&core),
            connections: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let full = StreamLimits { at_first: settings.streams, later: settings.streams };
        let limits = StreamLimits { at_first: settings.streams_before_authentication, ..full };
        house.open(apns, Door::Apns { tls: apns_tls, limits });
        house.open(fcm, Door::Google { tls: google_tls, limits: full });
        let router = inbox::router(core, house.stop.clone(), settings.allow_remote);
        house.open(inbox, Door::Inbox(router));
        Ok(Self { core: Running { house }, apns_address, fcm_address, inbox_address, token_uri })
    }

    /// Where Apple's stand-in listens: `https://localhost:<port>`.
    pub fn apns_address(&self) -> SocketAddr {
        self.apns_address
    }

    /// Where Google's stand-in listens: `https://localhost:<port>`.
    pub fn fcm_address(&self) -> SocketAddr {
        self.fcm_address
    }

    /// Where the inbox page is: `http://<address>/`.
    pub fn inbox_address(&self) -> SocketAddr {
        self.inbox_address
    }

    /// The token endpoint, as a service account's key file must name it.
    pub fn token_uri(&self) -> &str {
        &self.token_uri
    }

    /// What happened so far.
    pub fn ledger(&self) -> &Ledger {
        &self.core.house.core.ledger
    }

    /// What shall go wrong.
    pub fn faults(&self) -> &Faults {
        &self.core.house.core.faults
    }

    /// Forgets every OAuth access token, so that the next message hears 401.
    pub fn revoke_access_tokens(&self) {
        self.core.house.core.google.revoke_tokens();
    }

    /// Drops every connection, closes the listeners and waits until the ports are free.
    pub async fn stop(self) {
        self.core.house.stop.cancel();
        self.core.house.tasks.close();
        self.core.house.tasks.wait().await;
    }
}
