//! Envoy's `ext_authz` (`envoy.service.auth.v3.Authorization`): decodes the request that Envoy holds, and
//! encodes the verdict.

use std::collections::HashMap;
use std::sync::Arc;

use envoy_types::ext_authz::v3::pb::{
    Authorization, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue, HeaderValueOption,
    HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{ListValue, Struct, Value as ProtoValue};
use envoy_types::pb::google::rpc;
use serde_json::{Value, json};
use tonic::{Code, Request, Response, Status, async_trait};

use crate::authority::authorization::Asked;
use crate::authority::check_request::{
    self, Denial, HeldRequest, IDENTITY_HEADERS, Requirements, UPGRADE_HEADERS, Verdict,
};
use crate::authority::introspect_token::VerifiedToken;
use crate::authority::{Authority, Error};
use crate::domain::ids::{Audience, Scope};

use super::gate::{Addressed, Gate};
use super::status::status;

/// A setting of a route for this edge alone: `remove` takes the header away before the service sees it.
const AUTHORIZATION: &str = "authorization";

/// Its one method, which has no descriptor of ours.
pub const EXT_AUTHZ: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Serves `Authorization`.
#[derive(Debug, Clone)]
pub struct ExtAuthz {
    authority: Arc<Authority>,
    gate: Gate,
}

impl ExtAuthz {
    /// Behind the gate of an authority.
    pub fn new(gate: Gate) -> Self {
        Self { authority: gate.authority(), gate }
    }
}

/// The realm stands among the settings of the route.
impl Addressed for CheckRequest {
    const CALL: &'static str = EXT_AUTHZ;

    fn asked(&self) -> Asked<'_> {
        let settings = self.attributes.as_ref().map(|attributes| &attributes.context_extensions);
        let realm = settings.and_then(|settings| settings.get("realm")).map_or("", String::as_str);
        Asked { call: Self::CALL, realm, subject: None, session: None }
    }
}

#[async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let permit = self.gate.admit_as(&request, &request.get_ref().asked()).await?;
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let mut settings = attributes.context_extensions;
        let removed = match settings.remove(AUTHORIZATION).as_deref() {
            None => false,
            Some("remove") => true,
            Some(_) => return Err(status(Error::invalid(AUTHORIZATION, "must be \"remove\", or not be given"))),
        };
        let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let required = Requirements::parse(settings).map_err(status)?;
        required.check_gateway(&permit).map_err(status)?;
        let held = attributes.request.and_then(|request| request.http).unwrap_or_default();
        // Envoy writes names in lower case, and several of one name as one.
        let header = |name: &str| held.headers.get(name).map(String::as_str);
        let held = HeldRequest {
            method: &held.method,
            host: &held.host,
            authorization: header("authorization"),
            cookie: header("cookie").map(str::as_bytes),
            origin: header("origin"),
            fetch_site: header("sec-fetch-site"),
            upgrades: UPGRADE_HEADERS.iter().any(|name| header(name).is_some()),
        };
        let verdict = self.authority.check_request(&held, &required).await.map_err(status)?;
        Ok(Response::new(match verdict {
            Verdict::Allowed(token) => allowed(&token, removed),
            Verdict::Denied(denial) => denied(&denial),
        }))
    }
}

fn allowed(token: &VerifiedToken, remove_authorization: bool) -> CheckResponse {
    let mut answer = OkHttpResponse::default();
    for (name, value) in check_request::identity(token) {
        match value {
            Some(value) => answer.headers.push(header(name, value)),
            None => answer.headers_to_remove.push(name.to_owned()),
        }
    }
    debug_assert_eq!(answer.headers.len() + answer.headers_to_remove.len(), IDENTITY_HEADERS.len());
    if remove_authorization {
        answer.headers_to_remove.push(AUTHORIZATION.to_owned());
    }
    CheckResponse {
        status: Some(rpc::Status { code: Code::Ok.into(), ..rpc::Status::default() }),
        dynamic_metadata: Some(metadata(token)),
        http_response: Some(HttpResponse::OkResponse(answer)),
    }
}

fn denied(denial: &Denial) -> CheckResponse {
    let mut headers = vec![header("www-authenticate", denial.challenge().into_owned())];
    let mut body = String::new();
    if let Some(told) = denial.told() {
        headers.push(header("content-type", "application/json".to_owned()));
        body = json!({ "error": "invalid_token", "error_description": told.as_str() }).to_string();
    }
    let answer = DeniedHttpResponse { status: Some(HttpStatus { code: i32::from(denial.status()) }), headers, body };
    CheckResponse {
        // Anything but OK; the client gets the answer below.
        status: Some(rpc::Status { code: Code::PermissionDenied.into(), ..rpc::Status::default() }),
        dynamic_metadata: None,
        http_response: Some(HttpResponse::DeniedResponse(answer)),
    }
}

/// In place of whatever the client sent under that name.
fn header(key: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.to_owned(), value, ..HeaderValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

/// For other filters and access logs of Envoy.
fn metadata(token: &VerifiedToken) -> Struct {
    let text = |text: &str| proto(&Value::from(text));
    let list = |texts: Vec<&str>| proto(&Value::from(texts));
    let mut fields = HashMap::from([
        ("subject".to_owned(), text(token.subject.as_str())),
        ("client_id".to_owned(), text(token.client.as_str())),
        ("audience".to_owned(), list(token.audience.iter().map(Audience::as_str).collect())),
        ("scope".to_owned(), list(token.scope.iter().map(Scope::as_str).collect())),
        ("claims".to_owned(), proto(&Value::Object((*token.claims).clone()))),
    ]);
    fields.extend(token.session.map(|sid| ("session_id".to_owned(), text(&sid.to_string()))));
    Struct { fields }
}

fn proto(value: &Value) -> ProtoValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(ListValue { values: values.iter().map(proto).collect() }),
        Value::Object(members) => {
            let fields = members.iter().map(|(name, value)| (name.clone(), proto(value))).collect();
            Kind::StructValue(Struct { fields })
        }
    };
    ProtoValue { kind: Some(kind) }
}
