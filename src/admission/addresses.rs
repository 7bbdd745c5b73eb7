//! Which addresses had too many requests refused: they are turned away before the costly part of the check.
//!
//! Only refusals count, and a request that proves who sent it, and is let through, clears its address. Several chat servers may share one (a
//! proxy that the configuration does not name as trusted): somebody else behind it, refused over and over, should not
//! shut the others out.

use std::net::{IpAddr, Ipv6Addr};

use super::rate::{Rate, Rates, Wait};
use crate::clock::Clock;

/// The most addresses remembered, 40 bytes each: 2 MiB. Whoever has more of them to send from is not held up by this.
const MAX_ADDRESSES: usize = 50_000;

/// Counts refusals by address.
#[derive(Debug)]
pub(super) struct Addresses {
    refusals: Option<Rates>,
}

impl Addresses {
    /// Without a rate nobody is turned away.
    pub(super) fn new(rate: Option<Rate>, clock: &Clock) -> Self {
        Self { refusals: rate.map(|rate| Rates::new(rate, MAX_ADDRESSES, clock.clone())) }
    }

    /// Whether requests of this address are looked at; if they are, whether any were refused lately.
    pub(super) fn look(&self, address: IpAddr) -> Result<bool, Wait> {
        let known = self.refusals.as_ref().and_then(|refusals| refusals.look(subscriber(address)));
        known.transpose().map(|known| known.is_some())
    }

    /// A request was refused.
    pub(super) fn refused(&self, address: IpAddr) {
        if let Some(refusals) = &self.refusals {
            // Many at once may pass the look and then find the bucket empty: they have been answered all the same.
            let _ = refusals.check(subscriber(address));
        }
    }

    /// A request proved who sent it.
    pub(super) fn proven(&self, address: IpAddr) {
        if let Some(refusals) = &self.refusals {
            refusals.forget(subscriber(address));
        }
    }
}

/// The first 64 bits of an IPv6 address: providers give each customer at least that many, and one machine can use all.
fn subscriber(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
