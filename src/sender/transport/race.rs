//! Which of a name's addresses is connected to: attempts that begin one after the other and run on beside each other, the
//! first that succeeds wins (RFC 8305, Happy Eyeballs). Knows no TLS and no proxy, and remembers nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until};

use super::connect::ConnectError;
use super::trouble::Trouble;

/// The most addresses of a name that are tried, and so the most attempts and sockets at once; one race runs for each target at a
/// time. Apple's and Google's names have at most 16.
pub(super) const MOST_ADDRESSES: usize = 32;

/// How long an attempt runs alone before the next one begins beside it: RFC 8305 § 5.
const APART: Duration = Duration::from_millis(250);

/// The least of that, however many addresses there are: RFC 8305 § 5 recommends no less.
const LEAST_APART: Duration = Duration::from_millis(100);

/// In which order the addresses that the resolver gave are tried: its own order within a family (it sorts by RFC 6724), the
/// families in turns, and before all others the one that `worked` last time, if it is still among them.
pub(super) fn order(found: &[SocketAddr], worked: Option<SocketAddr>) -> Vec<SocketAddr> {
    let is_first = |address: &SocketAddr| found.first().is_some_and(|first| first.is_ipv6() == address.is_ipv6());
    let (first, other): (Vec<_>, Vec<_>) = found.iter().copied().partition(is_first);
    let (mut first, mut other) = (first.into_iter(), other.into_iter());
    let mut ordered: Vec<_> = worked.filter(|worked| found.contains(worked)).into_iter().collect();
    loop {
        let pair = [first.next(), other.next()];
        if pair == [None, None] {
            break;
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push(address);
            }
        }
    }
    ordered.truncate(MOST_ADDRESSES);
    ordered
}

/// How far apart that many attempts begin: with many addresses and little time closer together, so that the last one has half
/// of the time left.
fn apart(addresses: usize, time: Duration) -> Duration {
    let addresses = u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
    (time / 2 / addresses).clamp(LEAST_APART, APART)
}

/// Tries the addresses in this order; the next one begins when one has failed, or has run for a while without an answer. None is
/// given up before another has succeeded or the time is over.
pub(super) async fn race<T, F>(
    addresses: &[SocketAddr],
    deadline: Instant,
    dial: impl Fn(SocketAddr) -> F,
) -> Result<(T, SocketAddr), ConnectError>
where
    F: Future<Output = io::Result<T>>,
{
    let apart = apart(addresses.len(), deadline.saturating_duration_since(Instant::now()));
    let mut untried = addresses.iter().copied().take(MOST_ADDRESSES).peekable();
    let mut running = FuturesUnordered::new();
    let mut failure = ConnectError::new(Trouble::Dns, "there is no address");
    loop {
        if let Some(address) = untried.next() {
            running.push(dial(address).map(move |ended| (address, ended)));
        } else if running.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            biased;
            Some((address, ended)) = running.next() => match ended {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => failure = failed(address, &error),
            },
            () = sleep_until(deadline) => {
                let detail = format_args!("no answer from {} of {} addresses", running.len(), addresses.len());
                return Err(ConnectError::new(Trouble::ConnectTimeout, detail));
            }
            () = sleep_until(Instant::now() + apart), if untried.peek().is_some() => {}
        }
    }
}

fn failed(address: SocketAddr, error: &io::Error) -> ConnectError {
    let trouble = match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::ConnectRefused,
        _ => Trouble::ConnectFailed,
    };
    ConnectError::new(trouble, format_args!("{address}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::time::sleep;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn numbered(count: u8) -> Vec<SocketAddr> {
        (0..count).map(|number| SocketAddr::from(([192, 0, 2, number], 443))).collect()
    }

    #[test]
    fn families_take_turns_and_what_worked_comes_first() {
        type Case<'a> = (&'a [&'a str], Option<&'a str>, &'a [&'a str]);
        let (v4, w4, x4) = ("192.0.2.1:443", "192.0.2.2:443", "192.0.2.3:443");
        let (v6, w6) = ("[2001:db8::1]:443", "[2001:db8::2]:443");
        let cases: [Case<'_>; 8] = [
            (&[], None, &[]),
            (&[v4], None, &[v4]),
            (&[v4, w4, v6, w6], None, &[v4, v6, w4, w6]),
            (&[v6, w6, v4, w4, x4], None, &[v6, v4, w6, w4, x4]),
            (&[v4, w4, x4], Some(x4), &[x4, v4, w4]),
            (&[v6, w6, v4], Some(v4), &[v4, v6, w6]),
            // The name has it no more.
            (&[v4, w4], Some(x4), &[v4, w4]),
            (&[v4, v4, w4], None, &[v4, w4]),
        ];
        for (found, worked, expected) in cases {
            let found: Vec<_> = found.iter().map(|text| address(text)).collect();
            let expected: Vec<_> = expected.iter().map(|text| address(text)).collect();
            assert_eq!(order(&found, worked.map(address)), expected, "{found:?} {worked:?}");
        }
        assert_eq!(order(&numbered(200), None).len(), MOST_ADDRESSES);
    }

    #[test]
    fn many_addresses_begin_closer_together_so_that_the_last_one_has_half_of_the_time() {
        for (addresses, seconds, milliseconds) in [(1, 5, 250), (10, 5, 250), (16, 5, 156), (32, 5, 100), (4, 1, 125)] {
            assert_eq!(apart(addresses, Duration::from_secs(seconds)).as_millis(), milliseconds, "{addresses}");
        }
    }

    /// Each address answers after its own time, or never.
    async fn race_of(answers: &[Option<u64>], within: u64) -> (Option<usize>, u128, Vec<u128>) {
        let start = Instant::now();
        let addresses = numbered(u8::try_from(answers.len()).unwrap());
        let begun = RefCell::new(Vec::new());
        let dial = |address: SocketAddr| {
            begun.borrow_mut().push(start.elapsed().as_millis());
            let answer = answers[addresses.iter().position(|known| *known == address).unwrap()];
            async move {
                match answer {
                    Some(milliseconds) => sleep(Duration::from_millis(milliseconds)).await,
                    None => std::future::pending().await,
                }
                io::Result::Ok(())
            }
        };
        let won = race(&addresses, start + Duration::from_millis(within), dial).await;
        let place = won.ok().map(|((), winner)| addresses.iter().position(|known| *known == winner).unwrap());
        (place, start.elapsed().as_millis(), begun.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_ways_and_many_addresses_connect() {
        // Round trips and counts of addresses with which none answers within its share of five seconds.
        for (addresses, round_trip) in [(16, 350), (8, 700), (10, 550), (2, 4_900)] {
            let (won, took, _) = race_of(&vec![Some(round_trip); addresses], 5_000).await;
            assert_eq!((won, took), (Some(0), u128::from(round_trip)), "{addresses} addresses");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_address_that_answers_is_found_behind_all_that_do_not() {
        let mut answers = vec![None; 15];
        answers.push(Some(700));
        assert_eq!(race_of(&answers, 5_000).await.0, Some(15));
        let (won, took, begun) = race_of(&[None, None, Some(10)], 5_000).await;
        assert_eq!((won, took), (Some(2), 510));
        assert_eq!(begun, [0, 250, 500]);
        let (won, took, begun) = race_of(&[None; 40], 5_000).await;
        assert_eq!((won, took, begun.len()), (None, 5_000, MOST_ADDRESSES));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_makes_room_for_the_next_at_once() {
        let start = Instant::now();
        let tried = Cell::new(0);
        let dial = |_| {
            tried.set(tried.get() + 1);
            let refuses = tried.get() < 5;
            async move { if refuses { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) } }
        };
        assert!(race(&numbered(5), start + Duration::from_secs(5), dial).await.is_ok());
        let refuse = |_| std::future::ready(io::Result::<()>::Err(io::ErrorKind::ConnectionRefused.into()));
        let error = race(&numbered(5), start + Duration::from_secs(5), refuse).await.unwrap_err();
        assert_eq!(error.trouble, Trouble::ConnectRefused);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    /// Listens, and has as many connections waiting as it takes: the kernel answers no further ones.
    async fn full() -> (TcpListener, TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(address("127.0.0.1:0")).unwrap();
        let listener = socket.listen(0).unwrap();
        let waiting = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener, waiting)
    }

    #[tokio::test]
    async fn real_addresses_that_do_not_answer_do_not_keep_the_one_that_does_from_being_reached() {
        let (silent, silent_too) = (full().await, full().await);
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [&silent.0, &silent_too.0, &open].map(|listener| listener.local_addr().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        let (_, winner) = race(&addresses, deadline, TcpStream::connect).await.unwrap();
        assert_eq!(winner, addresses[2]);
    }
}
