//! Token exchange (RFC 8693): a client swaps a token that it was given for one that may less, in its
//! own name. Nothing grows: audience, scope and lifetime are at most those of the token given, and the
//! lifetime at most the realm's.

use std::time::Duration;

use super::client::{Client, GrantType};
use super::ids::{Audience, KeyNumber, Scope, Subject, TokenId};
use super::refusal::Refusal;
use super::time::Timestamp;
use super::token::{AccessToken, Actor};

/// How many parties may have acted in turn: a chain that grows at each hop would fill the token.
pub const MAX_ACTORS: usize = 4;

/// What is presented and asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// What the active subject token says.
    pub given: AccessToken,
    /// Who acts, where it is not the client itself: the subject of an active actor token.
    pub actor: Option<Subject>,
    /// Empty: all that the client may have of the token's.
    pub audience: Vec<Audience>,
    /// Empty: all that the client may have of the token's.
    pub scope: Vec<Scope>,
}

/// Decides an exchange. The new token stays with the session, so that its end is the token's end too,
/// and names the session's client, so that its cut-off is.
pub fn exchange(
    request: &Exchange,
    client: &Client,
    now: Timestamp,
    lifetime: Duration,
    key: KeyNumber,
    random: [u8; 16],
) -> Result<AccessToken, Refusal> {
    client.check_grant(GrantType::TokenExchange)?;
    let given = &request.given;
    // Its revocation could not reach what was made from it.
    if given.session.is_none() {
        return Err(Refusal::NotExchangeable("the subject_token belongs to no session"));
    }
    // The new token has another client, and has to say so.
    if !given.profile.client.is_claim() {
        return Err(Refusal::NotExchangeable("tokens of this realm don't name their client"));
    }
    // The holder of the key is not the one who asks here.
    if given.confirmation.is_some() {
        return Err(Refusal::NotExchangeable("the subject_token is bound to a key"));
    }
    if !client.sees(&given.audience) {
        return Err(Refusal::NotExchangeable("the subject_token is not active"));
    }
    let acting = Subject::parse(client.id.as_str())
        .map_err(|_| Refusal::NotExchangeable("the client's id can't be an actor's name"))?;
    let actor = Actor { subject: request.actor.clone().unwrap_or(acting), actor: given.actor.clone().map(Box::new) };
    if actor.length() > MAX_ACTORS {
        return Err(Refusal::NotExchangeable("too many parties have acted with the subject_token already"));
    }
    client.check_asked(&request.audience, &request.scope)?;
    if let Some(foreign) = request.audience.iter().find(|audience| !given.audience.contains(audience)) {
        return Err(Refusal::AudienceNotAllowed(foreign.clone()));
    }
    if let Some(foreign) = request.scope.iter().find(|scope| !given.scope.contains(scope)) {
        return Err(Refusal::ScopeNotGranted(foreign.clone()));
    }
    let or_all = |asked: &[Audience]| match asked {
        [] => given.audience.iter().filter(|audience| client.audiences.contains(audience)).cloned().collect(),
        asked => asked.to_vec(),
    };
    let scope = match request.scope.as_slice() {
        [] => given.scope.iter().filter(|scope| client.scopes.contains(scope)).cloned().collect(),
        asked => asked.to_vec(),
    };
    let issued = now.floor_to_second();
    Ok(AccessToken {
        id: TokenId { random, ..given.id },
        key,
        client: client.id.clone(),
        // The same over every hop.
        session_client: given.session_client.clone().or_else(|| Some(given.client.clone())),
        audience: or_all(&request.audience),
        scope,
        actor: Some(actor),
        issued,
        expires: given.expires.min(issued + lifetime),
        ..given.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::domain::claims::Claims;
    use crate::domain::ids::{ClientId, RealmName, Route, SessionId, Sid, SubjectKey};
    use crate::domain::policy::Allowed;

    const LIFETIME: Duration = Duration::from_secs(900);

    fn audiences(names: &[&str]) -> Vec<Audience> {
        names.iter().map(|name| Audience::parse(name).expect("an audience")).collect()
    }

    fn scopes(names: &[&str]) -> Vec<Scope> {
        names.iter().map(|name| Scope::parse(name).expect("a scope")).collect()
    }

    fn subject(name: &str) -> Subject {
        Subject::parse(name).expect("a subject")
    }

    fn gateway() -> Client {
        Client {
            id: ClientId::parse("gateway").expect("a client"),
            grants: BTreeSet::from([GrantType::TokenExchange]),
            audiences: Allowed::Only(audiences(&["orders", "stock"]).into_iter().collect()),
            scopes: Allowed::Only(scopes(&["read"]).into_iter().collect()),
            roles: BTreeSet::new(),
        }
    }

    fn given() -> AccessToken {
        let sid = Sid { pepper_id: 1, subject: SubjectKey([1; 16]), session: SessionId([2; 16]) };
        AccessToken {
            id: TokenId { epoch: 3, origin: Timestamp::from_seconds(900), random: [4; 16], route: Route::BySid },
            realm: RealmName::parse("web").expect("a realm"),
            profile: Arc::default(),
            key: KeyNumber(1),
            subject: subject("ann"),
            client: ClientId::parse("app").expect("a client"),
            audience: audiences(&["orders", "mail"]),
            scope: scopes(&["read", "write"]),
            claims: Claims::default(),
            confirmation: None,
            actor: None,
            session: Some(sid),
            session_client: None,
            issued: Timestamp::from_seconds(1_000),
            expires: Timestamp::from_seconds(1_900),
        }
    }

    fn asked(audience: &[&str], scope: &[&str]) -> Exchange {
        Exchange { given: given(), actor: None, audience: audiences(audience), scope: scopes(scope) }
    }

    fn decide(request: &Exchange) -> Result<AccessToken, Refusal> {
        exchange(request, &gateway(), Timestamp::from_seconds(1_100), LIFETIME, KeyNumber(2), [9; 16])
    }

    #[test]
    fn nothing_grows_and_the_session_stays() {
        let made = decide(&asked(&[], &[])).expect("exchanges");
        assert_eq!((made.audience, made.scope), (audiences(&["orders"]), scopes(&["read"])));
        assert_eq!((made.session, made.expires, made.subject), (given().session, given().expires, subject("ann")));
        assert_eq!((made.client.as_str(), &made.session_client), ("gateway", &Some(given().client)));
        assert_eq!((made.id.epoch, made.id.origin), (3, Timestamp::from_seconds(900)));
        assert_ne!(made.id.random, given().id.random);
        assert_eq!(made.actor, Some(Actor { subject: subject("gateway"), actor: None }));

        for foreign in ["mail", "stock", "elsewhere"] {
            let refused = Refusal::AudienceNotAllowed(audiences(&[foreign]).remove(0));
            assert_eq!(decide(&asked(&[foreign], &[])), Err(refused), "{foreign}");
        }
        for foreign in ["write", "admin"] {
            let refused = Refusal::ScopeNotGranted(scopes(&[foreign]).remove(0));
            assert_eq!(decide(&asked(&[], &[foreign])), Err(refused), "{foreign}");
        }
    }

    #[test]
    fn no_token_lives_longer_than_the_realms() {
        let given = AccessToken { expires: Timestamp::from_seconds(9_000), ..given() };
        let made = decide(&Exchange { given, ..asked(&[], &[]) }).expect("exchanges");
        assert_eq!(made.expires, Timestamp::from_seconds(1_100) + LIFETIME);
    }

    #[test]
    fn a_token_without_a_session_bound_to_a_key_or_for_others_is_refused() {
        let confirmation = Some(super::super::token::Confirmation::JwkThumbprint([1; 32]));
        for given in [
            AccessToken { session: None, ..given() },
            AccessToken { confirmation, ..given() },
            AccessToken { audience: audiences(&["mail"]), ..given() },
        ] {
            let request = Exchange { given, ..asked(&[], &[]) };
            assert!(matches!(decide(&request), Err(Refusal::NotExchangeable(_))), "{request:?}");
        }
        let nobody = Client { grants: BTreeSet::new(), ..gateway() };
        let refused = exchange(&asked(&[], &[]), &nobody, Timestamp::ZERO, LIFETIME, KeyNumber(2), [9; 16]);
        assert_eq!(refused, Err(Refusal::ClientNotPermitted));
    }

    #[test]
    fn actors_stand_in_order_and_their_chain_is_bounded() {
        let mut given = given();
        for hop in 1..=MAX_ACTORS {
            let actor = Some(subject(&format!("hop {hop}")));
            given = decide(&Exchange { given, actor, ..asked(&[], &[]) }).expect("exchanges");
            let actor = given.actor.as_ref().expect("an actor");
            assert_eq!((actor.subject.as_str(), actor.length()), (format!("hop {hop}").as_str(), hop));
            assert_eq!(given.session_client.as_ref().map(ClientId::as_str), Some("app"), "whose session it is");
        }
        let refused = decide(&Exchange { given, ..asked(&[], &[]) });
        assert!(matches!(refused, Err(Refusal::NotExchangeable(_))), "{refused:?}");
    }
}
