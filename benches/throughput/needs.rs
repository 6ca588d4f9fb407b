//! What so many sessions need, by arithmetic from what one call and one session cost. Measures nothing.

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Bytes in Redis.
    pub(crate) session: f64,
    /// Bytes in Redis of what is kept of a revocation, and bytes of it to each follower.
    pub(crate) log_entry: f64,
    pub(crate) feed_entry: f64,
    pub(crate) issue: Processor,
    pub(crate) refresh: Processor,
    pub(crate) revoke: Processor,
    /// Of the authority alone: no store is asked.
    pub(crate) introspect: f64,
}

/// Seconds of a core a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processor {
    pub(crate) authority: f64,
    pub(crate) redis: f64,
}

/// How sessions are used. Each is a guess to be replaced by one's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Part of the live sessions that is in use at the busiest time.
    pub(crate) active: f64,
    /// Seconds between two refreshes of a session in use, and between two requests that have to be checked.
    pub(crate) refresh_every: f64,
    pub(crate) check_every: f64,
    /// Seconds that a session lives, and the part that is ended before by a revocation.
    pub(crate) lifetime: f64,
    pub(crate) revoked: f64,
    /// Busiest time over the mean, for logins and revocations.
    pub(crate) peak: f64,
    /// Seconds for which a revocation is kept: until the last access token that it ends has expired.
    pub(crate) kept: f64,
}

/// How machines are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machines {
    /// Bytes of a Redis node that hold data.
    pub(crate) node: f64,
    /// Part of a core that is used.
    pub(crate) busy: f64,
}

pub(crate) const USAGE: Usage = Usage {
    active: 0.1,
    refresh_every: 720.0,
    check_every: 10.0,
    lifetime: 7.0 * 86_400.0,
    revoked: 1.0 / 3.0,
    peak: 3.0,
    kept: 960.0,
};

pub(crate) const MACHINES: Machines = Machines { node: 24.0 * GIB, busy: 0.6 };
pub(crate) const GIB: f64 = 1_073_741_824.0;

/// What is needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) refreshes: f64,
    pub(crate) logins: f64,
    pub(crate) revocations: f64,
    pub(crate) checks: f64,
    /// Bytes, without replicas.
    pub(crate) memory: f64,
    pub(crate) nodes_by_memory: f64,
    pub(crate) nodes_by_processor: f64,
    /// Cores for all calls but introspection, and for that if each check is one.
    pub(crate) cores: f64,
    pub(crate) cores_to_introspect: f64,
    /// Bytes a second to each follower, and bytes to one that begins.
    pub(crate) feed: f64,
    pub(crate) snapshot: f64,
}

impl Needs {
    pub(crate) fn of(sessions: f64, costs: &Costs, usage: &Usage, machines: &Machines) -> Self {
        let refreshes = sessions * usage.active / usage.refresh_every;
        let logins = sessions / usage.lifetime * usage.peak;
        let revocations = logins * usage.revoked;
        let checks = sessions * usage.active / usage.check_every;
        let entries = revocations * usage.kept;
        let memory = sessions * costs.session + entries * costs.log_entry;
        let each = |of: fn(&Processor) -> f64| {
            let (issue, refresh, revoke) = (of(&costs.issue), of(&costs.refresh), of(&costs.revoke));
            (logins * issue + refreshes * refresh + revocations * revoke) / machines.busy
        };
        Self {
            refreshes,
            logins,
            revocations,
            checks,
            memory,
            nodes_by_memory: memory / machines.node,
            nodes_by_processor: each(|call| call.redis),
            cores: each(|call| call.authority),
            cores_to_introspect: checks * costs.introspect / machines.busy,
            feed: revocations * costs.feed_entry,
            snapshot: entries * costs.feed_entry,
        }
    }

    /// Redis nodes, of one core each, without replicas.
    pub(crate) fn nodes(&self) -> f64 {
        self.nodes_by_memory.max(self.nodes_by_processor).ceil()
    }
}
