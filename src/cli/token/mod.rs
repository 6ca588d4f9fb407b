//! `token`: the life of a token, one command a call.

use std::io::Read;

use clap::Subcommand;

use crate::proto::v1;

use super::Streams;
use super::answer::Lines;
use super::client::ClientFlags;
use super::failure::{Exit, Failure};

mod introspect;
mod issue;
mod refresh;
mod revoke;

/// Issue, refresh, introspect and revoke tokens
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    Issue(issue::Issue),
    Refresh(refresh::Refresh),
    Introspect(introspect::Introspect),
    Revoke(revoke::Revoke),
}

impl Token {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Issue(issue) => issue.run(flags, streams).await,
            Self::Refresh(refresh) => refresh.run(flags, streams).await,
            Self::Introspect(introspect) => introspect.run(flags, streams).await,
            Self::Revoke(revoke) => revoke.run(flags, streams).await,
        }
    }
}

/// The server takes no longer ones.
const MAX_TOKEN_BYTES: usize = 16_384;

/// The token itself, or what standard input holds where it is `-`. Bounded, and never repeated.
fn presented(token: String, input: &mut dyn Read) -> Result<String, Failure> {
    let too_long = || {
        Failure::refused(format_args!(
            "the token is longer than {MAX_TOKEN_BYTES} bytes, the most that the server takes"
        ))
    };
    let token = if token == "-" {
        // Room for the end of a line, and a byte to tell that there is more: never a part of a token.
        const MOST: usize = MAX_TOKEN_BYTES + 2;
        let mut bytes = Vec::new();
        let read = input.take(MOST as u64 + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::refused(format_args!("standard input can't be read: {error}")))?;
        if bytes.len() > MOST {
            return Err(too_long());
        }
        let text = String::from_utf8(bytes).map_err(|_| Failure::refused("standard input is not UTF-8 text"))?;
        text.trim().to_owned()
    } else {
        token
    };
    match token.len() {
        0 => Err(Failure::refused("the token is empty")),
        1..=MAX_TOKEN_BYTES => Ok(token),
        _ => Err(too_long()),
    }
}

/// A pair for people.
fn pair(tokens: &v1::TokenPair) -> Lines {
    Lines::default()
        .text("access_token", &tokens.access_token)
        .text("token_type", &tokens.token_type)
        .time("access_expire_time", tokens.access_expire_time)
        .text("refresh_token", &tokens.refresh_token)
        .time("refresh_expire_time", tokens.refresh_expire_time)
        .time("refresh_after_time", tokens.refresh_after_time)
        .text("session_id", &tokens.session_id)
        .list("scope", &tokens.scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_input(input: &[u8]) -> Result<String, String> {
        presented("-".to_owned(), &mut &*input).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_token_comes_from_the_argument_or_from_input() {
        assert_eq!(presented("t".to_owned(), &mut &b"other"[..]).ok().as_deref(), Some("t"));
        assert_eq!(from_input(b" t\r\n"), Ok("t".to_owned()));
        let longest = "t".repeat(MAX_TOKEN_BYTES);
        assert_eq!(from_input(format!("{longest}\r\n").as_bytes()), Ok(longest.clone()));
        assert_eq!(presented(longest.clone(), &mut &b""[..]).ok(), Some(longest));
    }

    #[test]
    fn what_can_be_no_token_is_refused_and_not_repeated() {
        let long = "secret".repeat(1 << 18);
        let limit = "error: the token is longer than 16384 bytes, the most that the server takes\n";
        assert_eq!(from_input(long.as_bytes()), Err(limit.to_owned()));
        assert_eq!(from_input(&b"t".repeat(MAX_TOKEN_BYTES + 1)), Err(limit.to_owned()));
        assert_eq!(from_input(&[&b"   "[..], &b"t".repeat(MAX_TOKEN_BYTES + 9)].concat()), Err(limit.to_owned()));
        assert_eq!(from_input("ü".repeat(MAX_TOKEN_BYTES).as_bytes()), Err(limit.to_owned()), "cut within a letter");
        let argument = presented(long, &mut &b""[..]).expect_err("refused");
        assert_eq!((argument.exit(), argument.to_string()), (Exit::Refused, limit.to_owned()));
        assert_eq!(from_input(b"\n"), Err("error: the token is empty\n".to_owned()));
        assert_eq!(from_input(b"\xff"), Err("error: standard input is not UTF-8 text\n".to_owned()));
    }
}
