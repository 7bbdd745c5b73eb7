//! Plays cases: all of a table at once, against one relay and one simulator, told apart by their device tokens.

use std::fmt::Write as _;

use futures_util::StreamExt;
use pushrelay::simulator::{Provider, Push};
use serde_json::{Value, json};

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
    let tables = "[delivery]\nfirst_pause = \"1ms\"\nattempt_timeout = \"500ms\"\n".to_owned();
    play(cases, Plan { tables, ..Plan::default() }).await;
}

async fn play(cases: Vec<Case>, plan: Plan) {
    let scene = Scene::new(Plan {
        top: "compatibility = \"strict\"\n",
        auth: "off",
        apple_names: super::targets::APPLE,
        android_names: super::targets::ANDROID,
        ..plan
    })
    .await;
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let played = futures_util::stream::iter(cases.iter().enumerate())
        .map(|(number, case)| play_one(&scene, &client, number, case))
        .buffer_unordered(AT_ONCE);
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
    let got: Vec<Value> = pushes.iter().map(|push| shown(push)).collect();
    let expected: Vec<Value> = expected(&case.reaches, &token).into_iter().collect();
    let names: Vec<&str> = match &case.reaches {
        Reaches::Apple { headers, .. } => headers.iter().map(|(name, _)| *name).collect(),
        _ => Vec::new(),
    };
    let got_headers = pushes.iter().map(|push| names.iter().map(|name| (*name, push.header(name))).collect());
    let got_headers: Vec<Vec<(&str, Option<&str>)>> = got_headers.collect();
    let expected_headers: Vec<Vec<(&str, Option<&str>)>> = match &case.reaches {
        Reaches::Apple { headers, .. } => vec![headers.to_vec()],
        Reaches::Google { .. } => vec![Vec::new()],
        Reaches::Nobody => Vec::new(),
    };
    if (&got, &got_headers) != (&expected, &expected_headers) {
        let list = |pushes: &[Value]| pushes.iter().map(Value::to_string).collect::<Vec<_>>().join(" and ");
        let _ = write!(
            problem,
            "\n    expected push {expected_headers:?} {}\n    got      push {got_headers:?} {}",
            list(&expected),
            list(&got)
        );
    }
    (!problem.is_empty()).then(|| format!("{}:{problem}", case.name))
}

/// A push as the cases describe it: whose it is, and its whole body.
fn shown(push: &Push) -> Value {
    match push.provider {
        Provider::Apns => json!({"apple": push.payload()}),
        Provider::Fcm | Provider::OAuth => json!({"google": push.payload(), "project": push.topic}),
    }
}

fn expected(reaches: &Reaches, token: &str) -> Option<Value> {
    match reaches {
        Reaches::Nobody => None,
        Reaches::Apple { payload, .. } => Some(json!({"apple": payload})),
        Reaches::Google { data } => Some(json!({
            "google": {"message": {"token": token, "data": data, "android": {"priority": "high"}}},
            "project": "example-chat",
        })),
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
