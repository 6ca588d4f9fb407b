//! The examples of protected services, run as they stand: who passes, and what the others are told.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use tokio::net::TcpListener;
use tonic::Code;
use tonic::codegen::Bytes;
use tonic::transport::Channel;

use super::greeter::{Greeter, greet, login, refusal_of};
use crate::server_process::ServerProcess;

#[path = "../../../examples/protected_axum.rs"]
#[allow(dead_code, reason = "its `main` is not called here")]
mod protected_axum;

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn ask(url: &str, headers: Headers<'_>) -> (u16, String, String) {
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request.body(Empty::new()).expect("a request")).await.expect("answers");
    let status = answer.status();
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map_or("", |value| value.to_str().expect("text")).to_owned();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    (status.as_u16(), challenge, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_axum_example_tells_each_caller_what_http_clients_expect() {
    let authority = ServerProcess::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let (endpoint, issuer) = (authority.endpoint(), format!("http://{}", authority.http()));
    tokio::spawn(async move {
        protected_axum::serve(listener, &endpoint, &issuer).await.map_err(|error| error.to_string())
    });
    let channel = Channel::from_shared(authority.endpoint()).expect("an address").connect_lazy();
    let tokens = TokenServiceClient::new(channel);
    let bearer = async |audience, scope| format!("Bearer {}", login(&tokens, audience, scope).await.access_token);
    let good = bearer("shop", "read").await;
    let cookie = format!("access_token={}", &good[7..]);
    let (narrow, foreign) = (bearer("shop", "write").await, bearer("bank", "read").await);

    let (orders, refunds) = (format!("{base}/orders"), format!("{base}/refunds"));
    let (invalid, lacking) = ("Bearer error=\"invalid_token\"", "Bearer error=\"insufficient_scope\"");
    let lacks_scope = "Bearer error=\"insufficient_scope\", scope=\"read\"";
    #[rustfmt::skip]
    let cases: [(&str, Headers<'_>, u16, &str); 9] = [
        (&orders, &[], 401, "Bearer"),
        (&orders, &[("authorization", &good)], 200, ""),
        (&orders, &[("cookie", &cookie)], 200, ""),
        (&orders, &[("authorization", "Bearer x"), ("cookie", &cookie)], 401, invalid),
        (&orders, &[("authorization", &good), ("cookie", "access_token=x")], 200, ""),
        (&orders, &[("authorization", "Basic YTpi")], 401, invalid),
        (&orders, &[("authorization", &foreign)], 401, invalid),
        (&orders, &[("authorization", &narrow)], 403, lacks_scope),
        (&refunds, &[("authorization", &good)], 403, lacking),
    ];
    for (url, headers, status, challenge) in cases {
        let (seen, said, body) = ask(url, headers).await;
        assert_eq!((seen, said.as_str()), (status, challenge), "{url} {headers:?}");
        assert_eq!(body, if status == 200 { "for ann\n" } else { "" });
    }

    drop(authority);
    let refused = async {
        loop {
            let (status, _, _) = ask(&orders, &[("authorization", &good)]).await;
            if status != StatusCode::OK {
                return status;
            }
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(10), refused).await.expect("refused");
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE, "nothing is wrong with the token");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tonic_example_tells_each_caller_what_grpc_clients_expect() {
    let greeter = Greeter::start().await;
    let bearer = async |audience, scope| format!("Bearer {}", greeter.login(audience, scope).await.access_token);
    let (good, narrow, foreign) =
        (bearer("shop", "read").await, bearer("shop", "write").await, bearer("bank", "read").await);
    let cases = [
        (None, Err(Code::Unauthenticated)),
        (Some("Bearer x"), Err(Code::Unauthenticated)),
        (Some(foreign.as_str()), Err(Code::Unauthenticated)),
        (Some(narrow.as_str()), Err(Code::PermissionDenied)),
        (Some(good.as_str()), Ok("hello ann".to_owned())),
    ];
    for (authorization, expected) in cases {
        let headers: Vec<_> = authorization.map(|value| ("authorization", value.to_owned())).into_iter().collect();
        let answer = greet(greeter.channel.clone(), &headers).await.map_err(|status| status.code());
        assert_eq!(answer, expected, "{authorization:?}");
    }
    drop(greeter.authority);
    let refused = refusal_of(greeter.channel.clone(), &[("authorization", good)]).await;
    assert_eq!(refused.code(), Code::Unavailable);
}
