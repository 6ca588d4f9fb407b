//! What a single value may be: each function parses one kind, and its error says what is allowed.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::document::Raw;
use super::store_url::StoreUrl;
use super::{AnonymousCalls, Exposure, LogFormat, StoreSafety};

/// The value as far as a message may repeat it.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        match self {
            // It may hold a password or a key, which none of them may.
            Self::Text(text) | Self::Word(text) if text.contains("://") && text.contains(['@', '?']) => {
                f.write_str("a URL with more than a host and a path")
            }
            Self::Text(text) | Self::Word(text) if text.chars().count() > SHOWN => {
                write!(f, "{:?}…", text.chars().take(SHOWN).collect::<String>())
            }
            Self::Text(text) | Self::Word(text) => write!(f, "{text:?}"),
            Self::Boolean(boolean) => boolean.fmt(f),
            Self::Integer(integer) => integer.fmt(f),
            Self::List(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
            Self::Other(written) => write!(f, "{}", written.chars().take(SHOWN).collect::<String>()),
        }
    }
}

/// Says what is wrong with a value, after the value itself where it is short.
pub(super) fn refused(raw: &Raw, message: String) -> String {
    if matches!(raw, Raw::List(_)) { message } else { format!("{raw}: {message}") }
}

/// The value as text, if it is text.
pub(super) fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) | Raw::Word(text) => Some(text),
        _ => None,
    }
}

/// Parses one of a few names; the error lists them.
pub(super) fn one_of<T: Copy>(raw: &Raw, choices: &[(&str, T)]) -> Result<T, String> {
    let chosen = text(raw).and_then(|text| choices.iter().find(|(name, _)| *name == text));
    chosen.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
        format!("must be {}", names.join(" or "))
    })
}

/// Parses a duration within bounds, in steps of one `unit`.
pub(super) fn duration(raw: &Raw, bounds: &RangeInclusive<Duration>, unit: Duration) -> Result<Duration, String> {
    let duration = text(raw).and_then(|text| humantime::parse_duration(text).ok());
    let whole = |duration: &Duration| duration.as_nanos().is_multiple_of(unit.as_nanos());
    duration.filter(|duration| bounds.contains(duration) && whole(duration)).ok_or_else(|| {
        format!(
            "must be a duration in quotes such as \"90s\", \"15m\", \"8h\" or \"7d\", from {} to {}, in whole {}",
            humantime::format_duration(*bounds.start()),
            humantime::format_duration(*bounds.end()),
            if unit.as_secs() > 0 { "seconds" } else { "milliseconds" },
        )
    })
}

/// Parses a whole number within bounds.
pub(super) fn integer(raw: &Raw, bounds: &RangeInclusive<usize>) -> Result<usize, String> {
    let integer = match raw {
        Raw::Integer(integer) => usize::try_from(*integer).ok(),
        Raw::Word(word) => word.parse().ok(),
        _ => None,
    };
    integer
        .filter(|integer| bounds.contains(integer))
        .ok_or_else(|| format!("must be a whole number from {} to {}", bounds.start(), bounds.end()))
}

/// Parses an address to listen on.
pub(super) fn address(raw: &Raw) -> Result<SocketAddr, String> {
    text(raw)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "must be an IP address with a port, such as \"127.0.0.1:50051\" or \"[::1]:50051\"".to_owned())
}

/// Parses the URL under which clients reach the HTTP side.
pub(super) fn public_url(raw: &Raw) -> Result<String, String> {
    text(raw).and_then(checked_public_url).ok_or_else(|| {
        "must be a URL such as \"https://login.example.com\": http or https, a host, no user, no query, no '/' at the \
         end (it becomes the issuer of tokens, which is compared letter for letter)"
            .to_owned()
    })
}

/// The URL again, if it may be a public one.
fn checked_public_url(text: &str) -> Option<String> {
    let url: Uri = text.parse().ok()?;
    let plain = !text.contains(['@', '?', '#']) && !text.ends_with('/');
    let web = matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty());
    (plain && web).then(|| text.to_owned())
}

/// Parses a yes or no, where yes is `--insecure`.
pub(super) fn exposure(raw: &Raw) -> Result<Exposure, String> {
    yes_or_no(raw, Exposure::Insecure, Exposure::LoopbackOnly)
}

/// Parses as whom calls act that prove nobody.
pub(super) fn anonymous(raw: &Raw) -> Result<AnonymousCalls, String> {
    one_of(raw, &[("none", AnonymousCalls::Nobody), ("operator", AnonymousCalls::Operator)])
}

/// Parses a yes or no, where yes is `--accept-unsafe-store`.
pub(super) fn store_safety(raw: &Raw) -> Result<StoreSafety, String> {
    yes_or_no(raw, StoreSafety::Waived, StoreSafety::Required)
}

/// Parses a yes or no.
pub(super) fn yes_or_no<T>(raw: &Raw, yes: T, no: T) -> Result<T, String> {
    match raw {
        Raw::Boolean(false) => Ok(no),
        Raw::Boolean(true) => Ok(yes),
        Raw::Word(word) if word == "false" => Ok(no),
        Raw::Word(word) if word == "true" => Ok(yes),
        _ => Err("must be true or false".to_owned()),
    }
}

/// Parses where the store is.
pub(super) fn store_url(raw: &Raw) -> Result<StoreUrl, String> {
    StoreUrl::parse(text(raw).unwrap_or_default()).map_err(|error| error.to_string())
}

/// Parses how long the store may go unheard.
pub(super) fn max_staleness(raw: &Raw) -> Result<Duration, String> {
    duration(raw, &(Duration::from_secs(2)..=Duration::from_secs(3_600)), Duration::from_secs(1))
}

/// Parses a path.
pub(super) fn path(raw: &Raw) -> Result<PathBuf, String> {
    text(raw).filter(|text| !text.is_empty()).map(PathBuf::from).ok_or_else(|| "must be a path".to_owned())
}

/// Parses for whom logs are written.
pub(super) fn log_format(raw: &Raw) -> Result<LogFormat, String> {
    one_of(raw, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

/// Parses log levels. Stricter than the filter that takes them, for which a mistyped level is the
/// name of a module.
pub(super) fn log_level(raw: &Raw) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let module = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
    let allowed = |part: &str| match part.split_once('=') {
        Some((name, level)) => module(name) && LEVELS.contains(&level),
        None => LEVELS.contains(&part),
    };
    text(raw).filter(|text| text.split(',').all(allowed)).map(str::to_owned).ok_or_else(|| {
        format!("must be one of {}, or a list such as \"warn,token_authority=debug\"", LEVELS.join(", "))
    })
}

/// The same for text from the command line, which says itself which flag it is.
pub(crate) fn log_level_flag(text: &str) -> Result<String, String> {
    log_level(&Raw::Word(text.to_owned()))
}

/// The same for text from the command line, which says itself which flag it is.
pub(crate) fn public_url_flag(text: &str) -> Result<String, String> {
    public_url(&Raw::Word(text.to_owned()))
}
