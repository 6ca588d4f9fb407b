//! One-time codes of one recipient: made, sent again, tried, used up. Knows a code by its keyed hash
//! alone, and neither the recipient nor who is to be logged in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::ids::{InvalidName, Subject};
use super::rate_limit::{Limit, RateLimit, Used};
use super::refusal::Refusal;
use super::subject::RequestId;
use super::time::Timestamp;

/// How many codes there are: six digits.
const CODES: u32 = 1_000_000;
/// How long the recipient is locked by each wrong code from the realm's `max_failures` on, so that at most so
/// many more are tried in a year as it has days.
const LONG_LOCKOUT: Duration = Duration::from_secs(86_400);
/// How long wrong codes count towards `max_failures` after the last of them. Shorter, and whoever waits gets
/// more guesses in a year than who goes on; without an end, records of recipients that nobody has would stay.
const FAILURES_REMEMBERED: Duration = Duration::from_secs(90 * 86_400);

/// A realm's policy for codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodePolicy {
    /// How long a code is good.
    pub lifetime: Duration,
    /// How many wrong codes lock the recipient.
    pub attempts: u8,
    /// For how long, and how long wrong ones count towards `attempts`.
    pub lockout: Duration,
    /// How many wrong codes without a right one lock the recipient for a day, and so does each further one
    /// (NIST SP 800-63B-4, section 3.2.2: at most 100).
    pub max_failures: u8,
    /// How often a code is sent to one recipient.
    pub requests: RateLimit,
    /// How codes are sent.
    pub delivery: CodeDelivery,
}

/// How codes are sent.
#[derive(Clone, PartialEq, Eq)]
pub enum CodeDelivery {
    /// To a service that knows how, in the form of Standard Webhooks.
    Webhook {
        /// `http` or `https`; a key of the service may stand in its path and query.
        url: String,
        /// Has the secret that signs what is sent.
        secret_file: PathBuf,
    },
    /// Into the log: for development alone.
    Log,
}

impl fmt::Debug for CodeDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { .. } => f.write_str("Webhook(..)"),
            Self::Log => f.write_str("Log"),
        }
    }
}

/// Where a code is sent, such as a phone number. Personal data: no `Display`, redacted in `Debug`.
#[derive(Clone)]
pub struct Recipient(Subject);

impl Recipient {
    /// Parses a recipient: 1 to 255 bytes without control characters, as a subject.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        Subject::parse(text).map(Self).map_err(|invalid| InvalidName { what: "recipient", ..invalid })
    }

    /// As it was given, for whoever delivers a code.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(..)")
    }
}

/// The keyed hash of a code. Compared by whoever can do so in constant time.
pub type CodeDigest = [u8; 32];

/// What is known of the codes of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CodeRecord {
    /// The newest code, until it is used up or void.
    pub code: Option<LiveCode>,
    /// Wrong codes since the last right one or lockout.
    pub failures: u8,
    /// Until when these count; with enough of them, until when no code is taken.
    pub failures_until: Timestamp,
    /// Wrong codes since the last right one.
    pub failures_in_a_row: u8,
    /// Until when these count.
    pub in_a_row_until: Timestamp,
    /// What was used of the policy's `requests`.
    pub requests: Used,
}

/// A code that may be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveCode {
    /// Of the code.
    pub digest: CodeDigest,
    /// Until when it is good.
    pub expires: Timestamp,
    /// The request that has used it up, which alone may repeat itself.
    pub used_by: Option<RequestId>,
}

impl CodeRecord {
    /// When nothing in it matters any more.
    pub fn expires(&self) -> Timestamp {
        let code = self.code.as_ref().map_or(Timestamp::ZERO, |code| code.expires);
        code.max(self.failures_until).max(self.in_a_row_until).max(self.requests.over())
    }

    /// With a new code.
    pub fn request(&self, digest: CodeDigest, policy: &CodePolicy, now: Timestamp) -> Result<Self, Refusal> {
        let current = self.at(now);
        current.check_locked(policy, now)?;
        let requests = policy.requests.take_of(Limit::CodesByRecipient, current.requests, now)?;
        let code = Some(LiveCode { digest, expires: now + policy.lifetime, used_by: None });
        Ok(Self { code, requests, ..current })
    }

    /// After a code was tried; `matches` compares with the newest one's hash. The record is to be written
    /// also where the answer is a refusal, unless there is none. A wrong code counts whether there is a
    /// right one or not, so that nobody is told.
    pub fn verify(
        &self,
        request: Option<RequestId>,
        policy: &CodePolicy,
        now: Timestamp,
        matches: impl FnOnce(&CodeDigest) -> bool,
    ) -> (Result<(), Refusal>, Option<Self>) {
        let mut current = self.at(now);
        if let Err(locked) = current.check_locked(policy, now) {
            return (Err(locked), None);
        }
        let right = current.code.as_mut().filter(|code| matches(&code.digest));
        match right {
            Some(LiveCode { used_by: Some(used_by), .. }) if request == Some(*used_by) => (Ok(()), None),
            Some(code @ LiveCode { used_by: None, .. }) => {
                code.used_by = request;
                if request.is_none() {
                    current.code = None;
                }
                let Self { code, requests, .. } = current;
                (Ok(()), Some(Self { code, requests, ..Self::default() }))
            }
            _ => {
                current.failures = current.failures.saturating_add(1);
                current.failures_in_a_row = current.failures_in_a_row.saturating_add(1);
                current.in_a_row_until = now + FAILURES_REMEMBERED;
                current.failures_until = now + if current.is_worn_out(policy) { LONG_LOCKOUT } else { policy.lockout };
                let locked = current.check_locked(policy, now);
                if locked.is_err() {
                    current.code = None;
                }
                (Err(locked.err().unwrap_or(Refusal::CodeInvalid)), Some(current))
            }
        }
    }

    /// Without what time has ended.
    fn at(&self, now: Timestamp) -> Self {
        let mut current = self.clone();
        current.code = current.code.filter(|code| now < code.expires);
        if now >= current.failures_until {
            current.failures = 0;
        }
        if now >= current.in_a_row_until {
            current.failures_in_a_row = 0;
        }
        current
    }

    /// Whether a single wrong code is too many.
    fn is_worn_out(&self, policy: &CodePolicy) -> bool {
        self.failures_in_a_row >= policy.max_failures
    }

    fn check_locked(&self, policy: &CodePolicy, now: Timestamp) -> Result<(), Refusal> {
        let attempts = if self.is_worn_out(policy) { 1 } else { policy.attempts };
        if self.failures < attempts {
            return Ok(());
        }
        Err(Refusal::CodeLocked { retry_after: self.failures_until.since(now) })
    }
}

/// A code from random bits; `None` for the few that would make some codes likelier than others.
pub fn code(random: u32) -> Option<String> {
    let unbiased = u32::MAX - u32::MAX % CODES;
    (random < unbiased).then(|| format!("{:06}", random % CODES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: CodeDigest = [1; 32];
    const MINUTE: Duration = Duration::from_secs(60);

    fn policy() -> CodePolicy {
        CodePolicy {
            lifetime: 5 * MINUTE,
            attempts: 3,
            lockout: 15 * MINUTE,
            max_failures: 100,
            requests: RateLimit::new(3, 15 * MINUTE).expect("a limit"),
            delivery: CodeDelivery::Log,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    fn request(name: u8) -> Option<RequestId> {
        Some(RequestId { name: [name; 16], content: [0; 16] })
    }

    /// Tries a code and writes what is to be written.
    fn tries(record: &mut CodeRecord, tried: CodeDigest, by: Option<RequestId>, now: Timestamp) -> Result<(), Refusal> {
        let (answer, written) = record.verify(by, &policy(), now, |digest| *digest == tried);
        if let Some(written) = written {
            *record = written;
        }
        answer
    }

    fn sent(now: Timestamp) -> CodeRecord {
        CodeRecord::default().request(RIGHT, &policy(), now).expect("sends")
    }

    #[test]
    fn a_code_is_good_once_and_for_five_minutes() {
        let mut record = sent(at(0));
        assert_eq!(tries(&mut record, RIGHT, None, at(299)), Ok(()));
        assert_eq!(tries(&mut record, RIGHT, None, at(299)), Err(Refusal::CodeInvalid));
        assert_eq!(tries(&mut sent(at(0)), RIGHT, None, at(300)), Err(Refusal::CodeInvalid));
        assert_eq!(tries(&mut CodeRecord::default(), RIGHT, None, at(0)), Err(Refusal::CodeInvalid));
        let newer = sent(at(0)).request([2; 32], &policy(), at(1)).expect("again");
        assert_eq!(tries(&mut newer.clone(), RIGHT, None, at(2)), Err(Refusal::CodeInvalid), "void");
        assert_eq!(tries(&mut newer.clone(), [2; 32], None, at(2)), Ok(()));
    }

    #[test]
    fn the_request_that_used_a_code_may_repeat_itself_and_no_other() {
        let mut record = sent(at(0));
        for _ in 0..3 {
            assert_eq!(tries(&mut record, RIGHT, request(1), at(1)), Ok(()));
        }
        assert_eq!(tries(&mut record, RIGHT, request(2), at(1)), Err(Refusal::CodeInvalid));
        assert_eq!(tries(&mut record, RIGHT, None, at(1)), Err(Refusal::CodeInvalid));
        assert_eq!(tries(&mut record, [9; 32], request(1), at(1)).map_err(|_| ()), Err(()), "a wrong one never");
    }

    #[test]
    fn three_wrong_ones_lock_for_fifteen_minutes_whether_a_code_is_out_or_not() {
        for start in [sent(at(0)), CodeRecord::default()] {
            let mut record = start;
            for _ in 0..2 {
                assert_eq!(tries(&mut record, [9; 32], None, at(10)), Err(Refusal::CodeInvalid));
            }
            let locked = |seconds| Err(Refusal::CodeLocked { retry_after: Duration::from_secs(seconds) });
            assert_eq!(tries(&mut record, [9; 32], None, at(10)), locked(900));
            assert_eq!(tries(&mut record, RIGHT, None, at(11)), locked(899), "not even the right one");
            assert_eq!(record.request(RIGHT, &policy(), at(909)).map(drop), locked(1), "and no other is sent");
            assert!(record.expires() >= at(910));
            record = record.request(RIGHT, &policy(), at(910)).expect("sends again");
            assert_eq!(tries(&mut record, RIGHT, None, at(911)), Ok(()));
        }
    }

    /// Wrong codes, each as soon as one is taken again, until so many were tried; when the last lock ends.
    fn guess(record: &mut CodeRecord, guesses: usize, mut now: Timestamp) -> Timestamp {
        for _ in 0..guesses {
            match tries(record, [9; 32], None, now) {
                Err(Refusal::CodeLocked { retry_after }) => now = now + retry_after,
                answer => assert_eq!(answer, Err(Refusal::CodeInvalid)),
            }
        }
        now
    }

    #[test]
    fn a_hundred_wrong_ones_in_a_row_leave_one_a_day_until_a_right_one_or_a_season() {
        let mut record = CodeRecord::default();
        let before = guess(&mut record, 99, at(0));
        assert_eq!(before, at(33 * 900), "three in each lockout");
        let guessed = guess(&mut record, 1, before);
        assert_eq!(guessed, before + LONG_LOCKOUT);
        let refused = record.request(RIGHT, &policy(), before).map(drop);
        assert_eq!(refused, Err(Refusal::CodeLocked { retry_after: LONG_LOCKOUT }));
        let guessed = guess(&mut record, 3, guessed);
        assert_eq!(guessed, before + 4 * LONG_LOCKOUT, "each a day");

        let mut proven = record.request(RIGHT, &policy(), guessed).expect("sends again");
        assert_eq!(tries(&mut proven, RIGHT, None, guessed), Ok(()));
        assert_eq!(guess(&mut proven, 3, guessed), guessed + 15 * MINUTE, "as if nothing had been");

        let season = before + 3 * LONG_LOCKOUT + FAILURES_REMEMBERED;
        assert_eq!(record.expires(), season);
        let last = season - Duration::from_millis(1);
        assert_eq!(guess(&mut record.clone(), 1, last), last + LONG_LOCKOUT);
        assert_eq!(guess(&mut record, 3, season), season + 15 * MINUTE);
    }

    #[test]
    fn a_new_code_brings_no_new_attempts() {
        let mut record = sent(at(0));
        for _ in 0..2 {
            assert_eq!(tries(&mut record, [9; 32], None, at(1)), Err(Refusal::CodeInvalid));
        }
        record = record.request(RIGHT, &policy(), at(2)).expect("sends");
        assert!(matches!(tries(&mut record, [9; 32], None, at(3)), Err(Refusal::CodeLocked { .. })));
    }

    #[test]
    fn codes_are_sent_so_often_and_no_oftener() {
        let mut record = CodeRecord::default();
        for _ in 0..3 {
            record = record.request(RIGHT, &policy(), at(0)).expect("sends");
        }
        let Err(Refusal::RateLimited(limited)) = record.request(RIGHT, &policy(), at(0)) else { panic!("too often") };
        assert_eq!((limited.limit, limited.retry_after), (Limit::CodesByRecipient, 5 * MINUTE));
        record.request(RIGHT, &policy(), at(300)).expect("as it was told");
    }

    #[test]
    fn each_code_is_as_likely_as_any_other() {
        assert_eq!(code(0).as_deref(), Some("000000"));
        assert_eq!(code(1_000_042).as_deref(), Some("000042"));
        let biased = u32::MAX - u32::MAX % CODES;
        assert_eq!((code(biased - 1).as_deref(), biased % CODES), (Some("999999"), 0));
        assert_eq!((code(biased), code(u32::MAX)), (None, None));
    }
}
