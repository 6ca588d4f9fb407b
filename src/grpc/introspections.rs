//! `IntrospectToken` and `BatchIntrospectTokens`, which services call most: answered before calls are told apart,
//! and with an answer about a known access token that was encoded once.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::DecodeError;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, skip_field, string};
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec};
use tonic::codegen::BoxFuture;
use tonic::codegen::http;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};
use tower::{Layer, Service};

use crate::authority::Error;
use crate::authority::introspect_token::{Active, ActiveRefresh, IntrospectToken, Introspection, VerifiedToken};
use crate::domain::ids::{Audience, Scope};
use crate::proto::v1::{self, TokenKind};

use super::gate::{Addressed, Gate};
use super::status::status;
use super::wire;

const ONE: &str = v1::IntrospectTokenRequest::CALL;
const MANY: &str = v1::BatchIntrospectTokensRequest::CALL;
/// The number of `IntrospectTokenResponse.revision`.
const REVISION: u32 = 14;

/// Answers the two calls in front of a server's services.
#[derive(Debug, Clone)]
pub struct Introspections(Gate);

impl Introspections {
    /// Behind a gate.
    pub fn new(gate: Gate) -> Self {
        Self(gate)
    }
}

impl<S> Layer<S> for Introspections {
    type Service = InFront<S>;

    fn layer(&self, others: S) -> InFront<S> {
        InFront { gate: self.0.clone(), others }
    }
}

/// Services behind the two calls.
#[derive(Debug, Clone)]
pub struct InFront<S> {
    gate: Gate,
    others: S,
}

impl<S> Service<http::Request<Body>> for InFront<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let gate = self.gate.clone();
        match request.uri().path() {
            ONE => Box::pin(async { Ok(Grpc::new(OfOneToken).unary(One(gate), request).await) }),
            MANY => Box::pin(async { Ok(Grpc::new(ProstCodec::default()).unary(AtOnce(gate), request).await) }),
            _ => Box::pin(self.others.call(request)),
        }
    }
}

struct One(Gate);

impl UnaryService<v1::IntrospectTokenRequest> for One {
    type Response = Said;
    type Future = BoxFuture<Response<Said>, Status>;

    fn call(&mut self, request: Request<v1::IntrospectTokenRequest>) -> Self::Future {
        let gate = self.0.clone();
        Box::pin(async move { one(&gate, request).await })
    }
}

/// What `ProstCodec` does, in buffers as large as most tokens and answers; for larger ones they grow. By default each has
/// 8 KiB, and allocating them takes as long as looking a token up.
struct OfOneToken;

fn buffers() -> BufferSettings {
    let (bytes, of_a_stream) = (1 << 10, 32 << 10);
    BufferSettings::new(bytes, of_a_stream)
}

impl Codec for OfOneToken {
    type Encode = Said;
    type Decode = v1::IntrospectTokenRequest;
    type Encoder = ProstEncoder<Said>;
    type Decoder = ProstDecoder<v1::IntrospectTokenRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(buffers())
    }
}

struct AtOnce(Gate);

impl UnaryService<v1::BatchIntrospectTokensRequest> for AtOnce {
    type Response = Many;
    type Future = BoxFuture<Response<Many>, Status>;

    fn call(&mut self, request: Request<v1::BatchIntrospectTokensRequest>) -> Self::Future {
        let gate = self.0.clone();
        Box::pin(async move { many(&gate, request).await })
    }
}

/// What is said of one token.
pub(super) async fn one(gate: &Gate, request: Request<v1::IntrospectTokenRequest>) -> Result<Response<Said>, Status> {
    let (permit, request) = gate.admit(request).await?;
    let request = introspect(request).map_err(status)?;
    let answer = gate.authority().introspect_token_for(&permit, &request).await.map_err(status)?;
    Ok(Response::new(Said::of(answer)))
}

/// What is said of each of many.
pub(super) async fn many(
    gate: &Gate,
    request: Request<v1::BatchIntrospectTokensRequest>,
) -> Result<Response<Many>, Status> {
    let (permit, request) = gate.admit(request).await?;
    let consistency = wire::consistency(request.consistency).map_err(status)?;
    let answers = gate.authority().introspect_tokens_for(&permit, request.tokens, consistency).await;
    Ok(Response::new(Many { results: answers.map_err(status)?.into_iter().map(Said::of).collect() }))
}

/// An `IntrospectTokenResponse`, which is only written here.
#[derive(Debug, Clone, Default)]
pub(super) enum Said {
    /// `active = false` and nothing else (RFC 7662, section 2.2).
    #[default]
    Inactive,
    Access {
        token: Arc<VerifiedToken>,
        revision: String,
    },
    Refresh(Box<v1::IntrospectTokenResponse>),
}

impl Said {
    fn of(answer: Option<Introspection>) -> Self {
        let Some(Introspection { active, revision }) = answer else { return Self::Inactive };
        let revision = revision.to_string();
        match active {
            Active::Access(token) => Self::Access { token, revision },
            Active::Refresh(refresh) => Self::Refresh(Box::new(refresh_answer(&refresh, revision))),
        }
    }

    /// As the message that it is.
    pub(super) fn into_message(self) -> v1::IntrospectTokenResponse {
        match self {
            Self::Inactive => v1::IntrospectTokenResponse::default(),
            Self::Access { token, revision } => v1::IntrospectTokenResponse { revision, ..access(&token) },
            Self::Refresh(message) => *message,
        }
    }
}

impl prost::Message for Said {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        match self {
            Self::Inactive => {}
            Self::Access { token, revision } => {
                buffer.put_slice(encoded(token));
                string::encode(REVISION, revision, buffer);
            }
            Self::Refresh(message) => message.encode_raw(buffer),
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Self::Inactive => 0,
            Self::Access { token, revision } => encoded(token).len() + string::encoded_len(REVISION, revision),
            Self::Refresh(message) => message.encoded_len(),
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buffer, context)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A `BatchIntrospectTokensResponse`, which is only written here.
#[derive(prost::Message)]
pub(super) struct Many {
    #[prost(message, repeated, tag = "1")]
    pub(super) results: Vec<Said>,
}

fn encoded(token: &VerifiedToken) -> &[u8] {
    token.worded.get_or_word(|| prost::Message::encode_to_vec(&access(token)))
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
        token: request.token.into(),
    })
}

/// All but the revision.
fn access(token: &VerifiedToken) -> v1::IntrospectTokenResponse {
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
        revision: String::new(),
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

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::{Map, json};

    use crate::domain::ids::{ClientId, KeyId, RealmName, Route, SessionId, Sid, Subject, SubjectKey, TokenId};
    use crate::domain::time::Timestamp;
    use crate::domain::token::Confirmation;
    use crate::verify::Worded;

    use super::*;

    fn token() -> VerifiedToken {
        let sid = Sid { pepper_id: 1, subject: SubjectKey([2; 16]), session: SessionId([3; 16]) };
        let issued = Timestamp::from_seconds(1_000);
        VerifiedToken {
            realm: RealmName::parse("web").unwrap(),
            kid: KeyId::parse("key").unwrap(),
            issuer: "https://issuer.example".to_owned(),
            id: TokenId { epoch: 4, origin: issued, random: [5; 16], route: Route::BySid },
            subject: Subject::parse("ann").unwrap(),
            client: ClientId::parse("app").unwrap(),
            audience: vec![Audience::parse("orders").unwrap(), Audience::parse("mail").unwrap()],
            scope: vec![Scope::parse("read").unwrap()],
            session: Some(sid),
            session_client: None,
            issued,
            expires: Timestamp::from_seconds(1_900),
            not_before: None,
            confirmation: Some(Confirmation::JwkThumbprint([6; 32])),
            claims: Map::from_iter([("roles".to_owned(), json!(["admin", {"of": 1}]))]).into(),
            worded: Worded::default(),
        }
    }

    #[test]
    fn what_is_encoded_once_is_the_message_with_its_revision() {
        let token = Arc::new(token());
        let said = |revision: &str| Said::Access { token: token.clone(), revision: revision.to_owned() };
        for revision in ["one", "another", ""] {
            let read = v1::IntrospectTokenResponse::decode(&*said(revision).encode_to_vec()).expect("a message");
            assert_eq!(read, said(revision).into_message());
            assert_eq!((read.subject.as_str(), read.revision.as_str()), ("ann", revision));
        }
        let refresh = v1::IntrospectTokenResponse { active: true, revision: "later".to_owned(), ..Default::default() };
        let all = [said("one"), Said::Inactive, Said::Refresh(Box::new(refresh))];
        let read = v1::BatchIntrospectTokensResponse::decode(&*Many { results: all.to_vec() }.encode_to_vec())
            .expect("a message");
        assert_eq!(read.results, all.map(Said::into_message));
        assert!(Said::Inactive.encode_to_vec().is_empty(), "and nothing else");
    }
}
