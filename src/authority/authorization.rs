//! Who may call what: one table for both edges. Closed by default: a call without a row is answered to
//! nobody, and a server that has one does not start.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::domain::client::{Client, Role};
use crate::domain::ids::Sid;
use crate::domain::refusal::Refusal;

use super::attribution::By;
use super::caller::{Caller, Credentials};
use super::{Authority, Error, Realm, audit};

/// How often is looked whether calls that stay open may still be made.
const TICK: Duration = Duration::from_secs(1);

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    /// Anybody: it tells nothing that is not public.
    Anybody,
    /// Anybody, as what the request itself carries allows: a browser's cookie, a token that is checked.
    Carried,
    /// Each client of the realm, as far as it is registered for what it asks.
    AnyClient,
    /// Who has one of these roles in the realm. `self-service` admits to what concerns the caller's own
    /// subject, and to nothing else.
    Roles(&'static [Role]),
}
use Admits::{AnyClient, Anybody, Carried, Roles};
use Role::{Auditor, Gateway, Introspector, Issuer, KeyAdmin, SelfService, SessionAdmin};

/// A call, and who may make it.
#[derive(Debug)]
pub struct Row {
    /// `/package.Service/Method`, or the path of an endpoint without its realm.
    pub call: &'static str,
    /// Who may make it.
    pub admits: Admits,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { call: "/token_authority.v1.TokenService/IssueToken",            admits: Roles(&[Issuer]) },
    Row { call: "/token_authority.v1.TokenService/RefreshToken",          admits: Roles(&[Issuer]) },
    Row { call: "/token_authority.v1.TokenService/IntrospectToken",       admits: Roles(&[Introspector]) },
    Row { call: "/token_authority.v1.TokenService/BatchIntrospectTokens", admits: Roles(&[Introspector]) },
    Row { call: "/token_authority.v1.TokenService/RevokeToken",           admits: Roles(&[Issuer, SessionAdmin]) },
    Row { call: "/token_authority.v1.TokenService/BatchRevokeTokens",     admits: Roles(&[SessionAdmin]) },
    Row { call: "/token_authority.v1.TokenService/RevokeClient",          admits: Roles(&[SessionAdmin]) },
    Row { call: "/token_authority.v1.TokenService/RevokeRealm",           admits: Roles(&[SessionAdmin]) },
    Row { call: "/token_authority.v1.TokenService/GetJwks",               admits: Anybody },
    Row { call: "/token_authority.v1.TokenService/WatchJwks",             admits: Anybody },
    Row { call: "/token_authority.v1.TokenService/WatchRevocations",      admits: Roles(&[Introspector, Gateway]) },
    Row { call: "/token_authority.v1.TokenService/FollowRevocations",     admits: Roles(&[Introspector, Gateway]) },

    Row { call: "/token_authority.v1.SessionService/ListSessions",        admits: Roles(&[SessionAdmin, Auditor, SelfService]) },
    Row { call: "/token_authority.v1.SessionService/GetSession",          admits: Roles(&[SessionAdmin, Auditor, SelfService]) },
    Row { call: "/token_authority.v1.SessionService/WatchSessions",       admits: Roles(&[SessionAdmin, Auditor, SelfService]) },
    Row { call: "/token_authority.v1.SessionService/ListDevices",         admits: Roles(&[SessionAdmin, Auditor, SelfService]) },
    Row { call: "/token_authority.v1.SessionService/RevokeSession",       admits: Roles(&[SessionAdmin, SelfService]) },
    Row { call: "/token_authority.v1.SessionService/RevokeAllSessions",   admits: Roles(&[SessionAdmin, SelfService]) },
    Row { call: "/token_authority.v1.SessionService/ForgetDevice",        admits: Roles(&[SessionAdmin, SelfService]) },
    // Not self-service: a stolen token would make the thief's device a trusted one.
    Row { call: "/token_authority.v1.SessionService/TrustDevice",         admits: Roles(&[Issuer, SessionAdmin]) },
    Row { call: "/token_authority.v1.SessionService/UpdateSessionClaims", admits: Roles(&[Issuer, SessionAdmin]) },
    Row { call: "/token_authority.v1.SessionService/EraseSubject",        admits: Roles(&[SessionAdmin]) },

    Row { call: "/token_authority.v1.OtpService/RequestCode",             admits: Roles(&[Issuer]) },
    Row { call: "/token_authority.v1.OtpService/VerifyCode",              admits: Roles(&[Issuer]) },

    Row { call: "/token_authority.v1.KeyService/ListKeys",                admits: Roles(&[KeyAdmin, Auditor]) },
    Row { call: "/token_authority.v1.KeyService/PrepareKey",              admits: Roles(&[KeyAdmin]) },
    Row { call: "/token_authority.v1.KeyService/ActivateKey",             admits: Roles(&[KeyAdmin]) },
    Row { call: "/token_authority.v1.KeyService/RetireKey",               admits: Roles(&[KeyAdmin]) },
    Row { call: "/token_authority.v1.KeyService/RevokeKey",               admits: Roles(&[KeyAdmin]) },

    Row { call: "/envoy.service.auth.v3.Authorization/Check",             admits: Roles(&[Gateway]) },
    Row { call: "/grpc.health.v1.Health/Check",                           admits: Anybody },
    Row { call: "/grpc.health.v1.Health/List",                            admits: Anybody },
    Row { call: "/grpc.health.v1.Health/Watch",                           admits: Anybody },
    Row { call: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",      admits: Anybody },
    Row { call: "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", admits: Anybody },

    Row { call: "/oauth2/introspect",                        admits: Roles(&[Introspector]) },
    Row { call: "/oauth2/revoke",                            admits: AnyClient },
    Row { call: "/oauth2/token",                             admits: AnyClient },
    Row { call: "/auth/check",                               admits: Carried },
    Row { call: "/session/refresh",                          admits: Carried },
    Row { call: "/session/logout",                           admits: Carried },
    Row { call: "/.well-known/jwks.json",                    admits: Anybody },
    Row { call: "/.well-known/openid-configuration",         admits: Anybody },
    Row { call: "/.well-known/oauth-authorization-server",   admits: Anybody },
    Row { call: "/.well-known/oauth-authorization-server/realms/{realm}", admits: Anybody },
    Row { call: "/livez",                                    admits: Anybody },
    Row { call: "/readyz",                                   admits: Anybody },
    // Numbers, of no realm and nobody.
    Row { call: "/metrics",                                  admits: Anybody },
];

/// The whole table.
pub fn table() -> &'static [Row] {
    TABLE
}

static ROWS: LazyLock<HashMap<&'static str, &'static Row>> =
    LazyLock::new(|| TABLE.iter().map(|row| (row.call, row)).collect());

/// A call that the table does not know: a defect of this program.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no row in the authorization table, so nobody knows who may call it")]
pub struct NoRow(String);

/// The row of a call.
pub fn row(call: &str) -> Result<&'static Row, NoRow> {
    ROWS.get(call).copied().ok_or_else(|| NoRow(call.to_owned()))
}

/// A call before it is known whether it may be made.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// As the table names it.
    pub call: &'a str,
    /// The realm that it is for; empty means `default`.
    pub realm: &'a str,
    /// Whose sessions it is about, where it says so.
    pub subject: Option<&'a str>,
    /// Which session it is about, where it says so.
    pub session: Option<&'a str>,
}

/// A call that may be made. There is no other way to get one than through the table.
#[derive(Debug)]
pub struct Permit {
    caller: Caller,
    realm: Arc<Realm>,
}

impl Permit {
    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Writes down who wants a session ended, or several, and why.
    pub fn note_revocation(&self, session: Option<Sid>, reason: &str) {
        audit::revocation_asked(self.realm.name(), session, reason);
    }

    /// The client that bounds what is done; `None`: nothing does but the realm.
    pub fn client(&self) -> Option<&Client> {
        self.caller.client()
    }

    /// The same of changes to what others' sessions get, which a session admin makes without bounds.
    pub(super) fn issuer(&self) -> Option<&Client> {
        self.client().filter(|client| client.check_role(SessionAdmin).is_err())
    }

    /// In which realm.
    pub fn realm(&self) -> &Arc<Realm> {
        &self.realm
    }
}

impl Authority {
    /// Lets a call pass, or refuses it: the one gate of all calls that name a realm.
    pub async fn authorize(&self, asked: &Asked<'_>, shown: &Credentials<'_>) -> Result<Permit, Error> {
        let row = row(asked.call).map_err(Error::internal)?;
        let realm = self.realm(asked.realm)?;
        let caller = match row.admits {
            Anybody | Carried => return Ok(Permit { caller: Caller::Anybody, realm }),
            AnyClient | Roles(_) => self.caller(&realm, shown).await?,
        };
        self.throttle_caller(&realm, &caller)?;
        if row.admits.lets(&caller, &realm, asked) {
            By::note(&caller);
            return Ok(Permit { caller, realm });
        }
        let client = caller.client().map_or("", |client| client.id.as_str());
        debug!(realm = realm.policy.realm.as_str(), call = asked.call, client, "caller not permitted");
        Err(Refusal::ClientNotPermitted.into())
    }

    /// For a call that stays open: why it may do so no longer, once that is so. Holds no realm meanwhile, which
    /// may be replaced by a newer one.
    pub fn lapse(self: &Arc<Self>, permit: Permit) -> impl Future<Output = Error> + Send + use<> {
        let (authority, caller, realm) = (self.clone(), permit.caller, permit.realm.name().clone());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        async move {
            loop {
                tick.tick().await;
                let holds = authority.realm(realm.as_str()).and_then(|realm| authority.check_caller(&realm, &caller));
                if let Err(error) = holds {
                    return error;
                }
            }
        }
    }
}

/// How far somebody gets with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not at all.
    Nothing,
    /// As far as it concerns the caller's own subject.
    Own,
    /// As far as the caller's audiences and scopes go.
    All,
}

impl Admits {
    /// How far a client of the realm gets that has these roles.
    pub fn reach(self, has: impl Fn(Role) -> bool) -> Reach {
        let Roles(roles) = self else { return Reach::All };
        let holds = |own: bool| roles.iter().any(|role| (*role == SelfService) == own && has(*role));
        match (holds(false), holds(true)) {
            (true, _) => Reach::All,
            (false, true) => Reach::Own,
            (false, false) => Reach::Nothing,
        }
    }

    fn lets(self, caller: &Caller, realm: &Realm, asked: &Asked<'_>) -> bool {
        match self.reach(|role| caller.has(role)) {
            Reach::Nothing => false,
            Reach::Own => is_own(caller, realm, asked),
            Reach::All => self != AnyClient || matches!(caller, Caller::Client(..)),
        }
    }
}

/// Whether all that a call names is its caller's own. Of a session the id says so, so that nothing is
/// learned of one that does not exist, or of somebody else's.
fn is_own(caller: &Caller, realm: &Realm, asked: &Asked<'_>) -> bool {
    let Some(own) = caller.subject() else { return false };
    let subject = asked.subject.is_none_or(|subject| subject == own.as_str());
    let session = asked.session.is_none_or(|sid| Sid::parse(sid).is_ok_and(|sid| realm.place(&own) == sid.into()));
    (asked.subject.is_some() || asked.session.is_some()) && subject && session
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_one_row() {
        assert_eq!(ROWS.len(), TABLE.len());
        assert!(row("/token_authority.v1.TokenService/Unheard").is_err());
    }

    #[test]
    fn each_role_is_good_for_something() {
        for role in Role::ALL {
            let admits = |row: &&Row| matches!(row.admits, Roles(roles) if roles.contains(&role));
            assert!(TABLE.iter().any(|row| admits(&row)), "{}", role.name());
        }
    }
}
