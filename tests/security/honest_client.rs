//! The honest client beside a flood, as a process of its own: this test binary again, so that what the
//! flood costs its sender slows nobody down. Told what to do line by line on its standard input.

use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::time::MissedTickBehavior;
use tonic::transport::Channel;

use super::scene::endpoint;

/// Between calls: a client, not a flood.
const PACE: Duration = Duration::from_millis(5);
/// Of the calls, one is a refresh, which is a commit; the others introspect.
const REFRESH_EVERY: usize = 20;

/// The process, and the lines to and from it.
pub(crate) struct HonestClient {
    process: Child,
    /// `None` once it is told to end.
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStderr>,
}

/// How it was served.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) calls: usize,
    pub(crate) p99: Duration,
    pub(crate) slowest: Duration,
}

impl HonestClient {
    /// Starts one; returns once it has been served. The directory holds certificates where they are
    /// demanded.
    pub(crate) fn start(url: &str, certificates: Option<&Path>) -> Self {
        let mut process = Command::new(env::current_exe().expect("this binary"))
            .args(["honest_client::calls_until_its_input_ends", "--exact", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let orders = process.stdin.take();
        let reports = BufReader::new(process.stderr.take().expect("piped"));
        let mut client = Self { process, orders, reports };
        client.order(url);
        client.order(&certificates.map(|path| path.display().to_string()).unwrap_or_default());
        client.report();
        client
    }

    /// How it was served since the last report.
    pub(crate) fn report(&mut self) -> Report {
        self.order("report");
        let mut line = String::new();
        self.reports.read_line(&mut line).expect("piped");
        let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [calls, p99, slowest] = numbers[..] else {
            io::Read::read_to_string(&mut self.reports, &mut line).expect("piped");
            panic!("the honest client was not served:\n{line}");
        };
        let calls = usize::try_from(calls).expect("small");
        Report { calls, p99: Duration::from_micros(p99), slowest: Duration::from_micros(slowest) }
    }

    /// Ends it, once the call under way is answered.
    pub(crate) fn end(mut self) {
        self.orders = None;
        assert!(self.process.wait().expect("ends").success());
    }

    fn order(&mut self, line: &str) {
        // It has ended if nobody takes this; what it said last is in the report.
        let _ = writeln!(self.orders.as_mut().expect("not told to end"), "{line}");
    }
}

impl Drop for HonestClient {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The other end of `HonestClient`. Every call has to be served.
#[tokio::test]
#[ignore = "no test but the process that HonestClient starts"]
async fn calls_until_its_input_ends() {
    let (order, orders) = mpsc::channel();
    std::thread::spawn(move || io::stdin().lines().map_while(Result::ok).try_for_each(|line| order.send(line)));
    let url = orders.recv().expect("a URL");
    let certificates = orders.recv().expect("a directory or nothing");
    let certificates = (!certificates.is_empty()).then(|| Path::new(&certificates));
    let mut tokens = TokenServiceClient::new(endpoint(&url, certificates).connect().await.expect("connects"));
    let login = v1::IssueTokenRequest { subject: "honest".into(), ..Default::default() };
    let mut pair = tokens.issue_token(login).await.expect("issues").into_inner().tokens.expect("tokens");
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut took = Vec::new();
    loop {
        pace.tick().await;
        let begun = Instant::now();
        if took.len() % REFRESH_EVERY == 0 {
            let refresh = v1::RefreshTokenRequest { refresh_token: pair.refresh_token.clone(), ..Default::default() };
            pair = tokens.refresh_token(refresh).await.expect("refreshes").into_inner().tokens.expect("tokens");
        } else {
            assert!(is_active(&mut tokens, &pair.access_token).await);
        }
        took.push(begun.elapsed());
        match orders.try_recv() {
            Ok(_) => {
                took.sort_unstable();
                let (p99, slowest) = (took[(took.len() * 99).div_ceil(100) - 1], took[took.len() - 1]);
                eprintln!("{} {} {}", took.len(), p99.as_micros(), slowest.as_micros());
                took.clear();
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

async fn is_active(tokens: &mut TokenServiceClient<Channel>, token: &str) -> bool {
    let request = v1::IntrospectTokenRequest { token: token.to_owned(), ..Default::default() };
    let call = tokio::time::timeout(Duration::from_secs(10), tokens.introspect_token(request)).await;
    call.expect("in time").expect("served").into_inner().active
}
