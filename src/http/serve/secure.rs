//! A connection over TLS up to its first request: how long it may take there, and what a stop makes of it. The handshake
//! itself is `tls`'s, and from the request on it is a connection like any other.

use std::net::IpAddr;
use std::sync::Arc;

use rustix::net::RecvFlags;
use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;

use super::{Serving, Speaks, Stage, converse};
use crate::http::tls::{self, Peer, Secured, Tls};

/// Serves one connection over TLS.
pub(super) async fn connection(stream: TcpStream, address: IpAddr, tls: Arc<Tls>, mut serving: Serving) {
    let _ = stream.set_nodelay(true);
    // Boxed: large, and over soon.
    let Some(Secured { mut stream, identity, http2 }) = Box::pin(handshake(stream, &tls, &mut serving)).await else {
        return;
    };
    drop(tls);
    let speaks = if http2 {
        Speaks::Http2
    } else {
        // A stop that began during the handshake: the request can only come now.
        let late = *serving.stage.borrow() != Stage::Running;
        tokio::select! {
            biased;
            first = tokio::time::timeout(serving.limits.idle_timeout, stream.fill_buf()) => match first {
                Ok(Ok([_, ..])) => Speaks::Http1,
                Ok(_) | Err(_) => return,
            },
            () = serving.told_to_stop() => {
                if !late && !has_come(stream.get_ref().0) {
                    return;
                }
                let mut dropped = serving.stage.clone();
                tokio::select! {
                    first = tokio::time::timeout(serving.limits.header_timeout, stream.fill_buf()) => match first {
                        Ok(Ok([_, ..])) => serving.once(),
                        Ok(_) | Err(_) => return,
                    },
                    _ = dropped.wait_for(|stage| *stage == Stage::Dropped) => return,
                }
            }
        }
    };
    converse(stream, Peer { address, identity }, speaks, serving).await;
}

/// Shakes hands, in as much time as headers may take. `None` if that failed, which has been counted then.
async fn handshake(stream: TcpStream, tls: &Tls, serving: &mut Serving) -> Option<Secured> {
    let mut dropped = serving.stage.clone();
    let shaken = async {
        let mut first = [0];
        tokio::select! {
            biased;
            came = stream.peek(&mut first) => {
                // Hung up without a word: a probe of the port.
                if !matches!(came, Ok(1..)) {
                    return None;
                }
            }
            () = serving.told_to_stop() => {
                if !has_come(&stream) {
                    return None;
                }
                stream.peek(&mut first).await.ok()?;
            }
        }
        if tls::is_plain_http(&first) {
            tls::turn_away_plain_http(stream).await;
            return Some(Err(tls::Failure::PlainHttp));
        }
        Some(tls.accept(stream).await)
    };
    let result = tokio::select! {
        shaken = tokio::time::timeout(serving.limits.header_timeout, shaken) => {
            shaken.unwrap_or(Some(Err(tls::Failure::Timeout)))?
        }
        _ = dropped.wait_for(|stage| *stage == Stage::Dropped) => return None,
    };
    match result {
        Ok(secured) => Some(secured),
        Err(failure) => {
            tls.failed(&failure);
            None
        }
    }
}

/// Whether the kernel holds bytes of a connection that nobody has read.
fn has_come(stream: &TcpStream) -> bool {
    rustix::net::recv(stream, &mut [0; 1][..], RecvFlags::PEEK).is_ok_and(|(length, _)| length > 0)
}
