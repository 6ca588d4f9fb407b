//! Whether a Redis keeps what it acknowledges, asked of each primary before the first use; its clock,
//! ever again. Uses INFO
//! and TIME alone, which hosted servers allow too; decides nothing about what to do then.

use std::collections::HashMap;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Options, Server};
use fred::types::{ClusterHash, CustomCommand};

use super::clock::Difference;
use crate::authority::ports::Clock;

const OLDEST: (u32, u32) = (6, 2);
/// Of a server that is no Redis.
pub(super) const NO_TIME: &str = "TIME was not answered";

/// What is wrong with a server, each with the setting that mends it.
pub(super) async fn problems(
    client: &Client,
    server: Option<&Server>,
    clock: &dyn Clock,
) -> Result<Vec<String>, Error> {
    let told = client.with_options(&Options { cluster_node: server.cloned(), ..Options::default() });
    let info: String = told.custom(command("INFO"), Vec::<String>::new()).await?;
    let mut problems = settings(&info);
    problems.extend(match difference(client, server, clock).await? {
        Some(difference) => difference.problem(),
        None => Some(NO_TIME.to_owned()),
    });
    let place = server.map(|server| format!("{server}: ")).unwrap_or_default();
    Ok(problems.into_iter().map(|problem| format!("{place}{problem}")).collect())
}

/// How many replicas a server has now.
pub(super) async fn replicas(client: &Client, server: Option<&Server>) -> Result<u64, Error> {
    let client = client.with_options(&Options { cluster_node: server.cloned(), ..Options::default() });
    let info: String = client.custom(command("INFO"), vec!["replication".to_owned()]).await?;
    Ok(connected_replicas(&info))
}

/// How far a server's clock is from the local one; `None` where TIME was not answered with a time.
pub(super) async fn difference(
    client: &Client,
    server: Option<&Server>,
    clock: &dyn Clock,
) -> Result<Option<Difference>, Error> {
    let client = client.with_options(&Options { cluster_node: server.cloned(), ..Options::default() });
    let before = clock.now();
    let time: Vec<u64> = client.custom(command("TIME"), Vec::<String>::new()).await?;
    Ok(Difference::between(before, clock.now(), &time))
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::Random, false)
}

fn connected_replicas(info: &str) -> u64 {
    fields(info).get("connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn settings(info: &str) -> Vec<String> {
    let info = fields(info);
    let mut problems = Vec::new();
    let version = info.get("redis_version").copied().unwrap_or("unknown");
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
        problems.push(format!("its version is {version}: 6.2 at least, 7 recommended"));
    }
    match info.get("maxmemory_policy").copied() {
        Some("noeviction") => {}
        policy => problems.push(format!(
            "maxmemory-policy is {}, which drops sessions and revocations: CONFIG SET maxmemory-policy noeviction, and \
             the same in redis.conf",
            policy.unwrap_or("unknown")
        )),
    }
    if info.get("aof_enabled").copied() != Some("1") {
        problems.push(
            "appendonly is off, so that a crash loses what was acknowledged: CONFIG SET appendonly yes, and the same in \
             redis.conf"
                .to_owned(),
        );
    }
    problems
}

fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safe_server_passes_and_each_setting_is_named() {
        let info = |version, policy, aof| {
            settings(&format!(
                "# Server\r\nredis_version:{version}\r\nmaxmemory_policy:{policy}\r\naof_enabled:{aof}\r\n"
            ))
        };
        assert_eq!(info("7.0.15", "noeviction", 1), Vec::<String>::new());
        assert_eq!(info("6.2.0", "noeviction", 1), Vec::<String>::new());
        for (found, named) in [
            (info("6.0.9", "noeviction", 1), "version"),
            (info("7.2.4", "volatile-lru", 1), "maxmemory-policy noeviction"),
            (info("7.2.4", "noeviction", 0), "appendonly yes"),
        ] {
            assert!(matches!(found.as_slice(), [one] if one.contains(named)), "{named}: {found:?}");
        }
        assert_eq!(settings("").len(), 3);
    }

    #[test]
    fn replicas_are_counted_and_those_not_told_of_are_none() {
        let told = ["# Replication\r\nrole:master\r\nconnected_slaves:2\r\nslave0:ip=::1\r\n", "role:slave\r\n", ""];
        assert_eq!(told.map(connected_replicas), [2, 0, 0]);
    }
}
