//! What waits too long, or is made needless, wakes no phone.
