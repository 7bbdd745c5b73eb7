//! What operators see: log lines and metrics. Nothing here decides anything, and nothing here can hold a device token
//! or a message: the functions take ids, names from the configuration and words from fixed tables.

mod archive;
mod figures;
mod file;
mod line;
pub mod log;
pub mod metrics;
#[cfg(target_os = "linux")]
mod process;
pub mod queue;
pub mod recent;
pub mod repeats;
mod series;
mod sink;
pub mod targets;
pub mod traces;

pub(crate) use line::is_deceptive;
