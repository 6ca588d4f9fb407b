//! The parameters of a form, each taken once (RFC 6749, section 3.2). Knows no parameter.

use super::error::HttpError;

/// What was sent, in order.
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Parameters without a value count as left out (RFC 6749, section 3.1).
    pub(crate) fn new(parameters: Vec<(String, String)>) -> Self {
        Self(parameters.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// A parameter that may be left out; given twice, it is refused.
    pub(crate) fn optional(&mut self, name: &str) -> Result<Option<String>, HttpError> {
        let mut values = self.all(name);
        let value = values.pop();
        if values.is_empty() { Ok(value) } else { Err(HttpError::invalid_request(format!("{name} is given twice"))) }
    }

    /// A parameter that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, HttpError> {
        self.optional(name)?.ok_or_else(|| HttpError::invalid_request(format!("{name} is missing")))
    }

    /// A parameter that may be repeated.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }
}
