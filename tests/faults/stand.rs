//! A relay with a queue on a clock that the test turns.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pushrelay::clock::Clock;
use pushrelay::queue::inspect::{Filter, Inspector, State};
use pushrelay::simulator::{Fault, Provider};

use tokio::time::Instant;

use crate::support::{Plan, Scene};

/// The longest wait for what should come without one, in real time: generous, since it only ends a test that has failed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A breaker that opens with the first trouble, and lets nothing be tried until a call is over.
pub const LONG_PAUSE: &str = "[breaker]\nfailures = 1\nfirst_pause = \"1m\"";

/// When the clock of a stand begins, in seconds after the Unix epoch.
const NOW: u64 = 1_800_000_000;

/// Steps of the clock that are small against every time in the relay's settings.
pub const STEP: Duration = Duration::from_millis(250);

/// A scene whose clock stands still until the test turns it.
pub struct Stand {
    pub scene: Scene,
    pub clock: Clock,
    started: Instant,
}

impl Deref for Stand {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl DerefMut for Stand {
    fn deref_mut(&mut self) -> &mut Scene {
        &mut self.scene
    }
}

impl Stand {
    /// The usual scene with a queue.
    pub async fn usual() -> Self {
        Self::with("").await
    }

    /// With further tables.
    pub async fn with(tables: &str) -> Self {
        Self::planned(Plan { tables: tables.into(), ..Plan::default() }).await
    }

    /// With further tables, and a clock that is wrong from the start.
    pub async fn with_wrong_clock(tables: &str, by_seconds: i64) -> Self {
        Self::set_up(Plan { tables: tables.into(), ..Plan::default() }, by_seconds).await
    }

    /// With a queue, unless the plan's first lines say otherwise.
    pub async fn planned(plan: Plan) -> Self {
        Self::set_up(plan, 0).await
    }

    async fn set_up(plan: Plan, wrong_by: i64) -> Self {
        let clock = Clock::manual(NOW);
        let (right, start) = (clock.clone(), clock.now());
        let right = move || {
            let passed = right.now() - start;
            u64::try_from((Duration::from_secs(NOW) + passed).as_millis()).unwrap()
        };
        clock.set_wall(wrong_by);
        let top = if plan.top.is_empty() { "data_dir = \"data\"\n" } else { plan.top };
        let plan = Plan {
            top,
            clock: Some(clock.clone()),
            simulator: Some(Box::new(move |settings| {
                // The providers' clocks are right, whatever is done to the relay's.
                settings.now = Arc::new(right);
                // A relay that is started again makes a token anew, at the same time of this clock.
                settings.provider_token_interval = Duration::ZERO;
                settings.ledger_capacity = 50_000;
                if let Some(change) = plan.simulator {
                    change(settings);
                }
            })),
            ..plan
        };
        Self { scene: Scene::new(plan).await, clock, started: start }
    }

    pub fn fault(&self, fault: Fault) {
        self.simulator.faults().add(fault).unwrap();
    }

    /// Nothing is wrong from now on.
    pub fn mend(&self) {
        self.simulator.faults().clear();
    }

    /// Turns the clock on, a step for each millisecond, until something has happened.
    pub async fn pass_until<T>(&self, something: impl Future<Output = T>) -> T {
        self.pass_by(STEP, something).await
    }

    /// The same, but no faster than real time: where attempts hang, whose timeouts are real.
    pub async fn pass_slowly_until<T>(&self, something: impl Future<Output = T>) -> T {
        self.pass_by(Duration::from_millis(1), something).await
    }

    /// The same, such a step for each millisecond.
    pub async fn pass_by<T>(&self, step: Duration, something: impl Future<Output = T>) -> T {
        let happens = async {
            let mut something = pin!(something);
            loop {
                tokio::select! {
                    biased;
                    done = &mut something => return done,
                    () = tokio::time::sleep(Duration::from_millis(1)) => self.clock.advance(step),
                }
            }
        };
        tokio::time::timeout(PATIENCE, happens).await.expect("it should have happened long before")
    }

    /// Turns the clock on until this many pushes have arrived, repeats included.
    pub async fn pass_until_arrived(&self, pushes: u64) {
        self.pass_until(self.simulator.ledger().wait_until(|counts| counts.accepted >= pushes)).await;
    }

    /// The simulator's time, milliseconds since the Unix epoch: right, whatever is done to the relay's wall time.
    pub fn now_ms(&self) -> u64 {
        u64::try_from((Duration::from_secs(NOW) + (self.clock.now() - self.started)).as_millis()).unwrap()
    }

    /// Waits, with the clock standing still, until each attempt from the queue has ended.
    pub async fn wait_until_nothing_is_leased(&self) {
        let leased = Filter { state: Some(State::Leased), ..Filter::default() };
        let ended = async {
            let inspector = Inspector::open(&self.folder.path().join("data"), self.clock.clone()).unwrap();
            while !inspector.list(&leased, 1).unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("attempts end");
    }

    /// Turns the clock on until nothing waits on disk for these targets.
    pub async fn pass_until_nothing_waits(&self) {
        let empty = async {
            while self.waiting("apple_rn").await + self.waiting("android_rn").await > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        self.pass_until(empty).await;
    }

    /// Notifications on disk that will be tried.
    pub async fn waiting(&self, target: &str) -> u64 {
        let (_, detail) = self.ready().await;
        let targets = detail["targets"].as_array().unwrap();
        targets.iter().find(|one| one["name"] == target).unwrap()["waiting"].as_u64().unwrap()
    }

    /// What `/readyz` says of a target.
    pub async fn target(&self, target: &str) -> serde_json::Value {
        let (_, detail) = self.ready().await;
        detail["targets"].as_array().unwrap().iter().find(|one| one["name"] == target).unwrap().clone()
    }

    /// How often each notification has arrived, by its ack id.
    pub fn arrived(&self) -> HashMap<String, u32> {
        arrived(self.simulator.ledger())
    }
}

/// How often each notification has arrived, by its ack id.
pub fn arrived(ledger: &pushrelay::simulator::Ledger) -> HashMap<String, u32> {
    let mut arrived = HashMap::new();
    for push in ledger.accepted() {
        let payload = push.payload();
        let id = match push.provider {
            Provider::Apns => &payload["ack_id"],
            Provider::Fcm | Provider::OAuth => &payload["message"]["data"]["ack_id"],
        };
        *arrived.entry(id.as_str().unwrap().to_owned()).or_default() += 1;
    }
    arrived
}

/// Both providers say that they are down.
pub fn outage() -> [Fault; 2] {
    [Fault::answer(503, "ServiceUnavailable").on(Provider::Apns), Fault::answer(503, "UNAVAILABLE").on(Provider::Fcm)]
}
