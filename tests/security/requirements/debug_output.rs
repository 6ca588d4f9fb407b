//! What holds a secret or personal data prints none of it, in any form in which bytes are printed.

use std::fmt::Debug;

use serde_json::{Map, json};
use token_authority::authority::ports::{Commit, RecordKey, Stored, Version};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::claims::Claims;
use token_authority::domain::ids::Subject;
use token_authority::domain::token::{RefreshToken, SessionSecret};
use token_authority::domain::transition::Fresh;
use token_authority::proto::v1;
use token_authority::signing::key::SigningKey;
use token_authority::signing::pepper::Pepper;
use token_authority::signing::refresh_token::RefreshKey;
use token_authority::store::key_encryption_key::KeyEncryptionKey;
use token_authority::verify::keys::VerifyKey;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::session_rules::{SessionRules, login};
use crate::forge::{Forge, NOW, realm, sid};

const PLANTED: &str = "planted planted planted planted planted ";

fn planted<const N: usize>() -> [u8; N] {
    *PLANTED.as_bytes().first_chunk().unwrap()
}

/// The planted bytes as text, decimal, hexadecimal in both cases, and base64.
fn shows(printed: &str) -> bool {
    let printed = printed.replace(char::is_whitespace, "");
    ["planted", "112,108,97", "706c61", "706C61", "0x70,0x6c", "cGxhbnRlZ"].iter().any(|form| printed.contains(form))
}

fn commit() -> Commit {
    Commit {
        id: Version([0; 16]),
        key: RecordKey::realm(realm("web")),
        expected: None,
        bytes: PLANTED.as_bytes().to_vec().into(),
        expires: None,
        revocations: Vec::new(),
    }
}

#[test]
fn secrets_and_personal_data_are_redacted() {
    let claims = Claims::new(Map::from_iter([("role".to_owned(), json!(PLANTED))])).unwrap();
    let subject = || Subject::parse(PLANTED).unwrap();
    let secret = || SessionSecret::new(planted());
    let version = Version([0; 16]);
    let text = || PLANTED.to_owned();
    let pair = || v1::TokenPair { access_token: text(), refresh_token: text(), ..Default::default() };
    let structure = || {
        let value = prost_types::value::Kind::StringValue(text());
        let fields = [("role".to_owned(), prost_types::Value { kind: Some(value) })].into();
        Some(prost_types::Struct { fields })
    };
    let mut login = login(&["api"], &[]);
    (login.subject, login.claims) = (subject(), claims.clone());
    let grant = SessionRules::new(NOW).login(&login).unwrap();
    let forge = Forge::new();
    let mut payload = forge.payload();
    (payload["sub"], payload["role"]) = (json!(PLANTED), json!(PLANTED));
    let signed = forge.signed(Algorithm::EdDsa, forge.header(Algorithm::EdDsa).to_string(), payload.to_string());
    let table: Vec<Box<dyn Debug>> = vec![
        Box::new(secret()),
        Box::new(Fresh { session: [0; 16], secret: planted(), token: [0; 16] }),
        Box::new(RefreshToken { session: sid(), secret: secret(), generation: 1, expires: NOW }),
        Box::new(RefreshKey::new(&planted())),
        Box::new(Pepper::new(1, &planted())),
        Box::new(KeyEncryptionKey::new(Zeroizing::new(planted()))),
        Box::new(SigningKey::from_pkcs8(Algorithm::Hs256, &planted::<32>()).unwrap()),
        Box::new(VerifyKey::secret(realm("web"), &planted::<32>()).unwrap()),
        Box::new(claims),
        Box::new(subject()),
        Box::new(login),
        Box::new(grant),
        Box::new(forge.verify(&signed).unwrap()),
        Box::new(Stored { bytes: PLANTED.as_bytes().to_vec().into(), version }),
        Box::new(commit()),
        Box::new(pair()),
        Box::new(v1::IssueTokenRequest { subject: text(), claims: structure(), ..Default::default() }),
        Box::new(v1::IssueTokenResponse { tokens: Some(pair()) }),
        Box::new(v1::RefreshTokenRequest { refresh_token: text(), ..Default::default() }),
        Box::new(v1::IntrospectTokenRequest { token: text(), ..Default::default() }),
        Box::new(v1::IntrospectTokenResponse { subject: text(), claims: structure(), ..Default::default() }),
        Box::new(v1::BatchIntrospectTokensRequest { tokens: vec![text()], ..Default::default() }),
        Box::new(v1::UpdateSessionClaimsRequest { claims: structure(), ..Default::default() }),
        Box::new(v1::RevokeTokenRequest { token: text(), ..Default::default() }),
    ];
    for value in table {
        for printed in [format!("{value:?}"), format!("{value:#?}")] {
            assert!(!printed.is_empty() && !shows(&printed), "{printed}");
        }
    }
}

/// Without it the table above proves nothing.
#[test]
fn each_form_is_recognised() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let forms = [format!("{PLANTED:?}"), format!("{:?}", planted::<16>()), format!("{:#?}", planted::<16>())];
    for form in forms.into_iter().chain([hex(&planted::<16>()), crate::forge::b64(PLANTED)]) {
        assert!(shows(&form), "{form}");
    }
}

/// Held by the compiler; the keys are aws-lc's, which clears its own.
#[test]
fn secrets_and_records_are_cleared_when_dropped() {
    fn cleared<T: ZeroizeOnDrop>(_: &T) {}
    cleared(&SessionSecret::new(planted()));
    let Stored { bytes, .. } = Stored { bytes: Zeroizing::default(), version: Version([0; 16]) };
    cleared(&bytes);
    cleared(&commit().bytes);
}
