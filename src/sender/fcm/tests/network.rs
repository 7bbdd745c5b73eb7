//! Connections: refused, distrusted, cut, through a proxy, without HTTP/2.

use super::*;

#[tokio::test]
async fn a_connection_that_is_refused_cannot_have_woken_a_phone() {
    let google = Google::start().await;
    let clock = Clock::manual(NOW);
    let (_reserved, nobody) = closed_port();
    let mut settings = network(&google);
    settings.endpoint = Some(Url::parse(&format!("https://{nobody}")).unwrap());
    assert_eq!(send(&fcm_with(settings, &google, &clock)).await, retry("connect_refused", None, true));

    let (target, settings) = target(network(&google), &format!("https://{nobody}/token"));
    let fcm = Fcm::new(&target, &settings, &clock).unwrap();
    assert_eq!(send(&fcm).await, retry("oauth connect", Some(1), true));
}

#[tokio::test]
async fn a_stranger_at_googles_address_gets_nothing() {
    let google = Google::start().await;
    let stranger = Google::start().await;
    let clock = Clock::manual(NOW);
    let mut settings = network(&google);
    settings.endpoint = Some(Url::parse(&format!("https://{}", stranger.address)).unwrap());
    assert_eq!(send(&fcm_with(settings, &google, &clock)).await, retry("tls", None, true));
    assert_eq!(stranger.fcm.requests(), 0);

    let (target, settings) = target(network(&google), &format!("https://{}/token", stranger.address));
    let fcm = Fcm::new(&target, &settings, &clock).unwrap();
    assert_eq!(send(&fcm).await, retry("oauth tls", Some(1), true));
    assert_eq!(stranger.oauth.requests(), 0);
}

#[tokio::test]
async fn a_proxy_whose_name_cannot_be_resolved_is_called_the_cause() {
    let google = Google::start().await;
    let mut settings = network(&google);
    // A label of more than 63 bytes is no name: the resolver says so without asking anyone.
    let address = Url::parse(&format!("http://{}:3128", "a".repeat(64))).unwrap();
    settings.proxy = ProxySettings::Fixed(Proxy { address, authorization: None });
    let fcm = fcm_with(settings, &google, &Clock::manual(NOW));
    assert_eq!(send(&fcm).await, retry("oauth proxy", Some(1), true));
}

#[tokio::test]
async fn a_peer_with_one_stream_at_a_time_loses_nothing_of_a_burst() {
    let google = Google::start_in(Manner { max_streams: Some(1), ..Manner::default() }).await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    let verdicts = join_all((0..50).map(|_| send(&fcm))).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Delivered), "{verdicts:?}");
    assert_eq!(google.fcm.requests(), 50);
}

#[tokio::test]
async fn a_middlebox_without_http2_costs_no_push_and_is_spoken_to_in_http1() {
    let http1 = Manner { http1: true, ..Manner::default() };
    // The second does not say so; it would just hang up on what it cannot read.
    for manner in [http1, Manner { no_alpn: true, ..http1 }] {
        let google = Google::start_in(manner).await;
        let fcm = fcm(&google, &Clock::manual(NOW));
        for _ in 0..3 {
            assert_eq!(send(&fcm).await, Verdict::Delivered);
        }
        // For tokens and for sends, one that found no HTTP/2 and one without it.
        assert_eq!(google.connections(), 4);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_before_the_first_answer_costs_no_connection_and_does_not_end_http2() {
    let google = Google::start().await;
    let fcm = fcm(&google, &Clock::manual(NOW));
    google.fcm.answer_next(Answer::reset(h2::Reason::INTERNAL_ERROR));
    assert_eq!(send(&fcm).await, retry("stream_reset", None, false));
    for _ in 0..4 {
        assert_eq!(send(&fcm).await, Verdict::Delivered);
    }
    assert_eq!(google.connections(), 2, "one for tokens, one for sends");
}

#[tokio::test]
async fn a_proxy_gets_its_credentials_for_tokens_and_for_sends() {
    let google = Google::start().await;
    let proxy = ForwardProxy::start().await;
    let mut settings = network(&google);
    settings.proxy = through(&proxy, "Basic dXNlcjpwYXNzd29yZA==");
    settings.connections = 1;
    let fcm = fcm_with(settings, &google, &Clock::manual(NOW));
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    let heads = proxy.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 2, "{heads:?}");
    for head in heads {
        assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", google.address)), "{head}");
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_let_us_through_is_called_that() {
    let google = Google::start().await;
    let proxy = ForwardProxy::start().await;
    let mut settings = network(&google);
    settings.proxy = through(&proxy, "Basic wrong");
    let fcm = fcm_with(settings, &google, &Clock::manual(NOW));
    assert_eq!(send(&fcm).await, retry("oauth proxy", Some(1), true));
    assert_eq!(google.connections(), 0);
}

#[tokio::test]
async fn a_cut_connection_costs_at_most_the_attempt_on_it() {
    let google = Google::start().await;
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = network(&google);
    settings.endpoint = Some(Url::parse(&format!("https://{}", front.local_addr().unwrap())).unwrap());
    settings.connections = 1;
    let fcm = fcm_with(settings, &google, &Clock::manual(NOW));
    for _ in 0..3 {
        let forward = async {
            let (mut client, _) = front.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(google.address).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        };
        // `forward` ends with the round, and the connection with it.
        let round = async {
            match send(&fcm).await {
                Verdict::Delivered => {}
                // The last round's connection, which the client has not yet seen to be gone.
                verdict => {
                    assert_eq!(verdict, retry("connection_lost", None, false));
                    assert_eq!(send(&fcm).await, Verdict::Delivered);
                }
            }
        };
        tokio::select! {
            () = round => {}
            () = forward => panic!("nobody else closes it"),
        }
    }
}
