//! Property tests: random histories of several devices, with lost answers, stolen tokens, passing
//! time and a store that loses its last write, checked against what must hold after every run.

use std::time::Duration;

use proptest::prelude::*;

use super::device::{DevicePolicy, OnChange};
use super::ids::{Audience, RealmName};
use super::policy::{AtLimit, RealmPolicy};

use world::World;

mod world;

#[derive(Debug, Clone)]
enum Step {
    Login {
        device: u8,
        /// Tells one state of the device from another.
        user_agent: u8,
        remember: bool,
    },
    Trust {
        device: u8,
    },
    Forget {
        device: u8,
    },
    /// Presents any refresh token ever given out: the newest, a lost one, a stolen one.
    Refresh {
        which: prop::sample::Index,
    },
    Revoke {
        which: prop::sample::Index,
    },
    RevokeAll,
    /// A watcher looks again.
    Look,
    /// A resource server checks a token of any session ever.
    Touch {
        which: prop::sample::Index,
    },
    Pass {
        millis: u64,
    },
    /// The store forgets its last write, as a failover without replication does; what its log lost is
    /// put back once the store is there again.
    LoseLastWrite {
        outage: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..4, prop_oneof![4 => Just(0u8), 1 => Just(1)], any::<bool>())
            .prop_map(|(device, user_agent, remember)| Step::Login { device, user_agent, remember }),
        1 => (0u8..4).prop_map(|device| Step::Trust { device }),
        1 => (0u8..4).prop_map(|device| Step::Forget { device }),
        10 => any::<prop::sample::Index>().prop_map(|which| Step::Refresh { which }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Revoke { which }),
        1 => Just(Step::RevokeAll),
        3 => Just(Step::Look),
        3 => any::<prop::sample::Index>().prop_map(|which| Step::Touch { which }),
        4 => prop_oneof![1u64..3_000, 3_000u64..20_000, 60_000u64..2_000_000].prop_map(|millis| Step::Pass { millis }),
        1 => (0u64..2_000_000).prop_map(|outage| Step::LoseLastWrite { outage }),
    ]
}

const TRUST: Duration = Duration::from_secs(3_600);
const UNTRUSTED_ACCESS: Duration = Duration::from_secs(300);
const UNTRUSTED_SESSION: Duration = Duration::from_secs(3_000);

fn policy(leeway: u64, at_limit: AtLimit, on_change: OnChange) -> RealmPolicy {
    let mut policy = RealmPolicy::permissive(
        RealmName::parse("default").expect("a realm"),
        Audience::parse("default").expect("an audience"),
        None,
    );
    policy.reuse_leeway = Duration::from_secs(leeway);
    policy.idle_timeout = Some(Duration::from_secs(1_800));
    policy.session_lifetime = Duration::from_secs(7_200);
    policy.remember_me_lifetime = Duration::from_secs(14_400);
    policy.max_sessions = 3;
    policy.at_limit = at_limit;
    policy.devices = DevicePolicy {
        trust_lifetime: TRUST,
        on_change,
        untrusted_access_lifetime: Some(UNTRUSTED_ACCESS),
        untrusted_session_lifetime: Some(UNTRUSTED_SESSION),
        ..DevicePolicy::default()
    };
    policy
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_history(
        steps in prop::collection::vec(step(), 1..60),
        leeway in prop_oneof![Just(0u64), Just(10)],
        at_limit in prop_oneof![Just(AtLimit::Refuse), Just(AtLimit::EvictOldest), Just(AtLimit::EvictIdlest)],
        on_change in prop_oneof![Just(OnChange::Note), Just(OnChange::Untrust), Just(OnChange::Refuse)],
    ) {
        let mut world = World::new(policy(leeway, at_limit, on_change));
        for step in &steps {
            world.run(step);
        }
    }
}
