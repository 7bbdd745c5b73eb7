//! Plays cases: all of a table at once, against one relay and one simulator, told apart by their device tokens.

use std::fmt::Write as _;

use futures_util::StreamExt;
use pushrelay::simulator::{Provider, Push};
use serde_json::{Map, Value, json};

use super::case::{Answer, Case, Reaches};
use crate::support::{Plan, Scene};

/// Requests under way at once: as many as a Mattermost server on four cores has.
const AT_ONCE: usize = 32;

/// Plays the cases and panics with a list of those that went differently.
pub async fn check(cases: Vec<Case>) {
    play(cases, Plan::default()).await;
}

/// The same, with a relay that waits for no more than a moment, for providers that say nothing.
pub async fn check_impatiently(cases: Vec<Case>) {
    let tables = "[delivery]\nfirst_pause = \"1ms\"\nattempt_timeout = \"500ms\"\ndeadline = \"2s\"\n".to_owned();
    play(cases, Plan { tables, ..Plan::default() }).await;
}

async fn play(cases: Vec<Case>, plan: Plan) {
    // The reference has no breaker and believes each removal.
    let tables = format!("{}[breaker]\nfailures = 0\n[removal_guard]\nenabled = false\n", plan.tables);
    let scene = Scene::new(Plan {
        top: "compatibility = \"strict\"\n",
        auth: "off",
        apple_names: super::targets::APPLE,
        android_names: super::targets::ANDROID,
        tables,
        ..plan
    })
    .await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let played = futures_util::stream::iter(cases.iter().enumerate())
        .map(|(number, case)| play_one(&scene, &client, number, case))
        .buffered(AT_ONCE);
    let problems: Vec<String> = played.filter_map(std::future::ready).collect().await;

    let mut report = String::new();
    for problem in &problems {
        let _ = writeln!(report, "{problem}");
    }
    assert!(problems.is_empty(), "{} of {} cases went differently:\n{report}", problems.len(), cases.len());
    // Whoever reached a phone without a token of its case would have reached a stranger.
    let expected = cases.iter().filter(|case| case.reaches != Reaches::Nobody).count();
    assert_eq!(scene.simulator.ledger().accepted().len(), expected, "pushes altogether");
}

/// What went differently, if anything.
async fn play_one(scene: &Scene, client: &reqwest::Client, number: usize, case: &Case) -> Option<String> {
    // 64 hexadecimal digits are a token of Apple's, and Google takes any text.
    let token = format!("{:064x}", 0x00c0_ffee_0000 + number);
    for fault in &case.faults {
        scene.simulator.faults().add(fault.clone().for_token(&token)).unwrap();
    }
    let url = format!("http://{}{}", scene.relay, case.path);
    let mut request = client.request(case.method.clone(), url).body(replace(&case.body, b"TOKEN", token.as_bytes()));
    if let Some(content_type) = case.content_type {
        request = request.header("content-type", content_type);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let body = String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned();

    let mut problem = String::new();
    let Answer { status: expected_status, content_type: expected_type, body: expected_body } = &case.answer;
    if (status, content_type.as_deref()) != (*expected_status, *expected_type) || !expected_body.is(&body) {
        let _ = write!(
            problem,
            "\n    expected answer {expected_status} {expected_type:?} {expected_body:?}\
             \n    got      answer {status} {content_type:?} {body:?}"
        );
    }
    let pushes = scene.simulator.ledger().accepted_for(&token);
    let got: Vec<Value> = pushes.iter().map(|push| described(push)).collect();
    let expected: Vec<Value> = expected(&case.reaches, &token).into_iter().collect();
    if got != expected {
        let _ = write!(problem, "\n    expected push {}\n    got      push {}", list(&expected), list(&got));
    }
    (!problem.is_empty()).then(|| format!("{}:{problem}", case.name))
}

/// A push that arrived: whose it is, and its whole body.
fn described(push: &Push) -> Value {
    match push.provider {
        Provider::Apns => {
            // `apns-id` is a different one each time.
            let decided = |name: &str| name.starts_with("apns-") && name != "apns-id";
            let headers = push.headers.iter().filter(|(name, _)| decided(name));
            let headers: Map<_, _> = headers.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
            json!({"to": "Apple", "headers": headers, "body": push.payload()})
        }
        Provider::Fcm | Provider::OAuth => json!({"to": "Google", "project": push.topic, "body": push.payload()}),
    }
}

/// The same of the push that should arrive.
fn expected(reaches: &Reaches, token: &str) -> Option<Value> {
    match reaches {
        Reaches::Nobody => None,
        Reaches::Apple { headers, payload } => Some(json!({"to": "Apple", "headers": headers, "body": payload})),
        Reaches::Google { data } => Some(json!({
            "to": "Google",
            "project": "example-chat",
            "body": {"message": {"token": token, "data": data, "android": {"priority": "high"}}},
        })),
    }
}

fn list(pushes: &[Value]) -> String {
    if pushes.is_empty() {
        "none".to_owned()
    } else {
        pushes.iter().map(Value::to_string).collect::<Vec<_>>().join(" and ")
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len() + to.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
