//! Libraries that others wrote and many use, against the real edge. What they check is theirs to say.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use token_authority::proto::v1;

use crate::realm::{Realm, secret};
use crate::test_server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_finds_its_way_from_the_issuer() {
    let realm = Realm::start().await;
    let login = realm.login_for("ann", "gateway", &["orders"]).await;
    let script = "tests/clients/node/client.mjs";
    let arguments = [script, &realm.issuer(), "gateway", secret(), &login.refresh_token];
    let printed = run(".venv/bin/node", &arguments).await;
    for step in ["by oidc", "by oauth2", "by basic", "by post", "refreshed", "introspected", "of its own", "revoked"] {
        assert!(printed.contains(step), "no step {step:?} in:\n{printed}");
    }
    assert!(!realm.is_active(&login.access_token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pyjwt_verifies_by_the_key_set() {
    // It holds `iat` against the machine's clock.
    let server = TestServer::start_at(SystemTime::now().duration_since(UNIX_EPOCH).expect("a time")).await;
    let audience = vec!["orders".to_owned()];
    let login = v1::IssueTokenRequest { subject: "ann".to_owned(), audience, ..Default::default() };
    let token = server.issue(login).await.expect("issues").access_token;
    let arguments = ["tests/clients/python/key_set.py", &format!("http://{}", server.http()), &token];
    let printed = run(".venv/bin/python", &arguments).await;
    for step in ["verified for ann", "refused for another audience", "refused when changed"] {
        assert!(printed.contains(step), "no step {step:?} in:\n{printed}");
    }
}

/// What a program printed that went well.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends");
    let output = ended.unwrap_or_else(|error| panic!("{program}: {error}: run `make test`, which installs it"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    printed
}
