//! How long calls take and how they end: one histogram, by the current RPC conventions of OpenTelemetry
//! in Prometheus' spelling. Each label has as many values as the API has names.

use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::HeaderMap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use prost::Message as _;

use crate::proto::v1::ErrorReason;

/// From what a cached introspection takes to the deadline of a call.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// How most calls end.
pub(super) const OK: &str = "OK";
/// What an answer without our reason has in its place.
const NONE: &str = "";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    rpc_system_name: &'static str,
    rpc_method: String,
    rpc_response_status_code: &'static str,
    /// The `ErrorReason` of a refusal.
    error_type: &'static str,
}

/// Observes calls.
#[derive(Debug, Clone)]
pub struct CallMeter(Family<Labels, Histogram, fn() -> Histogram>);

impl CallMeter {
    /// Registered where it is read.
    pub fn new(registry: &mut Registry) -> Self {
        let family = Family::<_, _, fn() -> Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let help = "Duration of calls, by method and how they ended";
        registry.register_with_unit("rpc_server_call_duration", help, Unit::Seconds, family.clone());
        Self(family)
    }

    /// For the calls of one method.
    pub(super) fn of(&self, method: &str) -> MethodMeter {
        MethodMeter { meter: self.clone(), method: method.to_owned(), answered: OnceLock::new() }
    }
}

/// Observes the calls of one method.
#[derive(Debug)]
pub(super) struct MethodMeter {
    meter: CallMeter,
    method: String,
    /// Where most calls go, found once.
    answered: OnceLock<Histogram>,
}

impl MethodMeter {
    pub(super) fn observe(&self, code: &'static str, reason: Option<ErrorReason>, took: Duration) {
        let took = took.as_secs_f64();
        match (code, reason) {
            (OK, None) => self.answered.get_or_init(|| self.histogram(OK, NONE)).observe(took),
            (_, None) => self.histogram(code, NONE).observe(took),
            (_, Some(reason)) => {
                let error_type = reason.as_str_name().trim_start_matches("ERROR_REASON_");
                self.histogram(code, error_type).observe(took);
            }
        }
    }

    fn histogram(&self, code: &'static str, error_type: &'static str) -> Histogram {
        self.meter.0.get_or_create_owned(&Labels {
            rpc_system_name: "grpc",
            rpc_method: self.method.clone(),
            rpc_response_status_code: code,
            error_type,
        })
    }
}

/// The reason that a refusal carries (`google.rpc.ErrorInfo`).
pub(super) fn reason(headers: &HeaderMap) -> Option<ErrorReason> {
    let encoded = headers.get("grpc-status-details-bin")?.as_bytes();
    let encoded = encoded.strip_suffix(b"==").or(encoded.strip_suffix(b"=")).unwrap_or(encoded);
    let status = tonic_types::Status::decode(STANDARD_NO_PAD.decode(encoded).ok()?.as_slice()).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.ErrorInfo"))?;
    let info = ErrorInfo::decode(info.value.as_slice()).ok()?;
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
}

/// As much of `google.rpc.ErrorInfo` as is read.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn the_reason_is_read_from_the_details_and_only_ours_is() {
        let headers = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "token-authority", [("a".into(), "b".into())]);
            let status = tonic::Status::with_error_details(tonic::Code::InvalidArgument, "no", details);
            let mut headers = HeaderMap::new();
            status.add_header(&mut headers).expect("headers");
            headers
        };
        assert_eq!(reason(&headers("SESSION_ENDED")), Some(ErrorReason::SessionEnded));
        assert_eq!(reason(&headers("MADE_UP")), None);
        assert_eq!(reason(&HeaderMap::new()), None);
        let garbage =
            HeaderMap::from_iter([("grpc-status-details-bin".parse().expect("a name"), HeaderValue::from_static("!"))]);
        assert_eq!(reason(&garbage), None);
    }
}
