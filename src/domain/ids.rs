//! Names and numbers that identify things, each a type of its own, parsed once at the edge.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::time::Timestamp;

/// A name that does not fit its type: which, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidName {
    /// What was being named, such as `subject`.
    pub what: &'static str,
    /// What is wrong, and what is allowed.
    pub problem: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $max:literal, $allowed:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Parses a name; the error says what is allowed.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                let allowed: fn(char) -> bool = $allowed;
                if text.is_empty() || text.len() > $max || !text.chars().all(allowed) {
                    return Err(InvalidName { what: $what, problem: $rule });
                }
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A realm: one issuer with its own policy and keys.
    RealmName, "realm", 63,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    "must be 1 to 63 characters of a-z, 0-9 and '-'"
);
name!(
    /// A client of a realm (`client_id`, RFC 6749, section 2.2).
    ClientId, "client_id", 255,
    |c| matches!(c, '\x20'..='\x7e'),
    "must be 1 to 255 printable ASCII characters (RFC 6749, appendix A.1)"
);
name!(
    /// Who a token will be presented to (`aud`, RFC 7519, section 4.1.3).
    Audience, "audience", 255,
    |c| !c.is_control(),
    "must be 1 to 255 bytes without control characters"
);
name!(
    /// One scope token (RFC 6749, section 3.3).
    Scope, "scope", 255,
    |c| matches!(c, '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e'),
    "must be 1 to 255 printable ASCII characters without space, '\"' and '\\' (RFC 6749, section 3.3)"
);
name!(
    /// A device as the client names it: stable, and unique for the subject.
    DeviceId, "device.device_id", 128,
    |c| !c.is_control(),
    "must be 1 to 128 bytes without control characters"
);
name!(
    /// Who follows the revocations, as it calls itself: for operators to read.
    SubscriberName, "client_name", 128,
    |c| matches!(c, '\x20'..='\x7e'),
    "must be 1 to 128 printable ASCII characters"
);
name!(
    /// A cookie (RFC 6265, section 4.1.1).
    CookieName, "cookie", 64,
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "must be 1 to 64 characters of A-Z, a-z, 0-9, '-' and '_'"
);
name!(
    /// The `kid` of a signing key: its RFC 7638 thumbprint, base64url.
    KeyId, "kid", 64,
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
    "must be 1 to 64 base64url characters"
);

name!(
    /// What a realm tells callers (`error_description`, RFC 6749, section 5.2).
    Message, "message", 255,
    |c| matches!(c, '\x20' | '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e'),
    "must be 1 to 255 printable ASCII characters without '\"' and '\\' (RFC 6749, section 5.2)"
);

/// Who a token speaks for (`sub`). Personal data: no `Display`, redacted in `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject(Arc<Wiped>);

/// A text that is cleared when the last who shares it drops it.
#[derive(PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
struct Wiped(Box<str>);

impl Subject {
    /// Parses a subject: 1 to 255 bytes without control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
            return Err(InvalidName { what: "subject", problem: "must be 1 to 255 bytes without control characters" });
        }
        Ok(Self(Arc::new(Wiped(text.into()))))
    }

    /// The subject as text, for tokens and answers only.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subject(..)")
    }
}

/// The place of a subject's record: a keyed hash, so that no phone number or user name is a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKey(pub [u8; 16]);

/// A session: 128 random bits, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 16]);

/// The `sid` claim and `session_id` of the API: a session id with the way to its record.
///
/// Text: base64url of pepper id ‖ subject key ‖ session id, 44 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid {
    /// Which pepper made the subject key.
    pub pepper_id: u8,
    /// The subject's record.
    pub subject: SubjectKey,
    /// The session in it.
    pub session: SessionId,
}

const SID_BYTES: usize = 33;

impl Sid {
    /// The fixed binary form: 33 bytes.
    pub(crate) fn to_bytes(self) -> [u8; SID_BYTES] {
        let mut bytes = [0; SID_BYTES];
        bytes[0] = self.pepper_id;
        bytes[1..17].copy_from_slice(&self.subject.0);
        bytes[17..].copy_from_slice(&self.session.0);
        bytes
    }

    /// Reads the fixed binary form; any bytes are some `Sid`.
    pub(crate) fn from_bytes(bytes: &[u8; SID_BYTES]) -> Self {
        Self { pepper_id: bytes[0], subject: SubjectKey(array(&bytes[1..17])), session: SessionId(array(&bytes[17..])) }
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let invalid = InvalidName {
            what: "session_id",
            problem: "must be the 44 base64url characters that the authority gave out",
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid.clone())?;
        let bytes: &[u8; SID_BYTES] = bytes.as_slice().try_into().map_err(|_| invalid)?;
        Ok(Self::from_bytes(bytes))
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

/// How a token without a `sid` claim finds its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// The `sid` claim says it.
    BySid,
    /// A session, in a realm whose claim set has no `sid`.
    Session(Sid),
    /// A token without a session.
    Subject {
        /// Which pepper made the subject key.
        pepper_id: u8,
        /// The subject's record.
        subject: SubjectKey,
    },
}

/// The `jti` of an access token (RFC 7519, section 4.1.7), with what revocation has to know of it.
///
/// Text: base64url of epoch (4 bytes) ‖ origin time in milliseconds (6) ‖ random (16) ‖ route.
/// The epoch is the session's, or the subject's where there is no session. The origin is when the
/// session was opened: cutting off a client ends sessions by that time, and a token from a refresh
/// that raced with it must fall with its session. Milliseconds, because `iat` has seconds only, and
/// what begins after a cut-off must not be ended by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId {
    /// Raised to end the tokens issued so far while what they belong to lives on.
    pub epoch: u32,
    /// When the session was opened that it belongs to; without one, when it was issued.
    pub origin: Timestamp,
    /// 128 bits of the system's randomness.
    pub random: [u8; 16],
    /// How to find the record.
    pub route: Route,
}

const TOKEN_ID_FIXED: usize = 26;

impl TokenId {
    /// Parses the text form; `None` for any string that this authority can't have made.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 96 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (fixed, route) = bytes.split_at_checked(TOKEN_ID_FIXED)?;
        let route = match route.len() {
            0 => Route::BySid,
            17 => Route::Subject { pepper_id: route[0], subject: SubjectKey(array(&route[1..])) },
            SID_BYTES => Route::Session(Sid::from_bytes(&array(route))),
            _ => return None,
        };
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&fixed[4..10]);
        Some(Self {
            epoch: u32::from_be_bytes(array(&fixed[..4])),
            origin: Timestamp::from_millis(i64::from_be_bytes(millis)),
            random: array(&fixed[10..]),
            route,
        })
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(TOKEN_ID_FIXED + SID_BYTES);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.origin.millis().to_be_bytes()[2..]);
        bytes.extend_from_slice(&self.random);
        match self.route {
            Route::BySid => {}
            Route::Session(sid) => bytes.extend_from_slice(&sid.to_bytes()),
            Route::Subject { pepper_id, subject } => {
                bytes.push(pepper_id);
                bytes.extend_from_slice(&subject.0);
            }
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// A signing key's number in its realm: short where a record has to name the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyNumber(pub u32);

/// The bytes as an array; the callers have checked the length.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_keep_to_their_alphabets() {
        assert!(RealmName::parse("web-mobile").is_ok());
        for bad in ["", "Web", "a_b", "a/b", &"a".repeat(64)] {
            assert!(RealmName::parse(bad).is_err(), "{bad}");
        }
        assert!(Scope::parse("read:all").is_ok());
        for bad in ["", "a b", "a\"b", "a\\b", "ü"] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
        assert!(Subject::parse("+49 170 1234567").is_ok());
        assert!(Subject::parse("line\nbreak").is_err());
    }

    #[test]
    fn a_subject_does_not_print_itself() {
        let subject = Subject::parse("+491701234567").expect("a subject");
        assert!(!format!("{subject:?}").contains("49170"));
    }

    /// Held by the compiler.
    #[test]
    fn a_subject_is_cleared_with_its_last_copy() {
        fn cleared<T: ZeroizeOnDrop>(_: &T) {}
        cleared(&*Subject::parse("+491701234567").expect("a subject").0);
    }

    proptest! {
        #[test]
        fn ids_survive_their_text_form(
            pepper_id: u8, subject: [u8; 16], session: [u8; 16], epoch: u32,
            millis in 0i64..(1 << 47), random: [u8; 16],
        ) {
            let sid = Sid { pepper_id, subject: SubjectKey(subject), session: SessionId(session) };
            prop_assert_eq!(Sid::parse(&sid.to_string()).expect("own text"), sid);
            let subject = SubjectKey(subject);
            for route in [Route::BySid, Route::Session(sid), Route::Subject { pepper_id, subject }] {
                let id = TokenId { epoch, origin: Timestamp::from_millis(millis), random, route };
                prop_assert_eq!(TokenId::parse(&id.to_string()), Some(id));
            }
        }
    }
}
