//! FCM's answers, and those that do not come.

use super::*;

#[tokio::test]
async fn each_answer_over_the_wire_has_its_verdict() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    for (status, body, pause, verdict) in table() {
        let mut answer = Answer::new(status, body);
        if let Some(seconds) = pause {
            answer = answer.retry_after(&seconds.to_string());
        }
        google.fcm.answer_next(answer);
        assert_eq!(send(&fcm).await, verdict, "{status}");
    }
    assert_eq!(google.connections(), 2, "no answer costs a connection");
}

#[tokio::test]
async fn what_google_calls_a_message_is_known_where_it_said_so() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    let name = r#"{"name": "projects/chat-1a2b3/messages/0:15%31bd"}"#;
    for (status, body, id) in [
        (200, name, Some("0:15%31bd")),
        (200, "", None),
        (200, r#"{"name": 1}"#, None),
        (200, r#"{"name": "projects/chat-1a2b3/messages/<b>"}"#, None),
        (503, name, None),
    ] {
        google.fcm.answer_next(Answer::new(status, body));
        let attempt = fcm.attempt(&prepared(&fcm), Patience::of(PLENTY), NoWay::GiveUp).await;
        assert_eq!(attempt.provider_id.map(|id| id.to_string()).as_deref(), id, "{status} {body}");
        assert_eq!(attempt.verdict == Verdict::Delivered, status == 200 && body.contains("projects/"), "{body}");
    }
}

#[tokio::test]
async fn a_retry_after_that_is_a_date_counts_from_the_clock() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    google.fcm.answer_next(Answer::new(503, "").retry_after("Sun, 06 Nov 1994 08:50:07 GMT"));
    assert_eq!(send(&fcm).await, retry("HTTP 503", Some(30), false));
}

#[test]
fn an_error_whose_body_breaks_off_says_nothing_about_the_phone() {
    let cases = [
        (404, retry("connection_lost", None, false)),
        (403, retry("connection_lost", None, false)),
        (401, retry("connection_lost", None, false)),
        (400, retry("connection_lost", None, false)),
        (200, Verdict::Delivered),
        (429, quota("HTTP 429")),
        (503, retry("HTTP 503", None, false)),
    ];
    for (status, verdict) in cases {
        assert_eq!(
            judge(StatusCode::from_u16(status).unwrap(), Err(Trouble::ConnectionLost), true, None),
            verdict,
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_may_have_woken_the_phone() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    google.fcm.answer_next(Answer::reset(h2::Reason::INTERNAL_ERROR));
    assert_eq!(send(&fcm).await, retry("stream_reset", None, false));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
}

#[tokio::test]
async fn a_refused_stream_cannot_have_woken_a_phone_and_is_first_tried_again_at_once() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    google.fcm.answer_next(Answer::reset(h2::Reason::REFUSED_STREAM));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(google.fcm.requests(), 2);
    for _ in 0..4 {
        google.fcm.answer_next(Answer::reset(h2::Reason::REFUSED_STREAM));
    }
    assert_eq!(send(&fcm).await, retry("refused_stream", None, true));
    assert_eq!(google.fcm.requests(), 6);
}

#[tokio::test]
async fn only_the_beginning_of_an_endless_answer_is_read() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    let detail = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"});
    let mut body = json!({"error": {"details": [detail]}}).to_string();
    body.push_str(&" ".repeat(1024 * 1024));
    body.push('x');
    google.fcm.answer_next(Answer::new(404, body));
    // What fits is valid by itself.
    assert_eq!(send(&fcm).await, Verdict::Remove { reason: "UNREGISTERED", ambiguous: false });
    assert_eq!(send(&fcm).await, Verdict::Delivered);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_may_have_woken_the_phone() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    google.fcm.hold();
    assert_eq!(
        fcm.attempt(&prepared(&fcm), Patience::of(SHORT), NoWay::GiveUp).await.verdict,
        retry("timeout", None, false)
    );
}
