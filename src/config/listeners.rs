//! Who could reach the listeners, decided before any is bound. Knows no other setting.

use std::net::SocketAddr;

use super::layers::Setting;
use super::problem::{Origin, Problem};
use super::{AnonymousCalls, Exposure, TlsMode};

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
            if exposure == Exposure::LoopbackOnly && tls == TlsMode::Off && !address.ip().is_loopback() {
                let message = format!(
                    "{address} is reachable from other machines, and in plaintext anybody on the way could read tokens \
                     and {purpose}: listen on 127.0.0.1, speak TLS (tls.certificate), or pass --insecure \
                     (server.insecure = true) if the network in front keeps strangers out"
                );
                problems.push(Problem { origin: setting.origin.clone(), message });
            }
        }
        self.check_distinct(problems);
    }

    /// Notes that whoever comes would be the operator where others than this machine's processes can come.
    pub(super) fn check_anonymous(
        &self,
        anonymous: &Setting<AnonymousCalls>,
        exposure: Exposure,
        tls: TlsMode,
        problems: &mut Vec<Problem>,
    ) {
        let local = self.grpc.value.is_none_or(|address| is_local(address, tls));
        if anonymous.value == Some(AnonymousCalls::Operator) && exposure == Exposure::LoopbackOnly && !local {
            let message = "calls without a proof act as the operator only where gRPC listens on 127.0.0.1 without TLS, \
                           or with --insecure (server.insecure = true)";
            problems.push(Problem { origin: anonymous.origin.clone(), message: message.to_owned() });
        }
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

/// Whether nobody but this machine's own processes gets in, and without a word about who they are.
pub(super) fn is_local(address: SocketAddr, tls: TlsMode) -> bool {
    address.ip().is_loopback() && tls == TlsMode::Off
}
