//! What this crate signs, an independent library verifies, and reads the same.

use std::sync::Arc;

use jsonwebtoken::{DecodingKey, TokenData, Validation, decode, decode_header};
use serde_json::{Map, Value, json};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::claims::Claims;
use token_authority::domain::ids::{Audience, ClientId, KeyNumber, Route, Scope, Subject};
use token_authority::domain::token::{AccessToken, Confirmation};
use token_authority::signing::Signer;
use token_authority::signing::key::SigningKey;

use crate::forge::{Forge, ISSUER, NOW, realm, sid, token_id};

fn access_token() -> AccessToken {
    let Value::Object(claims) = json!({ "role": "admin", "n": [1, { "deep": null }] }) else { panic!("an object") };
    AccessToken {
        id: token_id(Route::BySid),
        realm: realm("web"),
        profile: Arc::default(),
        key: KeyNumber(1),
        subject: Subject::parse("ali\"ce \u{1f600}").unwrap(),
        client: ClientId::parse("app").unwrap(),
        audience: ["api", "other"].map(|audience| Audience::parse(audience).unwrap()).to_vec(),
        scope: ["read", "write"].map(|scope| Scope::parse(scope).unwrap()).to_vec(),
        claims: Claims::new(claims).unwrap(),
        confirmation: Some(Confirmation::JwkThumbprint([7; 32])),
        actor: None,
        session: Some(sid()),
        session_client: Some(ClientId::parse("opener").unwrap()),
        issued: NOW,
        expires: NOW + std::time::Duration::from_secs(900),
    }
}

#[tokio::test]
async fn another_library_verifies_what_is_signed_here() {
    let forge = Forge::new();
    for algorithm in Algorithm::ALL {
        let der = SigningKey::generate(algorithm).unwrap();
        let key = Arc::new(SigningKey::from_pkcs8(algorithm, &der).unwrap());
        forge.keys.install(key.verify_key(realm("web")).unwrap()).unwrap();
        let signer = Signer::new().unwrap();
        signer.install(realm("web"), KeyNumber(1), Arc::clone(&key));
        let token = access_token();
        let text = signer.sign(ISSUER, &token).await.unwrap();

        let header = decode_header(&text).unwrap();
        assert_eq!((header.typ.as_deref(), header.kid.as_deref()), (Some("at+jwt"), Some(key.kid().as_str())));
        let decoding = match key.public() {
            Some(public) => DecodingKey::from_jwk(&serde_json::from_value(public.to_jwk()).unwrap()).unwrap(),
            None => DecodingKey::from_secret(&der),
        };
        let mut validation = Validation::new(algorithm.name().parse().unwrap());
        validation.set_audience(&["api"]);
        validation.set_issuer(&[ISSUER]);
        // Its clock is the system's.
        validation.validate_exp = false;
        let read: TokenData<Value> = decode(&text, &decoding, &validation).unwrap();
        assert_eq!(read.claims["sub"], token.subject.as_str());
        assert_eq!((&read.claims["exp"], &read.claims["iat"]), (&json!(1_000_900), &json!(1_000_000)));
        let other = DecodingKey::from_secret(b"another key");
        assert!(decode::<Value>(&text, &other, &validation).is_err());

        let own = forge.verify(&text).unwrap();
        assert_eq!((own.id, own.session, &*own.claims), (token.id, token.session, token.claims.members()));
        // Maps compare without regard to order, texts do not.
        let order = |claims: &Map<String, Value>| serde_json::to_string(claims).unwrap();
        assert_eq!(order(&own.claims), order(token.claims.members()));
        assert_eq!((&own.subject, &own.client, &own.kid), (&token.subject, &token.client, key.kid()));
        assert_eq!(own.session_client, token.session_client);
        assert_eq!((&own.audience, &own.scope), (&token.audience, &token.scope));
        assert_eq!((&own.confirmation, own.issued, own.expires), (&token.confirmation, token.issued, token.expires));
    }
}
