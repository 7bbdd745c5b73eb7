//! A way that refuses connections until it is opened.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// An address that is taken, and where nobody listens yet.
pub struct Gate {
    pub address: SocketAddr,
    opened: Option<oneshot::Sender<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Gate {
    pub fn closed() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let (opened, to) = oneshot::channel();
        let task = tokio::spawn(async move {
            let Ok(to) = to.await else { return };
            let listener = socket.listen(1_024).unwrap();
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self { address, opened: Some(opened), task }
    }

    /// As an endpoint is written.
    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Leads there from now on.
    pub fn open(&mut self, to: SocketAddr) {
        self.opened.take().unwrap().send(to).unwrap();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}
