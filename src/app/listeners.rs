//! The sockets that a relay serves on, and what to say where one cannot be had.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket};

use crate::http::HttpSettings;

/// The sockets a relay serves on, bound before anything else starts: a port in use is an error at start.
#[derive(Debug)]
pub struct Listeners {
    /// For chat servers.
    pub ingest: TcpListener,
    /// For operators, if they have their own.
    pub ops: Option<TcpListener>,
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (key `{key}`): {error}; {}", remedy(error, *address))]
pub struct BindError {
    address: SocketAddr,
    key: &'static str,
    error: io::Error,
}

impl BindError {
    /// Another process has it, which may be a relay.
    pub fn is_in_use(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }

    /// What the system says.
    pub fn problem(&self) -> String {
        self.error.to_string()
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        remedy(&self.error, self.address)
    }
}

fn remedy(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("another process has it: ss -ltnp | grep {}", address.port()),
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has this address".to_owned(),
        io::ErrorKind::PermissionDenied => "ports below 1024 are for privileged users: choose a higher one".to_owned(),
        _ => "choose another address".to_owned(),
    }
}

impl Listeners {
    /// Binds what the settings name.
    pub fn bind(settings: &HttpSettings) -> Result<Self, BindError> {
        let ingest = bind(settings.listen, "listen")?;
        let ops = settings.ops_listen.map(|address| bind(address, "ops.listen")).transpose()?;
        Ok(Self { ingest, ops })
    }

    /// Binds each address for a moment, to see whether it can be had: key, address, and why not.
    pub fn attempt(settings: &HttpSettings) -> Vec<(&'static str, SocketAddr, Result<(), BindError>)> {
        let ops = settings.ops_listen.map(|address| ("ops.listen", address));
        let addresses = std::iter::once(("listen", settings.listen)).chain(ops);
        addresses.map(|(key, address)| (key, address, bind(address, key).map(drop))).collect()
    }
}

fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, BindError> {
    listen(address).map_err(|error| BindError { address, key, error })
}

/// Connections that the kernel keeps until they are accepted: 4,096, which is what Linux lets anybody ask for
/// (`net.core.somaxconn`) since 5.4. When a thousand chat servers dial again at once, after a restart, none is made to wait a
/// second for its next attempt.
const BACKLOG: u32 = 4_096;

/// `[::]` means every address of the machine, as it does to Go: of both families, whatever the system's default
/// (`net.ipv6.bindv6only`), and of IPv4 alone where there is no IPv6.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match address {
        SocketAddr::V6(any) if any.ip().is_unspecified() => or_on_ipv4(both_families(address), any.port()),
        SocketAddr::V6(_) => listening(TcpSocket::new_v6()?, address),
        SocketAddr::V4(_) => listening(TcpSocket::new_v4()?, address),
    }
}

fn listening(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    // The connections of a relay that has just ended do not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn both_families(any: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    listening(socket, any)
}

/// What was bound, or the same port on IPv4 if this machine has no IPv6.
fn or_on_ipv4(bound: io::Result<TcpListener>, port: u16) -> io::Result<TcpListener> {
    match bound {
        Err(error) if lacks_ipv6(&error) => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            tracing::info!(%address, %error, "this machine has no IPv6: listening on IPv4 alone");
            listen(address)
        }
        bound => bound,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_is_an_address_of_both_families() {
        let listener = match both_families(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))) {
            Ok(listener) => listener,
            // A machine without IPv6 cannot show this.
            Err(error) if lacks_ipv6(&error) => return,
            Err(error) => panic!("{error}"),
        };
        assert!(!rustix::net::sockopt::ipv6_v6only(&listener).unwrap());
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        assert!(listener.accept().await.unwrap().1.is_ipv6());
    }

    #[tokio::test]
    async fn only_where_there_is_no_ipv6_the_port_is_bound_on_ipv4_alone() {
        let failed = |errno: Errno| Err(io::Error::from(errno));
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let bound = or_on_ipv4(failed(errno), 0).unwrap().local_addr().unwrap();
            assert_eq!(bound.ip(), Ipv4Addr::UNSPECIFIED);
        }
        for errno in [Errno::ADDRINUSE, Errno::ACCESS, Errno::MFILE] {
            let error = or_on_ipv4(failed(errno), 0).unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(errno));
        }
        let bound = listen("127.0.0.1:0".parse().unwrap());
        assert!(or_on_ipv4(bound, 0).unwrap().local_addr().unwrap().ip().is_loopback());
    }

    /// More than the 128 that Rust's own `bind` asks for, and fewer than [`BACKLOG`]; what the system allows if that is less.
    const TOGETHER: usize = 500;

    #[tokio::test]
    async fn callers_who_dial_all_at_once_are_all_kept_until_they_are_accepted_at_every_kind_of_address() {
        let allowed =
            std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok().and_then(|text| text.trim().parse().ok());
        let together = allowed.unwrap_or(TOGETHER).min(TOGETHER);
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = match listen(address.parse().unwrap()) {
                Ok(listener) => listener,
                // A machine without IPv6 cannot show this.
                Err(error) if lacks_ipv6(&error) => continue,
                Err(error) => panic!("{error}"),
            };
            let bound = listener.local_addr().unwrap();
            let host = match bound.ip() {
                any if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                other => other,
            };
            let mut kept = Vec::new();
            for number in 0..together {
                // One that finds no room would hear nothing, and ask again after a second.
                let dialled =
                    tokio::time::timeout(Duration::from_millis(900), TcpStream::connect((host, bound.port()))).await;
                let stream = dialled.unwrap_or_else(|_| panic!("{address}: number {number} finds no room"));
                kept.push(stream.unwrap());
            }
        }
    }
}
