//! Whether a Redis keeps what it acknowledges, asked of each primary before the first use. Uses INFO
//! and TIME alone, which hosted servers allow too; decides nothing about what to do then.

use std::collections::HashMap;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Options, Server};
use fred::types::{ClusterHash, CustomCommand};

use crate::authority::ports::Clock;
use crate::domain::time::Timestamp;

/// Beyond this, validity would be counted in two times.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);
const OLDEST: (u32, u32) = (6, 2);

/// What is wrong with a server, each with the setting that mends it.
pub(super) async fn problems(
    client: &Client,
    server: Option<&Server>,
    clock: &dyn Clock,
) -> Result<Vec<String>, Error> {
    let client = client.with_options(&Options { cluster_node: server.cloned(), ..Options::default() });
    let info: String = client.custom(command("INFO"), Vec::<String>::new()).await?;
    let before = clock.now();
    let time: Vec<u64> = client.custom(command("TIME"), Vec::<String>::new()).await?;
    let mut problems = settings(&info);
    problems.extend(clock_problem(before, clock.now(), &time));
    let place = server.map(|server| format!("{server}: ")).unwrap_or_default();
    Ok(problems.into_iter().map(|problem| format!("{place}{problem}")).collect())
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::Random, false)
}

fn settings(info: &str) -> Vec<String> {
    let info: HashMap<_, _> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
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

fn clock_problem(before: Timestamp, after: Timestamp, time: &[u64]) -> Option<String> {
    let [seconds, micros] = time else { return Some("TIME was not answered".to_owned()) };
    let theirs = i64::try_from(seconds * 1000 + micros / 1000).unwrap_or(i64::MAX);
    let theirs = Timestamp::from_millis(theirs);
    // Zero while their time lies between the two.
    let difference = before.since(theirs).max(theirs.since(after));
    (difference > CLOCK_DIFFERENCE).then(|| {
        format!("its clock differs from this machine's by {} s: run NTP on both (2 s at most)", difference.as_secs())
    })
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
    fn two_seconds_of_difference_are_too_many_only_beyond() {
        let at = Timestamp::from_seconds(1000);
        let later = at + Duration::from_millis(500);
        for (theirs, fine) in
            [([1000, 0], true), ([998, 0], true), ([1002, 500_000], true), ([997, 0], false), ([1003, 0], false)]
        {
            assert_eq!(clock_problem(at, later, &theirs).is_none(), fine, "{theirs:?}");
        }
        assert!(clock_problem(at, later, &[]).is_some());
    }
}
