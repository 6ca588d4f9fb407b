//! The two edges, each over its listener's connections: what a call passes from the outside in.

use std::convert::Infallible;
use std::sync::Arc;

use envoy_types::ext_authz::v3::pb::AuthorizationServer;
use futures::FutureExt as _;
use futures::stream::StreamExt as _;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tonic::transport;
use tonic_health::pb::health_server::{Health as HealthService, HealthServer};
use tonic_reflection::server::Error as ReflectionError;
use tower::util::MapFutureLayer;
use tracing::warn;

use crate::authority::Authority;
use crate::authority::attribution::attributed;
use crate::authority::caller::Anonymous;
use crate::config::{AnonymousCalls, Config};
use crate::health::Readiness;
use crate::listener::Listener;
use crate::proto::v1::key_service_server::KeyServiceServer;
use crate::proto::v1::otp_service_server::OtpServiceServer;
use crate::proto::v1::session_service_server::SessionServiceServer;
use crate::proto::v1::token_service_server::TokenServiceServer;
use crate::telemetry::call::Calls;
use crate::telemetry::call_meter::CallMeter;
use crate::{grpc, http, proto};

use super::StartError;
use super::lanes::{self, Lanes};

/// Serves gRPC until it is stopped.
pub(super) fn grpc(
    listener: Listener,
    config: &Config,
    authority: Arc<Authority>,
    health: HealthServer<impl HealthService>,
    calls: &CallMeter,
    threads: Lanes,
    stopped: watch::Receiver<bool>,
) -> Result<impl Future<Output = Result<(), String>> + Send + 'static, StartError> {
    let streams = grpc::OpenStreams::new(stopped.clone());
    let descriptors = [
        proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    grpc::check_rows(&descriptors, &[grpc::EXT_AUTHZ]).map_err(|no_row| StartError::Other(no_row.to_string()))?;
    let anonymous = anonymous(config);
    if anonymous == Anonymous::Nobody && config.clients.is_empty() {
        warn!("no realm has clients, so nobody may call: register some ([[realm.clients]])");
    }
    let gate = grpc::Gate::new(authority, anonymous);
    let server = http2(config)
        // What a call passes, from the outside in. Traced first, so that refused calls are too.
        .layer(Calls::new(&config.traces, proto::FILE_DESCRIPTOR_SET, calls))
        .layer(grpc::limits::Limits::default())
        .layer(MapFutureLayer::new(attributed))
        .layer(grpc::Introspections::new(gate.clone()))
        .add_service(health)
        .add_service(reflection().build_v1().map_err(|error| unbuilt(&error))?)
        .add_service(reflection().build_v1alpha().map_err(|error| unbuilt(&error))?)
        .add_service(
            TokenServiceServer::new(grpc::Tokens::new(gate.clone(), streams.clone()))
                .max_decoding_message_size(grpc::limits::MAX_BATCH_BYTES),
        )
        .add_service(KeyServiceServer::new(grpc::Keys::new(gate.clone())))
        .add_service(OtpServiceServer::new(grpc::Codes::new(gate.clone())))
        .add_service(
            SessionServiceServer::new(grpc::Sessions::new(gate.clone(), streams))
                .max_decoding_message_size(grpc::limits::MAX_BATCH_BYTES),
        )
        .add_service(AuthorizationServer::new(grpc::ExtAuthz::new(gate)));
    let (accepting, lanes) = listener.lanes(config.connections, lanes::count());
    let serving = lanes.into_iter().map(|connections| {
        let connections = connections.map(Ok::<_, Infallible>);
        let serving = server.clone().serve_with_incoming_shutdown(connections, until(stopped.clone()));
        async move { serving.await.map_err(|error| error.to_string()) }
    });
    let serving: Vec<_> = serving.collect();
    Ok(async move {
        let served = threads.run("grpc", serving);
        tokio::pin!(served);
        tokio::select! {
            ended = &mut served => return ended,
            () = accepting => {}
            // Drops the future that accepts, and the port with it.
            () = until(stopped) => {}
        }
        served.await
    })
}

/// Serves gRPC health alone until it is stopped.
pub(super) fn health(
    listener: Listener,
    config: &Config,
    health: HealthServer<impl HealthService>,
    stopped: watch::Receiver<bool>,
) -> impl Future<Output = Result<(), String>> + Send + 'static {
    let connections = listener.connections(config.connections).map(Ok::<_, Infallible>);
    let serving = http2(config).add_service(health).serve_with_incoming_shutdown(connections, until(stopped));
    async move { serving.await.map_err(|error| error.to_string()) }
}

fn http2(config: &Config) -> transport::Server {
    // A connection that lives is never still for the whole timeout.
    let ping = config.connections.peer_timeout / 3;
    transport::Server::builder()
        // Open by default; each a flood that was seen elsewhere.
        .max_concurrent_streams(256)
        .http2_max_header_list_size(16 * 1024)
        .http2_max_pending_accept_reset_streams(Some(32))
        .http2_max_local_error_reset_streams(Some(64))
        .http2_keepalive_interval(Some(ping))
        .http2_keepalive_timeout(Some(ping))
        // Clients come back to another instance behind a balancer of connections.
        .max_connection_age(config.connections.age)
}

/// Serves HTTP until it is stopped.
pub(super) fn http(
    listener: Listener,
    config: &Config,
    authority: Arc<Authority>,
    readiness: Readiness,
    registry: Registry,
    stopped: watch::Receiver<bool>,
) -> Result<impl Future<Output = Result<(), String>> + Send + 'static, StartError> {
    let limits = config.connections;
    let router = http::router(authority, readiness, registry);
    let router = router.map_err(|no_row| StartError::Other(no_row.to_string()))?;
    let serving = http::serve(listener.connections(limits), router, limits.peer_timeout, until(stopped));
    Ok(serving.map(Ok))
}

/// As whom a call over gRPC acts that shows nothing: as somebody only where nobody but this machine's
/// own processes can make it, or where the operator said that strangers are kept out.
fn anonymous(config: &Config) -> Anonymous {
    match (config.anonymous, config.lets_strangers_in() || config.grpc_is_local()) {
        (Some(AnonymousCalls::Nobody), _) | (_, false) => Anonymous::Nobody,
        (None, true) => Anonymous::OperatorWithoutClients,
        (Some(AnonymousCalls::Operator), true) => Anonymous::Operator,
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn unbuilt(error: &ReflectionError) -> StartError {
    StartError::Other(error.to_string())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the server was dropped: stop too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
