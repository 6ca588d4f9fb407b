//! The environment, read once. Knows the names of variables, not what their values mean.

use std::ffi::OsString;

/// Starts each variable that is ours. Two underscores: Kubernetes sets `TOKEN_AUTHORITY_PORT` and
/// the like in each pod beside a service of this name.
pub(super) const PREFIX: &str = "TOKEN_AUTHORITY__";

/// Variables that programs share, each with the section and key for which it stands; our own
/// variable of that key wins.
pub(super) const SHARED: [(&str, &str, &str); 1] = [("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry", "otlp_endpoint")];

/// The variables that start with `TOKEN_AUTHORITY__`, and the shared ones.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(String, OsString)>);

impl Environment {
    /// Takes those of some variables that say something to us.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let mut ours: Vec<_> = ours.filter(|(name, _)| name.starts_with(PREFIX) || is_shared(name)).collect();
        ours.sort();
        Self(ours)
    }

    /// The process's.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        Self::new(std::env::vars_os())
    }

    /// The value of a variable.
    pub(super) fn value(&self, name: &str) -> Option<&OsString> {
        self.0.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// The names of the variables that are ours alone.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str()).filter(|name| !is_shared(name))
    }
}

fn is_shared(name: &str) -> bool {
    SHARED.iter().any(|(shared, ..)| *shared == name)
}

/// The variable of a key: `TOKEN_AUTHORITY__SECTION__KEY`.
pub(super) fn name(section: &str, key: &str) -> String {
    format!("{PREFIX}{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}
