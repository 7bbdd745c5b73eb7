//! The checked values as the types that settings need. Asking for a key as something else than `keys` declares is a slip
//! in the code, which every test that loads the defaults would meet.

use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use super::Values;
use crate::config::kind::Value;
use crate::private::Private;
use crate::sender::network::ProxySettings;

const DEFAULTED: &str = "the key is declared with a default in `keys`, and a wrong value is replaced by it";

impl Values<'_> {
    /// A text, a choice or a path.
    pub(in crate::config) fn text(&self, name: &str) -> Option<&str> {
        match self.by_name.get(name)? {
            Value::Text(text) => Some(text),
            other => unreachable!("`{name}` is read as text and declared as {other:?}"),
        }
    }

    /// A secret.
    pub(in crate::config) fn secret(&self, name: &str) -> Option<&Private> {
        match self.by_name.get(name)? {
            Value::Secret(secret) => Some(secret),
            other => unreachable!("`{name}` is read as a secret and declared as {other:?}"),
        }
    }

    /// Several texts or paths; none if the key was not given.
    pub(in crate::config) fn texts(&self, name: &str) -> &[String] {
        match self.by_name.get(name) {
            Some(Value::Texts(texts)) => texts,
            None => &[],
            Some(other) => unreachable!("`{name}` is read as a list and declared as {other:?}"),
        }
    }

    /// An address without a default.
    pub(in crate::config) fn optional_address(&self, name: &str) -> Option<SocketAddr> {
        match self.by_name.get(name)? {
            Value::Address(address) => Some(*address),
            other => unreachable!("`{name}` is read as an address and declared as {other:?}"),
        }
    }

    /// Another host than the provider's.
    pub(in crate::config) fn endpoint(&self, name: &str) -> Option<&Url> {
        match self.by_name.get(name)? {
            Value::Endpoint(url) => Some(url),
            other => unreachable!("`{name}` is read as an endpoint and declared as {other:?}"),
        }
    }

    /// A word with a default.
    pub(in crate::config) fn choice(&self, name: &str) -> &str {
        self.text(name).expect(DEFAULTED)
    }

    /// An address with a default.
    pub(in crate::config) fn address(&self, name: &str) -> SocketAddr {
        self.optional_address(name).expect(DEFAULTED)
    }

    /// A flag with a default.
    pub(in crate::config) fn flag(&self, name: &str) -> bool {
        match self.by_name.get(name).expect(DEFAULTED) {
            Value::Flag(flag) => *flag,
            other => unreachable!("`{name}` is read as a flag and declared as {other:?}"),
        }
    }

    /// A number or a size without a default, as the type it is needed in.
    pub(in crate::config) fn optional_number<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        match self.by_name.get(name)? {
            // The ranges in `keys` fit the types of the settings.
            Value::Number(number) => {
                Some(T::try_from(*number).ok().expect("the range in `keys` fits the setting's type"))
            }
            other => unreachable!("`{name}` is read as a number and declared as {other:?}"),
        }
    }

    /// A number or a size with a default.
    pub(in crate::config) fn number<T: TryFrom<u64>>(&self, name: &str) -> T {
        self.optional_number(name).expect(DEFAULTED)
    }

    /// A time with a default.
    pub(in crate::config) fn duration(&self, name: &str) -> Duration {
        match self.by_name.get(name).expect(DEFAULTED) {
            Value::Duration(duration) => *duration,
            other => unreachable!("`{name}` is read as a time and declared as {other:?}"),
        }
    }

    /// A proxy with a default.
    pub(in crate::config) fn proxy(&self, name: &str) -> ProxySettings {
        match self.by_name.get(name).expect(DEFAULTED) {
            Value::Proxy(proxy) => proxy.clone(),
            other => unreachable!("`{name}` is read as a proxy and declared as {other:?}"),
        }
    }
}
