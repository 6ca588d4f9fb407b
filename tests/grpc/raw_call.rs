//! One unary call of any method with any bytes for a message, as far as the head of its answer.

use std::future::poll_fn;

use http::{Request, Response};
use http_body_util::Full;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::transport::Channel;
use tower::Service as _;

/// `method`: `package.Service/Method`. An error is one of the connection.
pub(crate) async fn send(
    mut channel: Channel,
    method: &str,
    authorization: Option<&str>,
    message: &[u8],
) -> Result<Response<Body>, String> {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let frame = Bytes::from([&[0][..], &length, message].concat());
    let mut request = Request::post(format!("https://127.0.0.1/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    poll_fn(|context| channel.poll_ready(context)).await.map_err(|error| error.to_string())?;
    let answer = channel.call(request.body(Body::new(Full::new(frame))).expect("a request")).await;
    answer.map_err(|error| error.to_string())
}
