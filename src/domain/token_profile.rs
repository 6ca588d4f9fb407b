//! Which registered claims the access tokens of a realm have. What a realm leaves out is the same for all
//! of its tokens, so that nothing about a token is ever unknown.

use super::ids::{Audience, ClientId, Scope};
use super::refusal::Refusal;
use super::token::Confirmation;

/// The claim that names the subject, unless a realm calls it otherwise (RFC 7519, section 4.1.2).
pub const SUBJECT_CLAIM: &str = "sub";

/// A registered claim that a realm may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OptionalClaim {
    /// `iss`.
    Issuer,
    /// `aud`.
    Audience,
    /// `client_id`.
    Client,
    /// `scope`.
    Scope,
    /// `sid`.
    Session,
    /// `cnf`.
    Confirmation,
}

impl OptionalClaim {
    /// Each.
    pub const ALL: [Self; 6] =
        [Self::Issuer, Self::Audience, Self::Client, Self::Scope, Self::Session, Self::Confirmation];

    /// As tokens call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "iss",
            Self::Audience => "aud",
            Self::Client => "client_id",
            Self::Scope => "scope",
            Self::Session => "sid",
            Self::Confirmation => "cnf",
        }
    }
}

/// Who says something about a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SaidBy<T = ()> {
    /// The token, by its claim.
    #[default]
    Token,
    /// The realm, for all of its tokens; none has the claim.
    Realm(T),
}

impl<T> SaidBy<T> {
    /// Whether tokens have the claim.
    pub const fn is_claim(&self) -> bool {
        matches!(self, Self::Token)
    }
}

/// What the access tokens of a realm say beside their subjects' own claims. Each has `jti`, `iat`, `exp`
/// and its subject; by default also all that RFC 9068, section 2.2 wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenProfile {
    /// The claim that names the subject.
    pub subject_claim: String,
    /// `iss`; otherwise the realm's issuer.
    pub issuer: SaidBy,
    /// `aud`; otherwise the realm's one audience.
    pub audience: SaidBy<Audience>,
    /// `client_id`; otherwise the realm's one client.
    pub client: SaidBy<ClientId>,
    /// `scope`; otherwise none is granted.
    pub scope: SaidBy,
    /// `sid`; otherwise `jti` carries it.
    pub session: SaidBy,
    /// `cnf`; otherwise no token is bound to a key.
    pub confirmation: SaidBy,
}

impl Default for TokenProfile {
    fn default() -> Self {
        Self {
            subject_claim: SUBJECT_CLAIM.to_owned(),
            issuer: SaidBy::Token,
            audience: SaidBy::Token,
            client: SaidBy::Token,
            scope: SaidBy::Token,
            session: SaidBy::Token,
            confirmation: SaidBy::Token,
        }
    }
}

impl TokenProfile {
    /// Names of registered claims that no token has.
    pub fn left_out(&self) -> impl Iterator<Item = &'static str> {
        let claims = OptionalClaim::ALL.into_iter().filter(|claim| !self.has(*claim)).map(OptionalClaim::name);
        claims.chain((self.subject_claim != SUBJECT_CLAIM).then_some(SUBJECT_CLAIM))
    }

    fn has(&self, claim: OptionalClaim) -> bool {
        match claim {
            OptionalClaim::Issuer => self.issuer.is_claim(),
            OptionalClaim::Audience => self.audience.is_claim(),
            OptionalClaim::Client => self.client.is_claim(),
            OptionalClaim::Scope => self.scope.is_claim(),
            OptionalClaim::Session => self.session.is_claim(),
            OptionalClaim::Confirmation => self.confirmation.is_claim(),
        }
    }

    /// Refuses what a token could not say: it would pass for something else. Asked at a login, and at a
    /// refresh too, since the session may be older than the profile.
    pub fn check(
        &self,
        client: &ClientId,
        audience: &[Audience],
        scope: &[Scope],
        confirmation: Option<&Confirmation>,
    ) -> Result<(), Refusal> {
        let refused = |field: &str, problem| Err(Refusal::ClaimNotAllowed { field: field.to_owned(), problem });
        if let SaidBy::Realm(only) = &self.audience
            && let Some(foreign) = audience.iter().find(|audience| *audience != only)
        {
            return Err(Refusal::AudienceNotAllowed(foreign.clone()));
        }
        if let (SaidBy::Realm(()), [scope, ..]) = (&self.scope, scope) {
            return Err(Refusal::ScopeNotGranted(scope.clone()));
        }
        match &self.client {
            SaidBy::Realm(only) if only != client => {
                return refused(
                    "client_id",
                    format!("must be {:?}: tokens of this realm don't name their client", only.as_str()),
                );
            }
            SaidBy::Realm(_) | SaidBy::Token => {}
        }
        if confirmation.is_some() && !self.confirmation.is_claim() {
            return refused("confirmation", "is not allowed: tokens of this realm are bound to no key".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(name: &str) -> Audience {
        Audience::parse(name).expect("an audience")
    }

    fn client(name: &str) -> ClientId {
        ClientId::parse(name).expect("a client")
    }

    #[test]
    fn a_full_profile_leaves_nothing_out_and_says_anything() {
        let (full, scope) = (TokenProfile::default(), Scope::parse("read").expect("a scope"));
        assert_eq!(full.left_out().count(), 0);
        let bound = Confirmation::JwkThumbprint([1; 32]);
        assert_eq!(full.check(&client("app"), &[audience("a"), audience("b")], &[scope], Some(&bound)), Ok(()));
    }

    #[test]
    fn what_is_left_out_has_one_value() {
        let bare = TokenProfile {
            subject_claim: "user_id".to_owned(),
            issuer: SaidBy::Realm(()),
            audience: SaidBy::Realm(audience("api")),
            client: SaidBy::Realm(client("app")),
            scope: SaidBy::Realm(()),
            session: SaidBy::Realm(()),
            confirmation: SaidBy::Realm(()),
        };
        assert_eq!(bare.left_out().collect::<Vec<_>>(), ["iss", "aud", "client_id", "scope", "sid", "cnf", "sub"]);
        let (app, api) = (client("app"), [audience("api")]);
        let (scope, bound) = (Scope::parse("read").expect("a scope"), Confirmation::JwkThumbprint([1; 32]));
        let field = |refused: Result<(), Refusal>| match refused {
            Err(Refusal::ClaimNotAllowed { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(bare.check(&app, &api, &[], None), Ok(()));
        let (both, other) = ([audience("api"), audience("b")], audience("b"));
        assert_eq!(bare.check(&app, &both, &[], None), Err(Refusal::AudienceNotAllowed(other)));
        assert_eq!(bare.check(&app, &api, std::slice::from_ref(&scope), None), Err(Refusal::ScopeNotGranted(scope)));
        assert_eq!(field(bare.check(&client("other"), &api, &[], None)), "client_id");
        assert_eq!(field(bare.check(&app, &api, &[], Some(&bound))), "confirmation");
    }
}
