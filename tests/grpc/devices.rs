//! A subject's devices over real tonic: known, trusted for a time, noticed when they change, forgotten.

use std::time::Duration;

use token_authority::domain::device::{OnChange, Silent, Untrusted};
use token_authority::proto::v1;
use tonic::{Code, Status};

use crate::test_server::{TestServer, refusal};

const MINUTE: Duration = Duration::from_secs(60);

fn on_device(device_id: &str, user_agent: &str) -> v1::IssueTokenRequest {
    let device = v1::Device {
        device_id: device_id.into(),
        platform: "ios".into(),
        user_agent: user_agent.into(),
        ..Default::default()
    };
    v1::IssueTokenRequest { subject: "ann".into(), device: Some(device), ..Default::default() }
}

async fn devices(server: &TestServer) -> Vec<v1::KnownDevice> {
    let request = v1::ListDevicesRequest { subject: "ann".into(), ..Default::default() };
    server.sessions.clone().list_devices(request).await.expect("lists").into_inner().devices
}

async fn trust(server: &TestServer, device_id: &str) -> Result<v1::KnownDevice, Status> {
    let request = v1::TrustDeviceRequest { subject: "ann".into(), device_id: device_id.into(), ..Default::default() };
    Ok(server.sessions.clone().trust_device(request).await?.into_inner().device.expect("a device"))
}

async fn forget(server: &TestServer, device_id: &str) -> v1::ForgetDeviceResponse {
    let request = v1::ForgetDeviceRequest { subject: "ann".into(), device_id: device_id.into(), ..Default::default() };
    server.sessions.clone().forget_device(request).await.expect("forgets").into_inner()
}

fn lifetime(tokens: &v1::TokenPair, since: i64) -> i64 {
    tokens.access_expire_time.expect("a time").seconds - since
}

#[tokio::test(flavor = "multi_thread")]
async fn trust_lapses_by_itself_and_a_forgotten_device_loses_its_sessions() {
    let server = TestServer::start_with(|policy| policy.devices.trust_lifetime = 60 * MINUTE).await;
    let unknown = trust(&server, "phone").await.expect_err("never used");
    assert_eq!(refusal(&unknown), (Code::NotFound, "UNKNOWN_DEVICE".into()));
    let phone = server.issue(on_device("phone", "A/1")).await.expect("issues");
    let laptop = server.issue(on_device("laptop", "B/1")).await.expect("issues");
    let trusted = trust(&server, "phone").await.expect("trusts");
    assert!(trusted.trusted && trusted.session_count == 1);
    assert_eq!(trusted.trust_expire_time.expect("a time").seconds, 1_800_003_600);
    let told = |sessions: Vec<v1::Session>| sessions.iter().map(|session| session.trusted).collect::<Vec<_>>();
    assert_eq!(told(server.sessions_of("ann").await), [false, true]);
    server.pass(60 * MINUTE - Duration::from_millis(1));
    assert_eq!(told(server.sessions_of("ann").await), [false, true]);
    server.pass(Duration::from_millis(1));
    assert_eq!(told(server.sessions_of("ann").await), [false, false]);
    let lapsed = devices(&server).await;
    assert!(lapsed.iter().all(|device| !device.trusted && device.trust_expire_time.is_none()));

    let again = server.refresh(&phone.refresh_token).await.expect("lives");
    let answer = forget(&server, "phone").await;
    assert!(answer.revoked_count == 1 && !answer.revision.is_empty());
    for token in [&again.access_token, &again.refresh_token] {
        assert!(!server.introspect(token).await.active);
    }
    assert!(server.refresh(&laptop.refresh_token).await.is_ok(), "the other device's session lives");
    let names: Vec<_> =
        devices(&server).await.into_iter().filter_map(|device| Some(device.device?.device_id)).collect();
    assert_eq!(names, ["laptop"]);
    let again = forget(&server, "phone").await;
    assert!(again.revoked_count == 0 && !again.revision.is_empty(), "idempotent");

    let erase = v1::EraseSubjectRequest { subject: "ann".into(), ..Default::default() };
    server.sessions.clone().erase_subject(erase).await.expect("erases");
    assert_eq!(devices(&server).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untrusted_device_gets_shorter_lifetimes_until_it_is_trusted() {
    let server = TestServer::start_with(|policy| {
        policy.devices.untrusted_access_lifetime = Some(5 * MINUTE);
        policy.devices.untrusted_session_lifetime = Some(60 * MINUTE);
    })
    .await;
    let first = server.issue(on_device("phone", "A/1")).await.expect("issues");
    assert_eq!((lifetime(&first, 1_800_000_000), server.sessions_of("ann").await[0].trusted), (300, false));
    assert_eq!(first.refresh_expire_time.expect("a time").seconds, 1_800_003_600);
    let second = server.refresh(&first.refresh_token).await.expect("refreshes");
    assert_eq!(lifetime(&second, 1_800_000_000), 300);

    trust(&server, "phone").await.expect("trusts");
    let third = server.refresh(&second.refresh_token).await.expect("refreshes");
    assert_eq!(lifetime(&third, 1_800_000_000), 900);
    assert_eq!(third.refresh_expire_time.expect("a time").seconds, 1_800_003_600, "the absolute expiry stays");
    let login = server.issue(on_device("phone", "A/1")).await.expect("issues");
    assert_eq!(lifetime(&login, 1_800_000_000), 900);
    assert_eq!(login.refresh_expire_time.expect("a time").seconds, 1_800_000_000 + 7 * 86_400);

    let sessionless = v1::IssueTokenRequest { without_session: true, ..on_device("tablet", "C/1") };
    assert_eq!(lifetime(&server.issue(sessionless).await.expect("issues"), 1_800_000_000), 300);
    let nowhere = v1::IssueTokenRequest { device: None, ..on_device("", "") };
    assert_eq!(lifetime(&server.issue(nowhere).await.expect("issues"), 1_800_000_000), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_id_with_another_fingerprint_is_dealt_with_as_the_realm_says() {
    for (on_change, admitted, trusted) in
        [(OnChange::Note, true, true), (OnChange::Untrust, true, false), (OnChange::Refuse, false, true)]
    {
        let server = TestServer::start_with(|policy| policy.devices.on_change = on_change).await;
        let tokens = server.issue(on_device("phone", "A/1")).await.expect("issues");
        trust(&server, "phone").await.expect("trusts");
        let same = v1::IssueTokenRequest { client_id: "other".into(), ..on_device("phone", "A/1") };
        server.issue(same).await.expect("the same device");
        assert!(devices(&server).await[0].trusted, "{on_change:?}");

        // A thief of the id, and one of the refresh token.
        let login = v1::IssueTokenRequest { client_id: "thief".into(), ..on_device("phone", "X/9") };
        let refresh = v1::RefreshTokenRequest {
            refresh_token: tokens.refresh_token.clone(),
            device: on_device("", "Y/9").device,
            ..Default::default()
        };
        let answers = [
            server.issue(login).await,
            server
                .tokens
                .clone()
                .refresh_token(refresh)
                .await
                .map(|answer| answer.into_inner().tokens.expect("tokens")),
        ];
        for answer in answers {
            match answer {
                Ok(_) => assert!(admitted, "{on_change:?}"),
                Err(status) => {
                    assert!(!admitted, "{on_change:?}");
                    assert_eq!(refusal(&status), (Code::PermissionDenied, "DEVICE_NOT_TRUSTED".into()));
                }
            }
        }
        let known = devices(&server).await.remove(0);
        assert_eq!(known.trusted, trusted, "{on_change:?}");
        let user_agent = known.device.expect("a device").user_agent;
        assert_eq!(user_agent, if admitted { "Y/9" } else { "A/1" }, "{on_change:?}");
        if !admitted {
            server.refresh(&tokens.refresh_token).await.expect("its owner goes on");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_reports_no_device_is_refused_where_the_realm_says_so() {
    let server = TestServer::start_with(|policy| {
        policy.devices.silent = Silent::Refuse;
        policy.devices.on_change = OnChange::Refuse;
    })
    .await;
    let tokens = server.issue(on_device("phone", "A/1")).await.expect("issues");
    let refresh = async |device| {
        let refresh_token = tokens.refresh_token.clone();
        let request = v1::RefreshTokenRequest { refresh_token, device, ..Default::default() };
        server.tokens.clone().refresh_token(request).await.map_err(|status| refusal(&status))
    };
    let refused = (Code::PermissionDenied, "DEVICE_NOT_TRUSTED".to_owned());
    for (thief, device) in [("silent", None), ("of another kind", on_device("", "Y/9").device)] {
        assert_eq!(refresh(device).await.expect_err(thief), refused, "{thief}");
    }
    assert_eq!(server.sessions_of("ann").await.len(), 1, "the session lives on");
    refresh(on_device("", "A/1").device).await.expect("its owner goes on");
    let nowhere = v1::IssueTokenRequest { device: None, ..on_device("", "") };
    let nowhere = server.issue(nowhere).await.expect("issues");
    server.refresh(&nowhere.refresh_token).await.expect("a session without a device has none to report");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_trusted_devices_may_log_in_one_is_trusted_first() {
    let server = TestServer::start_with(|policy| {
        policy.devices.untrusted = Untrusted::Refuse;
        policy.devices.trust_lifetime = 60 * MINUTE;
    })
    .await;
    for request in [on_device("phone", "A/1"), v1::IssueTokenRequest { device: None, ..on_device("", "") }] {
        let refused = server.issue(request).await.expect_err("not trusted");
        assert_eq!(refusal(&refused), (Code::PermissionDenied, "DEVICE_NOT_TRUSTED".into()));
    }
    server.pass(59 * MINUTE);
    trust(&server, "phone").await.expect("known since it was refused");
    let tokens = server.issue(on_device("phone", "A/1")).await.expect("trusted");
    server.pass(60 * MINUTE);
    let refused = server.refresh(&tokens.refresh_token).await.expect_err("trust has lapsed");
    assert_eq!(refusal(&refused), (Code::PermissionDenied, "DEVICE_NOT_TRUSTED".into()));
    trust(&server, "phone").await.expect("still known");
    server.refresh(&tokens.refresh_token).await.expect("the same token, once it is trusted again");

    let service = v1::IssueTokenRequest { without_session: true, device: None, ..on_device("", "") };
    server.issue(service).await.expect("a service has no device");
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_are_bounded_and_listed_in_pages_the_latest_used_first() {
    let server = TestServer::start().await;
    server.issue(on_device("kept", "A/1")).await.expect("issues");
    trust(&server, "kept").await.expect("trusts");
    for number in 0..32 {
        server.pass(Duration::from_secs(1));
        server.issue(on_device(&format!("d{number}"), "A/1")).await.expect("issues");
    }
    let mut request = v1::ListDevicesRequest { subject: "ann".into(), page_size: 20, ..Default::default() };
    let first = server.sessions.clone().list_devices(request.clone()).await.expect("lists").into_inner();
    assert_eq!(first.devices.len(), 20);
    request.page_token = first.next_page_token;
    let rest = server.sessions.clone().list_devices(request).await.expect("lists").into_inner();
    assert!(rest.next_page_token.is_empty());
    let named = first.devices.into_iter().chain(rest.devices).filter_map(|device| Some(device.device?.device_id));
    let named: Vec<_> = named.collect();
    let expected: Vec<_> = (1..32).rev().map(|number| format!("d{number}")).chain(["kept".to_owned()]).collect();
    assert_eq!(named, expected, "the longest unused of the untrusted is forgotten");
}
