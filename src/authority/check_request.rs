//! May this request of a gateway pass, and as whom: the token is found, verified, and held against what
//! the route requires. Asked from memory, unless its key is new; how gateways put the question is not known here.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::Value;
use tracing::debug;

use crate::domain::ids::{Audience, Message, Scope};
use crate::domain::messages::Known;
use crate::verify::{Rejection, VerifiedToken, Verifier};

use super::authorization::Permit;
use super::{Authority, Error, Realm};

/// Who passed, as headers for the service behind the gateway. A gateway takes all of them from the
/// request first: a stranger must not name himself.
pub const IDENTITY_HEADERS: [&str; 5] =
    ["x-auth-subject", "x-auth-client-id", "x-auth-session-id", "x-auth-scope", "x-auth-audience"];

/// Headers of a request that asks for another protocol; a gateway may pass on only the last.
pub const UPGRADE_HEADERS: [&str; 2] = ["upgrade", "sec-websocket-key"];

/// Methods that change nothing (RFC 9110, section 9.2.1).
const SAFE_METHODS: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];

/// The request that a gateway holds, as far as it matters.
#[derive(Default)]
pub struct HeldRequest<'a> {
    /// Its method; an unknown one counts as one that changes something.
    pub method: &'a str,
    /// `Host`, with its port.
    pub host: &'a str,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `Cookie`, in which other applications may write what they like.
    pub cookie: Option<&'a [u8]>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
    /// Whether it asks for another protocol, as a WebSocket does (`Upgrade`, `Sec-WebSocket-Key`).
    pub upgrades: bool,
}

impl fmt::Debug for HeldRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldRequest(..)")
    }
}

/// What a route requires of a token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// The realm; empty means `default`.
    pub realm: String,
    /// `None`: the realm's default audience.
    audience: Option<Audience>,
    scope: Vec<Scope>,
    role: Option<String>,
    claims: Vec<(String, String)>,
}

impl Requirements {
    /// Reads settings of a route. An unknown one is refused: a mistyped requirement must not be none.
    /// So is a second one where one counts: it must not take the place of the first.
    pub fn parse<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut required = Self::default();
        let mut given = Vec::new();
        for (name, value) in settings {
            if given.contains(&name) {
                return Err(Error::invalid(name, "must be given once"));
            }
            if matches!(name, "realm" | "audience" | "role") {
                given.push(name);
            }
            match name.split_once('.') {
                None if name == "realm" => required.realm = value.to_owned(),
                None if name == "audience" => required.audience = Some(Audience::parse(value)?),
                None if name == "scope" => {
                    let scopes = value.split(' ').map(Scope::parse).collect::<Result<Vec<_>, _>>()?;
                    required.scope.extend(scopes);
                }
                None if name == "role" => required.role = Some(value.to_owned()),
                Some(("claim", claim)) => required.claims.push((claim.to_owned(), value.to_owned())),
                _ => {
                    return Err(Error::invalid(
                        name,
                        "is unknown: realm, audience, scope, role and claim.NAME are known",
                    ));
                }
            }
        }
        Ok(required)
    }

    /// Refuses a gateway that checks tokens for an audience which is not its own.
    pub fn check_gateway(&self, by: &Permit) -> Result<(), Error> {
        let audience = self.audience.as_ref().unwrap_or(&by.realm().policy.default_audience);
        let client = by.client();
        Ok(client.map_or(Ok(()), |client| client.check_asked(std::slice::from_ref(audience), &[]))?)
    }

    fn met_by(&self, token: &VerifiedToken, realm: &Realm) -> bool {
        let audience = self.audience.as_ref().unwrap_or(&realm.policy.default_audience);
        let says = |name: &str, wanted: &str| match token.claims.get(name) {
            Some(Value::Array(several)) => several.iter().any(|one| is(one, wanted)),
            Some(one) => is(one, wanted),
            None => false,
        };
        token.audience.contains(audience)
            && self.scope.iter().all(|scope| token.scope.contains(scope))
            && self.role.as_ref().is_none_or(|role| says("role", role) || says("roles", role))
            && self.claims.iter().all(|(name, wanted)| says(name, wanted))
    }
}

fn is(claim: &Value, wanted: &str) -> bool {
    match claim {
        Value::String(text) => text == wanted,
        Value::Number(number) => number.to_string() == wanted,
        Value::Bool(boolean) => boolean.to_string() == wanted,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The answer to a gateway.
#[derive(Debug)]
pub enum Verdict {
    /// It passes, as what this token says.
    Allowed(Arc<VerifiedToken>),
    /// It does not.
    Denied(Denial),
}

/// Why a request does not pass (RFC 6750, section 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// There is no token, and what the realm tells of that.
    NoToken(Option<Message>),
    /// There is one, and it is not active.
    Inactive(Option<Message>),
    /// It is for something else.
    Insufficient,
    /// A cookie came along with a request that another site made.
    CrossSite,
}

impl Denial {
    /// The status for the client.
    pub const fn status(&self) -> u16 {
        match self {
            Self::NoToken(_) | Self::Inactive(_) => 401,
            Self::Insufficient | Self::CrossSite => 403,
        }
    }

    /// `WWW-Authenticate` for the client.
    pub fn challenge(&self) -> Cow<'static, str> {
        match self {
            Self::NoToken(_) | Self::CrossSite => "Bearer".into(),
            Self::Inactive(None) => "Bearer error=\"invalid_token\"".into(),
            // A message has no quotation mark and no backslash.
            Self::Inactive(Some(told)) => {
                format!("Bearer error=\"invalid_token\", error_description=\"{told}\"").into()
            }
            Self::Insufficient => "Bearer error=\"insufficient_scope\"".into(),
        }
    }

    /// What the realm has the client told.
    pub const fn told(&self) -> Option<&Message> {
        match self {
            Self::NoToken(told) | Self::Inactive(told) => told.as_ref(),
            Self::Insufficient | Self::CrossSite => None,
        }
    }
}

impl Authority {
    /// Decides about a request. An outage is an error, never a denial.
    pub async fn check_request(&self, request: &HeldRequest<'_>, required: &Requirements) -> Result<Verdict, Error> {
        let realm = self.realm(&required.realm)?;
        self.check_index()?;
        let denied = |denial| Ok(Verdict::Denied(denial));
        let told = |known| realm.policy.messages.of_access(known);
        let bearer = request.authorization.and_then(bearer);
        let cookie = || request.cookie.and_then(|cookies| cookie(cookies, realm.policy.access_cookie.as_str()));
        let Some(text) = bearer.or_else(cookie) else { return denied(Denial::NoToken(told(Known::Nothing))) };
        if bearer.is_none() && !request.is_own() {
            return denied(Denial::CrossSite);
        }
        let check = |verifier: &Verifier| verifier.verify(realm.name(), text, self.now());
        let token = match self.with_newest_keys(realm.name(), check).await? {
            Ok(token) => token,
            Err(rejection) => {
                debug!(realm = realm.policy.realm.as_str(), reason = rejection.label(), "request denied");
                let known = if rejection == Rejection::Revoked { Known::Revoked } else { Known::Nothing };
                return denied(Denial::Inactive(told(known)));
            }
        };
        // Nobody has proven the key, so that a thief would pass as well (RFC 9449, section 7.2).
        if token.confirmation.is_some() {
            return denied(Denial::Inactive(told(Known::Nothing)));
        }
        if !required.met_by(&token, &realm) {
            return denied(Denial::Insufficient);
        }
        self.note_use(&realm, &token);
        Ok(Verdict::Allowed(token))
    }
}

impl HeldRequest<'_> {
    /// Whether the site itself made it, or it changes nothing. Browsers send cookies along with what any
    /// other site has them ask for, and let any site talk over a WebSocket once it is open (RFC 6455, section 10.2).
    pub fn is_own(&self) -> bool {
        (SAFE_METHODS.contains(&self.method) && !self.upgrades) || self.is_same_origin()
    }

    /// Whether its own origin made it. A browser says so in one of two headers, and no script can set
    /// either; whoever says neither is refused.
    pub fn is_same_origin(&self) -> bool {
        match (self.fetch_site, self.origin) {
            (Some(site), _) => matches!(site, "same-origin" | "none"),
            (None, Some(origin)) => {
                let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
                host.is_some_and(|host| !host.is_empty() && host.eq_ignore_ascii_case(self.host))
            }
            (None, None) => false,
        }
    }
}

/// RFC 6750, section 2.1.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

/// The one cookie of that name (RFC 6265, section 5.4); of several, nobody knows who set which.
pub fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a str> {
    let mut values = cookies(header, name);
    let value = values.next()?;
    if values.next().is_some() { None } else { std::str::from_utf8(value).ok() }
}

/// All cookies of that name.
pub fn cookies<'a>(header: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.filter_map(move |pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Who passed: each of `IDENTITY_HEADERS`, in order, with its value if the token says one. What is not
/// visible ASCII is percent-encoded, so that no value is two headers.
pub fn identity(token: &VerifiedToken) -> [(&'static str, Option<String>); 5] {
    let scope: Vec<_> = token.scope.iter().map(Scope::as_str).collect();
    let audience: Vec<_> = token.audience.iter().map(|audience| header_value(audience.as_str())).collect();
    let [subject, client, session, scopes, audiences] = IDENTITY_HEADERS;
    [
        (subject, Some(header_value(token.subject.as_str()))),
        (client, Some(header_value(token.client.as_str()))),
        (session, token.session.map(|sid| sid.to_string())),
        (scopes, (!scope.is_empty()).then(|| scope.join(" "))),
        (audiences, Some(audience.join(" "))),
    ]
}

fn header_value(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut value, byte| {
        match byte {
            b'%' | b',' => drop(write!(value, "%{byte:02X}")),
            0x21..=0x7e => value.push(char::from(byte)),
            _ => drop(write!(value, "%{byte:02X}")),
        }
        value
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_requirement_is_refused() {
        let parse = |settings: &[(&'static str, &'static str)]| Requirements::parse(settings.iter().copied());
        assert!(parse(&[("audience", "api"), ("scope", "a b"), ("role", "x"), ("claim.tier", "1")]).is_ok());
        for (name, value) in [("audiance", "api"), ("claim", "x"), ("claims.x", "y"), ("scope", ""), ("audience", "")] {
            assert!(parse(&[(name, value)]).is_err(), "{name}");
        }
        for name in ["realm", "audience", "role"] {
            assert!(parse(&[(name, "a")]).is_ok());
            assert!(parse(&[(name, "a"), (name, "b")]).is_err(), "{name} twice");
        }
    }

    #[test]
    fn only_the_origin_itself_makes_a_request_that_changes_something() {
        let cases = [
            ("POST", Some("same-origin"), None, true),
            ("POST", Some("none"), None, true),
            ("POST", Some("same-site"), Some("https://shop.example:444"), false),
            ("POST", Some("cross-site"), Some("https://shop.example:444"), false),
            ("POST", None, Some("https://shop.example:444"), true),
            ("POST", None, Some("https://SHOP.example:444"), true),
            ("POST", None, Some("https://shop.example"), false),
            ("POST", None, Some("https://evil.example"), false),
            ("POST", None, Some("null"), false),
            ("POST", None, None, false),
            ("post", None, None, false),
            ("", None, None, false),
            ("GET", Some("cross-site"), Some("https://evil.example"), true),
        ];
        for (method, fetch_site, origin, own) in cases {
            let request = HeldRequest { method, host: "shop.example:444", fetch_site, origin, ..Default::default() };
            assert_eq!(request.is_own(), own, "{request:?}");
        }
        for (origin, own) in
            [(Some("https://evil.example"), false), (None, false), (Some("https://shop.example"), true)]
        {
            let socket =
                HeldRequest { method: "GET", host: "shop.example", origin, upgrades: true, ..Default::default() };
            assert_eq!(socket.is_own(), own, "{socket:?}");
        }
        let nowhere = HeldRequest { method: "POST", origin: Some("https://"), ..Default::default() };
        assert!(!nowhere.is_own());
    }

    #[test]
    fn a_cookie_is_taken_by_its_whole_name_and_only_if_it_is_one() {
        for (cookies, found) in [
            ("a=b; __Host-t=x.y.z; c=d", Some("x.y.z")),
            ("__Host-t=x", Some("x")),
            ("a__Host-t=x", None),
            ("__Host-t=x; __Host-t=y", None),
            ("__host-t=x", None),
            ("", None),
        ] {
            assert_eq!(cookie(cookies.as_bytes(), "__Host-t"), found, "{cookies}");
        }
        assert_eq!(cookie(b"name=J\xf6rg; __Host-t=x", "__Host-t"), Some("x"));
        assert_eq!(cookie(b"__Host-t=\xf6", "__Host-t"), None);
    }

    #[test]
    fn no_name_breaks_out_of_its_header() {
        assert_eq!(header_value("ann@example.com"), "ann@example.com");
        assert_eq!(header_value("ä,\u{a0} %"), "%C3%A4%2C%C2%A0%20%25");
    }
}
