//! Takes a compact JWS apart (RFC 7515, section 7.1) and checks its header. Strict to the bit, so a
//! token has exactly one spelling. Knows no keys, and reads the payload only as bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::json;
use super::rejection::Rejection;
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::KeyId;

/// The longest token: checked before anything else, so that garbage stays cheap.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// The only `typ` of an access token (RFC 9068, section 2.1).
pub(super) const ACCESS_TOKEN: &str = "at+jwt";
/// Ways to bring one's own key (RFC 7515, section 4.1). Never read, so they may say anything.
const IGNORED: [&str; 4] = ["jku", "jwk", "x5u", "x5c"];
/// Extensions that change the meaning of the rest (RFC 7515, section 4.1.11; RFC 7797; RFC 7516).
const REFUSED: [&str; 3] = ["crit", "b64", "zip"];
/// Deep enough for what is ignored; everything else in a header is flat.
const HEADER_DEPTH: usize = 5;

/// A token in its parts; nothing of it is authentic yet.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    /// What was signed: header and payload as they stand.
    pub(super) signing_input: &'a str,
    /// `alg`.
    pub(super) algorithm: Algorithm,
    /// `kid`.
    pub(super) kid: KeyId,
    /// The payload, decoded but not read.
    pub(super) payload: Zeroizing<Vec<u8>>,
    /// The signature.
    pub(super) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart; its length has been checked.
    pub(super) fn parse(token: &'a str) -> Result<Self, Rejection> {
        let Encoded { signing_input, header, payload, signature } = Encoded::parse(token)?;
        let (header, payload, signature) = (decode(header)?, decode(payload)?.into(), decode(signature)?);
        let (algorithm, kid) = match plain_header(&header) {
            Some(plain) => plain,
            None => read_header(&strict_header(&header)?)?,
        };
        Ok(Self { signing_input, algorithm, kid, payload, signature })
    }
}

/// Any compact JWS in its parts, whatever its type; nothing of it is authentic yet.
pub(super) struct Parts<'a> {
    pub(super) signing_input: &'a str,
    /// Flat, and without extensions.
    pub(super) header: Map<String, Value>,
    pub(super) payload: Zeroizing<Vec<u8>>,
    pub(super) signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Rejection> {
        let Encoded { signing_input, header, payload, signature } = Encoded::parse(token)?;
        let (header, payload, signature) = (decode(header)?, decode(payload)?.into(), decode(signature)?);
        Ok(Self { signing_input, header: strict_header(&header)?, payload, signature })
    }
}

/// The parts as they stand.
struct Encoded<'a> {
    signing_input: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Encoded<'a> {
    fn parse(token: &'a str) -> Result<Self, Rejection> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Rejection::Malformed("no dot"))?;
        let (header, payload) = signing_input.split_once('.').ok_or(Rejection::Malformed("only one dot"))?;
        Ok(Self { signing_input, header, payload, signature })
    }
}

/// Canonical base64url: no padding, no stray bits, no third dot. One token, one spelling.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    if part.is_empty() {
        return Err(Rejection::Malformed("an empty part"));
    }
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::Malformed("not canonical base64url"))
}

/// What [`read_header`] makes of a header that is written as the authority writes its own, without making
/// JSON of it; `None` for every other.
fn plain_header(bytes: &[u8]) -> Option<(Algorithm, KeyId)> {
    let rest = std::str::from_utf8(bytes).ok()?.strip_prefix(r#"{"alg":""#)?;
    let (algorithm, rest) = rest.split_once('"')?;
    let kid = rest.strip_prefix(r#","typ":"at+jwt","kid":""#)?.strip_suffix(r#""}"#)?;
    // No name of an algorithm and no `kid` has a quote or an escape in it.
    Some((Algorithm::parse(algorithm)?, KeyId::parse(kid).ok()?))
}

fn strict_header(bytes: &[u8]) -> Result<Map<String, Value>, Rejection> {
    let header = json::object(bytes, HEADER_DEPTH).ok_or(Rejection::Malformed("header is no strict JSON object"))?;
    if REFUSED.iter().any(|name| header.contains_key(*name)) {
        return Err(Rejection::UnsupportedExtension);
    }
    let nested =
        |(name, value): (&String, &Value)| (value.is_object() || value.is_array()) && !IGNORED.contains(&name.as_str());
    if header.iter().any(nested) {
        return Err(Rejection::Malformed("header is not flat"));
    }
    Ok(header)
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, KeyId), Rejection> {
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    if text("typ") != Some(ACCESS_TOKEN) {
        return Err(Rejection::WrongType);
    }
    let algorithm = text("alg").and_then(Algorithm::parse).ok_or(Rejection::WrongAlgorithm)?;
    let kid = text("kid").ok_or(Rejection::Malformed("no kid"))?;
    let kid = KeyId::parse(kid).map_err(|_| Rejection::Malformed("an impossible kid"))?;
    Ok((algorithm, kid))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str) -> String {
        format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn takes_a_token_apart() {
        let text = token(r#"{"alg":"RS256","typ":"at+jwt","kid":"k1"}"#);
        let compact = Compact::parse(&text).expect("a token");
        assert_eq!((compact.algorithm, compact.kid.as_str()), (Algorithm::Rs256, "k1"));
        assert_eq!((compact.payload.as_slice(), compact.signature.as_slice()), (&b"{}"[..], &[0, 0, 0][..]));
        assert_eq!(format!("{}.AAAA", compact.signing_input), text);
    }

    #[test]
    fn headers_are_read_to_the_letter() {
        let malformed = Rejection::Malformed("header is no strict JSON object");
        let cases = [
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"k","crit":["exp"]}"#, Rejection::UnsupportedExtension),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"k","b64":true}"#, Rejection::UnsupportedExtension),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"k","zip":null}"#, Rejection::UnsupportedExtension),
            (r#"{"alg":"RS256","typ":"JWT","kid":"k"}"#, Rejection::WrongType),
            (r#"{"alg":"RS256","typ":"AT+JWT","kid":"k"}"#, Rejection::WrongType),
            (r#"{"alg":"RS256","kid":"k"}"#, Rejection::WrongType),
            (r#"{"alg":"none","typ":"at+jwt","kid":"k"}"#, Rejection::WrongAlgorithm),
            (r#"{"alg":256,"typ":"at+jwt","kid":"k"}"#, Rejection::WrongAlgorithm),
            (r#"{"alg":"RS256","typ":"at+jwt"}"#, Rejection::Malformed("no kid")),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"../k"}"#, Rejection::Malformed("an impossible kid")),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":"k","x":{}}"#, Rejection::Malformed("header is not flat")),
            (r#"{"alg":"RS256","alg":"RS256","typ":"at+jwt","kid":"k"}"#, malformed),
            (r#"["RS256"]"#, malformed),
        ];
        for (header, refused) in cases {
            assert_eq!(Compact::parse(&token(header)).err(), Some(refused), "{header}");
        }
        let own_key = r#"{"alg":"RS256","typ":"at+jwt","kid":"k","jwk":{"kty":"oct","x5c":["a"]},"jku":"http://x"}"#;
        assert!(Compact::parse(&token(own_key)).is_ok());
    }

    #[test]
    fn a_header_as_the_authority_writes_it_is_read_at_sight() {
        let plain = |text: &str| plain_header(text.as_bytes());
        let (algorithm, kid) = plain(r#"{"alg":"ES256","typ":"at+jwt","kid":"k-1"}"#).expect("plain");
        assert_eq!((algorithm, kid.as_str()), (Algorithm::Es256, "k-1"));
        for other in [
            r#"{"alg":"ES256","typ":"at+jwt","kid":"k-1"} "#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"k","crit":["exp"]}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"k","kid":"l"}"#,
            r#"{"alg":"ES256","typ":"JWT","kid":"k"}"#,
            r#"{"alg":"none","typ":"at+jwt","kid":"k"}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":"\u006b"}"#,
            r#"{"alg":"ES256","typ":"at+jwt","kid":""}"#,
        ] {
            assert_eq!(plain(other), None, "{other}");
        }
    }

    proptest! {
        /// What is read at sight means the same when it is read to the letter.
        #[test]
        fn a_header_has_one_meaning(
            alg in "(RS256|EdDSA|none|ES256\",\"alg\":\"RS256|[a-z\"\\\\]{0,3})",
            kid in "([A-Za-z0-9_-]{0,70}|[a-z\",:\\\\}]{0,9}|k\",\"(crit|b64|kid|x)\":\"l)",
        ) {
            let text = format!(r#"{{"alg":"{alg}","typ":"{ACCESS_TOKEN}","kid":"{kid}"}}"#);
            if let Some(plain) = plain_header(text.as_bytes()) {
                prop_assert_eq!(strict_header(text.as_bytes()).and_then(|header| read_header(&header)), Ok(plain));
            }
        }

        /// Whatever decodes is the only spelling of what it decodes to.
        #[test]
        fn a_part_has_one_spelling(part in "[A-Za-z0-9_=+/ -]{0,12}") {
            if let Ok(bytes) = decode(&part) {
                prop_assert_eq!(URL_SAFE_NO_PAD.encode(bytes), part);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text: String, header: String) {
            let _ = Compact::parse(&text);
            let _ = Compact::parse(&token(&header));
        }
    }
}
