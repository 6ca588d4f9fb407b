//! The table `[realm.otp]`: login by one-time codes, and how these are delivered.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use crate::domain::one_time_code::{CodeDelivery, CodePolicy};
use crate::domain::rate_limit::RateLimit;

use super::document::{Raw, Table};
use super::problem::Problem;
use super::reader::Reader;
use super::{rate_limits, value};

/// The table in a realm's.
pub(super) const NAME: &str = "otp";

/// Each key of it.
pub(super) const KEYS: [&str; 8] =
    ["delivery", "webhook_url", "webhook_secret_file", "lifetime", "attempts", "lockout", "max_failures", "requests"];

const SECOND: Duration = Duration::from_secs(1);
/// A code of six digits must not be tried for long (NIST SP 800-63B-4, section 3.1.3: ten minutes).
const LIFETIME: RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(600);
const ATTEMPTS: RangeInclusive<usize> = 1..=10;
const LOCKOUT: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(86_400);
/// Not less than the most `attempts`, and not more than section 3.2.2 of the same allows.
const MAX_FAILURES: RangeInclusive<usize> = 10..=100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Webhook,
    Log,
}

/// Reads the table; `None` where it does not say how codes are delivered.
pub(super) fn read(table: Table, problems: &mut Vec<Problem>) -> Option<CodePolicy> {
    let mut reader = Reader::new(table, &KEYS, problems);
    let (mut way, mut lifetime, mut attempts) = (Way::Webhook, Duration::from_secs(300), 3);
    let (mut lockout, mut max_failures) = (Duration::from_secs(900), 100);
    let mut requests = RateLimit::new(3, Duration::from_secs(900));
    let head = reader.head();
    reader.set(&mut way, "delivery", |raw| value::one_of(raw, &[("webhook", Way::Webhook), ("log", Way::Log)]));
    let given = reader.has("webhook_url") && reader.has("webhook_secret_file");
    let url: Option<String> = reader.key("webhook_url", webhook_url);
    let secret_file: Option<PathBuf> = reader.key("webhook_secret_file", value::path);
    reader.set(&mut lifetime, "lifetime", |raw| value::duration(raw, &LIFETIME, SECOND));
    reader.set(&mut attempts, "attempts", |raw| value::integer(raw, &ATTEMPTS));
    reader.set(&mut lockout, "lockout", |raw| value::duration(raw, &LOCKOUT, SECOND));
    reader.set(&mut max_failures, "max_failures", |raw| value::integer(raw, &MAX_FAILURES));
    reader.set(&mut requests, "requests", |raw| match rate_limits::limit(raw)? {
        Some(limit) => Ok(Some(limit)),
        None => Err("must be a limit: nobody may send as many messages as he likes".to_owned()),
    });
    let delivery = match (way, url, secret_file) {
        (Way::Log, None, None) => Some(CodeDelivery::Log),
        (Way::Webhook, Some(url), Some(secret_file)) => Some(CodeDelivery::Webhook { url, secret_file }),
        (Way::Log, ..) => {
            reader.wrong(head, "delivery = \"log\" takes no webhook".to_owned());
            None
        }
        (Way::Webhook, ..) if given => None,
        (Way::Webhook, ..) => {
            reader.wrong(head, "webhook_url and webhook_secret_file are missing: codes need a way to users".to_owned());
            None
        }
    };
    reader.finish();
    let small = |number| u8::try_from(number).unwrap_or(u8::MAX);
    let (attempts, max_failures) = (small(attempts), small(max_failures));
    Some(CodePolicy { lifetime, attempts, lockout, max_failures, requests: requests?, delivery: delivery? })
}

fn webhook_url(raw: &Raw) -> Result<String, String> {
    let url = value::text(raw).filter(|text| {
        let url: Option<Uri> = text.parse().ok();
        url.is_some_and(|url| {
            let web = matches!(url.scheme_str(), Some("http" | "https"));
            web && url.host().is_some_and(|host| !host.is_empty()) && !text.contains(['@', '#'])
        })
    });
    url.map(str::to_owned).ok_or_else(|| {
        "must be a URL such as \"https://sms.example.com/codes\": http or https, a host, no user".to_owned()
    })
}
