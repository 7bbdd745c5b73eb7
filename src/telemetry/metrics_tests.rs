//! The exposition is an interface: dashboards read it.

use super::*;

/// The samples of one family, without its help and type.
fn samples(metrics: &Metrics, name: &str) -> Vec<String> {
    metrics.render().lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn nothing_labelled_is_shown_before_it_counts() {
    let metrics = Metrics::without_process("1.2.3");
    for line in metrics.render().lines().filter(|line| !line.starts_with('#')) {
        assert!(!line.contains("platform="), "{line}");
    }
    assert_eq!(samples(&metrics, "pushrelay_build_info"), ["pushrelay_build_info{version=\"1.2.3\"} 1"]);
}

#[test]
fn a_success_with_a_receipt_counts_as_the_reference_counts_it() {
    let metrics = Metrics::without_process("x");
    metrics.notification(Platform::Apple, &PushKind::Message, Transport::Standard, 2);
    metrics.success(Platform::Apple, &PushKind::Message, Transport::Standard, true);
    metrics.success(Platform::Apple, &PushKind::Message, Transport::Voip, false);
    let text = metrics.render();
    let service: Vec<_> = text.lines().filter(|line| line.contains("service_") && line.contains("_total")).collect();
    assert_eq!(
        service,
        [
            "# HELP service_bad_request_total Request to push proxy was a bad request",
            "# TYPE service_bad_request_total counter",
            "service_bad_request_total 0",
            "# HELP service_notifications_by_app_version_total Number of notifications sent by the version of the app's protocol",
            "# TYPE service_notifications_by_app_version_total counter",
            "service_notifications_by_app_version_total{app_version=\"2\",platform=\"apple\"} 1",
            "# HELP service_notifications_total Number of notifications sent",
            "# TYPE service_notifications_total counter",
            "service_notifications_total{platform=\"apple\",transport=\"\",type=\"message\"} 1",
            "# HELP service_success_total Number of push success.",
            "# TYPE service_success_total counter",
            "service_success_total{platform=\"apple\",transport=\"\",type=\"message\"} 1",
            "service_success_total{platform=\"apple\",transport=\"voip\",type=\"message\"} 1",
            "# HELP service_success_with_ack_total Number of push success that contains ackId.",
            "# TYPE service_success_with_ack_total counter",
            "service_success_with_ack_total{platform=\"apple\",transport=\"\",type=\"message\"} 1",
        ]
    );
}

#[test]
fn a_removal_is_a_failure_with_a_reason_too() {
    let metrics = Metrics::without_process("x");
    metrics.removal(Platform::Android, &PushKind::Clear, Transport::Standard, "UNREGISTERED");
    assert_eq!(
        samples(&metrics, "service_removal_total"),
        ["service_removal_total{platform=\"android\",reason=\"UNREGISTERED\",transport=\"\"} 1"]
    );
    assert_eq!(
        samples(&metrics, "service_failure_with_reason_total"),
        [
            "service_failure_with_reason_total{platform=\"android\",reason=\"UNREGISTERED\",transport=\"\",type=\"clear\"} 1"
        ]
    );
    assert_eq!(
        samples(&metrics, "service_failure_total"),
        ["service_failure_total{platform=\"android\",transport=\"\",type=\"clear\"} 1"]
    );
}

#[test]
fn no_caller_can_add_a_series() {
    let metrics = Metrics::without_process("x");
    for i in 0..100 {
        metrics.acknowledged(&format!("stranger{i}"), &format!("kind{i}"));
        metrics.acknowledged(&format!("apple{i}"), "message");
        metrics.notification(Platform::Apple, &PushKind::Other(format!("kind{i}")), Transport::Other, 100 + i);
    }
    assert_eq!(
        samples(&metrics, "service_delivered_total"),
        [
            "service_delivered_total{platform=\"apple\",transport=\"\",type=\"message\"} 100",
            "service_delivered_total{platform=\"other\",transport=\"\",type=\"other\"} 100",
        ]
    );
    assert_eq!(
        samples(&metrics, "service_notifications_total"),
        ["service_notifications_total{platform=\"apple\",transport=\"other\",type=\"other\"} 100"]
    );
    assert_eq!(
        samples(&metrics, "service_notifications_by_app_version_total"),
        ["service_notifications_by_app_version_total{app_version=\"other\",platform=\"apple\"} 100"]
    );
}

#[test]
fn a_receipt_counts_by_what_the_phone_calls_itself_among_known_words() {
    let table = [
        ("ios", "ios"),
        ("android", "android"),
        ("apple", "apple"),
        ("apple_rn-v2", "apple"),
        ("apple_rnbeta", "apple"),
        ("android_rn-v2", "android"),
        ("iOS", "other"),
        ("ios-17", "other"),
        ("", "other"),
    ];
    for (said, label) in table {
        let metrics = Metrics::without_process("x");
        metrics.acknowledged(said, "message");
        assert_eq!(
            samples(&metrics, "service_delivered_total"),
            [format!("service_delivered_total{{platform=\"{label}\",transport=\"\",type=\"message\"}} 1")],
            "{said}"
        );
    }
}

#[test]
fn each_combination_of_labels_has_a_cell_of_its_own() {
    let metrics = Metrics::without_process("x");
    for platform in Platform::ALL {
        for kind in PushKind::LABELS.map(PushKind::from_wire) {
            for transport in Transport::LABELS.map(Transport::from_wire) {
                metrics.success(platform, &kind, transport, false);
            }
        }
    }
    let lines = samples(&metrics, "service_success_total{");
    assert_eq!(lines.len(), 36);
    assert!(lines.iter().all(|line| line.ends_with(" 1")), "{lines:?}");
}

#[test]
fn an_attempt_counts_by_target_and_verdict_and_lands_in_its_providers_histogram() {
    let metrics = Metrics::without_process("x");
    let target = metrics.target(&TargetName::new("apple_rn"), Platform::Apple);
    target.attempt(&Verdict::Delivered, Duration::from_millis(30));
    target.attempt(&Verdict::TargetBroken { reason: "BadTopic" }, Duration::from_millis(700));
    assert_eq!(
        samples(&metrics, "pushrelay_attempts_total"),
        [
            "pushrelay_attempts_total{target=\"apple_rn\",verdict=\"delivered\"} 1",
            "pushrelay_attempts_total{target=\"apple_rn\",verdict=\"target_broken\"} 1",
        ]
    );
    assert_eq!(
        samples(&metrics, "pushrelay_attempt_reasons_total"),
        ["pushrelay_attempt_reasons_total{reason=\"BadTopic\",target=\"apple_rn\"} 1"]
    );
    let buckets = [
        ("0.005", 0),
        ("0.01", 0),
        ("0.025", 0),
        ("0.05", 1),
        ("0.1", 1),
        ("0.25", 1),
        ("0.5", 1),
        ("1", 2),
        ("2.5", 2),
        ("5", 2),
        ("10", 2),
        ("+Inf", 2),
    ];
    let expected: Vec<_> = buckets
        .iter()
        .map(|(le, count)| format!("service_apns_request_duration_seconds_bucket{{le=\"{le}\"}} {count}"))
        .collect();
    assert_eq!(samples(&metrics, "service_apns_request_duration_seconds_bucket"), expected);
    assert_eq!(
        samples(&metrics, "service_fcm_request_duration_seconds_count"),
        ["service_fcm_request_duration_seconds_count 0"]
    );
    assert_eq!(
        samples(&metrics, "service_notification_duration_seconds_count"),
        ["service_notification_duration_seconds_count{platform=\"apple\"} 2"]
    );
}

#[test]
fn a_target_shows_whether_it_can_deliver_and_when_its_certificate_ends() {
    let metrics = Metrics::without_process("x");
    metrics.targets().set(&TargetName::new("apple_rn"), false, Some(1_800_000_000), Some(-3));
    metrics.targets().set(&TargetName::new("android_rn"), true, None, None);
    assert_eq!(
        samples(&metrics, "pushrelay_target_ready{"),
        ["pushrelay_target_ready{target=\"android_rn\"} 1", "pushrelay_target_ready{target=\"apple_rn\"} 0"]
    );
    assert_eq!(
        samples(&metrics, "pushrelay_credential_expires_timestamp_seconds{"),
        ["pushrelay_credential_expires_timestamp_seconds{target=\"apple_rn\"} 1800000000"]
    );
    assert_eq!(
        samples(&metrics, "pushrelay_credential_expires_days{"),
        ["pushrelay_credential_expires_days{target=\"apple_rn\"} -3"]
    );
    // A key takes the certificate's place.
    metrics.targets().set(&TargetName::new("apple_rn"), true, None, None);
    for name in ["pushrelay_credential_expires_timestamp_seconds{", "pushrelay_credential_expires_days{"] {
        assert!(samples(&metrics, name).is_empty(), "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_processs_own_figures_are_there() {
    let text = Metrics::new("x", DroppedLines::default()).render();
    for (name, kind) in [
        ("process_cpu_seconds_total", "counter"),
        ("process_open_fds", "gauge"),
        ("process_max_fds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
        ("process_virtual_memory_max_bytes", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("pushrelay_log_lines_dropped_total", "counter"),
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is missing");
        assert!(text.lines().any(|line| line == format!("# TYPE {name} {kind}")), "{name} is no {kind}");
    }
}

#[test]
fn what_a_journal_dropped_is_there_if_there_is_a_journal() {
    let metrics = Metrics::new("x", DroppedLines::default());
    let name = "pushrelay_journal_lines_dropped_total";
    assert!(!metrics.render().contains(name));
    metrics.journal(|| 7);
    assert!(metrics.render().lines().any(|line| line == format!("{name} 7")));
}
