//! Sending, against a stand-in for Google on real sockets.

mod answers;
mod network;
mod stand_in;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpListener;

use self::stand_in::{Answer, ForwardProxy, Google, Manner};
use super::account::tests::key_file;
use super::verdict::tests::table;
use super::*;
use crate::notification::{Content, DeviceToken, MattermostContent, PushKind, ServerId, TargetName, Transport};
use crate::private::Private;
use crate::sender::ProviderSettings;
use crate::sender::network::{NetworkSettings, Proxy, ProxySettings};

/// Longer than any test takes: an attempt that should succeed never meets it.
const PLENTY: Duration = Duration::from_mins(1);

/// For attempts that are meant to run out of time.
const SHORT: Duration = Duration::from_millis(50);

/// Where the manual clocks stand: Sun, 06 Nov 1994 08:49:37 GMT.
const NOW: u64 = 784_111_777;

const SECRET: &str = "canary";

fn network(google: &Google) -> NetworkSettings {
    NetworkSettings {
        endpoint: Some(Url::parse(&format!("https://{}", google.address)).unwrap()),
        extra_authorities: vec![google.authority.clone()],
        proxy: ProxySettings::Direct,
        connections: 2,
        connect_timeout: Duration::from_secs(30),
    }
}

fn target(network: NetworkSettings, token_uri: &str) -> (TargetSettings, FcmSettings) {
    let account = ServiceAccount::from_json(key_file(token_uri).to_string().as_bytes()).unwrap();
    let settings = FcmSettings { account };
    let target = TargetSettings {
        name: TargetName::new("android_rn"),
        compatibility: Compatibility::Improved,
        network,
        provider: ProviderSettings::Fcm(settings.clone()),
    };
    (target, settings)
}

fn fcm_with(network: NetworkSettings, google: &Google, clock: &Clock) -> Fcm {
    let (target, settings) = target(network, &format!("https://{}/token", google.address));
    Fcm::new(&target, &settings, clock).unwrap()
}

fn fcm(google: &Google, clock: &Clock) -> Fcm {
    fcm_with(network(google), google, clock)
}

fn prepared(fcm: &Fcm) -> Prepared {
    let notification = Notification {
        ack_id: "ack".to_owned(),
        server_id: ServerId::new("server").unwrap(),
        target: TargetName::new("android_rn"),
        app_version: 2,
        device: DeviceToken::new(SECRET).unwrap(),
        kind: PushKind::Message,
        transport: Transport::Standard,
        signature: Private::default(),
        content: Content::Mattermost(MattermostContent::default()),
    };
    fcm.prepare(&notification, None)
}

async fn send(fcm: &Fcm) -> Verdict {
    fcm.attempt(&prepared(fcm), Patience::of(PLENTY), NoWay::GiveUp).await.verdict
}

fn quota(reason: Reason) -> Verdict {
    Verdict::Retry { reason, after: None, scope: Scope::Quota, unprocessed: false }
}

fn retry(reason: &'static str, after: Option<u64>, unprocessed: bool) -> Verdict {
    Verdict::Retry { reason, after: after.map(Duration::from_secs), scope: Scope::Target, unprocessed }
}

/// A loopback port where nobody listens: bound, so that nobody else takes it, but not listening.
fn closed_port() -> (tokio::net::TcpSocket, std::net::SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn through(proxy: &ForwardProxy, authorization: &str) -> ProxySettings {
    ProxySettings::Fixed(Proxy {
        address: Url::parse(&format!("http://{}", proxy.address)).unwrap(),
        authorization: Some(Private::new(authorization)),
    })
}

#[tokio::test]
async fn nothing_secret_is_printed() {
    let google = Google::start().await;
    let proxy = ForwardProxy::start().await;
    let mut settings = network(&google);
    settings.proxy = through(&proxy, "Basic dXNlcjpwYXNzd29yZA==");
    let (target, settings) = target(settings, &format!("https://{}/token", google.address));
    let fcm = Fcm::new(&target, &settings, &Clock::manual(NOW)).unwrap();
    assert_eq!(send(&fcm).await, Verdict::Delivered);
    let token = fcm.tokens.get().await.unwrap();
    let printed = format!("{fcm:?} {target:?} {settings:?} {:?} {token:?}", prepared(&fcm));
    for secret in [SECRET, "dXNl", "access-1", "PRIVATE", "MII"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    assert!(printed.contains("chat-1a2b3"));
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_used_is_named_at_setup() {
    let google = Google::start().await;
    for endpoint in ["http://fcm.example", "https://fcm.example/v1", "https://user:pw@fcm.example", "ftp://127.0.0.1"] {
        let mut settings = network(&google);
        settings.endpoint = Some(Url::parse(endpoint).unwrap());
        let (target, settings) = target(settings, "https://oauth.example/token");
        let error = Fcm::new(&target, &settings, &Clock::manual(NOW)).unwrap_err().to_string();
        assert!(error.contains("android_rn") && error.contains("`endpoint`") && !error.contains("pw"), "{error}");
    }
    assert_eq!(send_url(None, "chat").unwrap().as_str(), "https://fcm.googleapis.com/v1/projects/chat/messages:send");
    let old = send_url(None, "example.com:chat").unwrap();
    assert_eq!(old.as_str(), "https://fcm.googleapis.com/v1/projects/example.com:chat/messages:send");
}

#[test]
fn sending_is_possible_from_any_task() {
    fn shared<T: Send + Sync>() {}
    shared::<Fcm>();
    shared::<Arc<Fcm>>();
    shared::<Prepared>();
}
