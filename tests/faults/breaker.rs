//! What the relay does and says while a target is left alone.
