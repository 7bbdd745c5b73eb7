use std::num::NonZeroU32;
use std::time::Duration;

use super::*;
use crate::admission::signing::SigningKey;

/// Noon of a day.
const NOON: u64 = 20_000 * DAY + DAY / 2;

fn nonzero(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn rate(per_second: u32) -> Rate {
    Rate::new(nonzero(per_second), Duration::from_secs(1), nonzero(per_second))
}

fn server(id: &str) -> ServerSettings {
    ServerSettings {
        id: ServerId::new(id).unwrap(),
        name: id.to_uppercase(),
        site: None,
        keys: ServerKeys::default(),
        webhook_keys: WebhookKeys::default(),
        schemes: Schemes::default(),
        targets: None,
        rate: None,
        daily_quota: None,
        disabled: false,
        certificates: Vec::new(),
    }
}

fn registry(servers: Vec<ServerSettings>) -> Registry {
    Registry::new(servers, rate(1), Clock::manual(NOON))
}

fn find(registry: &Registry, id: &str) -> Arc<Server> {
    registry.load().get(&ServerId::new(id).unwrap()).cloned().unwrap()
}

fn shown(changes: &Changes) -> [String; 3] {
    [&changes.added, &changes.changed, &changes.removed].map(ToString::to_string)
}

#[test]
fn a_replacement_says_who_was_added_changed_and_removed() {
    let registry = registry(vec![server("a"), server("b"), server("c")]);
    let changes = registry.replace(vec![server("a"), ServerSettings { disabled: true, ..server("b") }, server("d")]);
    assert_eq!(shown(&changes), ["D", "B", "C"]);
    assert!(!changes.is_empty());
    assert!(
        registry.replace(vec![server("d"), ServerSettings { disabled: true, ..server("b") }, server("a")]).is_empty()
    );
    assert_eq!(registry.load().len(), 3);
}

#[test]
fn every_kind_of_change_is_one() {
    let key = SigningKey::generate().verifying_key();
    let mut keys = ServerKeys::default();
    keys.add(key.clone(), None);
    let mut ending = ServerKeys::default();
    ending.add(key, Some(NOON));
    let mut webhook_keys = WebhookKeys::default();
    let text = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    webhook_keys.add(WebhookKey::from_text(text).unwrap(), text);
    let variants = [
        server("a"),
        ServerSettings { name: "other".into(), ..server("a") },
        ServerSettings { keys, ..server("a") },
        ServerSettings { keys: ending, ..server("a") },
        ServerSettings { webhook_keys, ..server("a") },
        ServerSettings { schemes: Schemes { webhook: true, ..Schemes::default() }, ..server("a") },
        ServerSettings { targets: Some(BTreeSet::new()), ..server("a") },
        ServerSettings { rate: Some(rate(1)), ..server("a") },
        ServerSettings { daily_quota: Some(1), ..server("a") },
        ServerSettings { disabled: true, ..server("a") },
    ];
    for (i, before) in variants.iter().enumerate() {
        for (j, after) in variants.iter().enumerate() {
            let changes = registry(vec![before.clone()]).replace(vec![after.clone()]);
            assert_eq!(changes.changed.count, usize::from(i != j), "{i} to {j}");
        }
    }
}

#[test]
fn what_a_server_has_used_outlives_a_change_of_its_settings() {
    let limited = || ServerSettings { rate: Some(rate(2)), daily_quota: Some(3), ..server("a") };
    let registry = registry(vec![limited()]);
    let use_up = |server: &Server| {
        (0..10)
            .map(|_| server.count_against_rate().is_ok() && server.count_against_quota(NOON).is_ok())
            .filter(|ok| *ok)
            .count()
    };
    assert_eq!(use_up(&find(&registry, "a")), 2);
    find(&registry, "a").count_unsigned_test().unwrap();
    registry.replace(vec![ServerSettings { name: "renamed".into(), ..limited() }]);
    let after = find(&registry, "a");
    assert_eq!(after.settings().name, "renamed");
    assert_eq!(use_up(&after), 0, "the bucket is as empty as it was");
    assert!(after.count_unsigned_test().is_err());
    // Another rate is another bucket, but the day's count goes on.
    registry.replace(vec![ServerSettings { rate: Some(rate(5)), ..limited() }]);
    assert_eq!(use_up(&find(&registry, "a")), 1);
    // Who was gone starts anew.
    registry.replace(vec![]);
    registry.replace(vec![limited()]);
    assert_eq!(use_up(&find(&registry, "a")), 2);
}

#[test]
fn a_reader_keeps_the_state_that_it_has_loaded() {
    let registry = registry(vec![server("a")]);
    let before = registry.load();
    registry.replace(vec![server("b")]);
    assert!(before.contains_key(&ServerId::new("a").unwrap()));
    assert!(!registry.load().contains_key(&ServerId::new("a").unwrap()));
}

#[test]
fn a_day_ends_at_midnight_utc_and_the_wait_until_then_is_true() {
    let day = Day::default();
    let refused = |retry_after| Err(Refusal::DailyQuota { retry_after });
    assert_eq!(day.count(Some(2), NOON), Ok(()));
    assert_eq!(day.count(Some(2), NOON + 1), Ok(()));
    assert_eq!(day.count(Some(2), NOON + 2), refused(43_198));
    let midnight = NOON + DAY / 2;
    assert_eq!(day.count(Some(2), midnight - 1), refused(1));
    assert_eq!(day.count(Some(2), midnight), Ok(()));
    // A clock that is set back does not give yesterday's quota again.
    assert_eq!(day.count(Some(2), midnight - 1), Ok(()));
    assert_eq!(day.count(Some(2), midnight - 1), refused(86_401));
    // A quota that is lowered or raised counts what was sent already.
    assert_eq!(day.count(Some(1), midnight), refused(86_400));
    assert_eq!(day.count(Some(3), midnight), Ok(()));
    assert_eq!(day.count(None, midnight), Ok(()));
    assert_eq!(day.count(Some(4), midnight), refused(86_400));
}

#[test]
fn many_threads_together_get_no_more_than_the_quota() {
    let day = Day::default();
    let sent: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..1_000).filter(|_| day.count(Some(1_500), NOON).is_ok()).count()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(sent, 1_500);
}

#[test]
fn keys_count_to_their_last_second_and_no_longer() {
    let [early, late, endless] = [(), (), ()].map(|()| SigningKey::generate().verifying_key());
    let mut keys = ServerKeys::default();
    keys.add(early.clone(), Some(100));
    keys.add(endless.clone(), None);
    keys.add(late.clone(), Some(200));
    for (now, live) in [
        (0, vec![&endless, &late, &early]),
        (100, vec![&endless, &late, &early]),
        (101, vec![&endless, &late]),
        (200, vec![&endless, &late]),
        (201, vec![&endless]),
        (u64::MAX, vec![&endless]),
    ] {
        assert_eq!(keys.live(now).iter().collect::<Vec<_>>(), live, "{now}");
        assert_eq!(keys.ended(now).count() + live.len(), keys.len());
    }
    assert_eq!(keys.ended(150).map(|(key, until)| (key == &early, until)).collect::<Vec<_>>(), [(true, 100)]);
}

#[test]
fn an_account_of_a_thousand_servers_stays_a_line() {
    let servers = (0..1_000).map(|i| ServerSettings { name: "ä".repeat(100), ..server(&i.to_string()) }).collect();
    let changes = registry(vec![]).replace(servers);
    assert_eq!(changes.added.count, 1_000);
    let text = changes.added.to_string();
    assert!(text.ends_with(" and 990 more") && text.len() < 700, "{text}");
}

#[test]
fn no_debug_print_shows_what_webhooks_are_signed_with() {
    let text = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let mut keys = WebhookKeys::default();
    keys.add(WebhookKey::from_text(text).unwrap(), text);
    let printed = format!("{keys:?}");
    assert!(!printed.contains("C2FV") && printed.contains("TextDigest([private])"), "{printed}");
}
