//! A way to the provider that breaks without a word: a forward proxy whose tunnels can be frozen, as when a peer or a firewall in
//! between vanishes, and which can leave those who connect without an answer.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Dropping it ends its tunnels.
pub struct Tunnel {
    pub address: SocketAddr,
    /// How often it was frozen.
    frozen: watch::Sender<u64>,
    answers: watch::Sender<bool>,
    tunnels: Arc<watch::Sender<u32>>,
    task: JoinHandle<()>,
}

impl Tunnel {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (frozen, answers) = (watch::Sender::new(0), watch::Sender::new(true));
        let tunnels = Arc::new(watch::Sender::new(0));
        let (freezing, answering, counted) = (frozen.subscribe(), answers.subscribe(), Arc::clone(&tunnels));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (freezing, answering, counted) = (freezing.clone(), answering.clone(), Arc::clone(&counted));
                tokio::spawn(serve(client, freezing, answering, counted));
            }
        });
        Self { address, frozen, answers, tunnels, task }
    }

    /// From now on nothing passes through the tunnels that there are, in either direction; none is closed. New ones work.
    pub fn freeze(&self) {
        self.frozen.send_modify(|times| *times += 1);
    }

    /// Whether those who ask for a tunnel are answered.
    pub fn answer(&self, answers: bool) {
        self.answers.send_replace(answers);
    }

    /// Tunnels asked for so far, answered or not.
    pub fn tunnels(&self) -> u32 {
        *self.tunnels.borrow()
    }

    /// Waits until so many were asked for.
    pub async fn wait_for(&self, tunnels: u32) {
        self.tunnels.subscribe().wait_for(|count| *count >= tunnels).await.unwrap();
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    mut freezing: watch::Receiver<u64>,
    mut answering: watch::Receiver<bool>,
    counted: Arc<watch::Sender<u32>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let authority = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let port = authority.rsplit_once(':')?.1.parse::<u16>().ok()?;
    counted.send_modify(|count| *count += 1);
    answering.wait_for(|answers| *answers).await.ok()?;
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
    freezing.mark_unchanged();
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        Ok(()) = freezing.changed() => {
            // Both stay open until the test is over.
            freezing.wait_for(|_| false).await.ok();
        }
    }
    Some(())
}
