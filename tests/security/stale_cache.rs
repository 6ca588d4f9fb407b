//! A cache that remembers too much: what it knows must not outlive a revocation, an expiry, a key, an
//! issuer; and what it refused must not stay refused.

use std::sync::Arc;
use std::time::Duration;

use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::{ClientId, RealmName};
use token_authority::domain::revocation::{LogUpdate, Position, RevocationEntry, RevocationScope};
use token_authority::verify::{Rejection, Verifier};

use crate::forge::{Forge, ISSUER, NOW, new_key, realm, sid};

const ALG: Algorithm = Algorithm::EdDsa;

fn revoke(forge: &Forge, scope: RevocationScope) {
    let entry = RevocationEntry { scope, until: NOW + Duration::from_secs(1_000) };
    let position = Position { partition: 0, number: 2, tag: 0 };
    forge.revocations.apply(&LogUpdate::Entry { position, entry });
}

fn known() -> (Forge, String) {
    let forge = Forge::new();
    let token = forge.token(ALG);
    let first = forge.verify(&token).unwrap();
    // The very same value: it does come from the cache.
    assert!(Arc::ptr_eq(&first, &forge.verify(&token).unwrap()));
    (forge, token)
}

#[test]
fn each_revocation_ends_a_known_token_at_once() {
    let client = ClientId::parse("app").unwrap();
    let scopes = [
        RevocationScope::Token([5; 16]),
        RevocationScope::Session(sid().session),
        RevocationScope::SessionEpoch(sid().session, 5),
        RevocationScope::Client(realm("web"), client.clone(), NOW),
        RevocationScope::Realm(realm("web"), NOW),
        RevocationScope::Key(Forge::new().key(ALG).kid().clone()),
    ];
    for scope in scopes {
        let (forge, token) = known();
        revoke(&forge, scope.clone());
        forge.refuses(&format!("{scope:?}"), &token, Rejection::Revoked);
        assert!(forge.verifier.authenticate(&realm("web"), &token).is_ok(), "revoked is still authentic");
    }
    let (forge, token) = known();
    let just_before = NOW - Duration::from_millis(1);
    for scope in [
        RevocationScope::Token([6; 16]),
        RevocationScope::SessionEpoch(sid().session, 4),
        // Epochs of a subject are for tokens without a session.
        RevocationScope::SubjectEpoch(sid().subject, 9),
        RevocationScope::Client(realm("web"), client.clone(), just_before),
        RevocationScope::Client(realm("other"), client, NOW),
        RevocationScope::Realm(realm("web"), just_before),
        RevocationScope::Realm(realm("other"), NOW),
    ] {
        revoke(&forge, scope.clone());
        assert!(forge.verify(&token).is_ok(), "{scope:?}");
    }
}

#[test]
fn a_known_token_expires() {
    let (forge, token) = known();
    let verify = |later| forge.verifier.verify(&realm("web"), &token, NOW + Duration::from_secs(later)).err();
    assert_eq!(verify(899), None);
    assert_eq!(verify(900), Some(Rejection::Expired));
}

#[test]
fn a_removed_key_and_a_removed_issuer_end_known_tokens() {
    let (forge, token) = known();
    forge.issuers.set(realm("web"), ["https://new.example".to_owned()], Arc::default());
    forge.refuses("issuer gone", &token, Rejection::WrongIssuer);
    forge.issuers.set(realm("web"), ["https://new.example".to_owned(), ISSUER.to_owned()], Arc::default());
    assert!(forge.verify(&token).is_ok());
    forge.keys.remove(forge.key(ALG).kid());
    forge.refuses("key gone", &token, Rejection::UnknownKey);
}

#[test]
fn a_refusal_is_not_remembered() {
    let forge = Forge::new();
    let token = forge.token(ALG);
    forge.keys.remove(forge.key(ALG).kid());
    forge.refuses("key not here yet", &token, Rejection::UnknownKey);
    forge.keys.install(forge.key(ALG).verify_key(realm("web")).unwrap()).unwrap();
    assert!(forge.verify(&token).is_ok());
}

/// Another signature under known header and payload is another token.
#[test]
fn a_known_payload_does_not_vouch_for_another_signature() {
    let (forge, token) = known();
    let (input, _) = token.rsplit_once('.').unwrap();
    let forged = new_key(ALG).sign(input.as_bytes()).unwrap();
    forge.refuses("other signature", &format!("{input}.{}", crate::forge::b64(forged)), Rejection::BadSignature);
}

#[test]
fn without_a_cache_the_answers_are_the_same() {
    let forge = Forge::new();
    let web: RealmName = realm("web");
    let token = forge.token(ALG);
    let bare = Verifier::new(forge.keys.clone(), forge.issuers.clone(), forge.revocations.clone(), 0);
    assert_eq!(bare.verify(&web, &token, NOW), forge.verify(&token));
    revoke(&forge, RevocationScope::Token([5; 16]));
    assert_eq!(bare.verify(&web, &token, NOW), Err(Rejection::Revoked));
}
