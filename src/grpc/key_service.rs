//! `token_authority.v1.KeyService`.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status, async_trait};

use crate::authority::issue_token::request_id;
use crate::authority::keys::KeyView;
use crate::authority::{Authority, Error};
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::KeyId;
use crate::domain::key_ring::KeyState;
use crate::domain::rotate_keys::{KeyRefusal, PublishAhead};
use crate::proto::v1;
use crate::proto::v1::key_service_server::KeyService;

use super::gate::Gate;
use super::status::status;
use super::wire;

/// Keys a page unless the caller asks for another number.
const DEFAULT_PAGE: usize = 100;

/// Serves `KeyService`.
#[derive(Debug, Clone)]
pub struct Keys {
    authority: Arc<Authority>,
    gate: Gate,
}

impl Keys {
    /// Behind the gate of an authority.
    pub fn new(gate: Gate) -> Self {
        Self { authority: gate.authority(), gate }
    }
}

#[async_trait]
impl KeyService for Keys {
    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Result<Response<v1::ListKeysResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(KeyId::parse(token).map_err(|_| {
                status(Error::invalid("page_token", "must be the next_page_token of an earlier answer, or empty"))
            })?),
        };
        let keys = self.authority.list_keys(&request.realm).await.map_err(status)?;
        let mut keys: Vec<_> = keys.iter().map(key_message).collect();
        keys.retain(|key| request.state == 0 || key.state == request.state);
        // Where that key is gone, from the start: to see some twice is better than to miss one.
        let start = after.and_then(|after| keys.iter().position(|key| key.key_id == after.as_str()));
        keys.drain(..start.map_or(0, |position| position + 1));
        let size = usize::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE);
        let more = keys.len() > size;
        keys.truncate(size);
        let next_page_token = keys.last().filter(|_| more).map(|key| key.key_id.clone()).unwrap_or_default();
        Ok(Response::new(v1::ListKeysResponse { keys, next_page_token }))
    }

    async fn prepare_key(
        &self,
        request: Request<v1::PrepareKeyRequest>,
    ) -> Result<Response<v1::PrepareKeyResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let id = (!request.request_id.is_empty()).then(|| request_id(&request.request_id, &request.encode_to_vec()));
        let prepared = self.authority.prepare_key(&request.realm, Algorithm::parse(&request.algorithm), id).await;
        Ok(Response::new(v1::PrepareKeyResponse { key: Some(key_message(&prepared.map_err(status)?)) }))
    }

    async fn activate_key(
        &self,
        request: Request<v1::ActivateKeyRequest>,
    ) -> Result<Response<v1::ActivateKeyResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let kid = (!request.key_id.is_empty()).then(|| kid(&request.key_id)).transpose()?;
        let ahead = if request.immediate { PublishAhead::Skipped } else { PublishAhead::Required };
        let activated = self.authority.activate_key(&request.realm, kid, ahead).await.map_err(status)?;
        Ok(Response::new(v1::ActivateKeyResponse { key: Some(key_message(&activated)) }))
    }

    async fn retire_key(
        &self,
        request: Request<v1::RetireKeyRequest>,
    ) -> Result<Response<v1::RetireKeyResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let retired = self.authority.retire_key(&request.realm, kid(&request.key_id)?).await.map_err(status)?;
        Ok(Response::new(v1::RetireKeyResponse { key: Some(key_message(&retired)) }))
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Result<Response<v1::RevokeKeyResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let revoked = self.authority.revoke_key(&request.realm, kid(&request.key_id)?, &request.reason).await;
        let (revoked, revision) = revoked.map_err(status)?;
        Ok(Response::new(v1::RevokeKeyResponse { key: Some(key_message(&revoked)), revision: revision.to_string() }))
    }
}

/// What can't be a `kid` is none of the realm's.
fn kid(text: &str) -> Result<KeyId, Status> {
    KeyId::parse(text).map_err(|_| status(Error::Key(KeyRefusal::Unknown)))
}

/// A key as it is sent.
pub fn key_message(view: &KeyView) -> v1::Key {
    let state = match view.state {
        KeyState::Prepared => v1::KeyState::Prepared,
        KeyState::Active => v1::KeyState::Active,
        KeyState::Retiring => v1::KeyState::Retiring,
        KeyState::Revoked => v1::KeyState::Revoked,
        KeyState::Removed => v1::KeyState::Unspecified,
    };
    v1::Key {
        key_id: view.kid.to_string(),
        algorithm: view.algorithm.name().to_owned(),
        state: state.into(),
        create_time: wire::time(view.created),
        activate_time: view.activates.and_then(wire::time),
        retire_time: view.retires.and_then(wire::time),
        remove_time: view.removes.and_then(wire::time),
    }
}
