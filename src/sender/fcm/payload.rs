//! The message that an Android app reads.
