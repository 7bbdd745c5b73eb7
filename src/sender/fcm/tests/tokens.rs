//! Access tokens: shared, renewed ahead of time, thrown away when they are not taken, and missed.

use super::*;

#[tokio::test]
async fn two_hundred_first_sends_share_one_token_request_and_the_configured_connections() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    google.oauth.hold();
    let sends = join_all((0..200).map(|_| send(&fcm)));
    let release = async {
        google.oauth.until_requests(1).await;
        google.oauth.release();
    };
    let (verdicts, ()) = tokio::join!(sends, release);
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Delivered), "{verdicts:?}");
    assert_eq!(google.oauth.requests(), 1);
    assert_eq!(google.fcm.requests(), 200);
    assert_eq!(google.connections(), 1 + 2, "one for tokens, two for sends");
    assert_eq!(*google.issued_at.lock().unwrap(), [NOW]);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_while_sends_go_on_with_the_old_one() {
    let google = Google::start().await;
    let clock = Clock::manual(NOW);
    let fcm = fcm(&google, &clock);
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    clock.advance(Duration::from_secs(799));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(google.oauth.requests(), 1);

    google.oauth.hold();
    clock.advance(Duration::from_secs(1));
    for _ in 0..10 {
        assert_eq!(send(&fcm).await, Verdict::Delivered);
    }
    google.oauth.until_requests(2).await;
    google.oauth.release();
    fcm.tokens.settled().await;
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(google.oauth.requests(), 2);
    let bearers = google.bearers.lock().unwrap().clone();
    assert!(bearers[..12].iter().all(|bearer| bearer == "Bearer access-1"), "{bearers:?}");
    assert_eq!(bearers[12], "Bearer access-2");
    assert_eq!(*google.issued_at.lock().unwrap(), [NOW, NOW + 800]);
}

#[tokio::test]
async fn a_renewal_that_fails_costs_no_send_while_the_old_token_lasts() {
    let google = Google::start().await;
    let clock = Clock::manual(NOW);
    let fcm = fcm(&google, &clock);
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    google.oauth.answer_next(Answer::new(503, ""));
    clock.advance(Duration::from_secs(800));
    for _ in 0..5 {
        assert_eq!(send(&fcm).await, Verdict::Delivered);
        fcm.tokens.settled().await;
    }
    assert_eq!(google.oauth.requests(), 2);
    clock.advance(Duration::from_secs(1));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    fcm.tokens.settled().await;
    assert_eq!(google.oauth.requests(), 3);
}

#[tokio::test]
async fn a_token_past_its_use_is_waited_for() {
    let google = Google::start().await;
    let clock = Clock::manual(NOW);
    let fcm = fcm(&google, &clock);
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    clock.advance(Duration::from_secs(950));
    *google.oldest_valid.lock().unwrap() = 2;
    assert_eq!(send(&fcm).await, Verdict::Delivered);
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_thrown_away_and_the_next_attempt_has_a_new_one() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    *google.oldest_valid.lock().unwrap() = 2;
    assert_eq!(send(&fcm).await, Verdict::NewCredential { reason: "UNAUTHENTICATED" });
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(*google.bearers.lock().unwrap(), ["Bearer access-1", "Bearer access-2"]);
}

#[tokio::test]
async fn a_hundred_refusals_of_one_token_lead_to_one_new_token() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    *google.oldest_valid.lock().unwrap() = 2;
    google.fcm.hold();
    let twice = join_all((0..100).map(|_| async { (send(&fcm).await, send(&fcm).await) }));
    let release = async {
        google.fcm.until_requests(101).await;
        google.fcm.release();
    };
    let (verdicts, ()) = tokio::join!(twice, release);
    for verdicts in verdicts {
        assert_eq!(verdicts, (Verdict::NewCredential { reason: "UNAUTHENTICATED" }, Verdict::Delivered));
    }
    assert_eq!(google.oauth.requests(), 2);
}

#[tokio::test]
async fn a_late_refusal_of_an_older_token_leaves_the_newer_one_alone() {
    let google = Google::start().await;
    let clock = Clock::manual(NOW);
    let fcm = fcm(&google, &clock);
    let older = fcm.tokens.get().await.unwrap();
    clock.advance(Duration::from_secs(800));
    fcm.tokens.get().await.unwrap();
    fcm.tokens.settled().await;
    fcm.tokens.discard(&older);
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(*google.bearers.lock().unwrap(), ["Bearer access-2"]);
    assert_eq!(google.oauth.requests(), 2);
}

#[tokio::test]
async fn a_new_token_that_is_refused_as_well_is_not_replaced_before_a_minute_has_passed() {
    let google = Google::start().await;
    let clock = Clock::manual(NOW);
    let fcm = fcm(&google, &clock);
    *google.oldest_valid.lock().unwrap() = usize::MAX;
    for _ in 0..10 {
        assert_eq!(send(&fcm).await, Verdict::NewCredential { reason: "UNAUTHENTICATED" });
    }
    assert_eq!(google.oauth.requests(), 2);
    clock.advance(Duration::from_mins(1));
    *google.oldest_valid.lock().unwrap() = 3;
    assert_eq!(send(&fcm).await, Verdict::NewCredential { reason: "UNAUTHENTICATED" });
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(google.oauth.requests(), 3);
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_is_left_alone_for_a_while_and_then_asked_again() {
    let google = Google::start().await;
    let clock = Clock::manual(NOW);
    let fcm = fcm(&google, &clock);
    google.oauth.answer_next(Answer::new(503, "<html>"));
    google.oauth.answer_next(Answer::new(503, "<html>").retry_after("7"));
    assert_eq!(send(&fcm).await, retry("oauth unavailable", Some(1), true));
    let verdicts = join_all((0..50).map(|_| send(&fcm))).await;
    assert!(verdicts.iter().all(|verdict| *verdict == retry("oauth unavailable", Some(1), true)), "{verdicts:?}");
    assert_eq!(google.oauth.requests(), 1);

    clock.advance(Duration::from_secs(1));
    assert_eq!(send(&fcm).await, retry("oauth unavailable", Some(7), true));
    clock.advance(Duration::from_secs(5));
    assert_eq!(send(&fcm).await, retry("oauth unavailable", Some(2), true));
    clock.advance(Duration::from_secs(2));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(google.oauth.requests(), 3);
    assert_eq!(fcm.credential_problem(), None);
}

#[tokio::test]
async fn a_failed_token_request_is_shared_by_all_who_waited() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    google.oauth.hold();
    google.oauth.answer_next(Answer::new(500, ""));
    let sends = join_all((0..50).map(|_| send(&fcm)));
    let release = async {
        google.oauth.until_requests(1).await;
        google.oauth.release();
    };
    let (verdicts, ()) = tokio::join!(sends, release);
    assert!(verdicts.iter().all(|verdict| *verdict == retry("oauth unavailable", Some(1), true)), "{verdicts:?}");
    assert_eq!(google.oauth.requests(), 1);
}

#[tokio::test]
async fn a_refused_account_is_told_to_the_operator_until_a_token_is_granted() {
    let google = Google::start().await;
    let clock = Clock::manual(NOW);
    let fcm = fcm(&google, &clock);
    let refusal = json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."});
    google.oauth.answer_next(Answer::new(400, refusal.to_string()));
    google.oauth.answer_next(Answer::new(503, ""));
    assert_eq!(fcm.credential_problem(), None);
    assert_eq!(send(&fcm).await, Verdict::TargetBroken { reason: "oauth invalid_grant" });
    assert_eq!(send(&fcm).await, Verdict::TargetBroken { reason: "oauth invalid_grant" });
    assert_eq!(google.oauth.requests(), 1);
    let problem = fcm.credential_problem().unwrap();
    assert!(problem.contains("create a new key") && problem.contains("push@chat-1a2b3"), "{problem}");

    clock.advance(Duration::from_secs(1));
    assert_eq!(send(&fcm).await, retry("oauth unavailable", Some(2), true));
    assert!(fcm.credential_problem().is_some(), "an outage does not mend the key");

    clock.advance(Duration::from_secs(2));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(fcm.credential_problem(), None);
}

#[tokio::test]
async fn a_send_that_gives_up_waiting_takes_no_token_away_from_the_others() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    google.oauth.hold();
    assert_eq!(
        fcm.attempt(&prepared(&fcm), Patience::of(SHORT), NoWay::GiveUp).await.verdict,
        retry("oauth timeout", None, true)
    );
    let release = async {
        google.oauth.until_requests(1).await;
        google.oauth.release();
    };
    let (verdict, ()) = tokio::join!(send(&fcm), release);
    assert_eq!(verdict, Verdict::Delivered);
    assert_eq!(google.oauth.requests(), 1);
}
