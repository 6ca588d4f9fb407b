//! Who could reach the listeners, decided before either is bound. Knows no other setting.

use std::net::SocketAddr;

use super::Exposure;
use super::layers::Setting;
use super::problem::{Origin, Problem};

/// Notes listeners that strangers could reach, and two on one port.
pub(super) fn check(
    grpc: &Setting<SocketAddr>,
    http: &Setting<SocketAddr>,
    exposure: Exposure,
    problems: &mut Vec<Problem>,
) {
    for (setting, purpose) in [(grpc, "issue tokens"), (http, "use the HTTP side")] {
        let Some(address) = setting.value else { continue };
        if exposure == Exposure::LoopbackOnly && !address.ip().is_loopback() {
            let message = format!(
                "{address} is reachable from other machines, and this version has neither TLS nor caller \
                 authentication, so anybody there could {purpose}: listen on 127.0.0.1, or pass --insecure \
                 (server.insecure = true) if the network in front keeps strangers out"
            );
            problems.push(Problem { origin: setting.origin.clone(), message });
        }
    }
    if let (Some(one), Some(other)) = (grpc.value, http.value)
        && one == other
        && one.port() != 0
    {
        let message = format!("gRPC and HTTP would both listen on {other}: each needs a port of its own");
        let said = if http.origin == Origin::Default { grpc } else { http };
        problems.push(Problem { origin: said.origin.clone(), message });
    }
}
