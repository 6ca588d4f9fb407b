//! Who sends a form to an endpoint of a realm (RFC 6749, section 2.3): finds the one proof among header
//! and parameters. Whether it holds is asked of the authority.

use std::sync::Arc;

use axum::Form as FormBody;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use zeroize::Zeroizing;

use crate::authority::authorization::{Asked, Permit};
use crate::authority::caller::{self, Credentials, RegisteredClient};
use crate::authority::client_proof::ClientProof;

use super::Edge;
use super::error::HttpError;
use super::form::Form;
use super::routes;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The realm of a path; outside of `/realms/{realm}`, `default`.
pub(super) struct InRealm(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for InRealm {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let path = Option::<Path<String>>::from_request_parts(parts, state).await;
        let path = path.map_err(|_| HttpError::invalid_request("the path names no realm"))?;
        Ok(Self(path.map_or_else(|| "default".to_owned(), |Path(realm)| realm)))
    }
}

/// A client that proved who it is, and the rest of what it sent.
pub(super) struct Caller {
    pub(super) realm: String,
    pub(super) permit: Permit,
    pub(super) registered: Arc<RegisteredClient>,
    pub(super) form: Form,
}

impl FromRequest<Edge> for Caller {
    type Rejection = HttpError;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, HttpError> {
        let (mut parts, body) = request.into_parts();
        let InRealm(realm) = InRealm::from_request_parts(&mut parts, edge).await?;
        let matched = parts.extensions.get::<MatchedPath>().cloned();
        let headers = parts.headers.clone();
        let FormBody(parameters) = FormBody::from_request(Request::from_parts(parts, body), edge).await?;
        let mut form = Form::new(parameters);
        let shown = Credentials::Proof(proof(&headers, &mut form)?);
        let call = matched.as_ref().map_or("", |path| routes::call(path.as_str()));
        let asked = Asked { call, realm: &realm, subject: None, session: None };
        let permit = edge.authority.authorize(&asked, &shown).await?;
        match permit.caller() {
            caller::Caller::Client(registered, _) => Ok(Self { registered: registered.clone(), realm, permit, form }),
            _ => Err(HttpError::invalid_client()),
        }
    }
}

fn proof(headers: &HeaderMap, form: &mut Form) -> Result<ClientProof, HttpError> {
    let several = || HttpError::invalid_request("the client must prove itself in one way");
    let (id, secret) = (form.optional("client_id")?, form.optional("client_secret")?.map(Zeroizing::new));
    let assertion = form.optional("client_assertion")?;
    let assertion_type = form.optional("client_assertion_type")?;
    match (headers.get(header::AUTHORIZATION), secret, assertion) {
        (Some(value), secret, None) => {
            let own = value.to_str().ok().and_then(basic).ok_or_else(HttpError::invalid_client)?;
            let ClientProof::Secret { id: own_id, secret: own_secret } = &own else { return Err(several()) };
            // Clients that send the same twice are tolerated, as nothing is unclear.
            let differs = id.is_some_and(|id| id != *own_id) || secret.is_some_and(|secret| secret != *own_secret);
            if differs { Err(several()) } else { Ok(own) }
        }
        (None, Some(secret), None) => {
            let id = id.ok_or_else(|| HttpError::invalid_request("client_id is missing"))?;
            Ok(ClientProof::Secret { id, secret })
        }
        (None, None, Some(assertion)) if assertion_type.as_deref() == Some(JWT_BEARER) => {
            Ok(ClientProof::Assertion { id, assertion })
        }
        (None, None, Some(_)) => Err(HttpError::invalid_request(format!("client_assertion_type must be {JWT_BEARER}"))),
        (_, _, Some(_)) => Err(several()),
        (None, None, None) => Err(HttpError::invalid_client()),
    }
}

fn basic(value: &str) -> Option<ClientProof> {
    let (scheme, encoded) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("basic") { ClientProof::basic(encoded.trim()) } else { None }
}
