//! What the time of a refusal tells. A stranger knows the text that he sent; he must not learn from
//! the time whether its key exists, whose it is or which check failed, and no text may cost more than
//! in proportion to its length. Compares interleaved rounds with each other, never absolute times.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::json;
use token_authority::domain::algorithm::Algorithm;
use token_authority::verify::Rejection;

use super::forge::{Forge, b64, new_key};

const ROUNDS: usize = 1_001;

/// How long each text's refusal takes where nothing disturbs it: a tenth of the rounds took less. Each
/// round measures every text once, in turning order, so that what else the machine does falls on all.
fn times(forge: &Forge, texts: &[String]) -> Vec<Duration> {
    let mut rounds = vec![Vec::with_capacity(ROUNDS); texts.len()];
    for round in 0..ROUNDS {
        for turn in 0..texts.len() {
            let which = (round + turn) % texts.len();
            let begun = Instant::now();
            let _ = black_box(forge.verify(black_box(&texts[which])));
            rounds[which].push(begun.elapsed());
        }
    }
    rounds.iter_mut().for_each(|times| times.sort());
    rounds.iter().map(|times| times[ROUNDS / 10]).collect()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

#[test]
fn a_refusal_takes_alike_whether_its_key_exists_or_not() {
    let forge = Forge::new();
    let unknown = new_key(Algorithm::EdDsa);
    for algorithm in Algorithm::ALL {
        let other = Algorithm::ALL.into_iter().find(|other| *other != algorithm).expect("several");
        let (said, forged) = (forge.payload().to_string(), forge.payload().to_string().replace("alice", "admin"));
        let token = |kid: &str| {
            let header = json!({ "alg": algorithm.name(), "typ": "at+jwt", "kid": kid }).to_string();
            // A right signature of something else: nothing is wrong with it before it is checked.
            forge.signed(algorithm, header, &said).replace(&b64(&said), &b64(&forged))
        };
        let kinds = [
            ("a wrong signature", token(forge.key(algorithm).kid().as_str()), Rejection::BadSignature),
            ("an unknown key", token(unknown.kid().as_str()), Rejection::UnknownKey),
            ("another realm's key", token(forge.foreign.kid().as_str()), Rejection::WrongRealm),
            ("a key of another algorithm", token(forge.key(other).kid().as_str()), Rejection::WrongAlgorithm),
        ];
        for (what, text, reason) in &kinds {
            let expected = match reason {
                Rejection::WrongRealm if algorithm != Algorithm::EdDsa => Rejection::WrongAlgorithm,
                reason => *reason,
            };
            forge.refuses(what, text, expected);
        }
        let texts = kinds.clone().map(|(_, text, _)| text);
        let times = times(&forge, &texts);
        for ((what, ..), time) in kinds.iter().zip(&times) {
            println!("{algorithm}: {what}: {time:?}");
        }
        for ((what, ..), time) in kinds.iter().zip(&times) {
            let ratio = ratio(*time, times[0]);
            assert!((0.75..1.33).contains(&ratio), "{algorithm}: {what} takes {ratio:.2} times as long: {times:?}");
        }
    }
}

/// Eight times the text may take about eight times as long, and not sixty-four: nothing that a stranger
/// sends makes the server think.
#[test]
fn a_refusal_takes_time_in_proportion_to_the_text() {
    let forge = Forge::new();
    type Header = fn(usize) -> Vec<u8>;
    let headers: [(&str, Header); 5] = [
        ("deep nesting", |n| [b"{\"jwk\":".to_vec(), vec![b'['; n], vec![b']'; n], b"}".to_vec()].concat()),
        ("many members", |n| {
            let members: Vec<_> = (0..n / 5).map(|i| format!("\"{i:06}\":1")).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        }),
        ("a duplicate member", |n| {
            let members: Vec<_> = (0..n / 5).map(|i| format!("\"{i:06}\":1")).collect();
            format!("{{{},\"000000\":1}}", members.join(",")).into_bytes()
        }),
        ("bad UTF-8", |n| [b"{\"jwk\":\"".to_vec(), vec![b'x'; 2 * n], vec![0xff], b"\"}".to_vec()].concat()),
        ("escapes", |n| format!("{{\"jwk\":\"{}\"}}", "\\u0041".repeat(n / 3)).into_bytes()),
    ];
    let signature = b64([7; 256]);
    for (what, header) in headers {
        let texts = [300, 2_400].map(|n| format!("{}.{}.{signature}", b64(header(n)), b64(b"{}")));
        assert!(texts[1].len() > 6_000 && texts[1].len() <= 8_192, "{what}: {}", texts[1].len());
        for text in &texts {
            assert!(forge.verify(text).is_err());
        }
        let times = times(&forge, &texts);
        println!("{what}: {times:?}");
        let ratio = ratio(times[1], times[0]);
        assert!(ratio < 20.0, "{what}: eight times the text takes {ratio:.1} times as long: {times:?}");
    }
    // Longer than any token: not even looked at.
    let (longest, longer) = ("x".repeat(8_192), "x".repeat(8 << 20));
    let times = times(&forge, &[longest, longer]);
    println!("8 KiB and 8 MiB: {times:?}");
    assert!(times[1] <= times[0], "{times:?}");
}
