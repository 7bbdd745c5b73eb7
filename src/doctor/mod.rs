//! Will this configuration deliver? Goes the way of a push station by station, for each target and for this machine, and says
//! where it ends, why, and what to do. Wakes no phone, changes nothing, and disturbs no relay that runs.

mod machine;
mod provider;
mod remedies;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::notification::TargetName;
pub use machine::{Taken, listening, places};
pub use provider::examine;

/// The longest text of a finding, characters: some of it is what others say.
const LONGEST_TEXT: usize = 600;

/// A station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The directory for what outlives the process.
    DataDir,
    /// The file of what waits.
    Queue,
    /// The addresses that chat servers and operators come to.
    Listen,
    /// The end of a target's own certificate.
    Certificate,
    /// The addresses of a name.
    Dns,
    /// A connection, through a proxy if there is one.
    Tcp,
    /// Encryption, and who is at the other end.
    Tls,
    /// The protocol of push services.
    Http2,
    /// Our clock beside the provider's.
    Clock,
    /// Google's access token.
    OAuth,
    /// Whether the provider takes us for who we say we are.
    Credentials,
}

impl Step {
    /// For the table and the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DataDir => "data_dir",
            Self::Queue => "queue",
            Self::Listen => "listen",
            Self::Certificate => "certificate",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Clock => "clock",
            Self::OAuth => "oauth",
            Self::Credentials => "credentials",
        }
    }
}

/// How a station was found. Whoever complains says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it should be.
    Well,
    /// Pushes arrive, but somebody should look at it.
    Warning {
        /// What to do.
        remedy: String,
    },
    /// Pushes do not arrive.
    Failed {
        /// What to do.
        remedy: String,
    },
    /// Not looked at.
    Skipped,
}

impl Standing {
    /// For the table and the JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Warning { .. } => "warn",
            Self::Failed { .. } => "fail",
            Self::Skipped => "skipped",
        }
    }

    /// What to do, if there is something to do.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Warning { remedy } | Self::Failed { remedy } => Some(remedy),
            Self::Well | Self::Skipped => None,
        }
    }
}

/// What was found at one station. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub step: Step,
    /// On the way to which target; `None` is this machine.
    pub target: Option<TargetName>,
    /// How it stands.
    pub standing: Standing,
    /// What was seen, on one line.
    pub what: String,
}

impl Finding {
    fn new(step: Step, target: Option<&TargetName>, standing: Standing, what: impl Into<String>) -> Self {
        // Others' words must not move a terminal's cursor.
        let what = what.into().chars().take(LONGEST_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { step, target: target.cloned(), standing, what }
    }

    /// Whether pushes do not arrive because of it.
    pub fn is_failure(&self) -> bool {
        matches!(self.standing, Standing::Failed { .. })
    }
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Finding", 5)?;
        fields.serialize_field("step", self.step.as_str())?;
        fields.serialize_field("target", &self.target.as_ref().map(TargetName::as_str))?;
        fields.serialize_field("status", self.standing.as_str())?;
        fields.serialize_field("what", &self.what)?;
        fields.serialize_field("remedy", &self.standing.remedy())?;
        fields.end()
    }
}

fn failed(remedy: impl Into<String>) -> Standing {
    Standing::Failed { remedy: remedy.into() }
}

fn warning(remedy: impl Into<String>) -> Standing {
    Standing::Warning { remedy: remedy.into() }
}
