//! The status page as an operator's browser meets it: what it shows, to whom, what it allows itself, and how it lives.

use std::pin::pin;
use std::time::Duration;

use pushrelay::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::push::apple_token;
use crate::support::{PATIENCE, Plan, Push, SERVER, Scene};

/// A server that calls itself this wants to run in an operator's browser, and to send events of its own making.
const HOSTILE: &str = "<script>alert(1)</script>\"'\r\n\r\nevent: x";

/// The same on the page.
const HARMLESS: &str = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;\u{fffd}\u{fffd}\u{fffd}\u{fffd}event: x";

/// As many as there may be watchers.
const WATCHERS: usize = 32;

async fn with_clock(plan: Plan) -> (Scene, Clock) {
    let clock = Clock::manual(1_790_000_000);
    (Scene::new(Plan { clock: Some(clock.clone()), ..plan }).await, clock)
}

/// Turns the clock on, second by second, until the page says this.
async fn wait_for_page(scene: &Scene, clock: &Clock, words: &str) -> String {
    let said = async {
        loop {
            clock.advance(Duration::from_secs(1));
            let (status, page) = scene.get("/status").await;
            assert_eq!(status, 200);
            if text(&page).contains(words) {
                return page;
            }
        }
    };
    tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("the page never said {words:?}"))
}

/// What a person reads of it.
fn text(html: &str) -> String {
    let pieces = html.split('<').filter_map(|piece| piece.split_once('>').map(|(_, text)| text));
    pieces.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// A GET on a connection of its own, with the answer's head read.
struct Watching {
    stream: TcpStream,
    head: String,
    read: String,
}

impl Watching {
    async fn open(scene: &Scene, path: &str) -> Self {
        let mut stream = TcpStream::connect(scene.relay).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut watching = Self { stream, head: String::new(), read: String::new() };
        while !watching.read.contains("\r\n\r\n") {
            assert!(watching.more().await, "the connection ended before an answer");
        }
        let (head, rest) = watching.read.split_once("\r\n\r\n").unwrap();
        (watching.head, watching.read) = (head.to_owned(), rest.to_owned());
        watching
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// Reads on; `false` if there is no more.
    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("something to read");
        let read = read.unwrap_or(0);
        self.read.push_str(&String::from_utf8_lossy(&buffer[..read]));
        read > 0
    }

    async fn ends(&mut self) -> bool {
        while self.more().await {}
        self.read.ends_with("\r\n0\r\n\r\n")
    }
}

#[tokio::test]
async fn it_shows_what_was_sent_and_what_became_of_it() {
    let (scene, clock) = with_clock(Plan::default()).await;
    for number in 0..3 {
        scene.post(&Push::apple(&apple_token(number))).await.expect_ok();
    }
    scene.post(&Push::android("android-1")).await.expect_ok();
    let bad = format!("dead5400{:056x}", 0);
    assert_eq!(scene.post(&Push::apple(&bad).with("ack_id", "ack-of-the-bad-one")).await.status, "FAIL");
    assert_eq!(scene.post(&Push::apple(&apple_token(9)).with("server_id", "stranger")).await.code, 401);

    let sign = [("webhook-id", "m-1"), ("webhook-timestamp", "1790000000"), ("webhook-signature", "v1,AAAA")];
    let headers = [&[("pushrelay-server", "<b>a-program")], &sign[..]].concat();
    let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    let (code, answer) = scene.post_with("/v1/notifications", "{}", &headers).await;
    assert!(code == 401 && answer.to_string().contains("what the header pushrelay-server says"), "{answer}");

    let page = wait_for_page(&scene, &clock, "5 since the start").await;
    let said = text(&page);
    for words in [
        "Version 0.1.0",
        "4 since the start",
        "s, 2 since the start",
        "apple_rn 3 of 3",
        "android_rn 1 of 1",
        &format!("{SERVER} Chat One 5 –"),
        "(TopicDisallowed)",
        "ack-of-the-bad-one",
        "1 &lt;b&gt;a-program – unread this server is not registered",
        "1 stranger apple_rn message this server is not registered",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    assert!(page.contains("<svg class=\"plot\""), "{page}");
}

#[tokio::test]
async fn neither_device_tokens_nor_texts_nor_keys_are_on_it() {
    let (scene, clock) = with_clock(Plan::default()).await;
    let bad = format!("dead5400{:056x}", 0xcafe);
    let push = Push::apple(&bad);
    let signature = push.body(&scene.key)["signature"].as_str().unwrap().to_owned();
    assert_eq!(scene.post(&push).await.status, "FAIL");
    assert_eq!(scene.post(&Push::apple(&apple_token(1)).with("server_id", "stranger")).await.code, 401);
    let page = wait_for_page(&scene, &clock, "TopicDisallowed").await;
    for secret in [&bad, &apple_token(1), "canary", &signature, &signature[..40]] {
        assert!(!page.contains(secret), "{secret} is on the page");
    }
}

#[tokio::test]
async fn a_server_that_calls_itself_a_script_is_a_text_on_the_page_and_in_the_events() {
    let (scene, clock) = with_clock(Plan { auth: "off", ..Plan::default() }).await;
    let mut events = Watching::open(&scene, "/status/events").await;
    let bad = format!("dead5400{:056x}", 0);
    for key in ["server_id", "ack_id"] {
        let push = Push::apple(&bad).with(key, HOSTILE);
        let mut posted = pin!(scene.post(&push));
        // The second one waits for the breaker that the first one has opened.
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut posted => break answer,
                () = tokio::time::sleep(Duration::from_millis(1)) => clock.advance(Duration::from_millis(100)),
            }
        };
        assert_eq!(answer.status, "FAIL");
    }
    assert_eq!(scene.post(&Push::apple(&bad).with("platform", HOSTILE)).await.status, "FAIL");
    let page = wait_for_page(&scene, &clock, "2 since the start").await;
    assert!(page.matches(HARMLESS).count() >= 3, "{page}");
    assert!(!page.contains("<script>"), "{page}");
    while !events.read.contains(HARMLESS) {
        clock.advance(Duration::from_secs(1));
        assert!(events.more().await);
    }
    assert!(!events.read.contains("<script"), "{}", events.read);
    assert!(!events.read.lines().any(|line| line.starts_with("event: x")), "{}", events.read);
}

#[tokio::test]
async fn every_part_of_it_tells_browsers_to_keep_to_this_origin_and_to_keep_nothing() {
    let scene = Scene::usual().await;
    for (path, content_type) in [
        ("/status", "text/html; charset=utf-8"),
        ("/status/events", "text/event-stream"),
        ("/status/style.css", "text/css; charset=utf-8"),
        ("/status/script.js", "text/javascript; charset=utf-8"),
    ] {
        let response = reqwest::get(format!("http://{}{path}", scene.relay)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        for (name, value) in [
            ("content-type", content_type),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                 form-action 'none'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(response.headers().get(name).unwrap(), value, "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn it_can_only_be_looked_at() {
    let scene = Scene::usual().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/status", "/status/events", "/status/style.css", "/status/script.js"] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
            let response = client.request(method, format!("http://{}{path}", scene.relay)).send().await.unwrap();
            assert_eq!(response.status(), 405, "{path}");
        }
        let response = client.head(format!("http://{}{path}", scene.relay)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn without_javascript_it_is_whole_and_loads_itself_again() {
    let scene = Scene::usual().await;
    let (_, page) = scene.get("/status").await;
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>"), "{page}");
    assert!(page.contains("<a href=\"status\">Reload</a>"), "{page}");
    let said = text(&page);
    for heading in ["Attention", "Now", "Targets", "Verdicts", "Chat servers today", "Last failures", "Last refusals"] {
        assert!(page.contains(&format!("<h2>{heading}</h2>")), "{heading}");
    }
    assert!(said.contains("apple_rn apple ready") && said.contains("android_rn android ready"), "{said}");
}

#[tokio::test]
async fn with_a_password_and_a_token_it_opens_to_either_and_to_nobody_else() {
    let tables = "[status]\nuser = \"ops\"\npassword_file = \"password\"\nbearer_token = \"t0ken-t0ken\"\n".to_owned();
    let files =
        Box::new(|folder: &std::path::Path, _: &_| std::fs::write(folder.join("password"), "s3cret\n").unwrap());
    let scene = Scene::new(Plan { tables, files: Some(files), ..Plan::default() }).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/status", "/status/events", "/status/style.css", "/status/script.js"] {
        let get = || client.get(format!("http://{}{path}", scene.relay));
        for (request, code) in [
            (get(), 401),
            (get().basic_auth("ops", Some("wrong")), 401),
            (get().basic_auth("ops", None::<&str>), 401),
            (get().bearer_auth("s3cret"), 401),
            (get().basic_auth("ops", Some("s3cret")), 200),
            (get().bearer_auth("t0ken-t0ken"), 200),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), code, "{path}");
            assert_eq!(response.headers().contains_key("www-authenticate"), code == 401);
            if code == 401 {
                assert_eq!(response.text().await.unwrap(), "the status page needs a password\n");
            }
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(scene.get(path).await.0, 200, "{path} needs none");
    }
}

#[tokio::test]
async fn without_a_password_it_opens_under_no_name_that_a_stranger_can_point_at_it() {
    let scene = Scene::usual().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/status", "/status/events", "/status/style.css", "/status/script.js"] {
        for (host, code) in
            [("localhost:9066", 200), ("[::1]", 200), ("rebound.example", 421), ("rebound.example:80", 421)]
        {
            let response =
                client.get(format!("http://{}{path}", scene.relay)).header("host", host).send().await.unwrap();
            assert_eq!(response.status(), code, "{path} {host}");
            if code == 421 {
                let said = response.text().await.unwrap();
                assert!(said.contains("localhost only") && said.contains("password_file"), "{said}");
            }
        }
    }
    let tables = "[status]\nbearer_token = \"t0ken-t0ken\"\n".to_owned();
    let scene = Scene::new(Plan { tables, ..Plan::default() }).await;
    let request = client.get(format!("http://{}/status", scene.relay)).header("host", "relay.example.com");
    assert_eq!(
        request.bearer_auth("t0ken-t0ken").send().await.unwrap().status(),
        200,
        "who knows the token may use any name"
    );
}

#[tokio::test]
async fn one_that_is_not_wanted_is_a_path_like_any_that_is_not_there() {
    let tables = "[status]\nenabled = false\n".to_owned();
    let scene = Scene::new(Plan { tables, ..Plan::default() }).await;
    for path in ["/status", "/status/events", "/status/style.css", "/status/script.js"] {
        assert_eq!(scene.get(path).await, (404, "404 page not found\n".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn whoever_watches_hears_of_a_push_within_a_second() {
    let (scene, clock) = with_clock(Plan::default()).await;
    let mut events = Watching::open(&scene, "/status/events").await;
    assert_eq!(events.status(), "200");
    assert!(events.head.to_lowercase().contains("x-accel-buffering: no"), "{}", events.head);
    scene.post(&Push::apple(&apple_token(1))).await.expect_ok();
    while !events.read.contains("1 since the start") {
        clock.advance(Duration::from_secs(1));
        assert!(events.more().await);
    }
    assert!(events.read.contains("event: status\ndata: <header>"), "{}", events.read);
}

#[tokio::test]
async fn a_stop_ends_the_events_at_once_and_does_not_wait_for_who_watches() {
    let scene = Scene::usual().await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(Watching::open(&scene, "/status/events").await);
    }
    scene.begin_shutdown();
    for events in &mut all {
        assert!(events.ends().await, "in an orderly way: {}", events.read);
    }
    let mut scene = scene;
    tokio::time::timeout(PATIENCE, scene.stop()).await.expect("the relay ends");
}

#[tokio::test]
async fn there_are_so_many_places_for_watchers_and_no_more() {
    let scene = Scene::usual().await;
    let mut all = Vec::new();
    for _ in 0..WATCHERS {
        let events = Watching::open(&scene, "/status/events").await;
        assert_eq!(events.status(), "200");
        all.push(events);
    }
    let refused = Watching::open(&scene, "/status/events").await;
    assert_eq!(refused.status(), "503");
    assert!(refused.head.to_lowercase().contains("retry-after: 10"), "{}", refused.head);
    assert_eq!(scene.get("/status").await.0, 200, "the page itself has no such bound");
    // Whoever leaves makes room.
    all.pop();
    let found = async {
        while Watching::open(&scene, "/status/events").await.status() != "200" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a place is free again");
}
