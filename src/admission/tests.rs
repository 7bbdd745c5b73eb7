//! The gate as a caller meets it: one table row for each way to be refused, and who is not held up by whom.

use std::collections::BTreeSet;

use super::registry::{Schemes, ServerKeys, WebhookKeys};
use super::signing::SigningKey;
use super::*;
use crate::notification::{Content, DeviceToken, MattermostContent, ServerId, TargetName};
use crate::private::Private;

/// Noon of a day.
const NOW: u64 = 20_000 * 86_400 + 43_200;

/// No request here was sent before.
fn never(_: &Notification) -> bool {
    false
}

struct Tenant {
    key: SigningKey,
    settings: ServerSettings,
}

impl Tenant {
    fn new(id: &str) -> Self {
        let key = SigningKey::generate();
        let settings = ServerSettings {
            id: ServerId::new(id).unwrap(),
            name: id.to_owned(),
            site: None,
            keys: only(&key, None),
            webhook_keys: WebhookKeys::default(),
            certificates: Vec::new(),
            schemes: Schemes { mattermost: true, ..Schemes::default() },
            targets: None,
            rate: None,
            daily_quota: None,
            disabled: false,
        };
        Self { key, settings }
    }

    fn with(mut self, change: impl FnOnce(&mut ServerSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// A push, signed.
    fn push(&self, device: &str) -> Notification {
        self.signed_by(&self.key, device)
    }

    fn signed_by(&self, key: &SigningKey, device: &str) -> Notification {
        let device = DeviceToken::new(device).unwrap();
        Notification {
            ack_id: "ack-1".into(),
            server_id: self.settings.id.clone(),
            target: TargetName::new("apple_rn"),
            app_version: 2,
            signature: Private::new(key.sign_push("ack-1", &device)),
            device,
            kind: PushKind::Message,
            transport: Transport::Standard,
            content: Content::Mattermost(MattermostContent::default()),
        }
    }

    fn unsigned_test(&self) -> Notification {
        Notification { kind: PushKind::Test, signature: Private::default(), ..self.push("device") }
    }
}

fn only(key: &SigningKey, until: Option<u64>) -> ServerKeys {
    let mut keys = ServerKeys::default();
    keys.add(key.verifying_key(), until);
    keys
}

fn rate(count: u32, per: Duration, burst: u32) -> Rate {
    Rate::new(NonZeroU32::new(count).unwrap(), per, NonZeroU32::new(burst).unwrap())
}

fn second(count: u32) -> Rate {
    rate(count, Duration::from_secs(1), count)
}

fn settings(mode: AuthMode, tenants: &[&Tenant]) -> AdmissionSettings {
    AdmissionSettings {
        mode,
        allow_unsigned_test: true,
        unsigned_tests_per_minute: NonZeroU32::new(2).unwrap(),
        device_rate: None,
        refusal_rate: None,
        servers: tenants.iter().map(|tenant| tenant.settings.clone()).collect(),
    }
}

fn gate(settings: AdmissionSettings) -> (Admission, Clock) {
    let clock = Clock::manual(NOW);
    (Admission::new(settings, clock.clone()), clock)
}

fn from(last: u8) -> Caller {
    Caller { address: [192, 0, 2, last].into(), certificate: None }
}

fn refused(gate: &Admission, push: Notification) -> Option<Refusal> {
    gate.admit(from(1), push, never).err()
}

/// A way to be refused.
struct Case {
    what: &'static str,
    tenant: Tenant,
    push: Notification,
    /// Whether the same push passes once before.
    passes_once: bool,
    refusal: Refusal,
    kind: RefusalKind,
}

fn refused_cases() -> Vec<Case> {
    let other = SigningKey::generate();
    let (unproven, forbidden) = (RefusalKind::Unproven, RefusalKind::Forbidden);
    let often = |retry_after| RefusalKind::TooOften { retry_after };
    let changed = |change: fn(&mut ServerSettings)| Tenant::new("a").with(change);
    let ended = || {
        let tenant = Tenant::new("a");
        let keys = only(&tenant.key, Some(NOW - 1));
        tenant.with(|settings| settings.keys = keys)
    };
    let elsewhere = || changed(|s| s.targets = Some(BTreeSet::from([TargetName::new("android_rn")])));
    let disabled = || changed(|s| s.disabled = true);
    let webhooks = changed(|s| s.schemes = Schemes { webhook: true, ..Schemes::default() });
    let slow = changed(|s| s.rate = Some(rate(1, Duration::from_secs(3), 1)));
    let small = changed(|s| s.daily_quota = Some(1));
    let refusal = |what, tenant: Tenant, push: fn(&Tenant, &SigningKey) -> Notification, refusal, kind| {
        let passes_once = matches!(kind, RefusalKind::TooOften { .. });
        Case { what, push: push(&tenant, &other), tenant, passes_once, refusal, kind }
    };
    let expired = Refusal::KeyExpired { until: NOW - 1 };
    vec![
        refusal("disabled", disabled(), |t, _| t.push("d"), Refusal::ServerDisabled, forbidden),
        refusal("disabled, a test", disabled(), |t, _| t.unsigned_test(), Refusal::ServerDisabled, forbidden),
        refusal("another scheme", webhooks, |t, _| t.push("d"), Refusal::SchemeNotAllowed, forbidden),
        refusal("another target", elsewhere(), |t, _| t.push("d"), Refusal::TargetNotAllowed, forbidden),
        refusal("another target, a test", elsewhere(), |t, _| t.unsigned_test(), Refusal::TargetNotAllowed, forbidden),
        refusal("an ended key", ended(), |t, _| t.push("d"), expired, unproven),
        refusal("a strange key", ended(), |t, other| t.signed_by(other, "d"), Refusal::WrongKey, unproven),
        refusal("too fast", slow, |t, _| t.push("d"), Refusal::ServerRate { retry_after: 3 }, often(3)),
        refusal("too many", small, |t, _| t.push("d"), Refusal::DailyQuota { retry_after: 43_200 }, often(43_200)),
    ]
}

#[test]
fn every_refusal_of_the_registry_has_its_own_text_label_and_kind_and_limits_hold_in_observe_mode_too() {
    let mut texts = BTreeSet::new();
    for Case { what, tenant, push, passes_once, refusal, kind } in refused_cases() {
        let (required, _) = gate(settings(AuthMode::Required, &[&tenant]));
        let (observe, _) = gate(settings(AuthMode::Observe, &[&tenant]));
        let (off, _) = gate(settings(AuthMode::Off, &[&tenant]));
        if passes_once {
            assert_eq!(refused(&required, push.clone()), None, "{what}: the first one");
            assert_eq!(refused(&observe, push.clone()), None, "{what}: the first one");
        }
        assert_eq!(refused(&required, push.clone()), Some(refusal), "{what}");
        match observe.admit(from(1), push.clone(), never) {
            Ok(admitted) => assert_eq!((admitted.observed(), passes_once), (Some(refusal), false), "{what}"),
            Err(found) => assert_eq!((found, passes_once), (refusal, true), "{what}"),
        }
        for _ in 0..3 {
            assert_eq!(off.admit(from(1), push.clone(), never).unwrap().observed(), None, "{what}");
        }
        assert_eq!(refusal.kind(), kind, "{what}");
        texts.insert((refusal.label(), refusal.to_string()));
    }
    assert_eq!(texts.len(), 7, "{texts:?}");
}

#[test]
fn an_ended_key_is_told_when_it_ended_and_harms_no_other_key() {
    let tenant = Tenant::new("a");
    let new = SigningKey::generate();
    let mut keys = only(&tenant.key, Some(NOW));
    keys.add(new.verifying_key(), None);
    let tenant = tenant.with(|s| s.keys = keys);
    let (gate, clock) = gate(settings(AuthMode::Required, &[&tenant]));
    assert_eq!(refused(&gate, tenant.push("d")), None, "its last second");
    clock.advance(Duration::from_secs(1));
    let refusal = refused(&gate, tenant.push("d")).unwrap();
    assert_eq!(refusal.label(), "key_expired");
    assert_eq!(
        refusal.to_string(),
        "this key was registered until 2024-10-04T12:00:00Z: the server must sign with its new key"
    );
    assert_eq!(refused(&gate, tenant.signed_by(&new, "d")), None);
    // A claim that is wrong is told before the key.
    let other_push = Notification { ack_id: "ack-2".into(), ..tenant.push("d") };
    assert_eq!(refused(&gate, other_push), Some(Refusal::AckIdMismatch));
}

#[test]
fn whoever_waits_as_long_as_told_is_let_through_and_not_a_second_sooner() {
    let tenant = || Tenant::new("a");
    let every_seven_seconds = rate(1, Duration::from_secs(7), 3);
    for (tenant, device_rate, label, retry_after) in [
        (tenant().with(|s| s.rate = Some(every_seven_seconds)), None, "server_rate", 7),
        (tenant().with(|s| s.daily_quota = Some(3)), None, "daily_quota", 43_200),
        (tenant(), Some(every_seven_seconds), "device_rate", 7),
    ] {
        let (gate, clock) = gate(AdmissionSettings { device_rate, ..settings(AuthMode::Required, &[&tenant]) });
        let label_and_wait = || {
            let refusal = refused(&gate, tenant.push("phone"))?;
            let RefusalKind::TooOften { retry_after } = refusal.kind() else { panic!("{refusal:?}") };
            Some((refusal.label(), retry_after))
        };
        for _ in 0..3 {
            assert_eq!(label_and_wait(), None);
        }
        assert_eq!(label_and_wait(), Some((label, retry_after)));
        clock.advance(Duration::from_secs(u64::from(retry_after) - 1));
        assert_eq!(label_and_wait(), Some((label, 1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(label_and_wait(), None, "{label}");
    }
}

#[test]
fn a_device_is_spared_a_flood_of_one_server_and_still_hears_from_another() {
    let (a, b) = (Tenant::new("a"), Tenant::new("b"));
    let device_rate = Some(rate(180, Duration::from_mins(1), 60));
    let (gate, clock) = gate(AdmissionSettings { device_rate, ..settings(AuthMode::Required, &[&a, &b]) });
    let sent = |tenant: &Tenant, device: &str, count| {
        (0..count).filter(|_| gate.admit(from(1), tenant.push(device), never).is_ok()).count()
    };
    assert_eq!(sent(&a, "phone", 100), 60);
    assert_eq!(refused(&gate, a.push("phone")), Some(Refusal::DeviceRate { retry_after: 1 }));
    assert_eq!(sent(&a, "tablet", 10), 10);
    assert_eq!(sent(&b, "phone", 10), 10);
    // In no minute more than the 240 that Google takes.
    let mut minute = 60;
    for _ in 0..60 {
        clock.advance(Duration::from_secs(1));
        minute += sent(&a, "phone", 10);
    }
    assert_eq!(minute, 240);
}

#[test]
fn what_a_stranger_sends_in_a_servers_name_is_not_counted_against_it() {
    let tenant = Tenant::new("a").with(|s| (s.rate, s.daily_quota) = (Some(second(1)), Some(1)));
    let stranger = SigningKey::generate();
    for mode in [AuthMode::Required, AuthMode::Observe] {
        let device_rate = Some(second(1));
        let (gate, _) = gate(AdmissionSettings { device_rate, ..settings(mode, &[&tenant]) });
        for _ in 0..10 {
            let _ = gate.admit(from(6), tenant.signed_by(&stranger, "phone"), never);
            let _ = gate.admit(from(6), tenant.unsigned_test(), never);
        }
        assert_eq!(refused(&gate, tenant.push("phone")), None, "{mode:?}");
        assert!(refused(&gate, tenant.push("phone")).is_some(), "{mode:?}: the second one");
    }
}

#[test]
fn an_address_that_is_refused_over_and_over_is_turned_away_unseen_until_its_time() {
    let tenant = Tenant::new("a");
    let stranger = Tenant::new("stranger");
    let refusal_rate = Some(rate(60, Duration::from_mins(1), 3));
    let (gate, clock) = gate(AdmissionSettings { refusal_rate, ..settings(AuthMode::Required, &[&tenant]) });
    for _ in 0..3 {
        assert_eq!(refused(&gate, stranger.push("d")), Some(Refusal::UnknownServer));
    }
    let turned_away = Some(Refusal::AddressRate { retry_after: 1 });
    assert_eq!(refused(&gate, stranger.push("d")), turned_away);
    assert_eq!(refused(&gate, tenant.push("d")), turned_away, "not even its signature is looked at");
    assert!(gate.admit(from(2), tenant.push("d"), never).is_ok(), "another address");
    clock.advance(Duration::from_secs(1));
    assert_eq!(refused(&gate, stranger.push("d")), Some(Refusal::UnknownServer));
    assert_eq!(refused(&gate, stranger.push("d")), turned_away);
    // A rightly signed request clears the address: behind it may be a proxy that serves others too.
    clock.advance(Duration::from_secs(1));
    assert_eq!(refused(&gate, tenant.push("d")), None);
    for _ in 0..3 {
        assert_eq!(refused(&gate, stranger.push("d")), Some(Refusal::UnknownServer));
    }
    assert_eq!(refused(&gate, stranger.push("d")), turned_away);
}

#[test]
fn an_ipv6_subscriber_is_one_address_and_his_neighbour_another() {
    let stranger = Tenant::new("stranger");
    let refusal_rate = Some(second(1));
    let (gate, _) = gate(AdmissionSettings { refusal_rate, ..settings(AuthMode::Required, &[]) });
    for (address, label) in [
        ("2001:db8::1", "unknown_server"),
        ("2001:db8::2", "address_rate"),
        ("2001:db8:0:1::1", "unknown_server"),
        ("192.0.2.1", "unknown_server"),
        ("192.0.2.1", "address_rate"),
    ] {
        let caller = Caller { address: address.parse().unwrap(), certificate: None };
        assert_eq!(gate.admit(caller, stranger.push("d"), never).unwrap_err().label(), label, "{address}");
    }
}

#[test]
fn limits_of_a_proven_server_do_not_count_against_its_address() {
    let tenant = Tenant::new("a")
        .with(|s| (s.rate, s.targets) = (Some(second(5)), Some(BTreeSet::from([TargetName::new("apple_rn")]))));
    let refusal_rate = Some(second(1));
    let (gate, _) = gate(AdmissionSettings { refusal_rate, ..settings(AuthMode::Required, &[&tenant]) });
    for _ in 0..5 {
        let elsewhere = Notification { target: TargetName::new("elsewhere"), ..tenant.push("d") };
        assert_eq!(refused(&gate, elsewhere), Some(Refusal::TargetNotAllowed));
        assert_eq!(refused(&gate, tenant.push("d")), None);
    }
    for _ in 0..5 {
        assert_eq!(refused(&gate, tenant.push("d")), Some(Refusal::ServerRate { retry_after: 1 }));
    }
}

fn with_certificate(certificate: Option<Fingerprint>) -> Caller {
    Caller { certificate, ..from(1) }
}

#[test]
fn a_registered_certificate_stands_for_its_own_server_and_for_no_other() {
    let (own, neighbours, strangers) = ([1; 32], [2; 32], [3; 32]);
    let certified =
        |id: &str, shown| Tenant::new(id).with(|s| (s.certificates, s.schemes.certificate) = (vec![shown], true));
    let tenants = [certified("a", own), certified("b", neighbours), certified("c", own), certified("d", own)];
    let [tenant, neighbour, without_the_scheme, disabled] = tenants;
    let without_the_scheme = without_the_scheme.with(|s| s.schemes.certificate = false);
    let disabled = disabled.with(|s| s.disabled = true);
    let (gate, _) = gate(settings(AuthMode::Required, &[&tenant, &neighbour, &without_the_scheme, &disabled]));
    let unsigned = (Some(Refusal::MissingSignature), Some(Refusal::MissingWebhook));
    let off = (Some(Refusal::ServerDisabled), Some(Refusal::ServerDisabled));
    for (what, shown, sender, refusals) in [
        ("its own", Some(own), &tenant, (None, None)),
        ("none", None, &tenant, unsigned),
        ("a neighbour's", Some(neighbours), &tenant, unsigned),
        ("one that nobody has registered", Some(strangers), &tenant, unsigned),
        ("its own, and certificates are no scheme of its", Some(own), &without_the_scheme, unsigned),
        ("its own, and it is disabled", Some(own), &disabled, off),
    ] {
        let caller = with_certificate(shown);
        let push = Notification { signature: Private::default(), ..sender.push("device") };
        let pushed = gate.admit(caller, push, never).err();
        let proven = gate.prove(caller, Some(sender.settings.id.as_str()), Ok(None), b"{}").err();
        assert_eq!((pushed, proven), refusals, "{what}");
    }
}

#[test]
fn whoever_shows_a_registered_certificate_is_served_at_an_address_that_is_turned_away() {
    let own = [1; 32];
    let tenant = Tenant::new("a").with(|s| (s.certificates, s.schemes.certificate) = (vec![own], true));
    let refusal_rate = Some(rate(1, Duration::from_mins(1), 1));
    let (gate, _) = gate(AdmissionSettings { refusal_rate, ..settings(AuthMode::Required, &[&tenant]) });
    let id = Some(tenant.settings.id.as_str());
    let push = || Notification { signature: Private::default(), ..tenant.push("device") };
    let (certified, stranger) = (with_certificate(Some(own)), with_certificate(None));
    let turned_away = |refusal: Option<Refusal>| matches!(refusal, Some(Refusal::AddressRate { .. }));
    for _ in 0..3 {
        let _ = gate.admit(stranger, push(), never);
    }
    assert!(turned_away(gate.admit(stranger, push(), never).err()));
    assert_eq!(gate.admit(certified, push(), never).err(), None);
    for _ in 0..3 {
        let _ = gate.prove(stranger, id, Ok(None), b"{}");
    }
    assert!(turned_away(gate.prove(stranger, id, Ok(None), b"{}").err()));
    assert!(turned_away(gate.prove(certified, Some("b"), Ok(None), b"{}").err()), "in another's name");
    assert_eq!(gate.prove(certified, id, Ok(None), b"{}").err(), None);
}

#[test]
fn observe_turns_no_address_away() {
    let stranger = Tenant::new("stranger");
    let refusal_rate = Some(second(1));
    let (gate, _) = gate(AdmissionSettings { refusal_rate, ..settings(AuthMode::Observe, &[]) });
    for _ in 0..10 {
        let admitted = gate.admit(from(1), stranger.push("d"), never).unwrap();
        assert_eq!(admitted.observed(), Some(Refusal::UnknownServer));
    }
}

#[test]
fn a_tenant_at_twenty_times_its_rate_changes_nothing_for_another() {
    // Second by second the same quiet tenant, with and without a neighbour that floods, from the same address and to the
    // same phone.
    let quiet = || Tenant::new("quiet").with(|s| (s.rate, s.daily_quota) = (Some(second(5)), Some(80)));
    let flooding = Tenant::new("flooding").with(|s| s.rate = Some(second(10)));
    let admissions = |is_flooded: bool| {
        let quiet = quiet();
        let device_rate = Some(rate(60, Duration::from_mins(1), 30));
        let refusal_rate = Some(rate(60, Duration::from_mins(1), 10));
        let (gate, clock) =
            gate(AdmissionSettings { device_rate, refusal_rate, ..settings(AuthMode::Required, &[&quiet, &flooding]) });
        let mut flooded = 0;
        let admitted: Vec<Vec<Option<&str>>> = (0..12)
            .map(|second| {
                let sent = (0..10).map(|i| {
                    for j in 0..if is_flooded { 20 } else { 0 } {
                        flooded +=
                            u32::from(gate.admit(from(1), flooding.push(&format!("phone-{i}-{j}")), never).is_ok());
                    }
                    let device = if second % 2 == 0 { "phone-0-0".to_owned() } else { format!("phone-{i}-0") };
                    gate.admit(from(1), quiet.push(&device), never).err().map(Refusal::label)
                });
                let sent = sent.collect();
                clock.advance(Duration::from_secs(1));
                sent
            })
            .collect();
        (admitted, flooded)
    };
    let (alone, none) = admissions(false);
    let (flooded, let_through) = admissions(true);
    assert_eq!(alone, flooded);
    assert_eq!((none, let_through), (0, 120), "the flood was held to its rate");
    assert_eq!(alone.iter().flatten().filter(|label| label.is_none()).count(), 60, "5 of 10 each second");
}

#[test]
fn many_threads_of_one_tenant_take_nothing_from_another() {
    let flooding = Tenant::new("flooding").with(|s| s.rate = Some(second(10)));
    let quiet = Tenant::new("quiet").with(|s| s.rate = Some(second(100)));
    let (gate, _) = gate(settings(AuthMode::Required, &[&flooding, &quiet]));
    let (flood, push) = (flooding.push("d"), quiet.push("d"));
    let sent =
        |push: &Notification, count| (0..count).filter(|_| gate.admit(from(1), push.clone(), never).is_ok()).count();
    std::thread::scope(|scope| {
        let floods: Vec<_> = (0..2).map(|_| scope.spawn(|| sent(&flood, 100))).collect();
        let quiet = scope.spawn(|| sent(&push, 120));
        assert_eq!(floods.into_iter().map(|flood| flood.join().unwrap()).sum::<usize>(), 10);
        assert_eq!(quiet.join().unwrap(), 100);
    });
}

#[test]
fn servers_are_replaced_while_requests_run() {
    let (a, b) = (Tenant::new("a"), Tenant::new("b"));
    let (gate, _) = gate(settings(AuthMode::Required, &[&a]));
    let push = a.push("d");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..200).filter(|_| gate.admit(from(1), push.clone(), never).is_ok()).count());
        for _ in 0..200 {
            gate.replace_servers(vec![a.settings.clone(), b.settings.clone()]);
            gate.replace_servers(vec![a.settings.clone()]);
        }
        assert_eq!(reader.join().unwrap(), 200, "a server that stays is never missing");
    });
    gate.replace_servers(vec![b.settings.clone()]);
    assert_eq!(refused(&gate, a.push("d")), Some(Refusal::UnknownServer));
    assert_eq!(refused(&gate, b.push("d")), None);
}

#[test]
fn too_many_unsigned_tests_are_told_when_the_next_may_come() {
    let tenant = Tenant::new("a");
    let (gate, clock) = gate(settings(AuthMode::Required, &[&tenant]));
    for _ in 0..2 {
        assert_eq!(refused(&gate, tenant.unsigned_test()), None);
    }
    assert_eq!(refused(&gate, tenant.unsigned_test()), Some(Refusal::TooManyTests { retry_after: 30 }));
    clock.advance(Duration::from_secs(30));
    assert_eq!(refused(&gate, tenant.unsigned_test()), None);
}
