//! Headers that decide something, read so that nobody can read them differently.

use axum::http::{HeaderMap, HeaderValue, header};

use super::error::HttpError;

/// A header that must not be there twice: a gateway and this server might each take another.
pub(super) fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, HttpError> {
    let text = single(headers, name)?.map(HeaderValue::to_str).transpose();
    text.map_err(|_| HttpError::invalid_request(format!("the header {name} can't be read")))
}

/// `Cookie`, there once too. As bytes: cookies of other applications come along, whatever they hold.
pub(super) fn cookies(headers: &HeaderMap) -> Result<Option<&[u8]>, HttpError> {
    Ok(single(headers, header::COOKIE.as_str())?.map(HeaderValue::as_bytes))
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a HeaderValue>, HttpError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(HttpError::invalid_request(format!("the header {name} is there twice"))),
    }
}
