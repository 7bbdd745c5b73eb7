//! Mattermost signature.
