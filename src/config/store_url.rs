//! Where the store is. Tells the kinds apart; the rest of a Redis URL is for the store to parse.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A directory on this machine, for one server.
    Embedded(PathBuf),
    /// One Redis.
    Redis(RedisUrl),
    /// A Redis Cluster, by some of its nodes.
    RedisCluster(RedisUrl),
    /// A Redis behind Sentinels, by some of them.
    RedisSentinel(RedisUrl),
}

/// The URL of a Redis. May hold a password: redacted wherever it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The whole URL, for the driver alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The text names no store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be embedded:DIR, redis://HOST:PORT, redis-cluster://HOST:PORT,… or redis-sentinel://HOST:PORT,…/NAME")]
pub struct InvalidStoreUrl;

impl StoreUrl {
    /// Parses the text form. The error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, InvalidStoreUrl> {
        if let Some(directory) = text.strip_prefix("embedded:") {
            return if directory.is_empty() { Err(InvalidStoreUrl) } else { Ok(Self::Embedded(directory.into())) };
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidStoreUrl)?;
        let socket = scheme.ends_with("+unix");
        if rest.is_empty() || rest.starts_with('/') != socket || rest.contains(char::is_whitespace) {
            return Err(InvalidStoreUrl);
        }
        let url = RedisUrl(text.to_owned());
        match scheme {
            "redis" | "rediss" | "redis+unix" => Ok(Self::Redis(url)),
            "redis-cluster" | "rediss-cluster" => Ok(Self::RedisCluster(url)),
            "redis-sentinel" | "rediss-sentinel" => Ok(Self::RedisSentinel(url)),
            _ => Err(InvalidStoreUrl),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The text form, without user and password.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(directory) => write!(f, "embedded:{}", directory.display()),
            Self::Redis(url) | Self::RedisCluster(url) | Self::RedisSentinel(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("redis", ""));
        // Passwords stand before the last '@', and in parameters.
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        match rest.rsplit_once('@') {
            Some((_, host)) => write!(f, "{scheme}://***@{host}"),
            None => write!(f, "{scheme}://{rest}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_parses_and_shows_no_password() {
        for (text, shown) in [
            ("embedded:./data", "embedded:./data"),
            ("redis://localhost:6379/1", "redis://localhost:6379/1"),
            ("redis://user:p@ss@localhost:6379", "redis://***@localhost:6379"),
            ("rediss://user:p@ss@localhost", "rediss://***@localhost"),
            ("redis+unix:///run/redis.sock?db=1", "redis+unix:///run/redis.sock"),
            ("redis-cluster://:pass@a:1,b:2?password=x", "redis-cluster://***@a:1,b:2"),
            ("redis-sentinel://a:26379,b:26379/main", "redis-sentinel://a:26379,b:26379/main"),
        ] {
            let store = StoreUrl::parse(text).expect(text);
            assert_eq!(store.to_string(), shown);
            assert!(!format!("{store:?}").contains("ss@"), "{store:?}");
        }
        for text in ["", "data", "embedded:", "redis:", "redis://", "redis:///1", "redis+unix://a", "redis://a b"] {
            assert_eq!(StoreUrl::parse(text), Err(InvalidStoreUrl), "{text}");
        }
    }
}
