//! The load generator: callers over kept-alive HTTP/1.1 connections, each sending its next request when the answer to
//! the last one has come, or at a steady pace. Requests are made ahead, so sending costs little. Any answer other than OK
//! ends it loudly, but for 429 where a flood is sent.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    material, pace,
    process::{commands, reply},
    request::requests,
};

/// How long one command may take. The slowest, a window with signatures, takes seconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// Connections opened between two pauses, and the pause. A listener's queue holds a thousand or so; a connection that
/// does not fit is tried again by the kernel only after a second.
const CONNECT_BATCH: usize = 128;
const CONNECT_PAUSE: Duration = Duration::from_millis(5);

/// Largest answer read, in bytes. The right one has 15 and a head.
const ANSWER_LIMIT_BYTES: usize = 4096;

struct Load {
    port: u16,
    servers: Vec<String>,
    prepared: Vec<Vec<u8>>,
    callers: Vec<Caller>,
}

/// The role. `prepare N` makes N requests; `run N` sends all prepared ones through N callers and says how many
/// microseconds that took; `open N` opens N callers' connections; `send` sends one prepared request on each without
/// waiting for the answer, and `drain` waits for those; `pace N` sends all prepared ones over the open connections in turn,
/// N a second, and says how long the answers took (see `pace`).
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(directory: &Path, port: u16, name: &str, count: usize) -> Result<()> {
    let key = material::signing_key(directory)?;
    let servers = (0..count).map(|number| material::server_id(name, number)).collect();
    let mut load = Load { port, servers, prepared: Vec::new(), callers: Vec::new() };
    let mut commands = commands();
    while let Some(command) = commands.recv().await {
        let (name, number) = command.split_once(' ').unwrap_or((&command, "0"));
        let number: usize = number.parse()?;
        match name {
            "prepare" => {
                load.prepared = requests(number, &load.servers, &key)?;
                reply(load.prepared.len())?;
            }
            "open" => reply(bounded(name, load.open(number)).await?)?,
            "run" => reply(bounded(name, load.run(number)).await?)?,
            "send" => reply(bounded(name, load.send()).await?)?,
            "pace" => {
                let requests = std::mem::take(&mut load.prepared);
                let callers = std::mem::take(&mut load.callers);
                let (paced, callers) = bounded(name, pace::send(requests, callers, number)).await?;
                load.callers = callers;
                reply(paced)?;
            }
            "drain" => reply(bounded(name, load.drain()).await?)?,
            other => bail!("the load generator does not know the command {other:?}"),
        }
    }
    Ok(())
}

async fn bounded<T>(name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(PATIENCE, work).await.map_err(|_| anyhow!("{name}: not done after {PATIENCE:?}"))?
}

impl Load {
    /// Makes the number of callers exactly `count`.
    async fn open(&mut self, count: usize) -> Result<usize> {
        self.callers.truncate(count);
        while self.callers.len() < count {
            self.callers.push(Caller::connect(self.port).await?);
            if self.callers.len().is_multiple_of(CONNECT_BATCH) {
                sleep(CONNECT_PAUSE).await;
            }
        }
        Ok(count)
    }

    async fn run(&mut self, callers: usize) -> Result<u128> {
        self.open(callers).await?;
        let requests = Arc::new(std::mem::take(&mut self.prepared));
        let next = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        let start = Instant::now();
        for mut caller in self.callers.drain(..) {
            let (requests, next) = (requests.clone(), next.clone());
            running.spawn(async move {
                while let Some(request) = requests.get(next.fetch_add(1, Relaxed)) {
                    caller.send(request).await?;
                    caller.expect_ok().await?;
                }
                anyhow::Ok(caller)
            });
        }
        while let Some(caller) = running.join_next().await {
            self.callers.push(caller??);
        }
        Ok(start.elapsed().as_micros())
    }

    async fn send(&mut self) -> Result<usize> {
        ensure!(self.prepared.len() == self.callers.len(), "send: one prepared request per open connection is needed");
        for (caller, request) in self.callers.iter_mut().zip(std::mem::take(&mut self.prepared)) {
            caller.send(&request).await?;
        }
        Ok(self.callers.len())
    }

    async fn drain(&mut self) -> Result<usize> {
        for caller in &mut self.callers {
            caller.expect_ok().await?;
        }
        Ok(self.callers.len())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok,
    TooMany,
}

pub(crate) struct Caller {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Caller {
    async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.context("cannot connect to what is measured")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::new() })
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await.context("the connection broke while a request was sent")
    }

    async fn expect_ok(&mut self) -> Result<()> {
        match self.expect().await? {
            Answer::Ok => Ok(()),
            Answer::TooMany => bail!("an answer was not OK: {}", String::from_utf8_lossy(&self.answer)),
        }
    }

    pub(crate) async fn expect(&mut self) -> Result<Answer> {
        self.answer.clear();
        loop {
            let read =
                self.stream.read_buf(&mut self.answer).await.context("the connection broke before its answer")?;
            ensure!(read > 0, "the connection was closed before its answer");
            ensure!(self.answer.len() <= ANSWER_LIMIT_BYTES, "an answer of over {ANSWER_LIMIT_BYTES} bytes");
            if let Some(answer) = whole(&self.answer)? {
                return Ok(answer);
            }
        }
    }
}

/// Which answer `bytes` are; `None` if more must be read.
fn whole(bytes: &[u8]) -> Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, body) = bytes.split_at(end + 4);
    let wrong = || anyhow!("an answer was not OK: {}", String::from_utf8_lossy(bytes));
    let length = std::str::from_utf8(head)?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .with_context(|| wrong().context("no Content-Length"))?;
    if body.len() < length {
        return Ok(None);
    }
    if head.starts_with(b"HTTP/1.1 200 ") && body.trim_ascii() == br#"{"status":"OK"}"# {
        Ok(Some(Answer::Ok))
    } else if head.starts_with(b"HTTP/1.1 429 ") {
        Ok(Some(Answer::TooMany))
    } else {
        Err(wrong())
    }
}
