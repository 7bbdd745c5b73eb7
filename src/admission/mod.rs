//! Who may send: is this request from the chat server it names, and may that server ask for this?
//!
//! The only way to an [`Admitted`] notification leads through [`Admission::admit`], and an `Admitted` is the only thing
//! the relay takes: what was not checked cannot be sent.
//!
//! `registry` holds the servers and what each may do, `refusal` the ways to be refused, `rate` the arithmetic of limits,
//! `addresses` who is turned away unseen; this module puts the steps of the decision in their order.

mod addresses;
pub mod key;
pub mod learned;
mod observer;
pub mod rate;
pub mod recovery;
mod refusal;
pub mod registry;
pub mod signature;
pub mod signing;
pub mod site;
pub mod webhook;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::notification::{Content, Notification, PushKind, ServerId, TargetName, Transport};
use crate::telemetry::metrics::Metrics;
use addresses::Addresses;
use learned::Learned;
use observer::Observer;
use rate::{Rate, Rates};
use refusal::seconds;
pub use refusal::{Refusal, RefusalKind};
pub use registry::ServerSettings;
use registry::{Changes, Fingerprint, Registry, Scheme, Server};
use signature::{SignatureError, SignedParts};
use webhook::{WebhookError, WebhookHeaders};

/// The most devices remembered, 42 bytes each: 8 MiB. A device's bucket is full again after twenty seconds with the default
/// rate, so that this forgets nothing that matters below 10,000 notifications a second, each to another device.
const MAX_DEVICES: usize = 200_000;

/// What the configuration says about who may send.
#[derive(Clone, Debug)]
pub struct AdmissionSettings {
    /// How strictly.
    pub mode: AuthMode,
    /// Whether a registered server may send `type=test` without a signature, which is how Mattermost sends it.
    pub allow_unsigned_test: bool,
    /// The most unsigned tests per minute and server. They are proof of nothing, so few are let through.
    pub unsigned_tests_per_minute: NonZeroU32,
    /// The most notifications of one server to one device; without it as many as it likes. Apple and Google punish floods
    /// to one device.
    pub device_rate: Option<Rate>,
    /// The most requests of one client address that are refused for want of proof and still looked at.
    pub refusal_rate: Option<Rate>,
    /// The chat servers that may send.
    pub servers: Vec<ServerSettings>,
}

/// How strictly requests are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Only signed requests from registered servers are sent.
    Required,
    /// Whatever is wrong with who sends, or with what it may, is logged and counted, and sent all the same. Only limits of
    /// servers that have proved who they are hold: they were set on purpose, and protect phones and other servers while
    /// this mode prepares for `Required`. No address is turned away, since nobody is refused for want of proof. (On the
    /// native API, which is signed in every mode, addresses are.)
    Observe,
    /// Nothing is checked, counted or limited here.
    Off,
}

impl AuthMode {
    /// As the configuration names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

/// Something that was checked. Only this module can make one.
#[derive(Debug)]
pub struct Admitted<T> {
    checked: T,
    observed: Option<Refusal>,
}

impl<T> Admitted<T> {
    /// The checked thing.
    pub fn get(&self) -> &T {
        &self.checked
    }

    /// The checked thing, and no longer the proof that it was checked.
    pub fn into_inner(self) -> T {
        self.checked
    }

    /// What `required` would have refused it for; only ever set in `observe` mode.
    pub fn observed(&self) -> Option<Refusal> {
        self.observed
    }
}

/// Who asks, apart from what the request says about that.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The client's address: the peer's, or what a trusted proxy says.
    pub address: IpAddr,
    /// The certificate that the connection's client has shown and proved to be its own. (Behind a proxy that is the proxy.)
    pub certificate: Option<Fingerprint>,
}

/// A registered server and how much it has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusyServer {
    /// What it calls itself.
    pub id: ServerId,
    /// For people.
    pub name: String,
    /// Notifications that were admitted today (UTC) with a proof of who sent them, repeats not counted. Begins anew with
    /// the process.
    pub sent_today: u32,
    /// The most that it may send in a day; absent if as many as it likes.
    pub daily_quota: Option<u32>,
}

/// A server that has signed a whole request, every byte of it.
#[derive(Debug)]
pub struct Proven {
    server: Arc<Server>,
}

impl Proven {
    /// What it calls itself.
    pub fn server_id(&self) -> &ServerId {
        &self.server.settings().id
    }
}

/// The gate.
#[derive(Debug)]
pub struct Admission {
    mode: AuthMode,
    allow_unsigned_test: bool,
    registry: Registry,
    /// By server and device, so that no server can use up what another may send to a phone that has accounts on both.
    devices: Option<Rates>,
    addresses: Addresses,
    /// Only in `observe` mode, and only if it was asked for.
    observer: Option<Observer>,
    clock: Clock,
}

/// How a request that is let through was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Its server has signed it, or shown a certificate of its own.
    Signed,
    /// It is a test, which need not be signed.
    UnsignedTest,
}

impl Admission {
    /// Sets the gate up.
    pub fn new(settings: AdmissionSettings, clock: Clock) -> Self {
        let tests = settings.unsigned_tests_per_minute;
        let tests = Rate::new(tests, Duration::from_mins(1), tests);
        Self {
            mode: settings.mode,
            allow_unsigned_test: settings.allow_unsigned_test,
            registry: Registry::new(settings.servers, tests, clock.clone()),
            devices: settings.device_rate.map(|rate| Rates::new(rate, MAX_DEVICES, clock.clone())),
            addresses: Addresses::new(settings.refusal_rate, &clock),
            observer: None,
            clock,
        }
    }

    /// From now on learns who sends without being registered; only in `observe` mode, otherwise this changes nothing.
    #[must_use]
    pub fn learning(mut self, learned: Arc<Learned>, metrics: Arc<Metrics>) -> Self {
        if self.mode == AuthMode::Observe {
            self.observer = Some(Observer { learned, metrics });
            self.forget_registered();
        }
        self
    }

    /// Who is registered is known. A push that is being looked at may still bring one back; the next time takes it.
    fn forget_registered(&self) {
        if let Some(observer) = &self.observer {
            for id in self.registry.load().keys() {
                observer.learned.forget(id);
            }
        }
    }

    /// From now on these are the registered servers and no others. What a server has used of its limits stays counted.
    /// Requests that are being checked meanwhile see the old state or the new one.
    pub fn replace_servers(&self, servers: Vec<ServerSettings>) -> Changes {
        let changes = self.registry.replace(servers);
        if !changes.is_empty() {
            self.forget_registered();
        }
        changes
    }

    /// Whether the server of this id has signed this body as Standard Webhooks ask (or shown a certificate of its own), and
    /// may. Asked in every mode: whoever uses this signature wants to be known by it.
    pub fn prove(
        &self,
        caller: Caller,
        server_id: Option<&str>,
        headers: Result<Option<WebhookHeaders<'_>>, WebhookError>,
        body: &[u8],
    ) -> Result<Proven, Refusal> {
        let address = caller.address;
        let was_refused = self.look_at_address(caller, || server_id.and_then(ServerId::new))?;
        let proven = self.check_webhook(caller, server_id, headers, body).map(|server| Proven { server });
        match &proven {
            Ok(_) if was_refused => self.addresses.proven(address),
            Err(refusal) if refusal.kind() == RefusalKind::Unproven => self.addresses.refused(address),
            _ => {}
        }
        proven
    }

    /// The registered servers that have sent the most today, at most so many, and how many sent anything at all. Looks at
    /// every server: with 10,000 it takes a moment, and nobody waits for it.
    pub fn busiest(&self, most: usize) -> (Vec<BusyServer>, usize) {
        let (servers, now) = (self.registry.load(), self.clock.unix_seconds());
        let mut busy: Vec<_> =
            servers.values().map(|server| (server.sent_today(now), server)).filter(|(sent, _)| *sent > 0).collect();
        let count = busy.len();
        let by_rank = |one: &(u32, &Arc<Server>), other: &(u32, &Arc<Server>)| {
            other.0.cmp(&one.0).then_with(|| one.1.settings().id.as_str().cmp(other.1.settings().id.as_str()))
        };
        if count > most {
            busy.select_nth_unstable_by(most, by_rank);
            busy.truncate(most);
        }
        busy.sort_unstable_by(by_rank);
        let of = |(sent_today, server): (u32, &Arc<Server>)| BusyServer {
            id: server.settings().id.clone(),
            name: server.settings().name.clone(),
            sent_today,
            daily_quota: server.settings().daily_quota,
        };
        (busy.into_iter().map(of).collect(), count)
    }

    /// Whether servers' notifications are counted at all.
    pub fn counts_servers(&self) -> bool {
        self.mode != AuthMode::Off
    }

    /// Whether everything is sent, whoever asks.
    pub fn sends_everything(&self) -> bool {
        self.mode != AuthMode::Required
    }

    fn check_webhook(
        &self,
        caller: Caller,
        server_id: Option<&str>,
        headers: Result<Option<WebhookHeaders<'_>>, WebhookError>,
        body: &[u8],
    ) -> Result<Arc<Server>, Refusal> {
        let headers = headers.map_err(Refusal::Webhook)?;
        if headers.is_none() && caller.certificate.is_none() {
            return Err(Refusal::MissingWebhook);
        }
        let id = server_id.and_then(ServerId::new).ok_or(Refusal::MissingServer)?;
        let servers = self.registry.load();
        let server = servers.get(&id).ok_or(Refusal::UnknownSender)?;
        if server.is_certified_by(caller.certificate) {
            server.may_sign(Scheme::Certificate)?;
            return Ok(Arc::clone(server));
        }
        let headers = headers.ok_or(Refusal::MissingWebhook)?;
        server.may_sign(Scheme::Webhook)?;
        let keys = server.settings().webhook_keys.as_slice();
        webhook::check(headers, body, keys, self.clock.unix_seconds()).map_err(Refusal::Webhook)?;
        Ok(Arc::clone(server))
    }

    /// Whether a proven server may push to this target.
    pub fn may_push_to(&self, proven: &Proven, target: &TargetName) -> Result<(), Refusal> {
        proven.server.may_push_to(target)
    }

    /// Lets a notification of a proven server through, or says why not. `is_repeat` as for [`Admission::admit`].
    pub fn admit_proven(
        &self,
        proven: &Proven,
        notification: Notification,
        is_repeat: impl Fn(&Notification) -> bool,
    ) -> Result<Admitted<Notification>, Refusal> {
        if notification.server_id != *proven.server_id() {
            return Err(Refusal::ServerMismatch);
        }
        proven.server.may_push_to(&notification.target)?;
        self.count(&proven.server, &notification, self.clock.unix_seconds(), is_repeat)?;
        Ok(Admitted { checked: notification, observed: None })
    }

    /// Lets a notification through, or says why not. `is_repeat` says whether it was sent already and will wake no phone
    /// again: then it is not counted against what its server may send.
    pub fn admit(
        &self,
        caller: Caller,
        notification: Notification,
        is_repeat: impl Fn(&Notification) -> bool,
    ) -> Result<Admitted<Notification>, Refusal> {
        let observed = match self.mode {
            AuthMode::Off => None,
            AuthMode::Required => {
                self.check_by_address(caller, &notification, is_repeat)?;
                None
            }
            AuthMode::Observe => match self.check(caller, &notification, is_repeat) {
                Err(refusal) if refusal.limits_the_proven() => return Err(refusal),
                checked => checked.err(),
            },
        };
        Ok(Admitted { checked: notification, observed })
    }

    /// Whether somebody at the caller's address was refused lately, or that it was so too often to be looked at. `server` is
    /// who the caller says it is.
    fn look_at_address(&self, caller: Caller, server: impl FnOnce() -> Option<ServerId>) -> Result<bool, Refusal> {
        self.addresses.look(caller.address).or_else(|wait| {
            let is_certified = caller.certificate.is_some()
                && server().is_some_and(|id| {
                    let servers = self.registry.load();
                    servers.get(&id).is_some_and(|server| server.is_certified_by(caller.certificate))
                });
            // Its proof is there already and costs nothing to look at.
            if is_certified { Ok(true) } else { Err(Refusal::AddressRate { retry_after: seconds(wait) }) }
        })
    }

    fn check_by_address(
        &self,
        caller: Caller,
        notification: &Notification,
        is_repeat: impl Fn(&Notification) -> bool,
    ) -> Result<(), Refusal> {
        let address = caller.address;
        let was_refused = self.look_at_address(caller, || Some(notification.server_id.clone()))?;
        match self.check(caller, notification, is_repeat) {
            Ok(Proof::Signed) if was_refused => self.addresses.proven(address),
            Ok(_) => {}
            Err(refusal) => {
                if !refusal.limits_the_proven() && refusal != Refusal::TargetNotAllowed {
                    self.addresses.refused(address);
                }
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Cheap steps come first, and what a stranger could use up comes after the proof.
    fn check(
        &self,
        caller: Caller,
        notification: &Notification,
        is_repeat: impl Fn(&Notification) -> bool,
    ) -> Result<Proof, Refusal> {
        let servers = self.registry.load();
        let now = self.clock.unix_seconds();
        let Some(server) = servers.get(&notification.server_id) else {
            if let Some(observer) = &self.observer {
                observer.look(notification, read_signature(notification, now), now);
            }
            return Err(Refusal::UnknownServer);
        };
        if server.is_certified_by(caller.certificate) {
            server.may_sign(Scheme::Certificate)?;
        } else {
            server.may_sign(Scheme::Mattermost)?;
            let Some(parts) = read_signature(notification, now) else {
                self.check_unsigned(server, notification)?;
                return Ok(Proof::UnsignedTest);
            };
            check_signature(server, &parts?, now)?;
        }
        server.may_push_to(&notification.target)?;
        self.count(server, notification, now, is_repeat)?;
        Ok(Proof::Signed)
    }

    fn check_unsigned(&self, server: &Server, notification: &Notification) -> Result<(), Refusal> {
        match notification.kind {
            PushKind::Test if does_more_than_test(notification) => Err(Refusal::MissingSignature),
            PushKind::Test if !self.allow_unsigned_test => Err(Refusal::UnsignedTest),
            PushKind::Test => {
                server.may_push_to(&notification.target)?;
                server.count_unsigned_test()
            }
            _ => Err(Refusal::MissingSignature),
        }
    }

    /// A server that is too fast is stopped at its own bucket, before anything that it shares with others. The quota comes
    /// last: it counts what is sent.
    fn count(
        &self,
        server: &Server,
        notification: &Notification,
        unix_seconds: u64,
        is_repeat: impl Fn(&Notification) -> bool,
    ) -> Result<(), Refusal> {
        // First of all: whoever has captured a request could use its server's rate up with repeats of it.
        if is_repeat(notification) {
            return Ok(());
        }
        server.count_against_rate()?;
        if let Some(devices) = &self.devices {
            let phone = notification.device.phone();
            devices
                .check((notification.server_id.as_str(), phone.as_ref()))
                .map_err(|wait| Refusal::DeviceRate { retry_after: seconds(wait) })?;
        }
        server.count_against_quota(unix_seconds)
    }
}

/// The signature, held against the push it came with; nothing if there is none. Whose it is, is still open.
fn read_signature(notification: &Notification, unix_seconds: u64) -> Option<Result<SignedParts<'_>, SignatureError>> {
    let jws = Some(notification.signature.expose()).filter(|jws| !jws.is_empty())?;
    Some(signature::parse(jws, &notification.ack_id, &notification.device, unix_seconds))
}

fn check_signature(server: &Server, parts: &SignedParts<'_>, unix_seconds: u64) -> Result<(), Refusal> {
    let keys = &server.settings().keys;
    if keys.live(unix_seconds).iter().any(|key| parts.is_by(key)) {
        return Ok(());
    }
    // Told apart only when the key would have done: for anybody else it is as if it had never been there.
    let ended = keys.ended(unix_seconds).find(|(key, _)| parts.is_by(key));
    Err(ended.map_or(Refusal::WrongKey, |(_, until)| Refusal::KeyExpired { until }))
}

/// Whether a phone would show a caller's text or ring. A test does neither, and Mattermost sends none that asks for it; a
/// stranger who knows a server's id could, since the payloads of these two do not depend on the kind.
fn does_more_than_test(notification: &Notification) -> bool {
    let shows_text = match &notification.content {
        Content::Mattermost(content) => content.is_id_loaded,
        Content::Native(_) => true,
    };
    shows_text || notification.transport != Transport::Standard
}

#[cfg(test)]
mod tests;
