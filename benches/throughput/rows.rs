//! The calls that are measured, as a table: on which store, by which algorithm, beside which limit. How
//! each is made stands in `service`.

use token_authority::domain::algorithm::Algorithm;

use crate::parts::{INTROSPECTION, INTROSPECTIONS, KEY_SET, Part, REFRESHING, REVOCATION};
use crate::store_limits::Work;
use crate::stores::Backing;

use Algorithm::{EdDsa, Es256, Rs256};
use Backing::{Cluster, Embedded, Redis};
use Part::{Echo, Hash, HttpEcho, Record, RefreshToken, Signing, Store, Verification};
use Work::{Commit, Load, LoadAndCommit};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Issue,
    Refresh,
    IntrospectKnown,
    /// By a caller that proves itself each time, with a secret.
    IntrospectAsClient,
    IntrospectBatch,
    IntrospectConsistently,
    /// Where one call in a hundred is traced.
    IntrospectTraced,
    IntrospectFirstTime,
    LocalKnown,
    LocalFirstTime,
    Revoke,
    KeySet,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Refresh => "refresh",
            Self::IntrospectKnown => "introspect known",
            Self::IntrospectAsClient => "introspect known, caller by secret,",
            Self::IntrospectBatch => "introspect 100 known at once, tokens",
            Self::IntrospectConsistently => "introspect fully consistent",
            Self::IntrospectTraced => "introspect known, traced at 1 %,",
            Self::IntrospectFirstTime => "introspect first-time",
            Self::LocalKnown => "SDK, known",
            Self::LocalFirstTime => "SDK, first-time",
            Self::Revoke => "revoke",
            Self::KeySet => "key set over HTTP",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Plain,
    /// With a collector.
    Traced,
    /// One that has not seen the tokens that the others issued.
    Fresh,
    /// One whose signing threads have the server's cores for themselves: its others are where the load is.
    SignersApart,
}

impl Start {
    /// In their order: the first one's tokens are the others' too.
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Traced, Self::Fresh, Self::SignersApart];
}

/// One row.
pub(crate) struct Spec {
    pub(crate) call: Call,
    pub(crate) algorithm: Algorithm,
    pub(crate) backing: Backing,
    pub(crate) limit: &'static [Part],
    pub(crate) floor: Option<f64>,
    /// Whether latency at half the rate is measured too.
    pub(crate) at_half_load: bool,
    signers_apart: bool,
}

impl Spec {
    pub(crate) fn name(&self) -> String {
        let apart = if self.signers_apart { ", signers apart" } else { "" };
        format!("{} {}{}{apart}", self.call.name(), self.algorithm.name(), self.backing.name())
    }

    /// Which start of the server it is asked of.
    pub(crate) fn start(&self) -> Start {
        match self.call {
            _ if self.signers_apart => Start::SignersApart,
            Call::IntrospectTraced => Start::Traced,
            Call::IntrospectFirstTime => Start::Fresh,
            _ => Start::Plain,
        }
    }

    const fn floor(self, floor: f64) -> Self {
        Self { floor: Some(floor), ..self }
    }

    const fn at_half_load(self) -> Self {
        Self { at_half_load: true, ..self }
    }

    const fn signers_apart(self) -> Self {
        Self { signers_apart: true, ..self }
    }
}

const fn row(call: Call, algorithm: Algorithm, backing: Backing, limit: &'static [Part]) -> Spec {
    Spec { call, algorithm, backing, limit, floor: None, at_half_load: false, signers_apart: false }
}

/// In the order in which they are measured: those that issue tokens first, those that end them last.
pub(crate) const ROWS: &[Spec] = &[
    row(Call::Issue, Rs256, Embedded, &[Signing(Rs256)]),
    row(Call::Refresh, Rs256, Embedded, &[Signing(Rs256)]),
    row(Call::Issue, Rs256, Embedded, &[Signing(Rs256)]).signers_apart().floor(0.9),
    row(Call::Refresh, Rs256, Embedded, &[Signing(Rs256)]).signers_apart().floor(0.9),
    row(Call::IntrospectKnown, Rs256, Embedded, &[Echo(INTROSPECTION)]).floor(0.85).at_half_load(),
    row(Call::IntrospectAsClient, Rs256, Embedded, &[Echo(INTROSPECTION)]),
    row(Call::IntrospectBatch, Rs256, Embedded, &[Echo(INTROSPECTIONS)]),
    row(Call::IntrospectConsistently, Rs256, Embedded, &[Echo(INTROSPECTION), Record]),
    row(Call::KeySet, Rs256, Embedded, &[HttpEcho(KEY_SET)]),
    row(Call::LocalKnown, Rs256, Embedded, &[Hash]),
    row(Call::LocalFirstTime, Rs256, Embedded, &[Verification(Rs256)]),
    row(Call::IntrospectTraced, Rs256, Embedded, &[Echo(INTROSPECTION)]).floor(0.8),
    row(Call::IntrospectFirstTime, Rs256, Embedded, &[Echo(INTROSPECTION), Verification(Rs256)]).floor(0.8),
    row(Call::Issue, Es256, Embedded, &[Echo(REFRESHING), Signing(Es256), Record, Store(Commit, Embedded)]),
    row(
        Call::Refresh,
        Es256,
        Embedded,
        &[Echo(REFRESHING), Signing(Es256), RefreshToken, Record, Store(Commit, Embedded)],
    ),
    row(Call::IntrospectFirstTime, Es256, Embedded, &[Echo(INTROSPECTION), Verification(Es256)]).floor(0.8),
    row(Call::Issue, EdDsa, Embedded, &[Echo(REFRESHING), Signing(EdDsa), Record, Store(Commit, Embedded)]),
    row(
        Call::Refresh,
        EdDsa,
        Embedded,
        &[Echo(REFRESHING), Signing(EdDsa), RefreshToken, Record, Store(Commit, Embedded)],
    )
    .at_half_load(),
    row(Call::IntrospectFirstTime, EdDsa, Embedded, &[Echo(INTROSPECTION), Verification(EdDsa)]).floor(0.8),
    row(Call::Revoke, EdDsa, Embedded, &[Echo(REVOCATION), Verification(EdDsa), Record, Store(Commit, Embedded)])
        .at_half_load(),
    row(Call::Issue, Rs256, Redis, &[Signing(Rs256)]).signers_apart().floor(0.9),
    row(Call::Refresh, Rs256, Redis, &[Signing(Rs256)]).signers_apart().floor(0.9),
    row(Call::IntrospectKnown, Rs256, Redis, &[Echo(INTROSPECTION)]).floor(0.85),
    row(Call::Issue, EdDsa, Redis, &[Echo(REFRESHING), Signing(EdDsa), Record, Store(LoadAndCommit, Redis)]),
    row(
        Call::Refresh,
        EdDsa,
        Redis,
        &[Echo(REFRESHING), Signing(EdDsa), RefreshToken, Record, Store(LoadAndCommit, Redis)],
    )
    .floor(0.7)
    .at_half_load(),
    row(Call::IntrospectConsistently, EdDsa, Redis, &[Echo(INTROSPECTION), Record, Store(Load, Redis)]),
    row(Call::Revoke, EdDsa, Redis, &[Echo(REVOCATION), Verification(EdDsa), Record, Store(LoadAndCommit, Redis)])
        .at_half_load(),
    row(Call::Issue, EdDsa, Cluster, &[Echo(REFRESHING), Signing(EdDsa), Record, Store(LoadAndCommit, Cluster)]),
    row(
        Call::Refresh,
        EdDsa,
        Cluster,
        &[Echo(REFRESHING), Signing(EdDsa), RefreshToken, Record, Store(LoadAndCommit, Cluster)],
    ),
    row(Call::Revoke, EdDsa, Cluster, &[Echo(REVOCATION), Verification(EdDsa), Record, Store(LoadAndCommit, Cluster)]),
];
