//! Headers that decide something, read so that nobody can read them differently.

use axum::http::HeaderMap;

use super::error::HttpError;

/// A header that must not be there twice: a gateway and this server might each take another.
pub(super) fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, HttpError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(|value| value.to_str()).transpose();
    match (value, values.next()) {
        (Ok(value), None) => Ok(value),
        _ => Err(HttpError::invalid_request(format!("the header {name} can't be read, or is there twice"))),
    }
}
