//! The delivery contract (docs/delivery.md) while something is wrong: providers that are down, slow or half there, full disks,
//! clocks that jump, processes that are killed. Through the front door: real HTTP, TLS and HTTP/2, real files of the queue, and
//! the simulator's ledger as the witness of what reached a phone.
//!
//! No test waits for a back-off: the relay runs on a clock that the test turns, and where it is a process of its own, its
//! settings are scaled down.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the modules of one test binary speak to each other")]

#[path = "../front_door/support/mod.rs"]
#[allow(dead_code, reason = "shared with the front door, which uses more of it")]
mod support;

mod stand;

mod answers;
mod breaker;
mod clocks;
mod disk;
mod held_up;
mod killed;
mod operators;
mod outage;
mod promises;
mod refusals;
mod removals;
mod stale;
mod tunnel;
mod wire;
