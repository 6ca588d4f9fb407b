//! Traces as a collector gets them: which calls, under which trace, with which attributes.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::collector::{Collector, attributes};
use crate::server_process::ServerProcess;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

async fn channel(server: &ServerProcess) -> Channel {
    Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects")
}

fn traced<T>(message: T, flags: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE}-{SPAN}-{flags}").parse().expect("ASCII");
    request.metadata_mut().insert("traceparent", parent);
    request.metadata_mut().insert("tracestate", "vendor=of-a-stranger".parse().expect("ASCII"));
    request
}

fn login() -> v1::IssueTokenRequest {
    v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() }
}

/// A call of a path that nobody serves, or of a streaming method, with an empty message.
async fn call(channel: &Channel, path: &'static str) -> Code {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = PathAndQuery::from_static(path);
    grpc.unary(traced((), "01"), path, codec).await.expect_err("refused").code()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_call_is_a_span_of_its_callers_trace() {
    let collector = Collector::start().await;
    let mut server = ServerProcess::start(&["--otlp-endpoint", &collector.endpoint(), "--trace-ratio", "0"]);
    let channel = channel(&server).await;
    let mut tokens = TokenServiceClient::new(channel.clone());

    tokens.issue_token(traced(login(), "01")).await.expect("issues");
    tokens.issue_token(traced(v1::IssueTokenRequest::default(), "01")).await.expect_err("no subject");
    assert_eq!(call(&channel, "/token_authority.v1.SessionService/WatchSessions").await, Code::InvalidArgument);
    assert_eq!(call(&channel, "/token_authority.v1.TokenService/Ann+4917012345").await, Code::Unimplemented);
    assert_eq!(call(&channel, "/secret.of.ann/+4917012345").await, Code::Unimplemented);
    // None of these is sampled: the caller's flag, no caller and a ratio of 0, a malformed caller, a probe.
    tokens.issue_token(traced(login(), "00")).await.expect("issues");
    tokens.issue_token(login()).await.expect("issues");
    tokens.issue_token(traced(login(), "1")).await.expect("issues");
    let probe = traced(HealthCheckRequest { service: String::new() }, "01");
    HealthClient::new(channel.clone()).check(probe).await.expect("answers");
    server.terminate();

    let spans = collector.spans();
    let seen: Vec<_> = spans.iter().map(|span| (span.name.as_str(), attributes(&span.attributes))).collect();
    let expected = |name, method: &str, code: &str, error: Option<&str>| {
        let mut all: Vec<_> = error.map(|error| format!("error.type={error}")).into_iter().collect();
        all.extend([
            format!("rpc.method={method}"),
            format!("rpc.response.status_code={code}"),
            "rpc.system.name=grpc".to_owned(),
        ]);
        (name, all)
    };
    let issue = "token_authority.v1.TokenService/IssueToken";
    let watch = "token_authority.v1.SessionService/WatchSessions";
    assert_eq!(
        seen,
        [
            expected(issue, issue, "OK", None),
            expected(issue, issue, "INVALID_ARGUMENT", None),
            expected(watch, watch, "INVALID_ARGUMENT", None),
            expected("grpc", "_OTHER", "UNIMPLEMENTED", Some("UNIMPLEMENTED")),
            expected("grpc", "_OTHER", "UNIMPLEMENTED", Some("UNIMPLEMENTED")),
        ]
    );
    for span in &spans {
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), SPAN.to_owned()));
        assert_eq!(span.kind(), SpanKind::Server);
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
        assert!(span.events.is_empty() && span.links.is_empty() && span.trace_state.is_empty(), "{span:?}");
        let failed = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
        assert_eq!(failed, span.attributes.iter().any(|attribute| attribute.key == "error.type"), "{span:?}");
    }
    let resource = collector.exports()[0].resource_spans[0].resource.clone().expect("a resource");
    let service = resource.attributes.iter().find(|attribute| attribute.key == "service.name").cloned();
    assert_eq!(attributes(service.as_slice()), ["service.name=token-authority"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_caller_start_traces_of_their_own() {
    let collector = Collector::start().await;
    let mut server = ServerProcess::start(&["--otlp-endpoint", &collector.endpoint(), "--trace-ratio", "1"]);
    let mut tokens = TokenServiceClient::new(channel(&server).await);
    tokens.issue_token(login()).await.expect("issues");
    tokens.issue_token(login()).await.expect("issues");
    tokens.issue_token(traced(login(), "00")).await.expect("issues");
    server.terminate();
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "whoever calls decides for what follows: {spans:?}");
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty()));
    assert_ne!(spans[0].trace_id, spans[1].trace_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_its_caller_gave_up_ends_cancelled() {
    let collector = Collector::start().await;
    let mut server = ServerProcess::start(&["--otlp-endpoint", &collector.endpoint(), "--trace-ratio", "1"]);
    // With its runtime the client is gone, connection and all, while the server waits for a message.
    let endpoint = server.endpoint();
    let client = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let channel = Channel::from_shared(endpoint).expect("an address").connect().await.expect("connects");
            let endless = futures::stream::pending();
            ServerReflectionClient::new(channel).server_reflection_info(endless).await.expect("a stream");
        });
    };
    std::thread::spawn(client).join().expect("answered");
    server.terminate();
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:?}");
    let said = attributes(&spans[0].attributes);
    assert!(said.contains(&"rpc.response.status_code=CANCELLED".to_owned()), "{said:?}");
    assert!(said.iter().all(|attribute| !attribute.starts_with("error.type")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_silent_costs_no_call_and_little_of_the_stop() {
    // One port where nobody listens, one where nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = (format!("http://{}", silent.local_addr().expect("an address")), silent);
    for (endpoint, said) in [("http://127.0.0.1:1", "ExportError"), (&silent.0, "could not be exported")] {
        let mut server = ServerProcess::start(&["--otlp-endpoint", endpoint, "--trace-ratio", "1"]);
        let mut tokens = TokenServiceClient::new(channel(&server).await);
        tokens.issue_token(login()).await.expect("issues");
        drop(tokens);
        let began = Instant::now();
        server.terminate();
        assert!(began.elapsed() < Duration::from_secs(10), "{endpoint}: {:?}", began.elapsed());
        server.wait_for_line(said, Duration::ZERO);
    }
}
