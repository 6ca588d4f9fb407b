//! A gRPC client without manners: sends any bytes as a message, takes answers only if it is told to,
//! and leaves deadlines to the server.

use std::net::SocketAddr;
use std::time::Duration;

use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::codegen::Bytes;

/// A connection. Ends when it is dropped.
pub(crate) struct RawClient {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl RawClient {
    /// Takes answers as they come.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::with_window(address, 1 << 20).await
    }

    /// Takes `window` bytes of each answer, and then no more, though it answers each ping.
    pub(crate) async fn with_window(address: SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.expect("connects");
        let mut builder = h2::client::Builder::new();
        let (send, connection) = builder.initial_window_size(window).handshake(stream).await.expect("HTTP/2");
        Self { send, driver: tokio::task::spawn(connection) }
    }

    /// Sends a call with everything that it has to say.
    pub(crate) async fn begin(&mut self, path: &str, metadata: &[(&str, &str)], message: &[u8]) -> ResponseFuture {
        let (answer, mut body) = self.open(path, metadata).await;
        // It may be refused before all of it is there.
        let _ = body.send_data(framed(message), true);
        answer
    }

    /// Opens a call that has not said anything yet.
    pub(crate) async fn open(&mut self, path: &str, metadata: &[(&str, &str)]) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = Request::post(format!("http://authority{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let mut ready = self.send.clone().ready().await.expect("a stream");
        ready.send_request(request.body(()).expect("a request"), false).expect("sends")
    }

    /// Makes a call and takes the answer; `Ok` holds the message with its prefix.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        metadata: &[(&str, &str)],
        message: &[u8],
    ) -> Result<Bytes, Status> {
        taken(self.begin(path, metadata, message).await).await
    }

    /// Waits until no call may be opened any more; why.
    pub(crate) async fn told_to_go(&self) -> h2::Error {
        loop {
            if let Err(error) = self.send.clone().ready().await {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(mut self) {
        let _ = (&mut self.driver).await;
    }
}

/// A message as a call carries it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// Takes an answer; `Ok` holds the message with its prefix.
pub(crate) async fn taken(answer: ResponseFuture) -> Result<Bytes, Status> {
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let (head, mut body) = answer.into_parts();
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        body.flow_control().release_capacity(data.len()).expect("released");
        message.extend(data);
    }
    let trailers = body.trailers().await.expect("trailers");
    let status = Status::from_header_map(trailers.as_ref().unwrap_or(&head.headers)).expect("a status");
    if status.code() == tonic::Code::Ok { Ok(message.into()) } else { Err(status) }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
