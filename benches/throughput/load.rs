//! The load generator: callers that each wait for an answer before they ask again, on a few connections.
//! Messages are bytes to it, whichever server it calls, so that its own part is always the same.

use std::net::SocketAddr;
use std::time::Duration;

use prost::bytes::{Buf as _, BufMut as _};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Bytes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::{Failure, process};

/// Connections, and callers on each.
pub(crate) const CONNECTIONS: usize = 4;
pub(crate) const CALLERS: usize = 64;

/// One that calls. Both ends of a conversation with the server are its own.
pub(crate) trait Caller: Send + 'static {
    /// The next request; `None` when there is nothing more to ask.
    fn request(&mut self) -> Option<Bytes>;

    /// Reads the answer; the error says what is wrong with it.
    fn answer(&mut self, answer: Bytes) -> Result<(), String>;
}

/// What was measured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    /// Processor time a call: the server's, or for work without one that of the whole process.
    pub(crate) cpu: Option<Duration>,
}

/// Connections to a server.
pub(crate) async fn connect(server: SocketAddr) -> Result<Vec<Channel>, Failure> {
    let mut channels = Vec::new();
    for _ in 0..CONNECTIONS {
        channels.push(Endpoint::from_shared(format!("http://{server}"))?.connect().await?);
    }
    Ok(channels)
}

/// Lets all callers call for a time, or until none has anything to ask, and gives them back.
pub(crate) async fn run<C: Caller>(
    server: &process::Process,
    channels: &[Channel],
    path: &'static str,
    callers: Vec<C>,
    time: Duration,
) -> Result<(Measured, Vec<C>), Failure> {
    let before = process::cpu(server.id());
    let start = Instant::now();
    let mut working = JoinSet::new();
    for (caller, channel) in callers.into_iter().zip(channels.iter().cycle()) {
        working.spawn(work(caller, Grpc::new(channel.clone()), path, start + time));
    }
    let mut callers = Vec::new();
    let mut latencies = Vec::new();
    while let Some(finished) = working.join_next().await {
        let (caller, own) = finished??;
        callers.push(caller);
        latencies.extend(own);
    }
    let took = start.elapsed();
    let cpu = process::cpu(server.id()).zip(before).map(|(after, before)| after.saturating_sub(before));
    Ok((measured(latencies, took, cpu), callers))
}

async fn work<C: Caller>(
    mut caller: C,
    mut client: Grpc<Channel>,
    path: &'static str,
    end: Instant,
) -> Result<(C, Vec<Duration>), String> {
    let mut latencies = Vec::new();
    let mut now = Instant::now();
    while now < end {
        let Some(request) = caller.request() else { break };
        client.ready().await.map_err(|error| error.to_string())?;
        let answer = client.unary(Request::new(request), http::uri::PathAndQuery::from_static(path), Raw).await;
        caller.answer(answer.map_err(|status| status.to_string())?.into_inner())?;
        let answered = Instant::now();
        latencies.push(answered - now);
        now = answered;
    }
    Ok((caller, latencies))
}

#[expect(clippy::cast_precision_loss, reason = "far fewer calls than a double counts")]
fn measured(mut latencies: Vec<Duration>, took: Duration, cpu: Option<Duration>) -> Measured {
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    let calls = u32::try_from(latencies.len()).unwrap_or(u32::MAX).max(1);
    Measured {
        per_second: latencies.len() as f64 / took.as_secs_f64(),
        median: at(50),
        p99: at(99),
        cpu: cpu.map(|cpu| cpu / calls),
    }
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
