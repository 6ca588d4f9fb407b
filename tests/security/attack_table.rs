//! Every known way to make a verifier accept what it should not (RFC 8725): each is refused, and for
//! its own reason. Where a key is at hand the signature is right, so that nothing else can refuse it.

use serde_json::{Value, json};
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::Route;
use token_authority::domain::time::Timestamp;
use token_authority::verify::{Leeway, Rejection, Verifier};

use crate::forge::{Forge, ISSUER, NOW, b64, new_key, realm, sid, token_id};

const ALG: Algorithm = Algorithm::EdDsa;
const HEADER: Rejection = Rejection::Malformed("header is no strict JSON object");
const PAYLOAD: Rejection = Rejection::Malformed("payload is no strict JSON object");
const BASE64: Rejection = Rejection::Malformed("not canonical base64url");
const EMPTY: Rejection = Rejection::Malformed("an empty part");

fn with(mut object: Value, name: &str, value: Value) -> String {
    object[name] = value;
    object.to_string()
}

fn without(mut object: Value, name: &str) -> String {
    object.as_object_mut().unwrap().shift_remove(name).unwrap();
    object.to_string()
}

/// Without it the table below proves nothing.
#[test]
fn the_token_that_all_attacks_start_from_is_accepted() {
    let forge = Forge::new();
    for algorithm in Algorithm::ALL {
        let token = forge.verify(&forge.token(algorithm)).unwrap();
        assert_eq!(token.kid, *forge.key(algorithm).kid());
        assert_eq!((token.subject.as_str(), token.client.as_str(), token.issuer.as_str()), ("alice", "app", ISSUER));
        assert_eq!((token.session, token.id), (Some(sid()), token_id(Route::BySid)));
        assert_eq!((token.audience.len(), token.scope.len()), (1, 2));
        assert_eq!(Value::Object((*token.claims).clone()), json!({ "role": "admin" }));
        assert!(!format!("{token:?}").contains("alice"));
    }
}

#[test]
fn unsigned_tokens() {
    let forge = Forge::new();
    let payload = forge.payload().to_string();
    for none in ["none", "None", "NONE", "nOnE", "", "none "] {
        let header = with(forge.header(ALG), "alg", json!(none));
        let input = format!("{}.{}", b64(&header), b64(&payload));
        forge.refuses(none, &format!("{input}."), EMPTY);
        forge.refuses(none, &format!("{input}.AA"), Rejection::WrongAlgorithm);
        forge.refuses(none, &forge.signed(ALG, header, &payload), Rejection::WrongAlgorithm);
    }
}

#[test]
fn a_key_signs_with_its_own_algorithm_only() {
    let forge = Forge::new();
    let payload = forge.payload().to_string();
    for owner in Algorithm::ALL {
        for claimed in Algorithm::ALL.into_iter().filter(|claimed| *claimed != owner) {
            // The header claims another algorithm for the key...
            let header = with(forge.header(owner), "alg", json!(claimed.name()));
            let what = format!("{owner} key as {claimed}");
            forge.refuses(&what, &forge.signed(owner, &header, &payload), Rejection::WrongAlgorithm);
            // ...or a key of that algorithm signs under the other's kid.
            forge.refuses(&what, &forge.signed(claimed, &header, &payload), Rejection::WrongAlgorithm);
            let header = forge.header(owner).to_string();
            forge.refuses(&what, &forge.signed(claimed, header, &payload), Rejection::BadSignature);
        }
    }
}

/// A public key is no secret: an HMAC with it proves nothing (RFC 8725, section 2.1).
#[test]
fn an_hmac_with_the_public_key() {
    use aws_lc_rs::hmac;
    let forge = Forge::new();
    for victim in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa] {
        let jwk = forge.key(victim).public().unwrap().to_jwk();
        let numbers = jwk.get("n").or(jwk.get("x")).unwrap().as_str().unwrap();
        for secret in [jwk.to_string(), numbers.to_owned(), forge.key(victim).kid().to_string(), String::new()] {
            for kid in [victim, Algorithm::Hs256] {
                let header = with(forge.header(kid), "alg", json!("HS256"));
                let input = format!("{}.{}", b64(header), b64(forge.payload().to_string()));
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), input.as_bytes());
                let reason = if kid == Algorithm::Hs256 { Rejection::BadSignature } else { Rejection::WrongAlgorithm };
                forge.refuses("hmac with public key", &format!("{input}.{}", b64(tag)), reason);
            }
        }
    }
}

#[test]
fn keys_that_a_token_brings_along_are_ignored() {
    let forge = Forge::new();
    let own = new_key(ALG);
    let jwk = own.public().unwrap().to_jwk();
    let payload = forge.payload().to_string();
    let bringing = |mut header: Value| {
        header["jwk"] = jwk.clone();
        header["jku"] = json!("http://127.0.0.1:1/jwks.json");
        header["x5u"] = json!("http://127.0.0.1:1/cert.pem");
        header["x5c"] = json!(["AAAA"]);
        header.to_string()
    };
    for (kid, reason) in [(forge.key(ALG).kid(), Rejection::BadSignature), (own.kid(), Rejection::UnknownKey)] {
        let header = bringing(with(forge.header(ALG), "kid", json!(kid.as_str())).parse().unwrap());
        let input = format!("{}.{}", b64(header), b64(&payload));
        let signature = own.sign(input.as_bytes()).unwrap();
        forge.refuses("signed by the key it brings", &format!("{input}.{}", b64(signature)), reason);
    }
    assert!(forge.verify(&forge.signed(ALG, bringing(forge.header(ALG)), &payload)).is_ok());
}

#[test]
fn headers() {
    let forge = Forge::new();
    let payload = forge.payload().to_string();
    let header = || forge.header(ALG);
    let kid = forge.key(ALG).kid().as_str();
    let nested = "[".repeat(20) + &"]".repeat(20);
    let cases = [
        ("crit", with(header(), "crit", json!(["exp"])), Rejection::UnsupportedExtension),
        ("empty crit", with(header(), "crit", json!([])), Rejection::UnsupportedExtension),
        ("crit null", with(header(), "crit", json!(null)), Rejection::UnsupportedExtension),
        ("b64 false", with(header(), "b64", json!(false)), Rejection::UnsupportedExtension),
        ("b64 true", with(header(), "b64", json!(true)), Rejection::UnsupportedExtension),
        ("zip", with(header(), "zip", json!("DEF")), Rejection::UnsupportedExtension),
        ("no typ", without(header(), "typ"), Rejection::WrongType),
        ("id token", with(header(), "typ", json!("JWT")), Rejection::WrongType),
        ("introspection", with(header(), "typ", json!("token-introspection+jwt")), Rejection::WrongType),
        ("DPoP proof", with(header(), "typ", json!("dpop+jwt")), Rejection::WrongType),
        ("logout token", with(header(), "typ", json!("logout+jwt")), Rejection::WrongType),
        ("typ in capitals", with(header(), "typ", json!("AT+JWT")), Rejection::WrongType),
        ("typ as media type", with(header(), "typ", json!("application/at+jwt")), Rejection::WrongType),
        ("typ with space", with(header(), "typ", json!("at+jwt ")), Rejection::WrongType),
        ("typ array", with(header(), "typ", json!(["at+jwt"])), Rejection::Malformed("header is not flat")),
        ("no alg", without(header(), "alg"), Rejection::WrongAlgorithm),
        ("alg in small letters", with(header(), "alg", json!("eddsa")), Rejection::WrongAlgorithm),
        ("alg unknown", with(header(), "alg", json!("RS1")), Rejection::WrongAlgorithm),
        ("no kid", without(header(), "kid"), Rejection::Malformed("no kid")),
        ("kid number", with(header(), "kid", json!(1)), Rejection::Malformed("no kid")),
        ("kid empty", with(header(), "kid", json!("")), Rejection::Malformed("an impossible kid")),
        ("kid path", with(header(), "kid", json!("../../dev/null")), Rejection::Malformed("an impossible kid")),
        ("kid query", with(header(), "kid", json!("' OR '1'='1")), Rejection::Malformed("an impossible kid")),
        ("kid long", with(header(), "kid", json!("A".repeat(65))), Rejection::Malformed("an impossible kid")),
        ("kid NUL", with(header(), "kid", json!(format!("{kid}\0"))), Rejection::Malformed("an impossible kid")),
        ("kid unknown", with(header(), "kid", json!("A".repeat(43))), Rejection::UnknownKey),
        ("member object", with(header(), "x", json!({})), Rejection::Malformed("header is not flat")),
        ("duplicate alg", format!(r#"{{"alg":"none",{}"#, &header().to_string()[1..]), HEADER),
        ("duplicate kid", format!(r#"{{"kid":"{kid}",{}"#, &header().to_string()[1..]), HEADER),
        ("escaped duplicate", format!(r#"{{"\u0061lg":"none",{}"#, &header().to_string()[1..]), HEADER),
        ("duplicate in jwk", format!(r#"{{"jwk":{{"a":1,"a":2}},{}"#, &header().to_string()[1..]), HEADER),
        ("trailing bytes", format!("{} x", header()), HEADER),
        ("two objects", format!("{}{}", header(), header()), HEADER),
        ("array", "[]".to_owned(), HEADER),
        ("string", "\"x\"".to_owned(), HEADER),
        ("truncated", header().to_string()[..20].to_owned(), HEADER),
        ("deep", format!(r#"{{"jwk":{nested},{}"#, &header().to_string()[1..]), HEADER),
        ("byte order mark", format!("\u{feff}{}", header()), HEADER),
    ];
    for (what, header, reason) in cases {
        forge.refuses(what, &forge.signed(ALG, header, &payload), reason);
    }
    let mut bad_utf8 = with(header(), "x", json!("?")).into_bytes();
    let at = bad_utf8.iter().position(|byte| *byte == b'?').unwrap();
    bad_utf8[at] = 0xff;
    forge.refuses("bad UTF-8", &forge.signed(ALG, bad_utf8, &payload), HEADER);
}

#[test]
fn payloads() {
    let forge = Forge::new();
    let payload = || forge.payload();
    let tail = payload().to_string()[1..].to_owned();
    let deep = (0..10).fold(json!(1), |inner, _| json!([inner]));
    let cases = [
        ("duplicate exp", format!(r#"{{"exp":9999999999,{tail}"#), PAYLOAD),
        ("duplicate sub", format!(r#"{{"sub":"root",{tail}"#), PAYLOAD),
        ("escaped duplicate", format!(r#"{{"\u0073ub":"root",{tail}"#), PAYLOAD),
        ("duplicate below", format!(r#"{{"a":[{{"b":1,"b":2}}],{tail}"#), PAYLOAD),
        ("deep", with(payload(), "a", deep), PAYLOAD),
        ("trailing bytes", format!("{}\0", payload()), PAYLOAD),
        ("two objects", format!("{}{}", payload(), payload()), PAYLOAD),
        ("array", format!("[{}]", payload()), PAYLOAD),
        ("null", "null".to_owned(), PAYLOAD),
        ("infinite", format!(r#"{{"a":1e999,{tail}"#), PAYLOAD),
        ("comment", format!("/**/{}", payload()), PAYLOAD),
    ];
    for (what, payload, reason) in cases {
        forge.refuses(what, &forge.signed(ALG, forge.header(ALG).to_string(), payload), reason);
    }
    let nine = (0..9).fold(json!(1), |inner, _| json!([inner]));
    let deepest = forge.signed(ALG, forge.header(ALG).to_string(), with(payload(), "a", nine));
    assert!(forge.verify(&deepest).is_ok());
}

#[test]
fn claims() {
    let forge = Forge::new();
    let refuses = |what: &str, payload: String, reason| {
        forge.refuses(what, &forge.signed(ALG, forge.header(ALG).to_string(), payload), reason);
    };
    let claim = Rejection::InvalidClaim;
    for name in ["iss", "sub", "aud", "client_id", "exp", "iat", "jti", "sid"] {
        refuses(&format!("without {name}"), without(forge.payload(), name), claim(name));
        for value in [json!(null), json!(true), json!({}), json!([]), json!([1])] {
            refuses(&format!("{name}: {value}"), with(forge.payload(), name, value), claim(name));
        }
    }
    let odd_times = [
        json!("1000900"),
        json!(1000900.5),
        json!(1000900.0),
        json!(1.0e6),
        json!(-1),
        json!(-0.0),
        json!(253_402_300_800_i64),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1e300),
    ];
    for name in ["exp", "iat", "nbf"] {
        for value in &odd_times {
            refuses(&format!("{name}: {value}"), with(forge.payload(), name, value.clone()), claim(name));
        }
    }
    let exponent = forge.payload().to_string().replace("\"exp\":1000900", "\"exp\":10009e2");
    assert!(exponent.contains("10009e2"));
    refuses("exp with an exponent", exponent, claim("exp"));
    let other_sid = {
        let mut other = sid();
        other.session.0[0] ^= 1;
        other
    };
    let subject = Route::Subject { pepper_id: 1, subject: sid().subject };
    let cases = [
        ("iss", json!([ISSUER]), claim("iss")),
        ("iss", json!(""), Rejection::WrongIssuer),
        ("iss", json!(format!("{ISSUER}/")), Rejection::WrongIssuer),
        ("iss", json!(ISSUER.to_uppercase()), Rejection::WrongIssuer),
        ("iss", json!("https://issuer.example/other"), Rejection::WrongIssuer),
        ("sub", json!(7), claim("sub")),
        ("sub", json!(""), claim("sub")),
        ("sub", json!("a\nb"), claim("sub")),
        ("aud", json!(7), claim("aud")),
        ("aud", json!(""), claim("aud")),
        ("aud", json!(["api", 7]), claim("aud")),
        ("aud", json!([["api"]]), claim("aud")),
        ("client_id", json!(""), claim("client_id")),
        ("jti", json!("x"), claim("jti")),
        ("jti", json!("A".repeat(200)), claim("jti")),
        ("jti", json!(token_id(Route::Session(other_sid)).to_string()), claim("sid")),
        ("jti", json!(token_id(subject).to_string()), claim("sid")),
        ("sid", json!("x"), claim("sid")),
        ("sid", json!(format!("{}=", sid())), claim("sid")),
        ("scope", json!(["read"]), claim("scope")),
        ("scope", json!(""), claim("scope")),
        ("scope", json!("read  write"), claim("scope")),
        ("scope", json!("re\"ad"), claim("scope")),
        ("cnf", json!("x"), claim("cnf")),
        ("cnf", json!({}), claim("cnf")),
        ("cnf", json!({ "jkt": "AAAA" }), claim("cnf")),
        ("cnf", json!({ "kid": "A".repeat(43) }), claim("cnf")),
        ("cnf", json!({ "jkt": "A".repeat(43), "x5t#S256": "A".repeat(43) }), claim("cnf")),
        ("exp", json!(NOW.seconds()), Rejection::Expired),
        ("exp", json!(0), Rejection::Expired),
        ("nbf", json!(NOW.seconds() + 1), Rejection::NotYetValid),
    ];
    for (name, value, reason) in cases {
        refuses(&format!("{name}: {value}"), with(forge.payload(), name, value), reason);
    }
}

/// `iat` alone never refuses; leeway lengthens `exp` and `nbf`, and nothing else.
#[test]
fn times() {
    let forge = Forge::new();
    let token = |name: &str, seconds: i64| {
        forge.signed(ALG, forge.header(ALG).to_string(), with(forge.payload(), name, json!(seconds)))
    };
    let now = NOW.seconds();
    assert!(forge.verify(&token("iat", now + 100_000)).is_ok());
    assert!(forge.verify(&token("exp", now + 1)).is_ok());
    assert!(forge.verify(&token("nbf", now)).is_ok());
    let again = Forge::new();
    let verifier = Verifier::new(again.keys, again.issuers, again.revocations, 0).with_leeway(Leeway::MAX);
    let verify = |token: String| verifier.verify(&realm("web"), &token, NOW).err();
    assert_eq!(verify(token("exp", now - 59)), None);
    assert_eq!(verify(token("exp", now - 60)), Some(Rejection::Expired));
    assert_eq!(verify(token("nbf", now + 60)), None);
    assert_eq!(verify(token("nbf", now + 61)), Some(Rejection::NotYetValid));
    assert_eq!(Leeway::new(std::time::Duration::from_secs(61)), None);
    let far = Timestamp::from_millis(i64::MAX);
    assert_eq!(verifier.verify(&realm("web"), &token("iat", now), far).err(), Some(Rejection::Expired));
}

#[test]
fn the_shape_of_the_text() {
    let forge = Forge::new();
    let token = forge.token(ALG);
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let cases = [
        (String::new(), Rejection::Malformed("no dot")),
        ("A".repeat(100), Rejection::Malformed("no dot")),
        (format!("{header}.{payload}"), Rejection::Malformed("only one dot")),
        (format!("{header}.{payload}."), EMPTY),
        (format!("{header}..{signature}"), EMPTY),
        (format!(".{payload}.{signature}"), EMPTY),
        ("..".to_owned(), EMPTY),
        (format!("{token}."), BASE64),
        (format!(".{token}"), EMPTY),
        (format!("{token}.{signature}"), BASE64),
        (format!("{header}..{payload}.{signature}"), BASE64),
        (format!("{header}.{payload}.{payload}.{payload}.{signature}"), BASE64),
        (format!("{token}="), BASE64),
        (format!("{token}=="), BASE64),
        (format!("{token} "), BASE64),
        (format!(".{token}"), EMPTY),
        (format!("{token}\n"), BASE64),
        (format!("{token}\0"), BASE64),
        (format!("{header} .{payload}.{signature}"), BASE64),
        (format!("{header}\n.{payload}.{signature}"), BASE64),
        (token.replace('.', "%2E"), Rejection::Malformed("no dot")),
        (format!("Bearer {token}"), BASE64),
        (format!("{header}.{payload}.{signature}ü"), BASE64),
        (format!("+/{header}.{payload}.{signature}"), BASE64),
        (format!("{token}{}", "A".repeat(8192)), Rejection::TooLarge),
        (
            format!(r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#),
            Rejection::Malformed("no dot"),
        ),
    ];
    for (text, reason) in cases {
        forge.refuses(&text, &text, reason);
    }
}

/// Each character of a token counts, to its last bit: no other text is the same token.
#[test]
fn no_other_text_is_the_same_token() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let forge = Forge::new();
    let token = forge.token(ALG);
    let mut refused = 0;
    for at in 0..token.len() {
        let old = token.as_bytes()[at];
        let flips: Vec<u8> = match ALPHABET.iter().position(|letter| *letter == old) {
            // Every one-bit change of the six bits that the letter stands for.
            Some(bits) => (0..6).map(|bit| ALPHABET[bits ^ (1 << bit)]).collect(),
            None => vec![b'A', b'-'],
        };
        for flip in flips {
            let mut changed = token.clone().into_bytes();
            changed[at] = flip;
            assert!(forge.verify(std::str::from_utf8(&changed).unwrap()).is_err(), "{at}: {}", flip as char);
            refused += 1;
        }
    }
    assert!(refused > 1_000);
    for length in 0..token.len() {
        assert!(forge.verify(&token[..length]).is_err(), "cut to {length}");
    }
}

#[test]
fn size_is_checked_before_anything_else() {
    let forge = Forge::new();
    let fill = |length: usize| {
        forge.signed(ALG, forge.header(ALG).to_string(), with(forge.payload(), "fill", json!("x".repeat(length))))
    };
    let empty = fill(0).len();
    // Every three characters of payload are four of token.
    let longest = (8192 - empty) / 4 * 3;
    let (fits, exceeds) = (fill(longest), fill(longest + 3));
    assert!(fits.len() <= 8192 && exceeds.len() > 8192);
    assert!(forge.verify(&fits).is_ok());
    forge.refuses("one step too long", &exceeds, Rejection::TooLarge);
    forge.refuses("very long", &".".repeat(10_000_000), Rejection::TooLarge);
}

#[test]
fn a_token_of_another_realm() {
    let forge = Forge::new();
    let header = with(forge.header(ALG), "kid", json!(forge.foreign.kid().as_str()));
    let input = format!("{}.{}", b64(header), b64(forge.payload().to_string()));
    let foreign = format!("{input}.{}", b64(forge.foreign.sign(input.as_bytes()).unwrap()));
    // Refused by its kid alone, before the signature is looked at.
    forge.refuses("another realm's kid", &format!("{input}.AAAA"), Rejection::WrongRealm);
    assert!(forge.verifier.verify(&realm("other"), &foreign, NOW).is_ok());
    // The cache knows it by now, and must not mix realms up.
    forge.refuses("another realm's token", &foreign, Rejection::WrongRealm);
    let own = forge.token(ALG);
    assert!(forge.verify(&own).is_ok());
    assert_eq!(forge.verifier.verify(&realm("other"), &own, NOW).err(), Some(Rejection::WrongRealm));
    assert_eq!(forge.verifier.verify(&realm("nowhere"), &own, NOW).err(), Some(Rejection::WrongRealm));
}

/// Only what the realm itself had made may be told apart outside.
#[test]
fn only_authentic_tokens_are_told_apart() {
    for reason in [Rejection::Expired, Rejection::NotYetValid, Rejection::Revoked] {
        assert!(reason.authenticated());
    }
    for reason in [Rejection::TooLarge, PAYLOAD, Rejection::UnknownKey, Rejection::WrongRealm, Rejection::BadSignature]
    {
        assert!(!reason.authenticated());
    }
}
