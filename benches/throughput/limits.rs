//! What nothing behind a signature can beat: signing, verifying and sealing on all of the server's cores,
//! inside this process and without gRPC.

use std::time::Duration;

use token_authority::authority::ports::Entropy as _;
use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::ids::{RealmName, SessionId, Sid, SubjectKey};
use token_authority::domain::time::Timestamp;
use token_authority::domain::token::{RefreshToken, SessionSecret};
use token_authority::signing::key::SigningKey;
use token_authority::signing::refresh_token::RefreshKey;
use token_authority::system::SystemEntropy;
use tokio::time::Instant;

use crate::cores::CORES;
use crate::load::Measured;
use crate::{Failure, process};

/// About the part of a token that is signed.
const TOKEN_BYTES: usize = 600;

/// Signs.
pub(crate) fn sign(algorithm: Algorithm, time: Duration) -> Result<Measured, Failure> {
    let key = key(algorithm)?;
    Ok(on_all_cores(time, || key.sign(&[b'x'; TOKEN_BYTES]).is_ok()))
}

/// Verifies.
pub(crate) fn verify(algorithm: Algorithm, time: Duration) -> Result<Measured, Failure> {
    let (key, message) = (key(algorithm)?, [b'x'; TOKEN_BYTES]);
    let (signature, public) = (key.sign(&message)?, key.verify_key(RealmName::parse("bench")?)?);
    Ok(on_all_cores(time, || public.verifies(&message, &signature)))
}

/// Makes a key as a realm does.
fn key(algorithm: Algorithm) -> Result<SigningKey, Failure> {
    Ok(SigningKey::from_pkcs8(algorithm, &SigningKey::generate(algorithm)?)?)
}

/// Opens and seals refresh tokens.
pub(crate) fn refresh_tokens(time: Duration) -> Result<Measured, Failure> {
    let (key, realm) = (RefreshKey::new(&[7; RefreshKey::BYTES]), RealmName::parse("bench")?);
    let session = Sid { pepper_id: 1, subject: SubjectKey(random()), session: SessionId(random()) };
    let (secret, expires) = (SessionSecret::new(random()), Timestamp::from_millis(i64::MAX));
    let token = RefreshToken { session, secret, generation: 1, expires };
    let text = key.seal(&realm, &token);
    Ok(on_all_cores(time, || key.open(&realm, &text).is_some_and(|token| !key.seal(&realm, &token).is_empty())))
}

/// Does something again and again on each of the server's cores, until the time is over or it is done.
pub(crate) fn on_all_cores(time: Duration, work: impl Fn() -> bool + Sync) -> Measured {
    let before = process::cpu_alone(std::process::id());
    let start = Instant::now();
    let count = || {
        let mut done = 0;
        while start.elapsed() < time && work() {
            done += 1;
        }
        done
    };
    let done = CORES.as_server(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = CORES.server.iter().map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum::<u32>()
        })
    });
    total(done, start, before)
}

/// So many since then.
pub(crate) fn total(done: u32, start: Instant, before: Option<Duration>) -> Measured {
    let took = start.elapsed();
    let used = process::cpu_alone(std::process::id()).zip(before).map(|(after, before)| after.saturating_sub(before));
    Measured {
        per_second: f64::from(done) / took.as_secs_f64(),
        cpu: used.map(|used| used / done.max(1)),
        ..Measured::default()
    }
}

pub(crate) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    SystemEntropy.fill(&mut bytes);
    bytes
}
