//! `/metrics`: what was measured, as Prometheus reads it (OpenMetrics text); and the measure of this edge
//! itself, by the HTTP conventions of OpenTelemetry. A label never has what a client made up.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::Edge;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

/// Observes requests.
#[derive(Debug, Clone)]
pub(super) struct RequestMeter(Family<Labels, Histogram, fn() -> Histogram>);

impl RequestMeter {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let family = Family::<_, _, fn() -> Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let help = "Duration of HTTP requests, by route and status";
        registry.register_with_unit("http_server_request_duration", help, Unit::Seconds, family.clone());
        Self(family)
    }
}

pub(super) async fn metrics(State(edge): State<Edge>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &edge.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Measures a request that a route takes.
pub(super) async fn measured(State(meter): State<RequestMeter>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let http_request_method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => "_OTHER",
    };
    let route = request.extensions().get::<MatchedPath>();
    let http_route = route.map(|route| route.as_str().to_owned()).unwrap_or_default();
    let answer = next.run(request).await;
    let labels = Labels { http_request_method, http_route, http_response_status_code: answer.status().as_u16() };
    meter.0.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    answer
}
