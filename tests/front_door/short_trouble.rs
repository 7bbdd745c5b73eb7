//! Trouble that passes while the caller waits, where there is no queue to fall back on: nothing is lost that mattermost-push-proxy
//! would have delivered. Each row is run with its file and with one of our own without `data_dir`.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{FutureExt, join, join_all};
use pushrelay::clock::Clock;
use pushrelay::simulator::{Action, Fault, Provider, Refuse, Reset};

use crate::support::gate::Gate;
use crate::support::push::apple_token;
use crate::support::{Answer, PATIENCE, Plan, Push, Reference, Scene};

/// How our own file says it: everything as it is by default.
const USUAL: &str = "[delivery]\ndeadline = \"25s\"\n";

/// What a push may take until its answer, in both files.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum File {
    Reference,
    Own,
}

/// A relay without a queue, on a clock that the test turns.
struct Stand {
    scene: Scene,
    clock: Clock,
}

impl Stand {
    async fn with(file: File) -> Self {
        Self::planned(file, Plan::default(), Vec::new()).await
    }

    /// `variables` are for the reference's file, the rest of the plan for our own.
    async fn planned(file: File, plan: Plan, variables: Vec<(&'static str, String)>) -> Self {
        let clock = Clock::manual(1_800_000_000);
        let reference = (file == File::Reference).then(|| Reference { variables, ..Reference::default() });
        let plan = Plan { clock: Some(clock.clone()), reference, tables: USUAL.into(), ..plan };
        Self { scene: Scene::new(plan).await, clock }
    }

    /// Turns the clock on, five times as fast as it goes by itself, until something has happened.
    async fn pass_until<T>(&self, something: impl Future<Output = T>) -> T {
        self.pass_by(Duration::from_millis(8), something).await
    }

    /// The same, but no faster than real time: where there is no connection, whose pauses are real.
    async fn pass_slowly_until<T>(&self, something: impl Future<Output = T>) -> T {
        self.pass_by(Duration::from_millis(2), something).await
    }

    async fn pass_by<T>(&self, step: Duration, something: impl Future<Output = T>) -> T {
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

    /// Posts one push after the other while that time passes.
    async fn post_during(&self, lasts: Duration, pushes: &[Push]) -> Vec<Answer> {
        let every = lasts / u32::try_from(pushes.len()).unwrap();
        let posts = (0..).zip(pushes).map(async |(place, push)| {
            self.clock.sleep(every * place).await;
            let posted = self.clock.now();
            let answer = self.scene.post(push).await;
            let took = self.clock.now() - posted;
            assert!(took <= DEADLINE, "{took:?}: {answer:?}");
            answer
        });
        join_all(posts).await
    }

    fn add(&self, fault: &Fault) {
        self.scene.simulator.faults().add(fault.clone()).unwrap();
    }

    /// Every one was told OK and has arrived.
    fn expect_all(&self, what: &str, pushes: &[Push], answers: &[Answer]) {
        let failed: Vec<_> = answers.iter().filter(|answer| answer.status != "OK").collect();
        assert!(failed.is_empty(), "{what}: {} of {} failed: {:?}", failed.len(), answers.len(), failed[0]);
        let arrived: HashSet<_> =
            self.scene.simulator.ledger().accepted().iter().map(|one| one.device_token.clone()).collect();
        assert!(pushes.iter().all(|push| arrived.contains(push.text("device_id"))), "{what}: not all have arrived");
    }
}

fn to_apple(phones: u32) -> Vec<Push> {
    (0..phones).map(|phone| Push::apple(&apple_token(phone))).collect()
}

fn to_google(phones: u32) -> Vec<Push> {
    (0..phones).map(|phone| Push::android(&format!("android-{phone}"))).collect()
}

/// Each push that comes while this lasts arrives.
async fn outlived(fault: Fault, lasts: Duration, pushes: Vec<Push>) {
    let with = async |file| {
        let stand = Stand::with(file).await;
        stand.add(&fault);
        let mended = async {
            stand.clock.sleep(lasts).await;
            stand.scene.simulator.faults().clear();
        };
        let (answers, ()) = stand.pass_until(join(stand.post_during(lasts, &pushes), mended)).await;
        stand.expect_all(&format!("{file:?}: {fault:?}"), &pushes, &answers);
    };
    join(with(File::Reference).boxed_local(), with(File::Own).boxed_local()).await;
}

const SHORT: Duration = Duration::from_millis(2_500);
const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn apple_breaking_connections_off_for_two_and_a_half_seconds_costs_no_push() {
    outlived(Fault::new(Action::Reset(Reset::Connection)).on(Provider::Apns), SHORT, to_apple(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apple_resetting_streams_for_two_and_a_half_seconds_costs_no_push() {
    outlived(Fault::new(Action::Reset(Reset::Stream)).on(Provider::Apns), SHORT, to_apple(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apple_in_trouble_for_a_while_costs_no_push() {
    let fault = |status, reason| Fault::answer(status, reason).on(Provider::Apns);
    join(
        outlived(fault(500, "InternalServerError"), SHORT, to_apple(60)).boxed_local(),
        outlived(fault(503, "ServiceUnavailable"), LONG, to_apple(30)).boxed_local(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_in_trouble_for_a_while_costs_no_push() {
    let fault = |status, reason| Fault::answer(status, reason).on(Provider::Fcm);
    join(
        outlived(fault(500, "INTERNAL"), SHORT, to_google(60)).boxed_local(),
        outlived(fault(503, "UNAVAILABLE"), LONG, to_google(30)).boxed_local(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_resetting_streams_for_two_and_a_half_seconds_costs_no_push() {
    outlived(Fault::new(Action::Reset(Reset::Stream)).on(Provider::Fcm), SHORT, to_google(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_access_token_for_a_while_costs_no_push() {
    let fault = |action| Fault::new(action).on(Provider::OAuth);
    let refuse = Refuse { status: 503, reason: "unavailable".into(), ..Refuse::default() };
    join(
        outlived(fault(Action::Reset(Reset::Connection)), SHORT, to_google(30)).boxed_local(),
        outlived(fault(Action::Answer(refuse)), Duration::from_secs(15), to_google(30)).boxed_local(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_out_that_refuses_for_two_and_a_half_seconds_costs_no_push() {
    let with = async |file, provider| {
        let mut gate = Gate::closed();
        let line = format!("endpoint = \"{}\"", gate.endpoint());
        let (plan, variable, pushes) = match provider {
            Provider::Apns => {
                let plan = Plan { apple: line, ..Plan::default() };
                (plan, "PUSHRELAY_TARGET__APPLE_RN__ENDPOINT", to_apple(30))
            }
            _ => (Plan { android: line, ..Plan::default() }, "PUSHRELAY_TARGET__ANDROID_RN__ENDPOINT", to_google(30)),
        };
        let stand = Stand::planned(file, plan, vec![(variable, gate.endpoint())]).await;
        let mended = async {
            stand.clock.sleep(SHORT).await;
            gate.open(match provider {
                Provider::Apns => stand.scene.simulator.apns_address(),
                _ => stand.scene.simulator.fcm_address(),
            });
        };
        let (answers, ()) = stand.pass_slowly_until(join(stand.post_during(SHORT, &pushes), mended)).await;
        stand.expect_all(&format!("{file:?}: {provider:?}"), &pushes, &answers);
    };
    let (apple, google) = (Provider::Apns, Provider::Fcm);
    join(
        join(with(File::Reference, apple).boxed_local(), with(File::Own, apple).boxed_local()),
        join(with(File::Reference, google).boxed_local(), with(File::Own, google).boxed_local()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_out_to_apple_that_goes_on_refusing_is_tried_three_times_and_its_callers_get_on() {
    let with = async |file| {
        let gate = Gate::closed();
        let plan = Plan { apple: format!("endpoint = \"{}\"", gate.endpoint()), ..Plan::default() };
        let variables = vec![("PUSHRELAY_TARGET__APPLE_RN__ENDPOINT", gate.endpoint())];
        let stand = Stand::planned(file, plan, variables).await;
        let began = stand.clock.now();
        stand.pass_slowly_until(stand.scene.post(&Push::apple(&apple_token(1)))).await.expect_fail(200, "");
        let reason = r#"pushrelay_attempt_reasons_total{reason="connect_refused",target="apple_rn"}"#;
        stand.scene.expect_metric(reason, 3.0).await;
        let took = stand.clock.now() - began;
        assert!((3..8).contains(&took.as_secs()), "{file:?}: {took:?}");
        // Nor have those who come while a breaker is open to wait for much longer.
        let began = stand.clock.now();
        let pushes = to_apple(30);
        let answers = stand.pass_slowly_until(join_all(pushes.iter().map(|push| stand.scene.post(push)))).await;
        for answer in answers {
            answer.expect_fail(200, "");
        }
        let took = stand.clock.now() - began;
        assert!(took.as_secs() < 9, "{file:?}: {took:?}");
    };
    join(with(File::Reference).boxed_local(), with(File::Own).boxed_local()).await;
}

fn quota(retry_after: Option<&str>) -> Fault {
    let retry_after = retry_after.map(str::to_owned);
    let refuse = Refuse { status: 429, reason: "QUOTA_EXCEEDED".into(), retry_after, body: None };
    Fault::new(Action::Answer(refuse)).on(Provider::Fcm)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_to_come_back_in_a_second_is_tried_again_then() {
    let with = async |file| {
        let stand = Stand::with(file).await;
        let pushes = to_google(8);
        stand.add(&quota(Some("1")).times(8));
        let answers = stand.pass_until(stand.post_during(Duration::from_millis(100), &pushes)).await;
        stand.expect_all(&format!("{file:?}"), &pushes, &answers);
        assert_eq!(stand.scene.simulator.ledger().counts().refused, 8);
    };
    join(with(File::Reference).boxed_local(), with(File::Own).boxed_local()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_met_for_a_moment_costs_no_push() {
    outlived(quota(None), SHORT, to_google(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_phones_that_get_too_much_keep_nobody_else_from_being_tried() {
    let with = async |file, retry_after| {
        let stand = Stand::with(file).await;
        stand.add(&quota(retry_after).for_token("busy"));
        let busy: Vec<_> = (0..8).map(|phone| Push::android(&format!("busy-{phone}"))).collect();
        let answers = stand.pass_until(stand.post_during(Duration::from_secs(1), &busy)).await;
        for answer in answers {
            answer.expect_fail(200, "QUOTA_EXCEEDED");
        }
        let others = to_google(30);
        let answers = stand.pass_until(stand.post_during(Duration::from_secs(1), &others)).await;
        stand.expect_all(&format!("{file:?}"), &others, &answers);
    };
    join(
        join(with(File::Reference, None).boxed_local(), with(File::Own, None).boxed_local()),
        join(with(File::Reference, Some("60")).boxed_local(), with(File::Own, Some("60")).boxed_local()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_was_left_alone_is_not_struck_by_all_that_waited() {
    let stand = Stand::with(File::Own).await;
    stand.add(&Fault::answer(503, "UNAVAILABLE").on(Provider::Fcm));
    let pushes = to_google(400);
    let mended = async {
        stand.clock.sleep(SHORT).await;
        stand.scene.simulator.faults().clear();
    };
    let (answers, ()) = stand.pass_until(join(stand.post_during(SHORT, &pushes), mended)).await;
    stand.expect_all("400", &pushes, &answers);
    // Without the breaker there would have been some 800.
    let refused = stand.scene.simulator.ledger().counts().refused;
    assert!(refused < 100, "{refused} attempts at a target in trouble");
}
