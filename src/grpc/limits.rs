//! What a peer may ask of the server, whatever it calls: how large a request, for how long, and how
//! many at a time. Looks at a method's name and at sizes, never into a message.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use prost_reflect::DescriptorPool;
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Bytes};
use tower::{Layer, Service};

use crate::domain::policy::REQUEST_DEADLINE;

use crate::listener::{Peer, Scarce};
use crate::proto::FILE_DESCRIPTOR_SET;

use super::answer::Answer;
use super::bound::Bound;
use super::ext_authz::EXT_AUTHZ;
use super::status::{deadline_exceeded, overloaded, too_large};

/// A token is at most 8 KiB, claims 4: nothing needs more.
const MAX_REQUEST_BYTES: usize = 64 << 10;
/// A batch of a thousand tokens. What the services decode at most.
pub const MAX_BATCH_BYTES: usize = 4 << 20;
const BATCHES: [&str; 2] =
    ["/token_authority.v1.TokenService/BatchIntrospectTokens", "/token_authority.v1.TokenService/BatchRevokeTokens"];
/// Calls under way.
const IN_FLIGHT: usize = 4_096;
/// Batches under way: each may hold its 4 MiB while its last byte is awaited.
const BATCHES_IN_FLIGHT: usize = 32;
/// Of these, one connection has at most so many: whoever sends as slowly as it may leaves places for others.
const BATCHES_OF_ONE_PEER: usize = 8;
/// Streams that one connection has open, of those that `OpenStreams` has for all.
const STREAMS_OF_ONE_PEER: usize = 64;
/// Probes get their answer while everything else is refused.
const PROBES: &str = "/grpc.health.v1.Health/";

/// Applies the limits to every call.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    in_flight: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    /// By path.
    methods: HashMap<String, Method>,
    /// For callers that set none of their own, and the most that a caller gets.
    deadline: Duration,
}

/// What matters here of a method. One that clients make up may be anything.
#[derive(Debug, Clone, Copy, Default)]
struct Method {
    is_batch: bool,
    /// Answers once. Only such a one has an end to wait for.
    is_unary: bool,
    /// Is asked by message after message: each is bounded, not all together.
    is_asked_on: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self(Arc::new(Inner {
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            batches: Arc::new(Semaphore::new(BATCHES_IN_FLIGHT)),
            methods: methods(),
            deadline: REQUEST_DEADLINE,
        }))
    }
}

impl<S> Layer<S> for Limits {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, limits: self.clone() }
    }
}

/// A service behind the limits.
#[derive(Debug, Clone)]
pub struct Limited<S> {
    inner: S,
    limits: Limits,
}

impl<S> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(PROBES) {
            return Box::pin(self.inner.call(request));
        }
        let limits = &self.limits.0;
        let method = limits.methods.get(request.uri().path()).copied().unwrap_or_default();
        let Method { is_batch, is_unary, is_asked_on } = method;
        let (places, most) =
            if is_batch { (&limits.batches, MAX_BATCH_BYTES) } else { (&limits.in_flight, MAX_REQUEST_BYTES) };
        let peer = request.extensions().get::<Peer>().cloned();
        let scarce = match (is_batch, is_unary) {
            (true, _) => Some((Scarce::Batch, BATCHES_OF_ONE_PEER)),
            (false, false) => Some((Scarce::Stream, STREAMS_OF_ONE_PEER)),
            (false, true) => None,
        };
        let share = match (&peer, scarce) {
            (Some(peer), Some((of, most))) => match peer.share(of, most) {
                None => return refuse(overloaded()),
                share => share,
            },
            _ => None,
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            return refuse(overloaded());
        };
        let deadline = limits.deadline.min(asked_deadline(request.headers()).unwrap_or(Duration::MAX));
        let bound = if is_asked_on { Bound::each(most) } else { Bound::all(most) };
        let answering = self.inner.call(request.map(|body| Body::new(Bounded { body, bound, most })));
        // Runs from here on: tonic keeps the same deadline by a timer of its own, made after this one,
        // and would answer CANCELLED.
        let answering = tokio::time::timeout(deadline, answering);
        Box::pin(async move {
            match answering.await {
                Err(_) => Ok(deadline_exceeded().into_http()),
                Ok(Ok(answer)) if answer.body().is_end_stream() => Ok(answer),
                Ok(Ok(answer)) if is_unary => {
                    // While the answer is in memory, the call counts as one under way.
                    let kept = (place, share, peer.map(|peer| peer.has_to_take()));
                    Ok(answer.map(|body| Body::new(Answer::new(body, kept))))
                }
                Ok(Ok(answer)) => Ok(answer.map(|body| Body::new(Answer::new(body, share)))),
            }
        })
    }
}

fn methods() -> HashMap<String, Method> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let ours = methods.map(|method| {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let is_asked_on = method.is_client_streaming();
        let is_unary = !is_asked_on && !method.is_server_streaming();
        let is_batch = BATCHES.contains(&path.as_str());
        (path, Method { is_batch, is_unary, is_asked_on })
    });
    ours.chain([(EXT_AUTHZ.to_owned(), Method { is_unary: true, ..Method::default() })]).collect()
}

fn refuse(status: Status) -> BoxFuture<Response<Body>, Infallible> {
    Box::pin(std::future::ready(Ok(status.into_http())))
}

/// `grpc-timeout`: up to eight digits and a unit. One that is malformed is no deadline.
fn asked_deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A request body that ends with an error once it is larger than its method allows, so that nobody
/// is made to hold what would be refused anyway.
struct Bounded {
    body: Body,
    bound: Bound,
    most: usize,
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !self.bound.admits(data)
        {
            return Poll::Ready(Some(Err(too_large(self.most))));
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

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[test]
    fn a_deadline_is_read_as_the_protocol_writes_it() {
        let read = |text: &str| {
            let headers = [("grpc-timeout".parse().expect("a name"), text.parse().expect("a value"))];
            asked_deadline(&headers.into_iter().collect())
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for malformed in ["", "m", "1", "1x", "123456789S", "-1S", "+1S", "1.5S"] {
            assert_eq!(read(malformed), None, "{malformed}");
        }
    }

    fn call(path: &str) -> Request<Body> {
        Request::builder().uri(path).body(Body::empty()).expect("a request")
    }

    fn code(response: &Response<Body>) -> Option<&str> {
        response.headers().get("grpc-status").map(|code| code.to_str().expect("text"))
    }

    fn one_at_a_time() -> Limits {
        let one = || Arc::new(Semaphore::new(1));
        let unary = Method { is_unary: true, ..Method::default() };
        let methods = HashMap::from([("/a.B/C".to_owned(), unary)]);
        Limits(Arc::new(Inner { in_flight: one(), batches: one(), methods, deadline: Duration::from_millis(20) }))
    }

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_limit_are_refused_and_probes_are_not() {
        let mut service = one_at_a_time().layer(tower::service_fn(|_| std::future::pending()));
        let first = service.call(call("/a.B/C"));
        let second = service.call(call("/a.B/C")).await.expect("answers");
        assert_eq!(code(&second), Some("8"), "RESOURCE_EXHAUSTED");
        let probe = service.call(call("/grpc.health.v1.Health/Check"));
        assert!(tokio::time::timeout(Duration::from_secs(1), probe).await.is_err(), "passed on");
        assert_eq!(code(&first.await.expect("answers")), Some("4"), "DEADLINE_EXCEEDED");
        let third = service.call(call("/a.B/C")).await.expect("answers");
        assert_eq!(code(&third), Some("4"), "its place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_runs_from_the_moment_at_which_the_call_arrives() {
        let mut service = one_at_a_time().layer(tower::service_fn(|_| std::future::pending()));
        let first = service.call(call("/a.B/C"));
        tokio::time::advance(Duration::from_millis(21)).await;
        let answer = tokio::time::timeout(Duration::ZERO, first).await.expect("at once").expect("answers");
        assert_eq!(code(&answer), Some("4"), "DEADLINE_EXCEEDED");
    }

    #[tokio::test]
    async fn one_connection_leaves_places_for_others() {
        let endless = |_| async {
            Ok(Response::new(Body::new(http_body_util::StreamBody::new(
                stream::pending::<Result<Frame<Bytes>, Status>>(),
            ))))
        };
        let mut service = Limits::default().layer(tower::service_fn(endless));
        let of = |peer: &Peer, path: &str| {
            let mut call = call(path);
            call.extensions_mut().insert(peer.clone());
            call
        };
        for (path, most) in [(BATCHES[0], BATCHES_OF_ONE_PEER), ("/a.B/Watch", STREAMS_OF_ONE_PEER)] {
            let (greedy, other) = (Peer::default(), Peer::default());
            let mut held = Vec::new();
            for _ in 0..most {
                let answer = service.call(of(&greedy, path)).await.expect("answers");
                assert_eq!(code(&answer), None, "{path}");
                held.push(answer);
            }
            let refused = service.call(of(&greedy, path)).await.expect("answers");
            assert_eq!(code(&refused), Some("8"), "{path}: RESOURCE_EXHAUSTED");
            let served = service.call(of(&other, path)).await.expect("answers");
            assert_eq!(code(&served), None, "{path}: another connection has its own");
            held.pop();
            let again = service.call(of(&greedy, path)).await.expect("answers");
            assert_eq!(code(&again), None, "{path}: its place is free again");
        }
    }

    #[tokio::test]
    async fn an_answer_keeps_its_place_until_it_is_taken() {
        let answer = |_| async { Ok(Response::new(Body::new("x".repeat(40_000)))) };
        let mut service = one_at_a_time().layer(tower::service_fn(answer));
        let mut first = service.call(call("/a.B/C")).await.expect("answers");
        let second = service.call(call("/a.B/C")).await.expect("answers");
        assert_eq!(code(&second), Some("8"), "RESOURCE_EXHAUSTED");
        let mut pieces = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| Pin::new(first.body_mut()).poll_frame(context)).await {
            pieces.push(frame.expect("a frame").into_data().expect("data").len());
        }
        assert_eq!(pieces, [16_384, 16_384, 7_232]);
        drop(first);
        for _ in 0..2 {
            let stream = service.call(call("/a.B/Watch")).await.expect("answers");
            assert_eq!(code(&stream), None, "a stream has no end to wait for");
        }
    }

    #[test]
    fn what_a_method_is_is_read_from_the_descriptors() {
        let methods = methods();
        assert!(BATCHES.iter().all(|batch| methods[*batch].is_unary && methods[*batch].is_batch));
        assert!(!methods["/token_authority.v1.TokenService/WatchRevocations"].is_unary);
        let asked_on: Vec<_> = methods.iter().filter(|(_, method)| method.is_asked_on).map(|(path, _)| path).collect();
        assert_eq!(asked_on, ["/token_authority.v1.TokenService/FollowRevocations"]);
    }
}
