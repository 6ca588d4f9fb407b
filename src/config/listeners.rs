//! Who could reach the listeners, decided before any is bound. Knows no other setting.

use std::net::SocketAddr;

use super::layers::Setting;
use super::problem::{Origin, Problem};
use super::{Exposure, TlsMode};

/// The addresses that are listened on.
pub(super) struct Addresses {
    pub(super) grpc: Setting<SocketAddr>,
    pub(super) http: Setting<SocketAddr>,
    /// Nobody listens where nothing is said.
    pub(super) health: Setting<SocketAddr>,
}

impl Addresses {
    /// Notes listeners that strangers could reach, and two on one port.
    pub(super) fn check(&self, exposure: Exposure, (grpc, http): (TlsMode, TlsMode), problems: &mut Vec<Problem>) {
        // Health may be reached by anybody: it says no more than whether the server is ready.
        for (setting, tls, purpose) in [(&self.grpc, grpc, "issue tokens"), (&self.http, http, "use the HTTP side")] {
            let Some(address) = setting.value else { continue };
            if exposure == Exposure::LoopbackOnly && tls != TlsMode::Mutual && !address.ip().is_loopback() {
                let message = format!(
                    "{address} is reachable from other machines, and only a required client certificate \
                     authenticates a caller, so anybody there could {purpose}: listen on 127.0.0.1, demand \
                     certificates (tls.client_ca, and \"mutual\"), or pass --insecure (server.insecure = true) if the \
                     network in front keeps strangers out"
                );
                problems.push(Problem { origin: setting.origin.clone(), message });
            }
        }
        self.check_distinct(problems);
    }

    fn check_distinct(&self, problems: &mut Vec<Problem>) {
        let named = [("gRPC", &self.grpc), ("HTTP", &self.http), ("health", &self.health)];
        for (index, (name, setting)) in named.iter().enumerate() {
            for (other_name, other) in &named[..index] {
                if let Some(address) = setting.value
                    && other.value == Some(address)
                    && address.port() != 0
                {
                    let message =
                        format!("{other_name} and {name} would both listen on {address}: each needs a port of its own");
                    let said = if setting.origin == Origin::Default { other } else { setting };
                    problems.push(Problem { origin: said.origin.clone(), message });
                }
            }
        }
    }
}
