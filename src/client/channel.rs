//! A way to the authority: several addresses, balanced, connected when first used. Knows no call.

use std::time::Duration;

use http::Uri;
use tonic::transport::{Channel, Endpoint};

/// An address that no channel can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} {problem}")]
pub struct InvalidAddress {
    /// As it was given.
    pub address: String,
    /// What it must be.
    pub problem: &'static str,
}

/// How a channel treats its connections and calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelOptions {
    /// How long a call may take until its answer begins.
    pub deadline: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How often a silent connection is asked for a sign of life; without one within half of this
    /// it is given up, so that a feed on it starts anew.
    pub keep_alive: Duration,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(10),
        }
    }
}

impl ChannelOptions {
    /// A channel that shares calls out among these addresses, each `http://HOST:PORT`, and connects
    /// when it is used. A call that meets an address that is away fails as UNAVAILABLE, and the next
    /// may meet another: the SDK repeats its own. Call it inside a Tokio runtime.
    pub fn balance(self, addresses: &[impl AsRef<str>]) -> Result<Channel, InvalidAddress> {
        let endpoints = addresses.iter().map(|address| self.endpoint(address.as_ref()));
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(InvalidAddress { address: String::new(), problem: "at least one address is needed" });
        }
        Ok(Channel::balance_list(endpoints.into_iter()))
    }

    fn endpoint(&self, address: &str) -> Result<Endpoint, InvalidAddress> {
        let wrong = |problem| InvalidAddress { address: address.to_owned(), problem };
        let uri: Uri = address.parse().map_err(|_| wrong("must be http://HOST:PORT"))?;
        match uri.scheme_str() {
            Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => {}
            Some("https") => return Err(wrong("needs TLS, which this version has not: give a channel of your own")),
            _ => return Err(wrong("must be http://HOST:PORT")),
        }
        Ok(Endpoint::from(uri)
            .timeout(self.deadline)
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive / 2)
            .keep_alive_while_idle(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_said_before_anything_is_called() {
        for wrong in ["", "127.0.0.1:50051", "https://authority", "unix:/tmp/x", "http://"] {
            let refused = ChannelOptions::default().endpoint(wrong).err();
            assert_eq!(refused.map(|error| error.address).as_deref(), Some(wrong));
        }
        assert!(ChannelOptions::default().endpoint("http://127.0.0.1:50051").is_ok());
        assert!(ChannelOptions::default().balance(&[] as &[&str]).is_err());
    }
}
