//! A gRPC client without manners: sends any bytes as a message, takes answers only if it is told to,
//! and leaves deadlines to the server.

use std::net::SocketAddr;

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
        let mut request = Request::post(format!("http://authority{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let length = u32::try_from(message.len()).expect("small").to_be_bytes();
        let body = Bytes::from([&[0][..], &length, message].concat());
        let mut ready = self.send.clone().ready().await.expect("a stream");
        let (answer, mut stream) = ready.send_request(request.body(()).expect("a request"), false).expect("sends");
        // It may be refused before all of it is there.
        let _ = stream.send_data(body, true);
        answer
    }

    /// Makes a call and takes the answer; `Ok` holds the message with its prefix.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        metadata: &[(&str, &str)],
        message: &[u8],
    ) -> Result<Bytes, Status> {
        let answer = self.begin(path, metadata, message).await.await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
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

    /// Waits until the server has closed the connection.
    pub(crate) async fn closed(mut self) {
        let _ = (&mut self.driver).await;
    }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
