//! A Redis URL, parsed: servers, user, and what stands behind them. Opens nothing.
//!
//! `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/NAME][?KEY=VALUE&…]`. `NAME` is the database's
//! number of a standalone server, the primary's name for Sentinels. `%XX` stands for a byte where a
//! password has a character of the URL's own. What is told of the Redis here, replicas among it, needs
//! no key of the configuration: it means nothing to another store.

use super::open_error::OpenError;

/// How the servers stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone,
    /// Primary and replicas behind Sentinels, which are what the URL names.
    Sentinel,
    /// A Cluster, of which the URL names some nodes.
    Cluster,
}

impl Topology {
    /// For reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// How many replicas must have a commit before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) replicas: u8,
    pub(super) commits: Awaited,
}

/// For which commits replicas are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Those that revoke something.
    Revocations,
    /// All.
    Changes,
}

impl Awaited {
    /// As the URL says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Revocations => "revocations",
            Self::Changes => "changes",
        }
    }
}

/// Where a Redis is and how to log in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) topology: Topology,
    pub(super) hosts: Vec<(String, u16)>,
    /// Instead of hosts.
    pub(super) socket: Option<String>,
    pub(super) tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// The database's number, or the primary's name.
    pub(super) name: Option<String>,
    pub(super) sentinel_user: Option<String>,
    pub(super) sentinel_password: Option<String>,
    /// PEM file of the authorities to trust instead of the system's.
    pub(super) authorities: Option<String>,
    pub(super) prefix: String,
    /// 0: none is waited for.
    wait_replicas: u8,
    wait_for: Option<Awaited>,
}

impl Address {
    pub(super) fn parse(topology: Topology, url: &str) -> Result<Self, OpenError> {
        let (scheme, rest) = url.split_once("://").ok_or(OpenError::Url("has no ://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let mut address = Self {
            topology,
            hosts: Vec::new(),
            socket: None,
            tls: scheme.starts_with("rediss"),
            user: None,
            password: None,
            name: None,
            sentinel_user: None,
            sentinel_password: None,
            authorities: None,
            prefix: "ta".to_owned(),
            wait_replicas: 0,
            wait_for: None,
        };
        if let Some(login) = login {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            address.user = filled(user)?;
            address.password = filled(password)?;
        }
        if scheme.ends_with("+unix") {
            address.socket = Some(decoded(place)?);
        } else {
            address.place(place)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            address.parameter(pair)?;
        }
        address.checked()
    }

    fn place(&mut self, place: &str) -> Result<(), OpenError> {
        let (hosts, name) = place.split_once('/').unwrap_or((place, ""));
        self.name = filled(name)?;
        let port = if self.topology == Topology::Sentinel { 26379 } else { 6379 };
        for host in hosts.split(',') {
            self.hosts.push(host_and_port(host, port)?);
        }
        Ok(())
    }

    fn parameter(&mut self, pair: &str) -> Result<(), OpenError> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = filled(value)?;
        match key {
            "sentinel_user" => self.sentinel_user = value,
            "sentinel_password" => self.sentinel_password = value,
            "ca" => self.authorities = value,
            "db" if self.socket.is_some() => self.name = value,
            "prefix" => self.prefix = value.unwrap_or_default(),
            "wait_replicas" => self.wait_replicas = replicas(value.as_deref())?,
            "wait_for" => self.wait_for = Some(awaited(value.as_deref())?),
            _ => {
                return Err(OpenError::Url(
                    "parameters are prefix, ca, sentinel_user, sentinel_password, wait_replicas, wait_for, and db for a \
                     socket",
                ));
            }
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, OpenError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.prefix.is_empty() || !self.prefix.chars().all(plain) {
            return Err(OpenError::Url("prefix must be of letters, digits, '-', '_' and '.'"));
        }
        match self.topology {
            Topology::Standalone if self.hosts.len() > 1 => {
                Err(OpenError::Url("redis:// has one server: redis-cluster:// or redis-sentinel:// have several"))
            }
            Topology::Standalone if self.database().is_err() => {
                Err(OpenError::Url("the database after the host must be a number from 0 to 255"))
            }
            Topology::Sentinel if self.name.is_none() => {
                Err(OpenError::Url("redis-sentinel:// needs the primary's name: redis-sentinel://HOST:PORT,…/NAME"))
            }
            Topology::Cluster if self.name.is_some() => Err(OpenError::Url("a Redis Cluster has no databases")),
            _ if self.wait_replicas == 0 && self.wait_for.is_some() => {
                Err(OpenError::Url("wait_for says nothing without wait_replicas"))
            }
            _ => Ok(self),
        }
    }

    /// The database's number, of a standalone server.
    pub(super) fn database(&self) -> Result<Option<u8>, std::num::ParseIntError> {
        match self.topology {
            Topology::Standalone => self.name.as_deref().map(str::parse).transpose(),
            Topology::Sentinel | Topology::Cluster => Ok(None),
        }
    }

    /// Which commits wait for replicas; `None`: no commit does.
    pub(super) fn wait(&self) -> Option<Wait> {
        let commits = self.wait_for.unwrap_or(Awaited::Revocations);
        (self.wait_replicas > 0).then_some(Wait { replicas: self.wait_replicas, commits })
    }

    /// For messages: the servers alone.
    pub(super) fn servers(&self) -> String {
        match &self.socket {
            Some(path) => path.clone(),
            None => self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(","),
        }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("servers", &self.servers()).finish_non_exhaustive()
    }
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), OpenError> {
    let wrong = || OpenError::Url("a server is HOST or HOST:PORT, an IPv6 address in brackets");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            (host, port.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(wrong());
    }
    let port = port.map_or(Ok(default), |port| port.parse().map_err(|_| wrong()))?;
    Ok((host.to_owned(), port))
}

fn replicas(value: Option<&str>) -> Result<u8, OpenError> {
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or(OpenError::Url("wait_replicas is a number of replicas, 0 for none"))
}

fn awaited(value: Option<&str>) -> Result<Awaited, OpenError> {
    match value {
        Some("revocations") => Ok(Awaited::Revocations),
        Some("changes") => Ok(Awaited::Changes),
        _ => Err(OpenError::Url("wait_for is revocations or changes")),
    }
}

fn filled(text: &str) -> Result<Option<String>, OpenError> {
    if text.is_empty() { Ok(None) } else { decoded(text).map(Some) }
}

fn decoded(text: &str) -> Result<String, OpenError> {
    let wrong = || OpenError::Url("'%' must be followed by two hexadecimal digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2).ok_or_else(wrong)?;
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
            rest = behind;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Topology::{Cluster, Sentinel, Standalone};

    #[test]
    fn every_part_of_a_url_is_read() {
        let one =
            Address::parse(Standalone, "rediss://me:p%40ss@db.example/3?prefix=x-1&ca=/etc/ca.pem").expect("a URL");
        assert!(one.tls);
        assert_eq!(one.hosts, [("db.example".to_owned(), 6379)]);
        assert_eq!((one.user.as_deref(), one.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!((one.database(), one.prefix.as_str()), (Ok(Some(3)), "x-1"));
        assert!(!format!("{one:?}").contains("p@ss"));
        let some = Address::parse(Sentinel, "redis-sentinel://:pw@a,[::1]:1/main?sentinel_password=s").expect("a URL");
        assert_eq!(some.hosts, [("a".to_owned(), 26379), ("::1".to_owned(), 1)]);
        assert_eq!((some.name.as_deref(), some.sentinel_password.as_deref()), (Some("main"), Some("s")));
        let socket = Address::parse(Standalone, "redis+unix:///run/redis.sock?db=2").expect("a URL");
        assert_eq!((socket.socket.as_deref(), socket.database()), (Some("/run/redis.sock"), Ok(Some(2))));
        let wait = |query: &str| Address::parse(Cluster, &format!("redis-cluster://a{query}")).expect("a URL").wait();
        assert_eq!((wait(""), wait("?wait_replicas=0")), (None, None));
        assert_eq!(wait("?wait_replicas=2"), Some(Wait { replicas: 2, commits: Awaited::Revocations }));
        assert_eq!(wait("?wait_for=changes&wait_replicas=1"), Some(Wait { replicas: 1, commits: Awaited::Changes }));
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for (topology, url) in [
            (Standalone, "redis://a,b"),
            (Standalone, "redis://a/x"),
            (Standalone, "redis://a:secret"),
            (Standalone, "redis://a?prefix="),
            (Standalone, "redis://a?prefix={1}"),
            (Standalone, "redis://a?secret=1"),
            (Standalone, "redis://a?wait_replicas=some"),
            (Standalone, "redis://a?wait_replicas=1&wait_for=luck"),
            (Standalone, "redis://a?wait_for=changes"),
            (Standalone, "redis://%zz@a"),
            (Sentinel, "redis-sentinel://a"),
            (Cluster, "redis-cluster://a/1"),
            (Cluster, "redis-cluster://a,,b"),
        ] {
            let error = Address::parse(topology, url).expect_err(url).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
