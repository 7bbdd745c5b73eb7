//! Mattermost wire format.
