//! What calls are made of, each measured alone: once a round or right before a row, and only if one asks.

use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest;
use token_authority::domain::algorithm::Algorithm;

use crate::callers::{Repeat, anything};
use crate::load::{self, CALLERS, Measured, Pace};
use crate::process::Process;
use crate::store_limits::Work;
use crate::stores::{Backing, Stores};
use crate::table::{Limit, Row, Section};
use crate::wire::Endpoint;
use crate::{Failure, echo, limits, script_limit, store_limits};

/// A call and its answer over gRPC, in bytes of message: introspecting a token of RS256, a hundred of
/// them, refreshing one, and revoking one. Over HTTP, the key set.
pub(crate) const INTROSPECTION: (usize, usize) = (930, 440);
pub(crate) const INTROSPECTIONS: (usize, usize) = (92_000, 45_000);
pub(crate) const REFRESHING: (usize, usize) = (190, 1_200);
pub(crate) const REVOCATION: (usize, usize) = (590, 60);
pub(crate) const KEY_SET: usize = 1_000;

/// A step that a call can't do without.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Part {
    Echo((usize, usize)),
    HttpEcho(usize),
    Signing(Algorithm),
    Verification(Algorithm),
    /// Looking a token up.
    Hash,
    /// Opened, and the next one sealed.
    RefreshToken,
    /// Opened, and sealed.
    Record,
    /// Of a Redis what the client does.
    Store(Work, Backing),
    /// Of a commit what Redis does, where so many leave together.
    Script(u64),
}

impl Part {
    fn name(self) -> String {
        match self {
            Self::Echo(INTROSPECTION) => "gRPC echo, sizes of an introspection".to_owned(),
            Self::Echo(INTROSPECTIONS) => "gRPC echo, sizes of 100 introspections".to_owned(),
            Self::Echo(REFRESHING) => "gRPC echo, sizes of a refresh".to_owned(),
            Self::Echo((request, answer)) => format!("gRPC echo, {request} and {answer} bytes"),
            Self::HttpEcho(bytes) => format!("HTTP/1.1 echo, {bytes} bytes"),
            Self::Signing(algorithm) => format!("signing {}", algorithm.name()),
            Self::Verification(algorithm) => format!("verification {}", algorithm.name()),
            Self::Hash => "SHA-256 of a token".to_owned(),
            Self::RefreshToken => "refresh token opened, sealed".to_owned(),
            Self::Record => "record opened, sealed".to_owned(),
            Self::Store(work, Backing::Embedded) => format!("{}, embedded", work.name()),
            Self::Store(work, backing) => format!("{}{}, the client's part", work.name(), backing.name()),
            Self::Script(1) => "commit, the part of Redis (its processor time)".to_owned(),
            Self::Script(at_once) => format!("each of {at_once} commits at once, the part of Redis"),
        }
    }

    fn short(self) -> &'static str {
        match self {
            Self::Echo(_) | Self::HttpEcho(_) => "echo",
            Self::Signing(_) => "signing",
            Self::Verification(_) => "verification",
            Self::Hash => "SHA-256",
            Self::RefreshToken => "refresh token",
            Self::Record => "record",
            Self::Store(work, _) => work.name(),
            Self::Script(_) => "script",
        }
    }
}

/// Those measured so far in this round.
pub(crate) struct Parts<'a> {
    stores: &'a Stores,
    time: Duration,
    measured: Vec<(Part, Measured)>,
    /// At half of what it can do.
    half: Vec<(Part, Measured)>,
    echo: Option<Process>,
    /// Of the commits of this round.
    directory: PathBuf,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(stores: &'a Stores, round: usize, time: Duration) -> Self {
        let directory = stores.directory().join(format!("raw-{round}"));
        Self { stores, time, measured: Vec::new(), half: Vec::new(), echo: None, directory }
    }

    /// Has these measured anew when they are asked for: on a shared machine, a minute ago is another machine.
    pub(crate) fn forget(&mut self, parts: &[Part]) {
        self.measured.retain(|(part, _)| !parts.contains(part));
    }

    /// What several steps, one after the other, can't beat. What a Redis does meanwhile is measured beside it.
    pub(crate) async fn limit(&mut self, parts: &[Part]) -> Result<Limit, Failure> {
        let mut steps = Vec::new();
        if parts.contains(&Part::Store(Work::LoadAndCommit, Backing::Redis)) {
            for at_once in [1, 8] {
                self.measure(Part::Script(at_once)).await?;
            }
        }
        for part in parts {
            steps.push(self.measure(*part).await?);
        }
        let names: Vec<_> = parts.iter().map(|part| part.short()).collect();
        Ok(Limit::of(names.join(" + "), &steps))
    }

    /// The echo of these at half of its rate, if there is one.
    pub(crate) async fn echo_at_half_load(&mut self, parts: &[Part]) -> Result<Option<Measured>, Failure> {
        let Some(part @ Part::Echo(sizes)) = parts.iter().find(|part| matches!(part, Part::Echo(_))) else {
            return Ok(None);
        };
        if let Some((_, measured)) = self.half.iter().find(|(other, _)| other == part) {
            return Ok(Some(*measured));
        }
        let pace = Pace::Open { per_second: self.measure(*part).await?.per_second / 2.0 };
        let time = self.time;
        let measured = echo(self.echo_server().await?, *sizes, pace, time).await?;
        self.half.push((*part, measured));
        Ok(Some(measured))
    }

    /// A row of each.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.measured.iter().map(|(part, measured)| Row::new(Section::Limits, part.name(), *measured)).collect()
    }

    async fn measure(&mut self, part: Part) -> Result<Measured, Failure> {
        if let Some((_, measured)) = self.measured.iter().find(|(other, _)| *other == part) {
            return Ok(*measured);
        }
        let time = self.time;
        let measured = match part {
            Part::Echo(sizes) => echo(self.echo_server().await?, sizes, Pace::Closed, time).await?,
            Part::HttpEcho(bytes) => {
                let endpoint = Endpoint::http(format!("/{bytes}"));
                let callers = vec![Repeat::new("".into(), anything); CALLERS];
                load::run(self.echo_server().await?, &endpoint, callers, Pace::Closed, time).await?.0
            }
            Part::Signing(algorithm) => limits::sign(algorithm, time)?,
            Part::Verification(algorithm) => limits::verify(algorithm, time / 3)?,
            Part::Hash => {
                let token = [b'x'; 800];
                limits::on_all_cores(time / 3, || digest::digest(&digest::SHA256, &token).as_ref().len() == 32)
            }
            Part::RefreshToken => limits::refresh_tokens(time / 3)?,
            Part::Record => store_limits::sealing(time / 3).await?,
            Part::Store(work, Backing::Embedded) => store_limits::embedded(&self.directory, work, time)?,
            Part::Store(work, backing) => store_limits::redis(&self.stores.url(backing, "bench").await?, work, time)?,
            Part::Script(at_once) => script_limit::commits(at_once, time).await?,
        };
        self.measured.push((part, measured));
        Ok(measured)
    }

    async fn echo_server(&mut self) -> Result<&Process, Failure> {
        match &mut self.echo {
            Some(server) => Ok(server),
            none => Ok(none.insert(Process::echo(self.stores.directory()).await?)),
        }
    }
}

async fn echo(server: &Process, sizes: (usize, usize), pace: Pace, time: Duration) -> Result<Measured, Failure> {
    let callers = || vec![Repeat::echo(sizes); CALLERS];
    let endpoint = Endpoint::grpc(echo::METHOD);
    load::run(server, &endpoint, callers(), Pace::Closed, time / 5).await?;
    Ok(load::run(server, &endpoint, callers(), pace, time).await?.0)
}
