//! The keys of a realm, their bounds, and what they have to do with each other. Knows no file.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::domain::algorithm::Algorithm;
use crate::domain::ids::{Audience, ClientId, CookieName, RealmName, Scope};
use crate::domain::policy::{
    Allowed, AtLimit, COOKIE_PREFIX, LateRecovery, MAX_ACCESS_LIFETIME, MAX_SESSION_LIFETIME, RealmPolicy, Rotation,
};
use crate::verify::client::RegisteredClient;

use super::client::{self, CLIENTS};
use super::document::{Raw, Table};
use super::problem::{Origin, Problem};
use super::reader::Reader;
use super::realms::permissive;
use super::{DEFAULT_REALM, claims, devices, messages, otp, rate_limits, realm_keys, value};

/// The table that defines a realm.
pub(super) const REALM: &str = "realm";

/// Each key of it.
pub(super) const KEYS: [&str; 19] = [
    "name",
    "algorithm",
    "access_lifetime",
    "session_lifetime",
    "remember_me_lifetime",
    "idle_timeout",
    "reuse_leeway",
    "late_recovery",
    "rotation",
    "max_sessions",
    "at_limit",
    "audiences",
    "default_audience",
    "scopes",
    "claims",
    "registered_claims",
    "subject_claim",
    "default_client",
    "access_cookie",
];

/// Each table in it.
const TABLES: [&str; 7] =
    ["claims", realm_keys::NAME, devices::NAME, rate_limits::NAME, otp::NAME, messages::NAME, CLIENTS];

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// One access token: what was revoked elsewhere may live on this long in verifiers of others.
const ACCESS_LIFETIME: RangeInclusive<Duration> = SECOND..=MAX_ACCESS_LIFETIME;
/// Of a session, remembered or not, and its idle timeout.
const SESSION_LIFETIME: RangeInclusive<Duration> = SECOND..=MAX_SESSION_LIFETIME;
/// A thief has this long beside the owner, so no realm may have more than a minute.
const REUSE_LEEWAY: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
/// Sessions of a subject share a record.
const MAX_SESSIONS: RangeInclusive<usize> = 1..=1000;
const MOST_ITEMS: usize = 1000;

/// A realm as a table says it.
pub(super) struct RealmTable {
    pub(super) policy: RealmPolicy,
    pub(super) clients: Vec<RegisteredClient>,
}

/// Parses a realm; what is wrong is added to `problems`, and then there is none.
pub(super) fn realm(mut table: Table, problems: &mut Vec<Problem>) -> Option<RealmTable> {
    let before = problems.len();
    let keys = table.take_table(realm_keys::NAME).map_err(|problem| problems.push(problem)).ok().flatten();
    let devices = table.take_table(devices::NAME).map_err(|problem| problems.push(problem)).ok().flatten();
    let limits = table.take_table(rate_limits::NAME).map_err(|problem| problems.push(problem)).ok().flatten();
    let codes = table.take_table(otp::NAME).map_err(|problem| problems.push(problem)).ok().flatten();
    let told = table.take_table(messages::NAME).map_err(|problem| problems.push(problem)).ok().flatten();
    let clients = table.take(CLIENTS);
    let mut reader = Reader::new(table, &KEYS, problems).beside(&TABLES);
    let policy = read(&mut reader);
    reader.finish();
    let keys = keys.map(|keys| realm_keys::read(keys, problems));
    let limits = limits.map(|limits| rate_limits::read(limits, problems));
    let codes = codes.and_then(|codes| otp::read(codes, problems));
    let told = told.map(|told| messages::read(told, problems));
    let mut policy = policy?;
    if let Some(keys) = keys {
        policy.keys = keys;
    }
    if let Some(devices) = devices {
        policy.devices = devices::read(devices, &policy, problems);
    }
    policy.rate_limits = limits.unwrap_or_default();
    policy.codes = codes;
    policy.messages = told.unwrap_or_default();
    let clients = clients.map(|clients| client::clients(clients, &policy, problems)).unwrap_or_default();
    (problems.len() == before).then_some(RealmTable { policy, clients })
}

fn read(reader: &mut Reader<'_>) -> Option<RealmPolicy> {
    let head = reader.head();
    if !reader.has("name") {
        reader.wrong(head.clone(), "name is missing: a realm needs one, such as name = \"web-mobile\"".to_owned());
    }
    // A stand-in, so that the other keys are judged too.
    let name = reader.key("name", realm_name).or_else(|| RealmName::parse(DEFAULT_REALM).ok())?;
    let mut policy = permissive(&name)?;

    let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    reader.set(&mut policy.algorithm, "algorithm", |raw| value::one_of(raw, &algorithms));
    reader.set(&mut policy.access_lifetime, "access_lifetime", |raw| value::duration(raw, &ACCESS_LIFETIME, SECOND));
    reader.set(&mut policy.reuse_leeway, "reuse_leeway", |raw| value::duration(raw, &REUSE_LEEWAY, MILLISECOND));
    let recoveries = [("never", LateRecovery::No), ("with-bound-key", LateRecovery::WithBoundKey)];
    reader.set(&mut policy.late_recovery, "late_recovery", |raw| value::one_of(raw, &recoveries));
    let rotations = [("each-use", Rotation::EachUse), ("off", Rotation::Off)];
    reader.set(&mut policy.rotation, "rotation", |raw| value::one_of(raw, &rotations));
    reader.set(&mut policy.max_sessions, "max_sessions", |raw| value::integer(raw, &MAX_SESSIONS));
    let at_limit =
        [("refuse", AtLimit::Refuse), ("evict-oldest", AtLimit::EvictOldest), ("evict-idlest", AtLimit::EvictIdlest)];
    reader.set(&mut policy.at_limit, "at_limit", |raw| value::one_of(raw, &at_limit));
    reader.set(&mut policy.scopes, "scopes", |raw| allowed(raw, |text| parsed(Scope::parse(text))));
    reader.set(&mut policy.default_client, "default_client", default_client);
    reader.set(&mut policy.access_cookie, "access_cookie", access_cookie);
    lifetimes(reader, &mut policy, &head);
    audiences(reader, &mut policy);
    claims::read(reader, &mut policy);
    Some(policy)
}

/// Reads the lifetimes of a session, which bound each other and the access token's.
fn lifetimes(reader: &mut Reader<'_>, policy: &mut RealmPolicy, head: &Origin) {
    let session = |raw: &Raw| value::duration(raw, &SESSION_LIFETIME, SECOND);
    let at = reader.set(&mut policy.session_lifetime, "session_lifetime", session).unwrap_or_else(|| head.clone());
    policy.remember_me_lifetime = policy.remember_me_lifetime.max(policy.session_lifetime);
    let remembered_at = reader.set(&mut policy.remember_me_lifetime, "remember_me_lifetime", session);
    let idle_at = reader.set(&mut policy.idle_timeout, "idle_timeout", |raw| match value::text(raw) {
        Some("none") => Ok(None),
        _ => session(raw).map(Some).map_err(|allowed| format!("{allowed}; or \"none\"")),
    });
    let text = |duration: Duration| humantime::format_duration(duration).to_string();
    if policy.access_lifetime > policy.session_lifetime {
        let (access, session) = (text(policy.access_lifetime), text(policy.session_lifetime));
        reader.wrong(at, format!("session_lifetime = {session} must not be shorter than access_lifetime = {access}"));
    }
    if let Some(at) = remembered_at.filter(|_| policy.remember_me_lifetime < policy.session_lifetime) {
        let (remembered, session) = (text(policy.remember_me_lifetime), text(policy.session_lifetime));
        reader.wrong(at, format!("{remembered} must not be shorter than session_lifetime = {session}"));
    }
    let idle = policy.idle_timeout.filter(|idle| *idle > policy.remember_me_lifetime);
    if let (Some(at), Some(idle)) = (idle_at, idle) {
        let (idle, longest) = (text(idle), text(policy.remember_me_lifetime));
        reader.wrong(
            at,
            format!("{idle} must not be longer than remember_me_lifetime = {longest}: it would never apply"),
        );
    }
}

/// Reads the audiences; the default is one of them.
fn audiences(reader: &mut Reader<'_>, policy: &mut RealmPolicy) {
    let audience = |text: &str| parsed(Audience::parse(text));
    let listed = reader.key("audiences", |raw| match raw {
        Raw::List(items) => {
            let first = items.first().and_then(value::text).and_then(|text| Audience::parse(text).ok());
            let allowed = allowed(raw, audience)?;
            first
                .map(|first| (allowed, first))
                .ok_or_else(|| "must name at least one audience, or be \"any\"".to_owned())
        }
        _ => allowed(raw, audience).map(|allowed| (allowed, policy.default_audience.clone())),
    });
    if let Some((allowed, first)) = listed {
        policy.audiences = allowed;
        policy.default_audience = first;
    }
    let default = |raw: &Raw| match value::text(raw) {
        Some(text) => audience(text),
        None => Err("must be an audience in quotes".to_owned()),
    };
    let at = reader.set(&mut policy.default_audience, "default_audience", default);
    if let Some(at) = at.filter(|_| !policy.audiences.contains(&policy.default_audience)) {
        reader.wrong(at, format!("{:?} is not one of audiences", policy.default_audience.as_str()));
    }
}

fn realm_name(raw: &Raw) -> Result<RealmName, String> {
    parsed(RealmName::parse(value::text(raw).unwrap_or_default()))
}

fn default_client(raw: &Raw) -> Result<Option<ClientId>, String> {
    match value::text(raw) {
        Some("none") => Ok(None),
        text => parsed(ClientId::parse(text.unwrap_or_default()))
            .map(Some)
            .map_err(|allowed| format!("{allowed}; or \"none\": each login names its client")),
    }
}

fn access_cookie(raw: &Raw) -> Result<CookieName, String> {
    let text = value::text(raw).filter(|text| text.starts_with(COOKIE_PREFIX));
    let text = text.ok_or_else(|| format!("must start with {COOKIE_PREFIX:?}, so that browsers guard it"))?;
    parsed(CookieName::parse(text))
}

/// Parses `"any"` or a list.
pub(super) fn allowed<T: Ord>(raw: &Raw, parse: impl Fn(&str) -> Result<T, String>) -> Result<Allowed<T>, String> {
    let wrong = || format!("must be \"any\" or a list of at most {MOST_ITEMS} strings");
    match raw {
        Raw::List(items) if items.len() <= MOST_ITEMS => {
            let items = items.iter().map(|item| {
                let text = value::text(item).ok_or_else(wrong)?;
                parse(text).map_err(|message| format!("{item}: {message}"))
            });
            items.collect::<Result<BTreeSet<_>, _>>().map(Allowed::Only)
        }
        _ if value::text(raw) == Some("any") => Ok(Allowed::Any),
        _ => Err(wrong()),
    }
}

pub(super) fn parsed<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
