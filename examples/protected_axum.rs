//! An HTTP service that lets in only bearers of a valid token, by header or by cookie.
//!
//! ```text
//! make run                                            # in another terminal
//! cargo run --example protected_axum
//! curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:7001/orders
//! ```

use std::error::Error;

use axum::routing::get;
use axum::{Extension, Router};
use token_authority::client::{ChannelOptions, Identity, Protect, Verifier, require_role, require_scope};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:7001").await?;
    serve(listener, "http://127.0.0.1:50051", "http://127.0.0.1:8080").await
}

pub(crate) async fn serve(listener: TcpListener, authority: &str, issuer: &str) -> Result<(), Box<dyn Error>> {
    let channel = ChannelOptions::default().balance(&[authority])?;
    let jwks = format!("{issuer}/.well-known/jwks.json").parse()?;
    let verifier = Verifier::builder(channel, issuer, "shop").jwks_url(jwks).build()?;
    let app = Router::new()
        .route("/orders", get(orders))
        .route("/refunds", get(orders).layer(require_role("support")))
        .route_layer(require_scope("read")?)
        .layer(Protect::new(verifier).or_cookie("access_token"));
    Ok(axum::serve(listener, app).await?)
}

async fn orders(Extension(who): Extension<Identity>) -> String {
    format!("for {}\n", who.subject().as_str())
}
