//! `POST /oauth2/revoke` (RFC 7009). `token_type_hint` is not read: a token says itself what it is.

use axum::extract::State;

use super::Edge;
use super::caller::Caller;
use super::error::HttpError;

pub(super) async fn revoke(State(edge): State<Edge>, caller: Caller) -> Result<(), HttpError> {
    let Caller { realm, registered, mut form, .. } = caller;
    let token = form.required("token")?;
    edge.authority.revoke_token_for(&realm, &registered.client, &token).await?;
    Ok(())
}
