//! Requests as a chat server sends them: about 1 KiB of JSON with a signature that verifies.
//!
//! Every request has an ack id of its own. A relay that remembers what it has answered would otherwise answer a
//! repeated one from memory and be measured doing nothing.

use std::{num::NonZero, thread};

use anyhow::Result;
use aws_lc_rs::{rand::SystemRandom, signature::EcdsaKeyPair};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

/// The alphabet and length of the ids a Mattermost server makes: 26 characters, five bits each.
const ID_ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";
const ID_CHARACTERS: usize = 26;

/// Phones the requests are spread over.
const DEVICES: u64 = 20_000;

const MESSAGE: &str = "@robin the build for release-9.11 is green again :tada: I restarted the two runners that hung \
    since last night and cleared their caches. Could you have a look at the failing migration on staging before the \
    call at 14:30? The log is in the thread above, line 212 and following. Grüße aus Köln!";

/// The fields a chat server fills, in the order in which it writes them.
#[derive(Serialize)]
struct Push<'a> {
    ack_id: &'a str,
    platform: &'a str,
    server_id: &'a str,
    device_id: &'a str,
    post_id: &'a str,
    category: &'a str,
    sound: &'a str,
    message: &'a str,
    badge: i64,
    cont_ava: i64,
    team_id: &'a str,
    channel_id: &'a str,
    root_id: &'a str,
    channel_name: &'a str,
    r#type: &'a str,
    sender_id: &'a str,
    sender_name: &'a str,
    version: &'a str,
    is_crt_enabled: bool,
    is_id_loaded: bool,
    signature: &'a str,
}

/// What a signature says.
#[derive(Serialize)]
struct Claims<'a> {
    ack_id: &'a str,
    device_id: &'a str,
}

/// Makes `count` HTTP/1.1 requests, head and body, on all processors, each from any one of these servers.
pub(crate) fn requests(count: usize, servers: &[String], key: &EcdsaKeyPair) -> Result<Vec<Vec<u8>>> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let makers: Vec<_> = (0..threads)
            .map(|index| {
                let share = count / threads + usize::from(index < count % threads);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::new();
                    (0..share).map(|_| request(&mut random, servers, key)).collect::<Result<Vec<_>>>()
                })
            })
            .collect();
        let mut all = Vec::with_capacity(count);
        for maker in makers {
            all.append(&mut maker.join().map_err(|_| anyhow::anyhow!("a maker of requests panicked"))??);
        }
        Ok(all)
    })
}

fn request(random: &mut fastrand::Rng, servers: &[String], key: &EcdsaKeyPair) -> Result<Vec<u8>> {
    let ack_id = id(random);
    let device_id = device(random.u64(..DEVICES));
    let signature = sign(&Claims { ack_id: &ack_id, device_id: &device_id }, key)?;
    let push = Push {
        ack_id: &ack_id,
        platform: "apple_rn-v2",
        server_id: &servers[random.usize(..servers.len())],
        device_id: &device_id,
        post_id: &id(random),
        category: "CAN_REPLY",
        sound: "",
        message: MESSAGE,
        badge: random.i64(1..100),
        cont_ava: 1,
        team_id: &id(random),
        channel_id: &id(random),
        root_id: "",
        channel_name: "Release Engineering",
        r#type: "message",
        sender_id: &id(random),
        sender_name: "@robin",
        version: "v2",
        is_crt_enabled: true,
        is_id_loaded: false,
        signature: &signature,
    };
    let body = serde_json::to_vec(&push)?;
    // No Content-Type: the server sends none.
    let mut bytes = format!(
        "POST /api/v1/send_push HTTP/1.1\r\nHost: relay.example.com\r\nUser-Agent: Mattermost-Bot/1.1\r\n\
         Content-Length: {}\r\nAccept-Encoding: gzip\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// A compact JWS with ES256.
fn sign(claims: &Claims<'_>, key: &EcdsaKeyPair) -> Result<String> {
    let mut token = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","typ":"JWT"}"#);
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
    let signature = key.sign(&SystemRandom::new(), token.as_bytes())?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn id(random: &mut fastrand::Rng) -> String {
    (0..ID_CHARACTERS).map(|_| char::from(ID_ALPHABET[random.usize(..ID_ALPHABET.len())])).collect()
}

/// The token of a phone: 64 hexadecimal digits that look like nothing in particular.
fn device(number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    format!("{:032x}{:032x}", random.u128(..), random.u128(..))
}
