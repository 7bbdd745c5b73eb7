//! How hard the relay tries: from sections to settings, and what must hold between their keys.

use std::path::Path;
use std::time::Duration;

use super::document::Document;
use super::finding::Findings;
use super::keys;
use super::values::Values;
use crate::delivery::DeliverySettings;
use crate::delivery::breaker::BreakerSettings;
use crate::delivery::lifetime::LifetimeSettings;
use crate::delivery::removal_guard::RemovalGuardSettings;

/// How long a Mattermost server waits for the answer to a push before it gives up and loses it.
const MATTERMOST_WAITS: Duration = Duration::from_secs(30);

pub(super) fn delivery(
    document: &mut Document,
    directory: &Path,
    shutdown_deadline: Duration,
    findings: &mut Findings,
) -> DeliverySettings {
    let delivery = Values::check(document.section(&keys::DELIVERY), directory, findings);
    let settings = DeliverySettings {
        deadline: delivery.duration("deadline"),
        attempt_timeout: delivery.duration("attempt_timeout"),
        max_attempts: delivery.number("max_attempts"),
        first_pause: delivery.duration("first_pause"),
    };
    // The one that was given is the one to be told.
    let told = |name| if delivery.was_given(name) { name } else { "deadline" };
    let wrong = delivery.is_wrong("deadline") || delivery.is_wrong("attempt_timeout");
    if !wrong && settings.attempt_timeout > settings.deadline {
        let what = "one attempt (attempt_timeout) may take longer than the whole delivery (deadline)";
        delivery.problem(findings, told("attempt_timeout"), what, "lower attempt_timeout or raise deadline");
    }
    if settings.deadline >= MATTERMOST_WAITS {
        let what = "is not below the 30 s that Mattermost waits: later answers are lost, and with them dead tokens";
        delivery.warning(findings, "deadline", what, "stay a few seconds below 30s");
    }
    if shutdown_deadline < settings.deadline {
        let what = "is longer than shutdown_deadline: a stop may cut deliveries off";
        delivery.warning(findings, "deadline", what, "raise shutdown_deadline, or lower delivery.deadline");
    }
    settings
}

pub(super) fn lifetimes(document: &mut Document, directory: &Path, findings: &mut Findings) -> LifetimeSettings {
    let ttl = Values::check(document.section(&keys::TTL), directory, findings);
    LifetimeSettings {
        message: ttl.duration("message"),
        call: ttl.duration("call"),
        badge: ttl.duration("badge"),
        session: ttl.duration("session"),
    }
}

pub(super) fn breaker(document: &mut Document, directory: &Path, findings: &mut Findings) -> BreakerSettings {
    let breaker = Values::check(document.section(&keys::BREAKER), directory, findings);
    let settings = BreakerSettings {
        failures: breaker.number("failures"),
        first_pause: breaker.duration("first_pause"),
        longest_pause: breaker.duration("longest_pause"),
    };
    let wrong = breaker.is_wrong("first_pause") || breaker.is_wrong("longest_pause");
    if !wrong && settings.first_pause > settings.longest_pause {
        let told = if breaker.was_given("first_pause") { "first_pause" } else { "longest_pause" };
        let what = "the first pause (first_pause) is longer than the longest (longest_pause)";
        breaker.problem(findings, told, what, "lower first_pause or raise longest_pause");
    }
    settings
}

pub(super) fn removal_guard(
    document: &mut Document,
    directory: &Path,
    findings: &mut Findings,
) -> Option<RemovalGuardSettings> {
    let guard = Values::check(document.section(&keys::REMOVAL_GUARD), directory, findings);
    guard.flag("enabled").then(|| RemovalGuardSettings {
        count: guard.number("count"),
        share_percent: guard.number("share_percent"),
        window: guard.duration("window"),
    })
}
