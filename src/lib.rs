//! pushrelay: a self-hostable push relay.

pub mod admission;
pub mod app;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod doctor;
pub mod enrolment;
pub mod http;
pub mod journal;
pub mod message;
pub mod named_file;
pub mod notification;
pub mod outcome;
pub mod private;
pub mod queue;
pub mod relay;
pub mod sender;
pub mod shutdown;
pub mod simulator;
pub mod telemetry;
