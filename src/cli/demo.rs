//! `demo`: the life of sessions on one screen, told by a server of its own. Each line is checked
//! against the server's answer before it is shown: a story that is not true ends with an error.

use clap::Args;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tonic_types::StatusExt;

use crate::app::Server;
use crate::config::Config;
use crate::proto::v1;
use crate::proto::v1::session_service_client::SessionServiceClient;
use crate::proto::v1::token_service_client::TokenServiceClient;

use super::failure::{Exit, Failure, chain};
use super::{Streams, block_on_all_cores};

const ALICE: &str = "alice";

/// Show what the service does, with a server and a store of its own
#[derive(Debug, Args)]
pub(super) struct Demo {}

impl Demo {
    #[allow(clippy::unused_self, reason = "each command runs the same way")]
    pub(super) fn run(&self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let directory = tempfile::tempdir()?;
        block_on_all_cores(async {
            let server = Server::start(Config::on_free_ports(directory.path())).await.map_err(Failure::refused)?;
            let told = match Story::begin(&server, streams).await {
                Ok(mut story) => story.tell().await,
                Err(failure) => Err(failure),
            };
            server.stop().await;
            told.map(|()| Exit::Done)
        })
    }
}

struct Story<'a, 'b> {
    tokens: TokenServiceClient<Channel>,
    sessions: SessionServiceClient<Channel>,
    streams: &'a mut Streams<'b>,
    step: usize,
}

impl<'a, 'b> Story<'a, 'b> {
    async fn begin(server: &Server, streams: &'a mut Streams<'b>) -> Result<Self, Failure> {
        let endpoint = format!("http://{}", server.grpc_address());
        writeln!(streams.out, "Alice has a laptop and a phone. The server: {endpoint}, a temporary store.\n")?;
        let channel = Channel::from_shared(endpoint).map_err(Failure::refused)?;
        let channel = channel.connect().await.map_err(|error| Failure::unreachable(chain(&error)))?;
        let (tokens, sessions) = (TokenServiceClient::new(channel.clone()), SessionServiceClient::new(channel));
        Ok(Self { tokens, sessions, streams, step: 0 })
    }

    async fn tell(&mut self) -> Result<(), Failure> {
        let laptop = self.log_in("laptop").await?;
        let phone = self.log_in("phone").await?;
        self.expect(self.open_sessions().await? == 2, "two sessions")?;
        self.say("log in", "on laptop and phone: two sessions, a pair of tokens each")?;

        let second = self.refresh(&laptop).await?;
        self.expect(second.refresh_token != laptop.refresh_token, "a new refresh token")?;
        self.expect(second.session_id == laptop.session_id, "the same session")?;
        self.say("refresh", "the laptop gets a new pair; its old refresh token is used up")?;

        let again = self.refresh(&laptop).await?;
        let same = again.refresh_token == second.refresh_token && again.access_token == second.access_token;
        self.expect(same, "the same pair again")?;
        self.say("lost answer", "that answer never came, it asks again: the same pair, no logout")?;

        let third = self.refresh(&second).await?;
        self.expect(third.refresh_token != second.refresh_token, "a new refresh token")?;
        self.expect(self.is_active(&third).await?, "an active token")?;
        let thief = self.refused(&laptop).await?;
        self.expect(thief == "REFRESH_TOKEN_REPLAYED", "a replay, recognised")?;
        self.say("theft", "a thief uses that first token later: REFRESH_TOKEN_REPLAYED")?;

        let owner = self.refused(&third).await?;
        self.expect(!owner.is_empty() && !self.is_active(&third).await?, "the whole session is over")?;
        self.say("caught", "two held one token: that session is over, its new tokens too")?;

        self.expect(self.is_active(&phone).await? && self.open_sessions().await? == 1, "the phone's session")?;
        let phone = self.refresh(&phone).await?;
        self.say("elsewhere", "the phone noticed nothing: still active, and it refreshes")?;

        let request = v1::RevokeAllSessionsRequest { subject: ALICE.to_owned(), ..Default::default() };
        let ended = answer(self.sessions.revoke_all_sessions(request).await)?.revoked_count;
        self.expect(ended == 1 && !self.is_active(&phone).await?, "one session, ended at once")?;
        self.expect(self.refused(&phone).await? == "SESSION_ENDED", "no refresh after it")?;
        self.say("revoke all", "logged out everywhere: the phone's tokens are dead at once")?;

        let next = "Each line is what the server answered. Next: token-authority serve";
        Ok(writeln!(self.streams.out, "\n{next}")?)
    }

    async fn log_in(&self, device: &str) -> Result<v1::TokenPair, Failure> {
        let request = v1::IssueTokenRequest {
            subject: ALICE.to_owned(),
            device: Some(v1::Device { device_id: device.to_owned(), ..Default::default() }),
            ..Default::default()
        };
        Ok(answer(self.tokens.clone().issue_token(request).await)?.tokens.unwrap_or_default())
    }

    async fn refresh(&self, pair: &v1::TokenPair) -> Result<v1::TokenPair, Failure> {
        Ok(answer(self.tokens.clone().refresh_token(refresh_of(pair)).await)?.tokens.unwrap_or_default())
    }

    /// The reason for which a refresh was refused; empty if it was not.
    async fn refused(&self, pair: &v1::TokenPair) -> Result<String, Failure> {
        let Err(status) = self.tokens.clone().refresh_token(refresh_of(pair)).await else { return Ok(String::new()) };
        Ok(status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
    }

    async fn is_active(&self, pair: &v1::TokenPair) -> Result<bool, Failure> {
        let request = v1::IntrospectTokenRequest { token: pair.access_token.clone(), ..Default::default() };
        Ok(answer(self.tokens.clone().introspect_token(request).await)?.active)
    }

    async fn open_sessions(&self) -> Result<usize, Failure> {
        let request = v1::ListSessionsRequest { subject: ALICE.to_owned(), ..Default::default() };
        Ok(answer(self.sessions.clone().list_sessions(request).await)?.sessions.len())
    }

    fn expect(&self, holds: bool, what: &str) -> Result<(), Failure> {
        if holds { Ok(()) } else { Err(Failure::refused(format_args!("step {}: expected {what}", self.step + 1))) }
    }

    fn say(&mut self, name: &str, what: &str) -> Result<(), Failure> {
        self.step += 1;
        Ok(writeln!(self.streams.out, "  {}  {name:<11}  {what}", self.step)?)
    }
}

fn refresh_of(pair: &v1::TokenPair) -> v1::RefreshTokenRequest {
    v1::RefreshTokenRequest { refresh_token: pair.refresh_token.clone(), ..Default::default() }
}

fn answer<T>(result: Result<Response<T>, Status>) -> Result<T, Failure> {
    result.map(Response::into_inner).map_err(|status| Failure::of_call(&status, "the demo's server"))
}
