//! A way to the authority: several addresses, balanced, connected when first used. Knows no call.

use std::time::Duration;

use http::Uri;
#[cfg(feature = "client-tls")]
use tonic::transport::ClientTlsConfig;
use tonic::transport::{Channel, Endpoint};

use super::authority_channel::AuthorityChannel;
use super::proof::Proof;

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
#[derive(Debug, Clone)]
pub struct ChannelOptions {
    /// How long a call may take until its answer begins.
    pub deadline: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How often a silent connection is asked for a sign of life; without one within half of this
    /// it is given up, so that a feed on it starts anew.
    pub keep_alive: Duration,
    /// What each call shows of its caller, unless it says something itself; nothing by default.
    pub proof: Proof,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(10),
            proof: Proof::default(),
        }
    }
}

impl ChannelOptions {
    /// A channel that shares calls out among these addresses, each `http://HOST:PORT`, and connects
    /// when it is used. A call that meets an address that is away fails as UNAVAILABLE, and the next
    /// may meet another: the SDK repeats its own. Call it inside a Tokio runtime.
    pub fn balance(self, addresses: &[impl AsRef<str>]) -> Result<AuthorityChannel, InvalidAddress> {
        let channel = balance(addresses.iter().map(|address| self.endpoint("http", address.as_ref())))?;
        Ok(AuthorityChannel::new(channel, self.proof))
    }

    /// The same over TLS, each address `https://HOST:PORT`: `tls` says whom to trust, and what
    /// certificate to show to a server that asks for one.
    #[cfg(feature = "client-tls")]
    pub fn balance_over_tls(
        self,
        addresses: &[impl AsRef<str>],
        tls: &ClientTlsConfig,
    ) -> Result<AuthorityChannel, InvalidAddress> {
        let channel = balance(addresses.iter().map(|address| {
            let address = address.as_ref();
            self.endpoint("https", address)?.tls_config(tls.clone()).map_err(|_| InvalidAddress {
                address: address.to_owned(),
                problem: "can't be reached with these certificates, which can't be read",
            })
        }))?;
        Ok(AuthorityChannel::new(channel, self.proof))
    }

    fn endpoint(&self, scheme: &str, address: &str) -> Result<Endpoint, InvalidAddress> {
        let wrong = |problem| InvalidAddress { address: address.to_owned(), problem };
        let uri: Uri = address.parse().map_err(|_| wrong("must be http(s)://HOST:PORT"))?;
        match uri.scheme_str() {
            Some(said) if said == scheme && uri.host().is_some_and(|host| !host.is_empty()) => {}
            Some("https") => return Err(wrong("needs TLS: balance_over_tls, of the feature client-tls")),
            Some("http") => return Err(wrong("must be https://HOST:PORT, or certificates mean nothing")),
            _ => return Err(wrong("must be http(s)://HOST:PORT")),
        }
        Ok(Endpoint::from(uri)
            .timeout(self.deadline)
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive / 2)
            .keep_alive_while_idle(true))
    }
}

fn balance(endpoints: impl Iterator<Item = Result<Endpoint, InvalidAddress>>) -> Result<Channel, InvalidAddress> {
    let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
    if endpoints.is_empty() {
        return Err(InvalidAddress { address: String::new(), problem: "at least one address is needed" });
    }
    Ok(Channel::balance_list(endpoints.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_said_before_anything_is_called() {
        for wrong in ["", "127.0.0.1:50051", "https://authority", "unix:/tmp/x", "http://"] {
            let refused = ChannelOptions::default().endpoint("http", wrong).err();
            assert_eq!(refused.map(|error| error.address).as_deref(), Some(wrong));
        }
        assert!(ChannelOptions::default().endpoint("http", "http://127.0.0.1:50051").is_ok());
        assert!(ChannelOptions::default().endpoint("https", "https://127.0.0.1:50051").is_ok());
        assert!(ChannelOptions::default().endpoint("https", "http://127.0.0.1:50051").is_err());
        assert!(ChannelOptions::default().balance(&[] as &[&str]).is_err());
    }
}
