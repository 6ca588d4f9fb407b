//! Where each call comes in: reads what it shows of its caller, has the authority admit it, and only then
//! hands out its message. No handler takes a message from anywhere else.

use std::sync::Arc;

use prost_reflect::DescriptorPool;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::authority::Authority;
use crate::authority::authorization::{Asked, NoRow, Permit, row};
use crate::authority::caller::{Anonymous, Credentials};
use crate::authority::client_proof::ClientProof;
use crate::listener::Peer;
use crate::proto::v1::{self, ErrorReason};

use super::status::{self, status};
use super::validate;

// One `impl Addressed` for each request message.
include!(concat!(env!("OUT_DIR"), "/addressing.rs"));

const AUTHORIZATION: &str = "authorization";

/// A request message that says which call it is, and whom it is about.
pub(super) trait Addressed {
    /// `/package.Service/Method`
    const CALL: &'static str;

    /// As the authority judges it.
    fn asked(&self) -> Asked<'_>;
}

/// Admits calls.
#[derive(Debug, Clone)]
pub struct Gate {
    authority: Arc<Authority>,
    anonymous: Anonymous,
}

impl Gate {
    /// To an authority; `anonymous`: as whom a call acts that shows nothing.
    pub fn new(authority: Arc<Authority>, anonymous: Anonymous) -> Self {
        Self { authority, anonymous }
    }

    /// Whose calls it admits.
    pub(super) fn authority(&self) -> Arc<Authority> {
        self.authority.clone()
    }

    /// The message of a call that may be made and keeps the rules of its `.proto` file.
    pub(super) async fn admit<T>(&self, request: Request<T>) -> Result<(Permit, T), Status>
    where
        T: Addressed + validate::Validate,
    {
        let permit = self.admit_as(&request, &request.get_ref().asked()).await?;
        let message = request.into_inner();
        match validate::check(&message) {
            Ok(()) => Ok((permit, message)),
            Err(violations) => Err(status::invalid(ErrorReason::InvalidRequest, violations)),
        }
    }

    /// The same for a message that is not ours.
    pub(super) async fn admit_as<T>(&self, request: &Request<T>, asked: &Asked<'_>) -> Result<Permit, Status> {
        let shown = credentials(request.metadata(), request.extensions().get::<Peer>(), self.anonymous);
        self.authority.authorize(asked, &shown).await.map_err(status)
    }
}

/// What a call shows. `authorization` decides alone where it is there: a certificate may be that of a proxy.
fn credentials<'a>(metadata: &'a MetadataMap, peer: Option<&'a Peer>, anonymous: Anonymous) -> Credentials<'a> {
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => match peer.and_then(Peer::identity) {
            Some(identity) => Credentials::Certificate(identity.names()),
            None => Credentials::Nothing(anonymous),
        },
        (Some(value), None) => value.to_str().ok().and_then(presented).unwrap_or(Credentials::Unreadable),
        // Of two, a proxy in front may have looked at the other.
        (Some(_), Some(_)) => Credentials::Unreadable,
    }
}

fn presented(value: &str) -> Option<Credentials<'_>> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("basic") {
        ClientProof::basic(rest).map(Credentials::Proof)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Some(Credentials::Bearer(rest))
    } else {
        None
    }
}

/// Whether each method of these descriptor sets has a row in the table, and `others` too.
pub fn check_rows(descriptor_sets: &[&[u8]], others: &[&str]) -> Result<(), NoRow> {
    for set in descriptor_sets {
        let pool = DescriptorPool::decode(*set).unwrap_or_default();
        for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            row(&format!("/{}/{}", method.parent_service().full_name(), method.name()))?;
        }
    }
    others.iter().try_for_each(|call| row(call).map(|_| ()))
}
