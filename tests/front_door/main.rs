//! The relay through its front door: real sockets, TLS, HTTP/2, and simulators of Apple and Google that are as strict as
//! they are. Each test reads as a conversation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the modules of one test binary speak to each other")]

#[allow(dead_code, reason = "shared with the fault suite, which uses more of it")]
mod support;

mod answers;
mod auth;
mod backup;
mod check;
mod command_line;
mod compatibility;
mod credentials;
mod credentials_reload;
mod description;
mod leaving;
mod machine;
mod named_files;
mod network;
mod process;
mod queue_command;
mod repeats;
mod short_trouble;
mod signatures;
mod status;
mod strict;
#[cfg(feature = "otlp")]
mod traces;
mod verdicts;
mod webhooks;
