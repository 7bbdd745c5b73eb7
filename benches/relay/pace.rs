//! The load generator at a steady pace: so many requests a second, whatever becomes of them, and how long each answer took.
//!
//! A request is due at its time and waits for no other's answer, as chat servers do not wait for each other. There must be
//! more connections than requests are ever under way; one that is still busy when its turn comes again is an error.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{task::JoinSet, time::sleep_until};

use crate::load::{Answer, Caller};

/// What the answers were like. Times in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paced {
    pub(crate) ok: usize,
    pub(crate) too_many: usize,
    /// From writing a request until its answer was read, of those answered OK.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    /// How late a request was written, in the 99th percentile: what the generator itself does to the figures, for it has no
    /// processor of its own. Timers here have a resolution of a millisecond.
    pub(crate) late_p99: u64,
}

impl fmt::Display for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.ok, self.too_many, self.p50, self.p99, self.late_p99)
    }
}

impl FromStr for Paced {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let mut next = || Ok::<_, anyhow::Error>(numbers.next().context("a number is missing")??);
        let (ok, too_many) = (usize::try_from(next()?)?, usize::try_from(next()?)?);
        Ok(Self { ok, too_many, p50: next()?, p99: next()?, late_p99: next()? })
    }
}

/// Sends the requests over the callers in turn, `per_second` of them a second.
pub(crate) async fn send(
    requests: Vec<Vec<u8>>,
    callers: Vec<Caller>,
    per_second: usize,
) -> Result<(Paced, Vec<Caller>)> {
    ensure!(per_second > 0 && !callers.is_empty(), "pace: open connections and name a rate first");
    let interval = Duration::from_secs(1).div_f64(per_second as f64);
    let (start, connections) = (Instant::now() + interval, callers.len());
    let mut shares: Vec<Vec<(Instant, Vec<u8>)>> = (0..connections).map(|_| Vec::new()).collect();
    for (number, request) in requests.into_iter().enumerate() {
        shares[number % connections].push((start + interval.mul_f64(number as f64), request));
    }
    let mut running = JoinSet::new();
    for (mut caller, share) in callers.into_iter().zip(shares) {
        running.spawn(async move {
            let mut answers = Vec::with_capacity(share.len());
            for (due, request) in share {
                ensure!(Instant::now() < due + interval * 100, "pace: answers are slower than the connections allow");
                sleep_until(due.into()).await;
                let sent = Instant::now();
                caller.send(&request).await?;
                let answer = caller.expect().await?;
                answers.push((answer, sent.elapsed(), sent - due));
            }
            Ok((caller, answers))
        });
    }
    let (mut callers, mut took, mut late, mut too_many) = (Vec::new(), Vec::new(), Vec::new(), 0);
    while let Some(done) = running.join_next().await {
        let (caller, answers) = done??;
        callers.push(caller);
        for (answer, time, lateness) in answers {
            late.push(lateness);
            match answer {
                Answer::Ok => took.push(time),
                Answer::TooMany => too_many += 1,
            }
        }
    }
    let paced = Paced {
        ok: took.len(),
        too_many,
        p50: percentile(&mut took, 50),
        p99: percentile(&mut took, 99),
        late_p99: percentile(&mut late, 99),
    };
    Ok((paced, callers))
}

/// In microseconds; 0 of none.
fn percentile(times: &mut [Duration], percent: usize) -> u64 {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}
