//! One conversation with a server: bytes go out, bytes come back, by gRPC or by HTTP/1.1. As little as a
//! client can do, so that the load generator costs less than what it measures. Knows no tokens.

use std::net::SocketAddr;

use h2::client::SendRequest;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::codegen::Bytes;

use crate::Failure;

/// Connections of gRPC; each carries the calls of many. Over HTTP/1.1 everybody has one.
pub(crate) const CONNECTIONS: usize = 4;
/// The byte of compression and the length before a message.
const PREFIX: usize = 5;

/// What is called, and as whom.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    pub(crate) path: String,
    authorization: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    /// Posted to as a form, if there is something to say.
    Http,
}

impl Endpoint {
    pub(crate) fn grpc(method: &str) -> Self {
        Self { protocol: Protocol::Grpc, path: method.to_owned(), authorization: None }
    }

    pub(crate) fn http(path: impl Into<String>) -> Self {
        Self { protocol: Protocol::Http, path: path.into(), authorization: None }
    }

    /// The value of the header.
    pub(crate) fn authorized(self, authorization: &str) -> Self {
        Self { authorization: Some(authorization.to_owned()), ..self }
    }

    fn head(&self, server: SocketAddr) -> Result<Box<http::request::Parts>, Failure> {
        let request = match self.protocol {
            Protocol::Grpc => http::Request::post(format!("http://{server}{}", self.path))
                .header("content-type", "application/grpc")
                .header("te", "trailers"),
            Protocol::Http => http::Request::post(&self.path)
                .header("host", server.to_string())
                .header("content-type", "application/x-www-form-urlencoded"),
        };
        let request = match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        };
        Ok(Box::new(request.body(())?.into_parts().0))
    }
}

/// One side of conversations, and what keeps them going.
pub(crate) struct Wires {
    pub(crate) wires: Vec<Wire>,
    /// Ends them when dropped.
    _connections: JoinSet<()>,
}

pub(crate) enum Wire {
    Grpc { send: SendRequest<Bytes>, head: Box<http::request::Parts> },
    Http { send: http1::SendRequest<Full<Bytes>>, head: Box<http::request::Parts> },
}

impl Wires {
    /// Connects so many callers.
    pub(crate) async fn connect(server: SocketAddr, endpoint: &Endpoint, callers: usize) -> Result<Self, Failure> {
        let (mut connections, head) = (JoinSet::new(), endpoint.head(server)?);
        let mut wires = Vec::new();
        match endpoint.protocol {
            Protocol::Grpc => {
                let mut senders = Vec::new();
                for _ in 0..CONNECTIONS {
                    let mut builder = h2::client::Builder::new();
                    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
                    let (send, connection) = builder.handshake(stream(server).await?).await?;
                    connections.spawn(async move { drop(connection.await) });
                    senders.push(send);
                }
                let shared = senders.iter().cycle().take(callers);
                wires.extend(shared.map(|send| Wire::Grpc { send: send.clone(), head: head.clone() }));
            }
            Protocol::Http => {
                for _ in 0..callers {
                    let (send, connection) = http1::handshake(TokioIo::new(stream(server).await?)).await?;
                    connections.spawn(async move { drop(connection.await) });
                    wires.push(Wire::Http { send, head: head.clone() });
                }
            }
        }
        Ok(Self { wires, _connections: connections })
    }
}

impl Wire {
    /// Asks and waits; the error says what was answered instead.
    pub(crate) async fn call(&mut self, message: Bytes) -> Result<Bytes, String> {
        match self {
            Self::Grpc { send, head } => grpc(send, head, &message).await,
            Self::Http { send, head } => form(send, head, message).await,
        }
    }
}

async fn stream(server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn grpc(send: &SendRequest<Bytes>, head: &http::request::Parts, message: &[u8]) -> Result<Bytes, String> {
    let text = |error: h2::Error| error.to_string();
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    framed.extend_from_slice(&u32::try_from(message.len()).map_err(|error| error.to_string())?.to_be_bytes());
    framed.extend_from_slice(message);
    let mut ready = send.clone().ready().await.map_err(text)?;
    let request = http::Request::from_parts(head.clone(), ());
    let (answer, mut out) = ready.send_request(request, false).map_err(text)?;
    out.send_data(framed.into(), true).map_err(text)?;
    let (head, mut body) = answer.await.map_err(text)?.into_parts();
    let mut pieces = Vec::with_capacity(1);
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(text)?;
        body.flow_control().release_capacity(piece.len()).map_err(text)?;
        pieces.push(piece);
    }
    let trailers = body.trailers().await.map_err(text)?;
    match Status::from_header_map(trailers.as_ref().unwrap_or(&head.headers)) {
        Some(status) if status.code() == tonic::Code::Ok => {}
        Some(status) => return Err(status.to_string()),
        None => return Err(format!("HTTP {}, no status of gRPC", head.status)),
    }
    let mut answer = if pieces.len() == 1 { pieces.remove(0) } else { pieces.concat().into() };
    if answer.len() < PREFIX {
        return Err("no message".to_owned());
    }
    Ok(answer.split_off(PREFIX))
}

async fn form(
    send: &mut http1::SendRequest<Full<Bytes>>,
    head: &http::request::Parts,
    form: Bytes,
) -> Result<Bytes, String> {
    let mut head = head.clone();
    if form.is_empty() {
        head.method = http::Method::GET;
    }
    send.ready().await.map_err(|error| error.to_string())?;
    let request = http::Request::from_parts(head, Full::new(form));
    let answer = send.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    if head.status != http::StatusCode::OK {
        return Err(format!("HTTP {}: {}", head.status, String::from_utf8_lossy(&body)));
    }
    Ok(body)
}
