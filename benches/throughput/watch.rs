//! How soon whoever watches a subject's sessions at one server sees what happens at another, both on one Redis.

use std::time::Duration;

use token_authority::proto::v1;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::proto::v1::watch_sessions_response::Event;
use tokio::time::Instant;

use crate::Failure;
use crate::process::Process;
use crate::stores::{Backing, Stores};
use crate::table::{Bound, Figure};

const CHANGES: usize = 200;
const SEEN_WITHIN: Bound = Bound::AtMost(50.0);

/// From sending a refresh, so that the refresh itself is in it too.
pub(crate) async fn run(stores: &Stores) -> Result<Vec<Figure>, Failure> {
    let url = stores.url(Backing::Redis, "watch").await?;
    let here = Process::authority(stores.directory(), &url, &[]).await?;
    let there = Process::authority(stores.directory(), &url, &[]).await?;
    let mut tokens = TokenServiceClient::connect(format!("http://{}", here.grpc)).await?;
    let mut sessions = SessionServiceClient::connect(format!("http://{}", there.grpc)).await?;

    let login = v1::IssueTokenRequest { subject: "watched".into(), ..Default::default() };
    let mut pair = tokens.issue_token(login).await?.into_inner().tokens.ok_or("no tokens")?;
    let request = v1::WatchSessionsRequest { subject: "watched".into(), ..Default::default() };
    let mut watch = sessions.watch_sessions(request).await?.into_inner();
    watch.message().await?.ok_or("no snapshot")?;
    let mut seen = Vec::with_capacity(CHANGES);
    for _ in 0..CHANGES {
        let started = Instant::now();
        let request = v1::RefreshTokenRequest { refresh_token: pair.refresh_token, ..Default::default() };
        let refresh = async { Ok::<_, Failure>(tokens.refresh_token(request).await?.into_inner().tokens) };
        let change = async {
            loop {
                let message = watch.message().await?.ok_or("the watch ended")?;
                if matches!(message.event, Some(Event::Change(_))) {
                    return Ok(started.elapsed());
                }
            }
        };
        let (refreshed, elapsed) = tokio::try_join!(refresh, change)?;
        pair = refreshed.ok_or("no tokens")?;
        seen.push(elapsed);
    }
    seen.sort_unstable();
    let figure = |name: &str, at: usize| Figure::new(format!("watch: {name}"), millis(seen[at]), "ms");
    Ok(vec![
        figure("median from a refresh until a watcher at another server sees it", CHANGES / 2).bound(SEEN_WITHIN),
        figure("p99 of the same", CHANGES * 99 / 100),
    ])
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
