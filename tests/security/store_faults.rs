//! A store that fails, at every call and in every way: afterwards either the whole step is done, or
//! the old token is usable, and the same request succeeds. A fault is never taken for a replay.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};
use token_authority::authority::introspect_token::Consistency;
use token_authority::authority::issue_token::IssueKind;
use token_authority::authority::{Error, IssuedTokens};
use token_authority::domain::ids::ClientId;
use token_authority::domain::refusal::Refusal;
use token_authority::domain::update_claims::AccessTokens;

use self::faulty_store::{Call, Fault, Met};
use self::world::{World, login, sid, subject};

pub(crate) mod faulty_store;
pub(crate) mod world;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Issue,
    LogInAgainOnTheDevice,
    Refresh,
    Replay,
    RevokeAccess,
    RevokeRefresh,
    RevokeSessionless,
    RevokeAll,
    UpdateClaims,
    Erase,
    RevokeClient,
    RevokeRealm,
    IntrospectAccess,
    IntrospectRefresh,
}

impl Operation {
    const ALL: [Self; 14] = [
        Self::Issue,
        Self::LogInAgainOnTheDevice,
        Self::Refresh,
        Self::Replay,
        Self::RevokeAccess,
        Self::RevokeRefresh,
        Self::RevokeSessionless,
        Self::RevokeAll,
        Self::UpdateClaims,
        Self::Erase,
        Self::RevokeClient,
        Self::RevokeRealm,
        Self::IntrospectAccess,
        Self::IntrospectRefresh,
    ];

    /// Whether it ends Ann's session on her phone.
    fn ends_the_session(self) -> bool {
        use Operation::*;
        matches!(
            self,
            LogInAgainOnTheDevice
                | Replay
                | RevokeAccess
                | RevokeRefresh
                | RevokeAll
                | Erase
                | RevokeClient
                | RevokeRealm
        )
    }
}

#[rustfmt::skip]
const SCRIPTS: &[&[Fault]] = &[
    &[Fault::Unavailable],
    &[Fault::Unavailable, Fault::Unavailable, Fault::Unavailable],
    &[Fault::Full],
    &[Fault::UnknownLost],
    &[Fault::UnknownLost, Fault::UnknownLost, Fault::UnknownLost],
    &[Fault::UnknownLost, Fault::Unavailable, Fault::Unavailable],
    &[Fault::UnknownApplied],
    &[Fault::UnknownApplied, Fault::UnknownApplied, Fault::UnknownApplied],
    &[Fault::UnknownApplied, Fault::Unavailable, Fault::Unavailable],
    &[Fault::UnknownApplied, Fault::Full, Fault::Full],
    &[Fault::UnknownApplied, Fault::Overtaken],
    &[Fault::UnknownLost, Fault::Overtaken],
    &[Fault::Overtaken],
    &[Fault::Overtaken; 40],
    &[Fault::Hang],
];

/// What the operation works on, made before the store fails.
struct Case {
    world: World,
    operation: Operation,
    /// Ann's session on her phone; `replayed` is two generations old.
    phone: IssuedTokens,
    replayed: String,
    laptop: IssuedTokens,
    bob: IssuedTokens,
    job: IssuedTokens,
}

impl Case {
    async fn new(operation: Operation) -> Self {
        let world = World::new().await;
        let first = world.login("ann", "phone").await;
        let second = world.refresh(first.refresh_token.as_ref().unwrap()).await.unwrap();
        let phone = world.refresh(second.refresh_token.as_ref().unwrap()).await.unwrap();
        let (laptop, bob) = (world.login("ann", "laptop").await, world.login("bob", "phone").await);
        let job = world.authority.issue_token("web", login("job", "none", IssueKind::Sessionless)).await.unwrap();
        Self { world, operation, phone, replayed: first.refresh_token.unwrap(), laptop, bob, job }
    }

    fn refresh_token(&self) -> &str {
        self.phone.refresh_token.as_ref().unwrap()
    }

    /// The operation once, the same at each call.
    async fn run(&self) -> Result<Option<IssuedTokens>, Error> {
        let (world, authority) = (&self.world, &self.world.authority);
        let access = &self.phone.access_token;
        match self.operation {
            Operation::Issue => {
                return authority.issue_token("web", login("ann", "tablet", IssueKind::Session)).await.map(Some);
            }
            Operation::LogInAgainOnTheDevice => {
                let mut request = login("ann", "phone", IssueKind::Session);
                request.request_id = Some(token_authority::authority::issue_token::request_id("again", b""));
                return authority.issue_token("web", request).await.map(Some);
            }
            Operation::Refresh => return world.refresh(self.refresh_token()).await.map(Some),
            Operation::Replay => match world.refresh(&self.replayed).await {
                Err(Error::Refused(Refusal::RefreshTokenReplayed)) => {}
                Ok(_) => panic!("a replay was answered"),
                Err(other) => return Err(other),
            },
            Operation::RevokeAccess => drop(authority.revoke_token("web", access).await?),
            Operation::RevokeRefresh => drop(authority.revoke_token("web", self.refresh_token()).await?),
            Operation::RevokeSessionless => drop(authority.revoke_token("web", &self.job.access_token).await?),
            Operation::RevokeAll => drop(authority.revoke_all_sessions("web", subject("ann"), None).await?),
            Operation::UpdateClaims => {
                let claims = Map::from_iter([("role".to_owned(), json!("admin"))]);
                authority.update_session_claims("web", sid(&self.phone), claims, AccessTokens::End).await?;
            }
            Operation::Erase => drop(authority.erase_subject("web", &subject("ann")).await?),
            Operation::RevokeClient => drop(authority.revoke_client("web", ClientId::parse("app").unwrap()).await?),
            Operation::RevokeRealm => drop(authority.revoke_realm("web").await?),
            Operation::IntrospectAccess => {
                assert!(world.introspect(access, Consistency::FullyConsistent).await?.is_some());
            }
            Operation::IntrospectRefresh => {
                assert!(world.introspect(self.refresh_token(), Consistency::FullyConsistent).await?.is_some());
            }
        }
        Ok(None)
    }

    /// Whole or not at all: a session's access and refresh token live or end together.
    async fn is_whole(&self) {
        let access = self.world.recorded(&self.phone.access_token).await;
        if !matches!(self.operation, Operation::UpdateClaims) {
            assert_eq!(access, self.world.recorded(self.refresh_token()).await);
        }
        if !self.operation.ends_the_session() && self.operation != Operation::UpdateClaims {
            assert!(access, "a family was ended");
        }
    }

    /// What must hold once the operation has succeeded.
    async fn is_done(&self, first: Option<IssuedTokens>, last: Option<IssuedTokens>) {
        let world = &self.world;
        let generation = |tokens: &IssuedTokens| tokens.grant.refresh.as_ref().map(|refresh| refresh.token.generation);
        if let (Some(first), Some(last)) = (&first, &last) {
            assert_eq!((&first.access_token, &first.refresh_token), (&last.access_token, &last.refresh_token));
        }
        if let Some(tokens) = &last {
            assert!(world.active(&tokens.access_token).await);
            let expected = if self.operation == Operation::Refresh { Some(4) } else { Some(1) };
            assert_eq!(generation(tokens), expected, "one successor and no more");
            let next = world.refresh(tokens.refresh_token.as_ref().unwrap()).await.expect("the family lives");
            assert_eq!(generation(&next), expected.map(|generation| generation + 1));
        }
        let ended = self.operation.ends_the_session();
        if ended {
            for token in [self.phone.access_token.as_str(), self.refresh_token()] {
                assert!(!world.active(token).await, "ended, answered, and active all the same");
            }
            assert!(matches!(world.refresh(self.refresh_token()).await, Err(Error::Refused(_))));
        }
        match self.operation {
            Operation::UpdateClaims => {
                assert!(!world.active(&self.phone.access_token).await);
                let next = world.refresh(self.refresh_token()).await.expect("the family lives");
                assert_eq!(next.grant.access.claims.members()["role"], "admin");
            }
            Operation::RevokeSessionless => assert!(!world.active(&self.job.access_token).await),
            Operation::Issue => {
                let live = world.authority.list_sessions("web", subject("ann")).await.unwrap().sessions.len();
                assert_eq!(live, 3, "one session for one request");
            }
            _ => {}
        }
        let cut_off = matches!(self.operation, Operation::RevokeClient | Operation::RevokeRealm);
        if !cut_off {
            assert!(world.entries(sid(&self.phone)).await <= 1, "one end is one entry");
            assert_eq!(world.entries(sid(&self.laptop)).await, usize::from(self.whole_subject()));
        }
        assert_eq!(world.active(&self.bob.access_token).await, self.operation != Operation::RevokeRealm);
        assert_eq!(world.active(&self.laptop.access_token).await, !self.whole_subject() && !cut_off);
    }

    fn whole_subject(&self) -> bool {
        matches!(self.operation, Operation::RevokeAll | Operation::Erase)
    }
}

/// After an unknown outcome the very same commit comes next, until it has been sent often enough.
fn unknown_commits_were_sent_again(calls: &[Call], answer: Option<&Error>) {
    for (at, call) in calls.iter().enumerate() {
        let Call::Commit(commit, Met::Unknown) = call else { continue };
        match calls.get(at + 1) {
            Some(Call::Commit(next, _)) => assert_eq!(commit, next, "sent again with another id or content"),
            Some(Call::Load) => panic!("an unknown outcome was decided anew"),
            None => {
                assert!(matches!(answer, Some(Error::OutcomeUnknown(_))), "{answer:?}");
                let tries = calls.iter().filter(|call| matches!(call, Call::Commit(..))).count();
                assert!(tries >= 3, "given up after {tries} tries");
            }
        }
    }
}

fn is_retryable(error: &Error) -> bool {
    matches!(error, Error::StoreUnavailable(_) | Error::StoreFull(_) | Error::Overloaded | Error::OutcomeUnknown(_))
}

/// Runs one case; `false` if the operation makes fewer calls than `pass`.
async fn survives(operation: Operation, pass: usize, script: &[Fault]) -> bool {
    let case = Case::new(operation).await;
    case.world.store.arm(pass, script);
    let first = if script == [Fault::Hang] {
        // As the deadline layer does: the caller goes away, the call stays.
        tokio::time::timeout(Duration::from_millis(20), case.run()).await.ok()
    } else {
        Some(case.run().await)
    };
    let (calls, applied) = case.world.store.disarm();
    let error = first.as_ref().and_then(|first| first.as_ref().err());
    assert!(error.is_none_or(is_retryable), "{error:?}");
    if error.is_some_and(|error| !matches!(error, Error::OutcomeUnknown(_))) {
        assert_eq!(applied, 0, "{error:?} says that nothing was changed");
    }
    unknown_commits_were_sent_again(&calls, error);
    if first.is_some() {
        case.is_whole().await;
    }
    let again = case.run().await.expect("the same request succeeds");
    case.is_whole().await;
    case.is_done(first.and_then(Result::ok).flatten(), again).await;
    calls.len() > pass
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_at_any_call_leaves_the_step_whole_and_repeatable() {
    let mut cases = 0;
    for operation in Operation::ALL {
        for script in SCRIPTS {
            let mut pass = 0;
            loop {
                let case = tokio::task::spawn(survives(operation, pass, script));
                match case.await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => panic!("{operation:?}, call {pass}, {script:?}: {error}"),
                }
                (pass, cases) = (pass + 1, cases + 1);
            }
            assert!(pass > 0, "{operation:?} never calls the store");
        }
    }
    println!("{cases} faults injected");
    assert!(cases > 300, "{cases}");
}

/// A caller who gave up is not acted for later: by then its token's leeway might be over.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_not_begun() {
    let case = Arc::new(Case::new(Operation::Refresh).await);
    case.world.store.arm(0, &[Fault::Hang]);
    let given_up = tokio::time::timeout(Duration::from_millis(20), case.run()).await;
    assert!(given_up.is_err());
    case.world.store.disarm();
    // Its turn comes after that of whatever was still waiting.
    let revoked = case.world.authority.revoke_token("web", &case.laptop.access_token).await;
    revoked.expect("revokes");
    let sessions = case.world.authority.list_sessions("web", subject("ann")).await.expect("lists").sessions;
    assert_eq!(sessions[0].session.generation, 3, "a refresh that nobody waited for");
}
