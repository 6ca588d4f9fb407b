//! Writes an access token as a compact JWS (RFC 9068, section 2; RFC 7515, section 3.1). Decides
//! nothing: every claim comes from the token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::SignError;
use super::key::{SigningKey, header};
use crate::domain::claims::SID_CLIENT_ID;
use crate::domain::ids::{Audience, Scope};
use crate::domain::token::{AccessToken, Actor, Confirmation};
use crate::verify::MAX_TOKEN_BYTES;

/// Header and payload, encoded: what is to be signed.
pub(super) fn signing_input(key: &SigningKey, issuer: &str, token: &AccessToken) -> Result<String, SignError> {
    let payload = Zeroizing::new(serde_json::to_vec(&Payload { issuer, token }).map_err(|_| SignError::Failed)?);
    let mut text = String::with_capacity(key.header().len() + (payload.len() + 256) * 4 / 3 + 8);
    text.push_str(key.header());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(&*payload, &mut text);
    // One that no verifier takes must not be made, nor what it belongs to committed.
    let signature = (key.signature_bytes() * 4).div_ceil(3);
    if text.len() + 1 + signature > MAX_TOKEN_BYTES {
        return Err(SignError::TooLarge);
    }
    Ok(text)
}

/// The same for a JWT of another type.
pub(super) fn statement_input(
    key: &SigningKey,
    typ: &'static str,
    claims: &Map<String, Value>,
) -> Result<String, SignError> {
    let payload = serde_json::to_vec(claims).map_err(|_| SignError::Failed)?;
    let mut text = header(key.algorithm(), typ, key.kid());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    Ok(text)
}

/// Appends the signature.
pub(super) fn sign(key: &SigningKey, mut text: String) -> Result<String, SignError> {
    let signature = key.sign(text.as_bytes())?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(text)
}

struct Payload<'a> {
    issuer: &'a str,
    token: &'a AccessToken,
}

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { issuer, token } = self;
        let mut claims = serializer.serialize_map(None)?;
        let profile = &*token.profile;
        if profile.issuer.is_claim() {
            claims.serialize_entry("iss", issuer)?;
        }
        claims.serialize_entry(&profile.subject_claim, token.subject.as_str())?;
        if profile.audience.is_claim() {
            claims.serialize_entry("aud", &Aud(&token.audience))?;
        }
        if profile.client.is_claim() {
            claims.serialize_entry("client_id", token.client.as_str())?;
        }
        claims.serialize_entry("exp", &token.expires.seconds())?;
        claims.serialize_entry("iat", &token.issued.seconds())?;
        claims.serialize_entry("jti", &Text(&token.id))?;
        if !token.scope.is_empty() {
            claims.serialize_entry("scope", &Text(&Scopes(&token.scope)))?;
        }
        if let Some(sid) = token.session.as_ref().filter(|_| profile.session.is_claim()) {
            claims.serialize_entry("sid", &Text(sid))?;
        }
        if let Some(client) = &token.session_client {
            claims.serialize_entry(SID_CLIENT_ID, client.as_str())?;
        }
        if let Some(confirmation) = &token.confirmation {
            claims.serialize_entry("cnf", &Cnf(confirmation))?;
        }
        if let Some(actor) = &token.actor {
            claims.serialize_entry("act", &Act(actor))?;
        }
        // Registered names were refused when the claims were made, so none is written twice. The subject's
        // may be newer than the session.
        let own = token.claims.members().iter().filter(|(name, _)| **name != profile.subject_claim);
        for (name, value) in own {
            claims.serialize_entry(name, value)?;
        }
        claims.end()
    }
}

/// One audience is a string, as RFC 7519, section 4.1.3 allows and every library reads.
struct Aud<'a>(&'a [Audience]);

impl Serialize for Aud<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [one] => serializer.serialize_str(one.as_str()),
            several => serializer.collect_seq(several.iter().map(Audience::as_str)),
        }
    }
}

struct Cnf<'a>(&'a Confirmation);

impl Serialize for Cnf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (method, thumbprint) = match self.0 {
            Confirmation::JwkThumbprint(thumbprint) => ("jkt", thumbprint),
            Confirmation::CertificateThumbprint(thumbprint) => ("x5t#S256", thumbprint),
        };
        serializer.collect_map([(method, URL_SAFE_NO_PAD.encode(thumbprint))])
    }
}

/// RFC 8693, section 4.1: the current actor outside, earlier ones nested.
struct Act<'a>(&'a Actor);

impl Serialize for Act<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("sub", self.0.subject.as_str())?;
        if let Some(earlier) = &self.0.actor {
            members.serialize_entry("act", &Act(earlier))?;
        }
        members.end()
    }
}

struct Text<'a, T>(&'a T);

impl<T: fmt::Display> Serialize for Text<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// Separated by spaces (RFC 6749, section 3.3).
struct Scopes<'a>(&'a [Scope]);

impl fmt::Display for Scopes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}
