//! What must never be read by a person who was not meant to: message texts, device tokens, passwords.
//!
//! The type makes it so: `Debug` prints a placeholder, and there is no `Display` and no `Serialize`. Whoever needs the
//! value asks for it by name ([`Private::expose`]), which is easy to find in a review.

use std::fmt;

/// A text that logs, errors and metrics must not show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Private(String);

impl Private {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Only for what is sent to a provider or compared; never for a log or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is any text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private]")
    }
}

#[cfg(test)]
mod tests {
    use super::Private;

    #[test]
    fn a_debug_print_does_not_show_the_text() {
        assert_eq!(format!("{:?}", Some(Private::new("canary"))), "Some([private])");
    }
}
