//! A forward proxy that understands CONNECT, asks for credentials if told to, and counts its tunnels.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct ForwardProxy {
    pub address: SocketAddr,
    tunnels: Arc<AtomicU32>,
    refused: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl ForwardProxy {
    /// `credentials` is `user:password`.
    pub async fn start(credentials: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let expected = credentials.map(|text| format!("Basic {}", STANDARD.encode(text)));
        let (tunnels, refused) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counters = (Arc::clone(&tunnels), Arc::clone(&refused));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (expected, (tunnels, refused)) = (expected.clone(), counters.clone());
                tokio::spawn(async move {
                    if serve(stream, expected, &tunnels).await.is_none() {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self { address, tunnels, refused, task }
    }

    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Ordering::SeqCst)
    }

    pub fn refused(&self) -> u32 {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, expected: Option<String>, tunnels: &AtomicU32) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let authority = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let given = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.trim().to_owned())
    });
    if expected.is_some() && expected != given {
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n";
        client.write_all(answer).await.ok()?;
        return None;
    }
    // `localhost` may resolve to an address family the simulator does not listen on.
    let port = authority.rsplit_once(':')?.1.parse::<u16>().ok()?;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    tunnels.fetch_add(1, Ordering::SeqCst);
    let _ = copy_bidirectional(&mut client, &mut server).await;
    Some(())
}
