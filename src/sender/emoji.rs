//! Emoji codes.
