//! `token_authority.v1.SessionService`.

use std::sync::Arc;

use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, async_trait};

use crate::authority::page::Page;
use crate::authority::{Authority, Error};
use crate::domain::ids::{DeviceId, Sid, Subject};
use crate::domain::live::{LiveDevice, LiveSession};
use crate::domain::update_claims::AccessTokens;
use crate::proto::v1;
use crate::proto::v1::session_service_server::SessionService;

use super::gate::Gate;
use super::open_streams::{Answers, OpenStreams};
use super::receipts::Wait;
use super::session_messages::{known_device, session, watched};
use super::status::status;
use super::{session_messages, wire};

/// Sessions or devices a page unless the caller asks for another number.
const DEFAULT_PAGE: usize = 100;

/// Serves `SessionService`.
#[derive(Debug, Clone)]
pub struct Sessions {
    authority: Arc<Authority>,
    gate: Gate,
    streams: OpenStreams,
}

impl Sessions {
    /// Behind the gate of an authority.
    pub fn new(gate: Gate, streams: OpenStreams) -> Self {
        Self { authority: gate.authority(), gate, streams }
    }
}

#[async_trait]
impl SessionService for Sessions {
    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let subject = Subject::parse(&request.subject).map_err(Error::from).map_err(status)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(Sid::parse(token).map_err(|_| not_a_page_token())?),
        };
        let listed = self.authority.list_sessions(&request.realm, subject).await.map_err(status)?;
        let is_last = |live: &LiveSession| after.is_some_and(|after| after.session == live.session.id);
        let page = Page::after(&listed.sessions, is_last, page_size(request.page_size));
        let next = page.next.map(|last| listed.place.sid(last.session.id).to_string());
        Ok(Response::new(v1::ListSessionsResponse {
            sessions: page.items.iter().map(|live| session(live, listed.place, &listed.subject)).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<v1::RevokeSessionRequest>,
    ) -> Result<Response<v1::RevokeSessionResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let session = Sid::parse(&request.session_id).map_err(Error::from).map_err(status)?;
        let wait = Wait::parse(request.wait_for_subscribers)?;
        permit.note_revocation(Some(session), &request.reason);
        let revision = self.authority.revoke_session(&request.realm, session).await.map_err(status)?;
        let counts = wait.counts(&self.authority, &request.realm, &revision).await?;
        Ok(Response::new(v1::RevokeSessionResponse {
            revision: revision.to_string(),
            enforced_subscribers: counts.enforced,
            subscribers: counts.subscribers,
        }))
    }

    async fn revoke_all_sessions(
        &self,
        request: Request<v1::RevokeAllSessionsRequest>,
    ) -> Result<Response<v1::RevokeAllSessionsResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let subject = Subject::parse(&request.subject).map_err(Error::from).map_err(status)?;
        let except = match request.except_session_id.as_str() {
            "" => None,
            text => {
                Some(Sid::parse(text).map_err(|invalid| status(Error::invalid("except_session_id", invalid.problem)))?)
            }
        };
        let wait = Wait::parse(request.wait_for_subscribers)?;
        permit.note_revocation(None, &request.reason);
        let (count, revision) =
            self.authority.revoke_all_sessions(&request.realm, subject, except).await.map_err(status)?;
        let counts = wait.counts(&self.authority, &request.realm, &revision).await?;
        Ok(Response::new(v1::RevokeAllSessionsResponse {
            revoked_count: session_messages::count(count),
            revision: revision.to_string(),
            enforced_subscribers: counts.enforced,
            subscribers: counts.subscribers,
        }))
    }

    async fn get_session(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let sid = Sid::parse(&request.session_id).map_err(Error::from).map_err(status)?;
        let (subject, live) = self.authority.session(&request.realm, sid).await.map_err(status)?;
        Ok(Response::new(v1::GetSessionResponse { session: Some(session(&live, sid.into(), &subject)) }))
    }

    async fn update_session_claims(
        &self,
        request: Request<v1::UpdateSessionClaimsRequest>,
    ) -> Result<Response<v1::UpdateSessionClaimsResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let sid = Sid::parse(&request.session_id).map_err(Error::from).map_err(status)?;
        let claims = wire::members(request.claims).map_err(status)?;
        let access_tokens = if request.end_access_tokens { AccessTokens::End } else { AccessTokens::Keep };
        let updated = self.authority.update_session_claims_by(&permit, sid, claims, access_tokens).await;
        let revision = updated.map_err(status)?.to_string();
        let (subject, live) = self.authority.session(&request.realm, sid).await.map_err(status)?;
        let session = Some(session(&live, sid.into(), &subject));
        Ok(Response::new(v1::UpdateSessionClaimsResponse { session, revision }))
    }

    async fn erase_subject(
        &self,
        request: Request<v1::EraseSubjectRequest>,
    ) -> Result<Response<v1::EraseSubjectResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let subject = Subject::parse(&request.subject).map_err(Error::from).map_err(status)?;
        let (count, revision) = self.authority.erase_subject(&request.realm, &subject).await.map_err(status)?;
        Ok(Response::new(v1::EraseSubjectResponse {
            revoked_count: session_messages::count(count),
            revision: revision.to_string(),
        }))
    }

    type WatchSessionsStream = Answers<v1::WatchSessionsResponse>;

    async fn watch_sessions(
        &self,
        request: Request<v1::WatchSessionsRequest>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let subject = Subject::parse(&request.subject).map_err(Error::from).map_err(status)?;
        let (place, messages) = self.authority.watch_sessions(&request.realm, &subject).await.map_err(status)?;
        let answers = messages.map(move |message| Ok(watched(message.map_err(status)?, place, &subject)));
        Ok(Response::new(self.streams.open(self.authority.lapse(permit), answers)?))
    }

    async fn list_devices(
        &self,
        request: Request<v1::ListDevicesRequest>,
    ) -> Result<Response<v1::ListDevicesResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let subject = Subject::parse(&request.subject).map_err(Error::from).map_err(status)?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(DeviceId::parse(token).map_err(|_| not_a_page_token())?),
        };
        let devices = self.authority.list_devices(&request.realm, &subject).await.map_err(status)?;
        let is_last = |live: &LiveDevice| after.as_ref().is_some_and(|after| live.device.is(after));
        let page = Page::after(&devices, is_last, page_size(request.page_size));
        let next = page.next.and_then(|last| last.device.device.id.as_ref());
        Ok(Response::new(v1::ListDevicesResponse {
            devices: page.items.iter().map(known_device).collect(),
            next_page_token: next.map(ToString::to_string).unwrap_or_default(),
        }))
    }

    async fn trust_device(
        &self,
        request: Request<v1::TrustDeviceRequest>,
    ) -> Result<Response<v1::TrustDeviceResponse>, Status> {
        let (permit, request) = self.gate.admit(request).await?;
        let subject = Subject::parse(&request.subject).map_err(Error::from).map_err(status)?;
        let id = DeviceId::parse(&request.device_id).map_err(Error::from).map_err(status)?;
        let device = self.authority.trust_device(&permit, &subject, id).await.map_err(status)?;
        Ok(Response::new(v1::TrustDeviceResponse { device: Some(known_device(&device)) }))
    }

    async fn forget_device(
        &self,
        request: Request<v1::ForgetDeviceRequest>,
    ) -> Result<Response<v1::ForgetDeviceResponse>, Status> {
        let (_, request) = self.gate.admit(request).await?;
        let subject = Subject::parse(&request.subject).map_err(Error::from).map_err(status)?;
        let id = DeviceId::parse(&request.device_id).map_err(Error::from).map_err(status)?;
        let (count, revision) = self.authority.forget_device(&request.realm, &subject, id).await.map_err(status)?;
        Ok(Response::new(v1::ForgetDeviceResponse {
            revoked_count: session_messages::count(count),
            revision: revision.to_string(),
        }))
    }
}

fn page_size(asked: i32) -> usize {
    usize::try_from(asked).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE)
}

fn not_a_page_token() -> Status {
    status(Error::invalid("page_token", "must be the next_page_token of an earlier answer, or empty"))
}
