//! `token_authority.v1.TokenService`.

use std::sync::Arc;

use prost::Message as _;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::authority::issue_token::{IssueKind, IssueToken, request_id};
use crate::authority::refresh_token::RefreshToken;
use crate::authority::{Authority, Error};
use crate::domain::ids::{Audience, ClientId, Scope, Subject, SubscriberName};
use crate::domain::policy::Lifetime;
use crate::domain::revocation::Revision;
use crate::proto::v1::follow_revocations_request::Step;
use crate::proto::v1::token_service_server::TokenService;
use crate::proto::v1::{self, ErrorReason};

use super::gate::Gate;
use super::introspections::{self, Many, Said};
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
        Ok(introspections::one(&self.gate, request).await?.map(Said::into_message))
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
        let answer = introspections::many(&self.gate, request).await?;
        let messages = |answer: Many| answer.results.into_iter().map(Said::into_message).collect();
        Ok(answer.map(|answer| v1::BatchIntrospectTokensResponse { results: messages(answer) }))
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
        let (permit, request) = self.gate.admit(request).await?;
        permit.note_revocation(None, &request.reason);
        let client = ClientId::parse(&request.client_id).map_err(Error::from).map_err(status)?;
        let revision = self.authority.revoke_client(&request.realm, client).await.map_err(status)?;
        Ok(Response::new(v1::RevokeClientResponse { revision: revision.to_string() }))
    }

    async fn revoke_realm(
        &self,
        request: Request<v1::RevokeRealmRequest>,
    ) -> Result<Response<v1::RevokeRealmResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        permit.note_revocation(None, &request.reason);
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
        refresh_token: request.refresh_token.into(),
    })
}
