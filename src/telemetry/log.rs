//! Log lines.

/// How logs are written.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// JSON or human.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `pushrelay=debug,info`.
    pub filter: String,
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a terminal.
    Human,
}
