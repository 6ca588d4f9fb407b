//! What must hold of any bytes at all, one function a place where the outside's bytes are read. Built
//! for `make fuzz`, which looks for bytes that break it, and for the test below, which tries again what
//! was found worth keeping in `fuzz/corpus`.
//!
//! Each function panics if its property does not hold, and says whether the bytes were accepted.

use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Form as FormBody, FromRequest as _};
use axum::http::{Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::NamedTempFile;

use crate::authority::check_request;
use crate::authority::persisted;
use crate::authority::realm_record::{self, RealmRecord};
use crate::config::{Config, Environment, Flags};
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::{Audience, ClientId, RealmName, Sid};
use crate::domain::revocation::{LogUpdate, Position};
use crate::domain::time::Timestamp;
use crate::domain::token::{RefreshToken, SessionSecret};
use crate::domain::token_profile::{SaidBy, TokenProfile};
use crate::http::form::Form;
use crate::signing::key::SigningKey;
use crate::signing::refresh_token::RefreshKey;
use crate::store::log_entry::{self, LogEntry};
use crate::verify::keys::{Issuers, KeySet};
use crate::verify::revocations::RevocationIndex;
use crate::verify::{VerifiedToken, Verifier};

const REALM: &str = "fuzzed";
const COOKIE: &str = "__Host-access_token";

static REALM_NAME: LazyLock<RealmName> = LazyLock::new(|| RealmName::parse(REALM).expect("a name"));

/// A token as it comes; or, from a brace on, a line of header and the payload, which are signed with a
/// right key so that nothing else refuses them. No token is right both where tokens say all that they can
/// and where the realm says it for them.
pub fn access_token(input: &[u8]) -> bool {
    /// An Ed25519 key (RFC 8410, section 7) of a seed that is no secret, so that the corpus stays true.
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    static KEY: LazyLock<SigningKey> =
        LazyLock::new(|| SigningKey::from_pkcs8(Algorithm::EdDsa, &[&HEAD[..], &[7; 32]].concat()).expect("a key"));
    static VERIFIERS: LazyLock<[Verifier; 2]> =
        LazyLock::new(|| [TokenProfile::default(), bare()].map(|profile| verifier(&KEY, profile)));
    let text = if input.starts_with(b"{") { signed(&KEY, input) } else { String::from_utf8_lossy(input).into_owned() };
    let accepted = VERIFIERS.iter().filter(|verifier| is_authentic(verifier, &text)).count();
    assert!(accepted <= 1);
    accepted == 1
}

/// What is accepted is accepted again, says the same from memory, and is the only spelling of itself.
fn is_authentic(verifier: &Verifier, text: &str) -> bool {
    let first = verifier.authenticate(&REALM_NAME, text);
    let again = verifier.authenticate(&REALM_NAME, text);
    assert_eq!(first, again);
    let Ok(token) = first else { return false };
    for part in text.split('.') {
        assert_eq!(URL_SAFE_NO_PAD.encode(URL_SAFE_NO_PAD.decode(part).expect("base64url")), part);
    }
    assert!(verifier.authenticate(&REALM_NAME, &format!("{text}=")).is_err());
    times(verifier, &token);
    true
}

/// It is valid from one moment to another, or never.
fn times(verifier: &Verifier, token: &Arc<VerifiedToken>) {
    let valid = |seconds| verifier.check(token, Timestamp::from_seconds(seconds)).is_ok();
    let expires = token.expires.seconds();
    assert!(!valid(expires.saturating_add(61)) && !valid(i64::MAX / 2_000));
}

fn verifier(key: &SigningKey, profile: TokenProfile) -> Verifier {
    let (keys, issuers, index) = (KeySet::default(), Issuers::default(), RevocationIndex::new(1));
    keys.install(key.verify_key(REALM_NAME.clone()).expect("a public part")).expect("the first");
    issuers.set(REALM_NAME.clone(), ["https://issuer.example".to_owned()], Arc::new(profile));
    index.apply(&LogUpdate::Snapshot { head: Position { partition: 0, number: 1, tag: 0 }, entries: Vec::new() });
    Verifier::new(Arc::new(keys), Arc::new(issuers), Arc::new(index), 1 << 20)
}

fn bare() -> TokenProfile {
    TokenProfile {
        subject_claim: "user_id".to_owned(),
        issuer: SaidBy::Realm(()),
        audience: SaidBy::Realm(Audience::parse("api").expect("an audience")),
        client: SaidBy::Realm(ClientId::parse("app").expect("a client")),
        scope: SaidBy::Realm(()),
        session: SaidBy::Realm(()),
        confirmation: SaidBy::Realm(()),
    }
}

fn signed(key: &SigningKey, input: &[u8]) -> String {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (header, payload) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let signing_input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign(signing_input.as_bytes()).expect("signs");
    format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A refresh token as it comes, or, of 65 bytes, what one says. What opens is sealed to the same text
/// again, and opens in no other realm.
pub fn refresh_token(input: &[u8]) -> bool {
    let key = RefreshKey::new(&[7; RefreshKey::BYTES]);
    let text = match said(input) {
        Some(token) => key.seal(&REALM_NAME, &token),
        None => String::from_utf8_lossy(input).into_owned(),
    };
    let Some(token) = key.open(&REALM_NAME, &text) else { return false };
    assert_eq!(key.seal(&REALM_NAME, &token), text);
    assert_eq!(said(input).unwrap_or_else(|| token.clone()), token);
    assert_eq!(key.open(&RealmName::parse("another").expect("a name"), &text), None);
    true
}

fn said(input: &[u8]) -> Option<RefreshToken> {
    let (sid, rest) = input.split_first_chunk()?;
    let (secret, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    Some(RefreshToken {
        session: Sid::from_bytes(sid),
        secret: SessionSecret::new(*secret),
        generation: u64::from_be_bytes(*generation),
        expires: Timestamp::from_millis(i64::from_be_bytes(rest.try_into().ok()?)),
    })
}

/// A subject's record as it is stored, opened, in today's format whichever it names: what is read is
/// written down to the same again.
pub fn subject_record(input: &[u8]) -> bool {
    let Ok(record) = persisted::decode(&in_format(persisted::FORMAT, input)) else { return false };
    assert_eq!(persisted::decode(&persisted::encode(&record)).expect("own bytes"), record);
    true
}

/// A realm's record as it is stored, opened; the same holds of it.
pub fn realm_record(input: &[u8]) -> bool {
    let Ok(record) = RealmRecord::decode(&in_format(realm_record::FORMAT, input), None) else { return false };
    let written = record.encode();
    assert!(RealmRecord::decode(&written, None).expect("own bytes").encode() == written);
    true
}

/// Of a field that is there twice the last one counts, and `format` is the first of each record.
fn in_format(format: u32, record: &[u8]) -> Vec<u8> {
    [record, &[1 << 3, u8::try_from(format).expect("a small number")]].concat()
}

/// An entry of the log, after its checksum; the same holds of it, and of no other place in the log.
pub fn log_entry(input: &[u8]) -> bool {
    const NUMBER: u64 = 7;
    let Ok(entry) = LogEntry::decode(NUMBER, &log_entry::checked(NUMBER, input)) else { return false };
    let written = entry.encode(NUMBER);
    assert_eq!(LogEntry::decode(NUMBER, &written).as_ref(), Ok(&entry));
    assert!(LogEntry::decode(NUMBER + 1, &written).is_err());
    true
}

/// A `Cookie` header: a value is found if it is the only one, and then it is found alone too.
pub fn cookies(input: &[u8]) -> bool {
    let all: Vec<&[u8]> = check_request::cookies(input, COOKIE).collect();
    let Some(value) = check_request::cookie(input, COOKIE) else {
        assert!(all.len() != 1 || std::str::from_utf8(all[0]).is_err());
        return false;
    };
    assert_eq!(all, [value.as_bytes()]);
    let alone = format!("{COOKIE}={value}");
    assert_eq!(check_request::cookie(alone.as_bytes(), COOKIE), Some(value));
    assert_eq!(check_request::cookie(format!("{alone}; {alone}").as_bytes(), COOKIE), None);
    true
}

/// The body of a form: written anew it says the same, and each parameter is taken once or refused.
pub fn form(input: &[u8]) -> bool {
    let Some(parameters) = parameters(input.to_vec()) else { return false };
    let quoted = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{}={}", quoted(name), quoted(value))).collect();
    assert_eq!(self::parameters(pairs.join("&").into_bytes()).as_ref(), Some(&parameters));
    let mut form = Form::new(parameters.clone());
    let mut accepted = true;
    for (name, _) in &parameters {
        let mut given = parameters.iter().filter(|(other, value)| other == name && !value.is_empty());
        let (first, more) = (given.next(), given.next());
        match form.optional(name) {
            Ok(Some(value)) => assert!(more.is_none() && first.is_some_and(|(_, given)| *given == value)),
            // Taken before, where its name is there again; or empty.
            Ok(None) => {}
            Err(_) => {
                assert!(more.is_some());
                accepted = false;
            }
        }
        assert!(form.all(name).is_empty());
    }
    accepted
}

fn parameters(body: Vec<u8>) -> Option<Vec<(String, String)>> {
    let request = Request::post("/").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let request = request.body(Body::from(body)).expect("a request");
    let read = FormBody::from_request(request, &()).now_or_never().expect("all of it is there");
    read.ok().map(|FormBody(parameters)| parameters)
}

/// A configuration file: it says the same each time, or what is wrong with it in lines that name the
/// file and are lines indeed.
pub fn config(input: &[u8]) -> bool {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(input).expect("writes");
    let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
    let load = || Config::load(flags.clone(), &Environment::default());
    let loaded = load();
    assert_eq!(loaded, load());
    match loaded {
        Ok(_) => true,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && text.lines().all(|line| !line.contains(char::is_control)), "{text:?}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    type Target = (&'static str, fn(&[u8]) -> bool);

    const TARGETS: [Target; 8] = [
        ("access_token", access_token),
        ("refresh_token", refresh_token),
        ("subject_record", subject_record),
        ("realm_record", realm_record),
        ("log_entry", log_entry),
        ("cookies", cookies),
        ("form", form),
        ("config", config),
    ];

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let name = |path: PathBuf| path.file_stem().map(|name| name.to_string_lossy().into_owned());
        let mut names: Vec<_> = entries.filter_map(|entry| name(entry.expect("reads").path())).collect();
        names.sort();
        names
    }

    /// Both ways, so that neither a property nor a reader has gone blind.
    #[test]
    fn the_kept_inputs_hold_and_some_of_each_are_accepted_and_some_refused() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let mut known: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        known.sort();
        assert_eq!(names(&fuzz.join("fuzz_targets")), known);
        assert_eq!(names(&fuzz.join("corpus")), known);
        for (name, target) in TARGETS {
            let files = fs::read_dir(fuzz.join("corpus").join(name)).expect("a corpus");
            let inputs = files.map(|file| fs::read(file.expect("reads").path()).expect("reads"));
            let (accepted, refused): (Vec<_>, Vec<_>) = inputs.partition(|input| target(input));
            assert!(!accepted.is_empty(), "{name}: nothing is accepted");
            assert!(!refused.is_empty(), "{name}: nothing is refused");
        }
    }
}
