//! The token endpoint: a test a grant.

use std::time::Duration;

use serde_json::json;
use token_authority::proto::v1;

use crate::realm::{ACCESS_TOKEN, EXCHANGE, Realm};

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_goes_on_with_the_session_for_its_client_only() {
    let realm = Realm::start().await;
    let login = realm.login("ann").await;
    let form = |token| [("grant_type", "refresh_token"), ("refresh_token", token)];
    let foreign = realm.post("gateway", "token", &form(&login.refresh_token)).await;
    assert_eq!(foreign.refusal(), (400, "invalid_grant".to_owned()), "of another client");

    realm.server.pass(Duration::from_secs(5));
    let narrow = [form(&login.refresh_token).as_slice(), &[("scope", "read")]].concat();
    let answer = realm.post("app", "token", &narrow).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let tokens = answer.json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"], &tokens["scope"]),
        (&json!("Bearer"), &json!(900), &json!("read"))
    );
    assert!(realm.is_active(tokens["access_token"].as_str().unwrap()).await);
    realm.server.pass(Duration::from_secs(3));
    let again = realm.post("app", "token", &narrow).await.json();
    assert_eq!((&again["access_token"], &again["refresh_token"]), (&tokens["access_token"], &tokens["refresh_token"]));
    assert_eq!(again["expires_in"], 897, "of a repeated answer as of now");

    let next = tokens["refresh_token"].as_str().unwrap();
    let wide = [form(next).as_slice(), &[("scope", "read admin")]].concat();
    assert_eq!(realm.post("app", "token", &wide).await.refusal(), (400, "invalid_scope".to_owned()));
    assert_eq!(realm.post("app", "token", &form(next)).await.status, 200);
    realm.server.pass(Duration::from_secs(60));
    let replay = realm.post("app", "token", &form(&login.refresh_token)).await;
    assert_eq!(replay.refusal(), (400, "invalid_grant".to_owned()));
    assert!(!realm.is_active(tokens["access_token"].as_str().unwrap()).await, "the family has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_are_for_what_the_client_is_registered_for() {
    let realm = Realm::start().await;
    let ask = async |more: &[(&str, &str)]| {
        realm.post("gateway", "token", &[&[("grant_type", "client_credentials")], more].concat()).await
    };
    let tokens = ask(&[("audience", "stock")]).await.json();
    assert_eq!((&tokens["scope"], tokens.get("refresh_token")), (&json!("read"), None));
    let token = tokens["access_token"].as_str().unwrap().to_owned();
    let said = realm.post("gateway", "introspect", &[("token", &token)]).await.json();
    assert_eq!(
        (&said["sub"], &said["client_id"], &said["aud"]),
        (&json!("gateway"), &json!("gateway"), &json!("stock"))
    );
    let default = ask(&[]).await.json();
    let said =
        realm.post("gateway", "introspect", &[("token", default["access_token"].as_str().unwrap())]).await.json();
    assert_eq!(said["aud"], "orders", "the first of its own");

    assert_eq!(ask(&[("scope", "write")]).await.refusal(), (400, "invalid_scope".to_owned()));
    assert_eq!(ask(&[("resource", "mail")]).await.refusal(), (400, "invalid_target".to_owned()));
    let refused = realm.post("app", "token", &[("grant_type", "client_credentials")]).await.refusal();
    assert_eq!(refused, (400, "unauthorized_client".to_owned()));
    let refused = realm.post("app", "token", &[("grant_type", "password")]).await.refusal();
    assert_eq!(refused, (400, "unsupported_grant_type".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchanged_token_may_less_says_who_acts_and_falls_with_its_session() {
    let realm = Realm::start().await;
    let login = realm.login_for("ann", "app", &["orders", "mail"]).await;
    let ask = async |more: &[(&str, &str)]| {
        let base =
            [("grant_type", EXCHANGE), ("subject_token", &login.access_token), ("subject_token_type", ACCESS_TOKEN)];
        realm.post("gateway", "token", &[&base, more].concat()).await
    };
    realm.server.pass(Duration::from_secs(100));
    let tokens = ask(&[("audience", "orders")]).await.json();
    assert_eq!((&tokens["issued_token_type"], &tokens["expires_in"]), (&json!(ACCESS_TOKEN), &json!(800)));
    let token = tokens["access_token"].as_str().unwrap();
    let said = realm.post("gateway", "introspect", &[("token", token)]).await.json();
    assert_eq!((&said["sub"], &said["act"]), (&json!("ann"), &json!({ "sub": "gateway" })));
    assert_eq!(
        (&said["aud"], &said["scope"], &said["client_id"]),
        (&json!("orders"), &json!("read"), &json!("gateway"))
    );

    let actor = realm.login_for("bob", "app", &["orders"]).await.access_token;
    let acted = ask(&[("actor_token", &actor), ("actor_token_type", ACCESS_TOKEN)]).await.json();
    let said = realm.post("gateway", "introspect", &[("token", acted["access_token"].as_str().unwrap())]).await.json();
    assert_eq!(said["act"], json!({ "sub": "bob" }));

    let unseen = realm.login_for("eve", "app", &["mail"]).await.access_token;
    for (more, code) in [
        (vec![("audience", "mail")], "invalid_target"),
        (vec![("audience", "stock")], "invalid_target"),
        (vec![("scope", "write")], "invalid_scope"),
        (vec![("actor_token", "x"), ("actor_token_type", ACCESS_TOKEN)], "invalid_request"),
        (vec![("actor_token", &unseen), ("actor_token_type", ACCESS_TOKEN)], "invalid_request"),
        (vec![("actor_token", &actor)], "invalid_request"),
        (vec![("requested_token_type", "urn:ietf:params:oauth:token-type:id_token")], "invalid_request"),
    ] {
        assert_eq!(ask(&more).await.refusal(), (400, code.to_owned()), "{more:?}");
    }
    assert_eq!(realm.post("app", "revoke", &[("token", &login.refresh_token)]).await.status, 200);
    assert!(!realm.is_active(token).await);
    assert_eq!(ask(&[]).await.refusal(), (400, "invalid_request".to_owned()), "nothing is made of what has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchanged_token_falls_with_the_client_of_its_session_over_every_hop() {
    let realm = Realm::start().await;
    let first = realm.exchange(&realm.login("ann").await.access_token).await;
    let second = realm.exchange(&first).await;
    let others = realm.exchange(&realm.login_for("ann", "web", &["orders"]).await.access_token).await;
    for token in [&first, &second, &others] {
        assert!(realm.is_active(token).await);
    }
    let revoke = v1::RevokeClientRequest { client_id: "app".to_owned(), ..Default::default() };
    realm.server.tokens.clone().revoke_client(revoke).await.expect("revokes");
    for token in [&first, &second] {
        assert!(!realm.is_active(token).await);
        assert!(!realm.server.introspect(token).await.active);
    }
    assert!(realm.is_active(&others).await, "of another client's session");
}
