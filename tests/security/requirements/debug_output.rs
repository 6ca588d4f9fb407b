//! What holds a secret or personal data prints none of it, in any form in which bytes are printed.

use std::fmt::Debug;
use std::time::Duration;

use serde_json::{Map, json};
use token_authority::authority::IssuedTokens;
use token_authority::authority::caller::Credentials;
use token_authority::authority::check_request::HeldRequest;
use token_authority::authority::client_proof::ClientProof;
use token_authority::authority::issue_token::{IssueKind, IssueToken};
use token_authority::authority::one_time_codes::VerifyCode;
use token_authority::authority::ports::{Commit, RecordKey, Stored, Version};
use token_authority::config::{Config, StoreUrl};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::claims::{Claims, Members};
use token_authority::domain::client::Client;
use token_authority::domain::ids::{ClientId, DeviceId, Subject};
use token_authority::domain::one_time_code::{CodeDelivery, CodePolicy, Recipient};
use token_authority::domain::policy::{Allowed, Lifetime};
use token_authority::domain::rate_limit::RateLimit;
use token_authority::domain::session::Device;
use token_authority::domain::token::{PresentedToken, RefreshToken, SessionSecret};
use token_authority::domain::transition::Fresh;
use token_authority::proto::v1;
use token_authority::signing::key::SigningKey;
use token_authority::signing::pepper::Pepper;
use token_authority::signing::refresh_token::RefreshKey;
use token_authority::store::key_encryption_key::KeyEncryptionKey;
use token_authority::verify::client::{RegisteredClient, SecretHash};
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

/// As a caller asks for it, nothing of it checked.
fn asked() -> IssueToken {
    IssueToken {
        subject: Subject::parse(PLANTED).unwrap(),
        client: None,
        audience: Vec::new(),
        scope: Vec::new(),
        claims: Map::from_iter([("role".to_owned(), json!(PLANTED))]),
        device: Device::default(),
        lifetime: Lifetime::Standard,
        confirmation: None,
        kind: IssueKind::Session,
        request_id: None,
    }
}

/// A server's, with a secret in each place that has one: the store's password, a client's secret, the key of
/// the service that delivers codes.
fn config() -> Config {
    let client = RegisteredClient {
        client: Client {
            id: ClientId::parse("app").unwrap(),
            grants: [].into(),
            audiences: Allowed::Any,
            scopes: Allowed::Any,
            roles: [].into(),
        },
        secrets: vec![SecretHash::of(PLANTED).unwrap()],
        keys: Vec::new(),
        certificates: Vec::new(),
        service_accounts: Vec::new(),
    };
    let url = format!("https://sms.example/{0}?key={0}", PLANTED.trim().replace(' ', "-"));
    let mut config = Config {
        store: StoreUrl::parse("redis://planted:planted@h:1?password=planted").unwrap(),
        clients: [(realm("default"), vec![client])].into(),
        ..Config::default()
    };
    config.realms[0].codes = Some(CodePolicy {
        lifetime: Duration::from_secs(300),
        attempts: 3,
        lockout: Duration::from_secs(900),
        max_failures: 100,
        requests: RateLimit::new(5, Duration::from_secs(900)).unwrap(),
        delivery: CodeDelivery::Webhook { url, secret_file: "/run/secrets/sms".into() },
    });
    config
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
    let device = Device { id: DeviceId::parse(PLANTED).ok(), name: text(), user_agent: text(), ..Device::default() };
    let table: Vec<Box<dyn Debug>> = vec![
        Box::new(device),
        Box::new(PresentedToken::from(text())),
        Box::new(Recipient::parse(PLANTED).unwrap()),
        Box::new(Credentials::Bearer(PLANTED)),
        Box::new(ClientProof::Secret { id: text(), secret: text().into() }),
        Box::new(ClientProof::Assertion { id: Some(text()), assertion: text() }),
        Box::new(HeldRequest { authorization: Some(PLANTED), cookie: Some(PLANTED.as_bytes()), ..Default::default() }),
        Box::new(VerifyCode { recipient: Recipient::parse(PLANTED).unwrap(), code: text().into(), login: asked() }),
        Box::new(asked()),
        Box::new(IssuedTokens { grant: grant.clone(), access_token: text(), refresh_token: Some(text()) }),
        Box::new(config()),
        Box::new(v1::RequestCodeRequest { recipient: text(), ..Default::default() }),
        Box::new(v1::VerifyCodeRequest { recipient: text(), code: text(), subject: text(), ..Default::default() }),
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
    cleared(&PresentedToken::from(String::new()));
    cleared(&Members::default());
}
