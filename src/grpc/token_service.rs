//! `token_authority.v1.TokenService`.

use std::sync::Arc;

use prost::Message as _;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::authority::introspect_token::{Active, ActiveRefresh, IntrospectToken, Introspection, VerifiedToken};
use crate::authority::issue_token::{IssueKind, IssueToken, request_id};
use crate::authority::refresh_token::RefreshToken;
use crate::authority::{Authority, Error};
use crate::domain::ids::{Audience, ClientId, Scope, Subject, SubscriberName};
use crate::domain::policy::Lifetime;
use crate::domain::revocation::Revision;
use crate::proto::v1::follow_revocations_request::Step;
use crate::proto::v1::token_service_server::TokenService;
use crate::proto::v1::{self, ErrorReason, TokenKind};

use super::gate::Gate;
use super::open_streams::{Answers, OpenStreams};
use super::receipts::Wait;
use super::status::{reason, status};
use super::{revocation_feed, wire};

/// A subscriber without a name.
const UNNAMED: &str = "unnamed";

/// Serves `TokenService`.
#[derive(Debug, Clone)]
pub struct Tokens {
    authority: Arc<Authority>,
    gate: Gate,
    streams: OpenStreams,
}

impl Tokens {
    /// Behind the gate of an authority.
    pub fn new(gate: Gate, streams: OpenStreams) -> Self {
        Self { authority: gate.authority(), gate, streams }
    }
}

#[async_trait]
impl TokenService for Tokens {
    async fn issue_token(
        &self,
        request: Request<v1::IssueTokenRequest>,
    ) -> Result<Response<v1::IssueTokenResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let request = issue(request).map_err(status)?;
        let tokens = self.authority.issue_token_for(&permit, request).await.map_err(status)?;
        Ok(Response::new(v1::IssueTokenResponse { tokens: Some(wire::token_pair(tokens)) }))
    }

    async fn refresh_token(
        &self,
        request: Request<v1::RefreshTokenRequest>,
    ) -> Result<Response<v1::RefreshTokenResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let request = refresh(request).map_err(status)?;
        let tokens = self.authority.refresh_token_by(&permit, request).await.map_err(status)?;
        Ok(Response::new(v1::RefreshTokenResponse { tokens: Some(wire::token_pair(tokens)) }))
    }

    async fn introspect_token(
        &self,
        request: Request<v1::IntrospectTokenRequest>,
    ) -> Result<Response<v1::IntrospectTokenResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let request = introspect(request).map_err(status)?;
        let answer = self.authority.introspect_token_for(&permit, &request).await.map_err(status)?;
        Ok(Response::new(introspection(answer)))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let wait = Wait::parse(request.wait_for_subscribers)?;
        let revision = self.authority.revoke_token_by(&permit, &request.token).await.map_err(status)?;
        let counts = wait.counts(&self.authority, &request.realm, &revision).await?;
        Ok(Response::new(v1::RevokeTokenResponse {
            revision: revision.to_string(),
            enforced_subscribers: counts.enforced,
            subscribers: counts.subscribers,
        }))
    }

    async fn get_jwks(&self, request: Request<v1::GetJwksRequest>) -> Result<Response<v1::GetJwksResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let set = self.authority.json_web_key_set(&request.realm).map_err(status)?;
        let keys = set.keys.iter().map(wire::json_web_key).collect();
        Ok(Response::new(v1::GetJwksResponse { jwks_json: set.json.clone(), keys }))
    }

    async fn batch_introspect_tokens(
        &self,
        request: Request<v1::BatchIntrospectTokensRequest>,
    ) -> Result<Response<v1::BatchIntrospectTokensResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let consistency = wire::consistency(request.consistency).map_err(status)?;
        let answers = self.authority.introspect_tokens_for(&permit, request.tokens, consistency).await;
        let answers = answers.map_err(status)?;
        let results = answers.into_iter().map(introspection).collect();
        Ok(Response::new(v1::BatchIntrospectTokensResponse { results }))
    }

    async fn batch_revoke_tokens(
        &self,
        request: Request<v1::BatchRevokeTokensRequest>,
    ) -> Result<Response<v1::BatchRevokeTokensResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let outcomes = self.authority.revoke_tokens(&request.realm, &request.tokens).await.map_err(status)?;
        let mut revision = Revision::default();
        let mut results = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let error_reason = match outcome {
                Ok(one) => {
                    revision.merge(&one);
                    ErrorReason::Unspecified
                }
                Err(error) => reason(&error),
            };
            results.push(v1::BatchRevokeTokensResult { error_reason: error_reason.into() });
        }
        Ok(Response::new(v1::BatchRevokeTokensResponse { results, revision: revision.to_string() }))
    }

    async fn revoke_client(
        &self,
        request: Request<v1::RevokeClientRequest>,
    ) -> Result<Response<v1::RevokeClientResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let client = ClientId::parse(&request.client_id).map_err(Error::from).map_err(status)?;
        let revision = self.authority.revoke_client(&request.realm, client).await.map_err(status)?;
        Ok(Response::new(v1::RevokeClientResponse { revision: revision.to_string() }))
    }

    async fn revoke_realm(
        &self,
        request: Request<v1::RevokeRealmRequest>,
    ) -> Result<Response<v1::RevokeRealmResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let revision = self.authority.revoke_realm(&request.realm).await.map_err(status)?;
        Ok(Response::new(v1::RevokeRealmResponse { revision: revision.to_string() }))
    }

    type WatchJwksStream = Answers<v1::WatchJwksResponse>;

    async fn watch_jwks(
        &self,
        request: Request<v1::WatchJwksRequest>,
    ) -> Result<Response<Self::WatchJwksStream>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let sets = self.authority.watch_json_web_key_set(&request.realm).map_err(status)?;
        let answers = WatchStream::new(sets).map(|set| {
            let keys = set.keys.iter().map(wire::json_web_key).collect();
            Ok(v1::WatchJwksResponse { jwks_json: set.json.clone(), keys })
        });
        Ok(Response::new(self.streams.open(self.authority.lapse(permit), answers)?))
    }

    type WatchRevocationsStream = Answers<v1::WatchRevocationsResponse>;

    async fn watch_revocations(
        &self,
        request: Request<v1::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let after = wire::revision("after_revision", &request.after_revision).map_err(status)?;
        let feed = self.authority.watch_revocations(&request.realm, &after).map_err(status)?;
        let answers = revocation_feed::messages(feed).map(Ok);
        Ok(Response::new(self.streams.open(self.authority.lapse(permit), answers)?))
    }

    type FollowRevocationsStream = Answers<v1::FollowRevocationsResponse>;

    async fn follow_revocations(
        &self,
        request: Request<Streaming<v1::FollowRevocationsRequest>>,
    ) -> Result<Response<Self::FollowRevocationsStream>, Status> {
        let (metadata, extensions, mut said) = request.into_parts();
        let first = said.message().await?.unwrap_or_default();
        let (permit, first) = self.gate.admit(Request::from_parts(metadata, extensions, first)).await?;
        let Some(Step::Subscribe(subscribe)) = first.step else {
            return Err(status(Error::invalid("step", "must be `subscribe` in the first message")));
        };
        let after = wire::revision("after_revision", &subscribe.after_revision).map_err(status)?;
        let name = if subscribe.client_name.is_empty() { UNNAMED } else { &subscribe.client_name };
        let name = SubscriberName::parse(name).map_err(Error::from).map_err(status)?;
        let (subscription, feed) = self.authority.follow_revocations(&first.realm, &after, name).map_err(status)?;
        let answers = revocation_feed::followed(subscription, feed, said).map(Ok);
        Ok(Response::new(self.streams.open(self.authority.lapse(permit), answers)?))
    }
}

/// The login that a message asks for.
pub(super) fn issue(request: v1::IssueTokenRequest) -> Result<IssueToken, Error> {
    let request_id =
        (!request.request_id.is_empty()).then(|| request_id(&request.request_id, &request.encode_to_vec()));
    Ok(IssueToken {
        subject: Subject::parse(&request.subject)?,
        client: wire::client(&request.client_id)?,
        audience: wire::names("audience", &request.audience, Audience::parse)?,
        scope: wire::names("scope", &request.scope, Scope::parse)?,
        claims: wire::members(request.claims)?,
        device: wire::device(request.device)?,
        lifetime: if request.remember_me { Lifetime::Remembered } else { Lifetime::Standard },
        confirmation: wire::confirmation(request.confirmation)?,
        kind: if request.without_session { IssueKind::Sessionless } else { IssueKind::Session },
        request_id,
    })
}

fn refresh(request: v1::RefreshTokenRequest) -> Result<RefreshToken, Error> {
    Ok(RefreshToken {
        client: wire::client(&request.client_id)?,
        scope: wire::names("scope", &request.scope, Scope::parse)?,
        audience: wire::names("audience", &request.audience, Audience::parse)?,
        confirmation: wire::confirmation(request.confirmation)?,
        device: request.device.map(|device| wire::device(Some(device))).transpose()?,
        refresh_token: request.refresh_token,
    })
}

fn introspect(request: v1::IntrospectTokenRequest) -> Result<IntrospectToken, Error> {
    let required = &request.required_audience;
    Ok(IntrospectToken {
        required_audience: if required.is_empty() {
            None
        } else {
            let parsed = Audience::parse(required);
            Some(parsed.map_err(|invalid| Error::invalid("required_audience", invalid.problem))?)
        },
        required_scope: wire::names("required_scope", &request.required_scope, Scope::parse)?,
        consistency: wire::consistency(request.consistency)?,
        token: request.token,
    })
}

/// An inactive token answers `active = false` and nothing else (RFC 7662, section 2.2).
fn introspection(answer: Option<Introspection>) -> v1::IntrospectTokenResponse {
    let Some(Introspection { active, revision }) = answer else { return v1::IntrospectTokenResponse::default() };
    match active {
        Active::Access(token) => access(&token, revision.to_string()),
        Active::Refresh(refresh) => refresh_answer(&refresh, revision.to_string()),
    }
}

fn access(token: &VerifiedToken, revision: String) -> v1::IntrospectTokenResponse {
    v1::IntrospectTokenResponse {
        active: true,
        token_kind: TokenKind::Access.into(),
        subject: token.subject.as_str().to_owned(),
        client_id: token.client.to_string(),
        issuer: token.issuer.clone(),
        audience: wire::texts(&token.audience),
        scope: wire::texts(&token.scope),
        session_id: token.session.map(|sid| sid.to_string()).unwrap_or_default(),
        token_id: token.id.to_string(),
        issue_time: wire::time(token.issued),
        expire_time: wire::time(token.expires),
        claims: Some(wire::claims_message(&token.claims)),
        confirmation: token.confirmation.as_ref().map(wire::confirmation_message),
        revision,
    }
}

fn refresh_answer(refresh: &ActiveRefresh, revision: String) -> v1::IntrospectTokenResponse {
    let session = &refresh.session;
    v1::IntrospectTokenResponse {
        active: true,
        token_kind: TokenKind::Refresh.into(),
        subject: refresh.subject.as_str().to_owned(),
        client_id: session.client.to_string(),
        issuer: refresh.issuer.to_string(),
        audience: vec![refresh.issuer.to_string()],
        scope: wire::texts(&session.scope),
        session_id: refresh.place.sid(session.id).to_string(),
        token_id: String::new(),
        issue_time: wire::time(session.refreshed),
        expire_time: wire::time(session.ends()),
        claims: Some(wire::claims_message(session.claims.members())),
        confirmation: session.confirmation.as_ref().map(wire::confirmation_message),
        revision,
    }
}
