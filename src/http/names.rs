//! Names in parameters: scopes parted by spaces (RFC 6749, section 3.3), audiences repeated.

use crate::domain::ids::{Audience, Scope};

use super::error::HttpError;
use super::form::Form;

/// `scope`; empty where it is left out.
pub(super) fn scope(form: &mut Form) -> Result<Vec<Scope>, HttpError> {
    let text = form.optional("scope")?.unwrap_or_default();
    let mut scopes = Vec::new();
    for name in text.split(' ').filter(|name| !name.is_empty()) {
        let scope = Scope::parse(name).map_err(|_| HttpError::invalid_request("scope has an impossible name"))?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

/// `audience` (RFC 8693, section 2.1) and `resource` (RFC 8707, section 2): both name audiences here.
pub(super) fn audience(form: &mut Form) -> Result<Vec<Audience>, HttpError> {
    let mut audiences = Vec::new();
    for name in form.all("audience").into_iter().chain(form.all("resource")) {
        let audience =
            Audience::parse(&name).map_err(|_| HttpError::invalid_request("audience has an impossible name"))?;
        if !audiences.contains(&audience) {
            audiences.push(audience);
        }
    }
    Ok(audiences)
}
