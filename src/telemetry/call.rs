//! A measure of each call and a span for each sampled one, by the current RPC conventions of
//! OpenTelemetry. Sees the method's name, `traceparent` and the status, never a message, and says nothing
//! that a client worded.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use prost_reflect::DescriptorPool;
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::call_meter::{CallMeter, MethodMeter, OK, reason};
use super::trace_parent::TraceParent;
use crate::config::{TraceConfig, TraceRatio};
use crate::proto::v1::ErrorReason;

/// What the spans of calls, and they alone, have as their target.
pub(super) const TARGET: &str = "token_authority::call";
/// Asked every few seconds by every probe.
const HEALTH: &str = "grpc.health.v1.Health/";
/// Services that have no descriptor of ours.
const FOREIGN: [&str; 3] = [
    "envoy.service.auth.v3.Authorization/Check",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// Instead of names that clients make up: an attribute has as many values as there are methods.
const OTHER: &str = "_OTHER";
/// Made once: as text, it would be checked in each head and each trailer.
static STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// By number.
const CODES: [&str; 17] = [
    OK,
    "CANCELLED",
    UNKNOWN,
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const UNKNOWN: &str = "UNKNOWN";
const CANCELLED: &str = "CANCELLED";
/// Codes that are the server's failure; the others are the caller's, and no error of this span.
const FAILURES: [&str; 6] = [UNKNOWN, "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// Measures calls, and traces them if traces are exported.
#[derive(Debug, Clone)]
pub struct Calls(Arc<Observer>);

#[derive(Debug)]
struct Observer {
    /// `None`: no call is traced.
    ratio: Option<TraceRatio>,
    /// By `package.Service/Method`.
    methods: HashMap<String, Arc<MethodMeter>>,
    /// Of methods that clients make up.
    others: Arc<MethodMeter>,
}

impl Calls {
    /// For the methods of an encoded `google.protobuf.FileDescriptorSet`, and foreign ones.
    pub fn new(config: &TraceConfig, descriptors: &[u8], meter: &CallMeter) -> Self {
        let pool = DescriptorPool::decode(descriptors).unwrap_or_default();
        let methods = pool.services().flat_map(|service| {
            let name = service.full_name().to_owned();
            service.methods().map(move |method| format!("{name}/{}", method.name())).collect::<Vec<_>>()
        });
        let methods = methods.chain(FOREIGN.map(str::to_owned));
        let methods = methods.map(|method| (method.clone(), Arc::new(meter.of(&method)))).collect();
        let ratio = config.otlp_endpoint.as_ref().map(|_| config.ratio);
        Self(Arc::new(Observer { ratio, methods, others: Arc::new(meter.of(OTHER)) }))
    }

    fn call(&self, path: &str, headers: &HeaderMap) -> Option<Call> {
        let observer = &self.0;
        let method = path.strip_prefix('/').unwrap_or(path);
        if method.starts_with(HEALTH) {
            return None;
        }
        let known = observer.methods.get_key_value(method);
        let span = observer.span(known.map(|(name, _)| name.as_str()), headers);
        let meter = known.map_or(&observer.others, |(_, meter)| meter).clone();
        Some(Call { span, meter, started: Instant::now(), ended: false })
    }
}

impl Observer {
    /// The span of a call, if it is sampled: decided first, since a span that is thrown away costs
    /// as much as twenty decisions.
    fn span(&self, method: Option<&str>, headers: &HeaderMap) -> Option<Span> {
        let ratio = self.ratio?;
        let parent = TraceParent::of(headers);
        let sampled = parent.map_or_else(|| ratio.takes(random()), |parent| parent.sampled);
        sampled.then(|| span(method, parent))
    }
}

/// The half of a new trace's id by which ratios go: as random as the one that the span will get.
fn random() -> u64 {
    let id = RandomIdGenerator::default().new_trace_id().to_bytes();
    id.last_chunk().map_or(0, |half| u64::from_be_bytes(*half))
}

fn span(method: Option<&str>, parent: Option<TraceParent>) -> Span {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "call",
        otel.name = method.unwrap_or("grpc"),
        otel.kind = "server",
        otel.status_code = Empty,
        "rpc.system.name" = "grpc",
        "rpc.method" = method.unwrap_or(OTHER),
        "rpc.response.status_code" = Empty,
        "error.type" = Empty,
    );
    if let Some(parent) = parent {
        // Fails where nobody exports; then there is nothing to tell either.
        let _ = span.set_parent(parent.context());
    }
    span
}

/// A call under way. Its span ends with it.
struct Call {
    span: Option<Span>,
    meter: Arc<MethodMeter>,
    started: Instant,
    ended: bool,
}

impl Call {
    /// Takes the status, if these headers or trailers have one.
    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(&STATUS) {
            let number = status.to_str().ok().and_then(|text| text.parse::<usize>().ok());
            self.end(number.and_then(|number| CODES.get(number)).copied().unwrap_or(UNKNOWN), reason(headers));
        }
    }

    /// Notes how the call ended, unless that is known already.
    fn end(&mut self, code: &'static str, reason: Option<ErrorReason>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.meter.observe(code, reason, self.started.elapsed());
        if let Some(span) = &self.span {
            span.record("rpc.response.status_code", code);
            if FAILURES.contains(&code) {
                span.record("error.type", code);
                span.record("otel.status_code", "ERROR");
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // Nobody waits for the rest of the answer any more.
        self.end(CANCELLED, None);
    }
}

impl<S> Layer<S> for Calls {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner, calls: self.clone() }
    }
}

/// A service whose calls are observed.
#[derive(Debug, Clone)]
pub struct Traced<S> {
    inner: S,
    calls: Calls,
}

impl<S, A, B> Service<Request<A>> for Traced<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Unpin,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let call = self.calls.call(request.uri().path(), request.headers());
        Answering { answering: self.inner.call(request), call }
    }
}

/// An answer to come.
pub struct Answering<F> {
    answering: F,
    call: Option<Call>,
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>> + Unpin,
{
    type Output = Result<Response<Answer<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answering).poll(context));
        let mut call = self.call.take();
        match (&answer, &mut call) {
            // A refusal has no message, so that its status stands in the head.
            (Ok(answer), Some(call)) => call.hear(answer.headers()),
            (Err(_), Some(call)) => call.end(UNKNOWN, None),
            (_, None) => {}
        }
        Poll::Ready(answer.map(|answer| answer.map(|body| Answer { body, call })))
    }
}

/// The body of an answer, with the status in its trailers.
pub struct Answer<B> {
    body: B,
    call: Option<Call>,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(call) = &mut self.call {
            match &frame {
                Some(Ok(frame)) => frame.trailers_ref().into_iter().for_each(|trailers| call.hear(trailers)),
                Some(Err(_)) | None => call.end(UNKNOWN, None),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
