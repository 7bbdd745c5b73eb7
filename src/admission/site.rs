//! The address of a chat server, as its people type it. Nothing is asked here.

use std::fmt;

use url::Url;

/// What a chat server tells everybody about itself, behind its address (Mattermost, "Get client configuration").
const PUBLICATION: &str = "api/v4/config/client?format=old";

/// Scheme, host, port and the path that the server is installed under, which ends with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site(Url);

/// Why a text is not the address of a chat server. Never quotes it: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// Not a URL with a host.
    #[error("is not an address such as https://chat.example.com")]
    Unreadable,
    /// Another scheme.
    #[error("is not an address with https:// (or http://)")]
    Scheme,
    /// A user's name or password.
    #[error("has a user or a password in it, and the address is to be the one that everybody may know")]
    Credentials,
    /// A query or a fragment.
    #[error("has a `?` or a `#` in it: what is wanted is the address of the site, as in Mattermost's SiteURL")]
    TooMuch,
}

impl Site {
    /// From `https://chat.example.com`, with or without a port and a path; without a scheme it is `https`.
    pub fn parse(text: &str) -> Result<Self, SiteError> {
        let text = text.trim();
        let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&text).map_err(|_| SiteError::Unreadable)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(SiteError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(SiteError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(SiteError::TooMuch);
        }
        url.set_path(&format!("{}/", url.path().trim_end_matches('/')));
        Ok(Self(url))
    }

    /// Whether nobody on the way can change what it answers.
    pub fn is_private(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Where it says who it is.
    pub fn publication(&self) -> Url {
        self.0.join(PUBLICATION).expect("a constant path can be joined to an address with a host")
    }

    /// A name for it, of letters, digits, `-`, `_` and `.`: the host, the port if it is not the usual one, and the path.
    pub fn name(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        let port = self.0.port().map(|port| format!("-{port}")).unwrap_or_default();
        let text = format!("{host}{port}{}", self.0.path().trim_end_matches('/'));
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
        text.chars().map(plain).collect::<String>().trim_matches(['-', '.']).to_owned()
    }
}

/// As people type it: without the slash at its end.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_people_type_it() {
        for (text, shown, publication, name) in [
            (
                "https://chat.example.com",
                "https://chat.example.com",
                "https://chat.example.com/api/v4/config/client?format=old",
                "chat.example.com",
            ),
            (
                " Chat.Example.com/ ",
                "https://chat.example.com",
                "https://chat.example.com/api/v4/config/client?format=old",
                "chat.example.com",
            ),
            (
                "https://example.com:8443/team/chat/",
                "https://example.com:8443/team/chat",
                "https://example.com:8443/team/chat/api/v4/config/client?format=old",
                "example.com-8443-team-chat",
            ),
            ("http://[::1]:8065", "http://[::1]:8065", "http://[::1]:8065/api/v4/config/client?format=old", "1--8065"),
        ] {
            let site = Site::parse(text).unwrap();
            assert_eq!((site.to_string().as_str(), site.publication().as_str()), (shown, publication), "{text}");
            assert_eq!(site.name(), name, "{text}");
            assert_eq!(Site::parse(shown).unwrap(), site, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_site_is_refused_without_quoting_it() {
        for (text, expected) in [
            ("", SiteError::Unreadable),
            ("https://", SiteError::Unreadable),
            ("ftp://chat.example.com", SiteError::Scheme),
            ("https://canary:canary@chat.example.com", SiteError::Credentials),
            ("canary@chat.example.com", SiteError::Credentials),
            ("https://chat.example.com/api/v4/config/client?format=old", SiteError::TooMuch),
            ("https://chat.example.com/#canary", SiteError::TooMuch),
        ] {
            let error = Site::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("canary"));
        }
    }
}
