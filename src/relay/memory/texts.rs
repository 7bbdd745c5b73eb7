//! Outcomes as numbers: a remembered one takes two bytes, and each text of a failure is kept once.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use crate::outcome::Outcome;

/// The most texts kept. Those of final failures name one of the provider's reasons, a few dozen in all; a text beyond this is
/// not remembered, which wakes no phone: what the provider refused it refuses again.
const MAX_TEXTS: u16 = 256;

const DELIVERED: u16 = 0;
const REMOVE: u16 = 1;
const QUEUED: u16 = 2;
const FIRST_TEXT: u16 = 3;

/// The texts, each at its number less [`FIRST_TEXT`]. The lock is taken for failures only, and held for a walk over the few
/// there are.
#[derive(Debug, Default)]
pub(super) struct Texts(Mutex<Vec<Cow<'static, str>>>);

impl Texts {
    /// The number of an outcome; `None` if there are too many different ones.
    pub(super) fn number(&self, outcome: &Outcome) -> Option<u16> {
        let text = match outcome {
            Outcome::Delivered => return Some(DELIVERED),
            Outcome::Queued => return Some(QUEUED),
            Outcome::Remove => return Some(REMOVE),
            Outcome::Failed { text } => text,
        };
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = (FIRST_TEXT..).zip(texts.iter()).find(|(_, known)| *known == text);
        if let Some((number, _)) = known {
            return Some(number);
        }
        let number = u16::try_from(texts.len()).ok().filter(|count| *count < MAX_TEXTS)? + FIRST_TEXT;
        texts.push(text.clone());
        Some(number)
    }

    /// The text that a number stands for; `None` for the outcomes without one.
    pub(super) fn text(&self, number: u16) -> Option<String> {
        let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        texts.get(usize::from(number.checked_sub(FIRST_TEXT)?)).map(|text| text.clone().into_owned())
    }

    /// The same outcome's number here, from a process that called it `number` and whose texts these are. `None` if it is not known.
    pub(super) fn adopt(&self, number: u16, texts: &std::collections::HashMap<u16, String>) -> Option<u16> {
        if number < FIRST_TEXT {
            return Some(number);
        }
        self.number(&Outcome::Failed { text: texts.get(&number)?.clone().into() })
    }

    /// The outcome of a number that [`Texts::number`] gave.
    pub(super) fn outcome(&self, number: u16) -> Outcome {
        match number {
            DELIVERED => Outcome::Delivered,
            REMOVE => Outcome::Remove,
            QUEUED => Outcome::Queued,
            text => {
                let texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                Outcome::Failed { text: texts[usize::from(text - FIRST_TEXT)].clone() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: impl Into<Cow<'static, str>>) -> Outcome {
        Outcome::Failed { text: text.into() }
    }

    #[test]
    fn an_outcome_comes_back_as_it_was_and_equal_ones_share_a_number() {
        let texts = Texts::default();
        let outcomes = [Outcome::Delivered, Outcome::Remove, failed("BadCollapseId"), failed("INVALID_ARGUMENT")];
        for outcome in &outcomes {
            let number = texts.number(outcome).unwrap();
            assert_eq!(texts.outcome(number), *outcome);
            assert_eq!(texts.number(outcome), Some(number));
        }
        assert_eq!(texts.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn texts_beyond_the_bound_are_not_kept_and_earlier_ones_still_are() {
        let texts = Texts::default();
        for n in 0..MAX_TEXTS {
            assert!(texts.number(&failed(n.to_string())).is_some());
        }
        assert_eq!(texts.number(&failed("one too many")), None);
        assert_eq!(texts.outcome(texts.number(&failed("255")).unwrap()), failed("255"));
        assert_eq!(texts.number(&Outcome::Delivered), Some(DELIVERED));
    }
}
