//! `token_authority.v1.OtpService`.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};
use zeroize::Zeroizing;

use crate::authority::one_time_codes::{RequestCode, VerifyCode};
use crate::authority::{Authority, Error};
use crate::domain::one_time_code::Recipient;
use crate::proto::v1;
use crate::proto::v1::otp_service_server::OtpService;

use super::gate::Gate;
use super::status::status;
use super::token_service::issue;
use super::wire;

/// Serves `OtpService`.
#[derive(Debug, Clone)]
pub struct Codes {
    authority: Arc<Authority>,
    gate: Gate,
}

impl Codes {
    /// Behind the gate of an authority.
    pub fn new(gate: Gate) -> Self {
        Self { authority: gate.authority(), gate }
    }
}

#[async_trait]
impl OtpService for Codes {
    async fn request_code(
        &self,
        request: Request<v1::RequestCodeRequest>,
    ) -> Result<Response<v1::RequestCodeResponse>, Status> {
        let (by, request) = self.gate.admit(request).await?;
        let request = code_request(request).map_err(status)?;
        let expires = self.authority.request_code(&by, request).await.map_err(status)?;
        Ok(Response::new(v1::RequestCodeResponse { expire_time: wire::time(expires) }))
    }

    async fn verify_code(
        &self,
        request: Request<v1::VerifyCodeRequest>,
    ) -> Result<Response<v1::VerifyCodeResponse>, Status> {
        let (by, request) = self.gate.admit(request).await?;
        let request = verification(request).map_err(status)?;
        let tokens = self.authority.verify_code(&by, request).await.map_err(status)?;
        Ok(Response::new(v1::VerifyCodeResponse { tokens: Some(wire::token_pair(tokens)) }))
    }
}

fn code_request(request: v1::RequestCodeRequest) -> Result<RequestCode, Error> {
    Ok(RequestCode {
        recipient: Recipient::parse(&request.recipient)?,
        client: wire::client(&request.client_id)?,
        device: wire::device(request.device)?,
    })
}

fn verification(request: v1::VerifyCodeRequest) -> Result<VerifyCode, Error> {
    let code = Zeroizing::new(request.code);
    let recipient = Recipient::parse(&request.recipient)?;
    let login = issue(v1::IssueTokenRequest {
        realm: request.realm,
        subject: request.subject,
        client_id: request.client_id,
        audience: request.audience,
        scope: request.scope,
        claims: request.claims,
        device: request.device,
        remember_me: request.remember_me,
        confirmation: request.confirmation,
        request_id: request.request_id,
        ..v1::IssueTokenRequest::default()
    })?;
    Ok(VerifyCode { recipient, code, login })
}
