//! A first token: log in, look at the token, go on with the session. Uses the generated client alone,
//! as a service that calls the authority does (`default-features = false, features = ["client"]`).
//!
//! ```text
//! make run                                            # in another terminal
//! cargo run --example first_token [http://HOST:PORT]
//! ```

use std::error::Error;

use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::proto::v1::{IntrospectTokenRequest, IssueTokenRequest, RefreshTokenRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    first_token(std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:50051".to_owned())).await
}

#[allow(clippy::print_stdout, reason = "an example shows what it gets")]
pub(crate) async fn first_token(endpoint: String) -> Result<(), Box<dyn Error>> {
    let mut authority = TokenServiceClient::connect(endpoint).await?;

    let login = IssueTokenRequest {
        subject: "alice".to_owned(),
        audience: vec!["shop".to_owned()],
        scope: vec!["read".to_owned()],
        ..Default::default()
    };
    let tokens = authority.issue_token(login).await?.into_inner().tokens.ok_or("no tokens")?;
    println!("session {}", tokens.session_id);

    let token = tokens.access_token;
    let seen = authority.introspect_token(IntrospectTokenRequest { token, ..Default::default() }).await?.into_inner();
    println!("active: {}, subject: {}, scope: {}", seen.active, seen.subject, seen.scope.join(" "));

    // Each refresh token is good for one use; the answer brings the next.
    let refresh_token = tokens.refresh_token;
    let refresh = RefreshTokenRequest { refresh_token, ..Default::default() };
    let tokens = authority.refresh_token(refresh).await?.into_inner().tokens.ok_or("no tokens")?;
    println!("refreshed, still session {}", tokens.session_id);
    Ok(())
}
