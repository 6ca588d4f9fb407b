//! Devices: each known once, trusted or not, and several that act at once.

use std::collections::BTreeSet;

use futures::future::join_all;
use token_authority::proto::v1;

use super::MINUTE;
use crate::claims;
use crate::test_server::{TestServer, refusal};

pub(super) async fn b2_sessions_and_devices_are_listed_each_device_once(server: &TestServer) {
    let on = async |device_id: &str, platform: &str| {
        let device = v1::Device { device_id: device_id.into(), platform: platform.into(), ..v1::Device::default() };
        let request = v1::IssueTokenRequest { subject: "ann".into(), device: Some(device), ..Default::default() };
        server.pass(MINUTE);
        server.issue(request).await.expect("issues")
    };
    let devices = [("phone-1", "ios"), ("phone-2", "ios"), ("laptop", "linux")];
    for (id, platform) in devices {
        on(id, platform).await;
    }
    let listed = server.sessions_of("ann").await;
    let known: Vec<_> = listed.iter().map(|session| session.device.as_ref().unwrap().device_id.as_str()).collect();
    assert_eq!(known, ["laptop", "phone-2", "phone-1"], "the latest first");
    // The same device again is the same device: its new session takes the place of its old one.
    let again = on("phone-1", "ios").await;
    let listed = server.sessions_of("ann").await;
    assert_eq!((listed.len(), &listed[0].session_id), (3, &again.session_id));

    let request = v1::ListDevicesRequest { realm: server.realm(), subject: "ann".to_owned(), ..Default::default() };
    let known = server.sessions.clone().list_devices(request).await.expect("lists").into_inner().devices;
    let told: Vec<_> = known
        .iter()
        .map(|known| {
            let device = known.device.as_ref().unwrap();
            (device.device_id.as_str(), device.platform.as_str(), known.session_count, known.trusted)
        })
        .collect();
    assert_eq!(
        told,
        [("phone-1", "ios", 1, false), ("laptop", "linux", 1, false), ("phone-2", "ios", 1, false)],
        "the latest used first"
    );
}

pub(super) async fn b7_an_untrusted_device_gets_the_shorter_lifetimes(server: &TestServer) {
    let session = async |device_id: &str| {
        let sessions = server.sessions_of("ann").await;
        sessions.into_iter().find(|session| session.device.as_ref().unwrap().device_id == device_id).expect("one")
    };
    // Of a login's access token and of its session, and whether that is trusted.
    let login = async |device_id: &str| {
        let access = claims::payload(&server.login("ann", device_id).await.access_token);
        let (issued, expires) = (access["iat"].as_i64().unwrap(), access["exp"].as_i64().unwrap());
        let session = session(device_id).await;
        (expires - issued, session.expire_time.unwrap().seconds - issued, session.trusted)
    };
    let untrusted = (15 * 60, 7 * 86_400, false);
    assert_eq!(login("phone").await, untrusted);
    trust(server, "ann", "phone").await;
    // An hour of access, which the half hour without activity cuts.
    assert_eq!(login("phone").await, (30 * 60, 30 * 86_400, true));
    assert_eq!(login("laptop").await, untrusted, "trust is of one device");

    let trusted = server.login("ann", "phone").await;
    forget(server, "ann", "phone").await;
    assert!(!server.introspect(&trusted.access_token).await.active, "its session is gone with it");
    assert_eq!(login("phone").await, untrusted);
}

pub(super) async fn b9_what_devices_do_at_once_happens_in_one_order(server: &TestServer) {
    for round in 0..8 {
        let login = server.login("ann", "phone").await;
        // Eight requests of one client, and a logout from another device in the middle of them.
        let refreshes = join_all((0..8).map(|_| server.refresh(&login.refresh_token)));
        let revoke = async {
            if round % 2 == 1 {
                tokio::task::yield_now().await;
            }
            server.revoke(&login.access_token).await
        };
        let (answers, _, ()) = tokio::join!(refreshes, revoke, trust(server, "ann", "phone"));
        let mut answered = Vec::new();
        for answer in answers {
            match answer {
                Ok(pair) => answered.push(pair),
                Err(refused) => assert_eq!(refusal(&refused).1, "SESSION_ENDED"),
            }
        }
        // The signature of one token may differ from answer to answer; its id does not.
        let token = |pair: &v1::TokenPair| claims::payload(&pair.access_token)["jti"].to_string();
        let successors: BTreeSet<_> = answered.iter().map(|pair| (&pair.refresh_token, token(pair))).collect();
        assert!(successors.len() <= 1, "one successor, whoever asked");
        for pair in answered {
            assert!(!server.introspect(&pair.access_token).await.active, "the logout came after it");
            assert_eq!(refusal(&server.refresh(&pair.refresh_token).await.expect_err("over")).1, "SESSION_ENDED");
        }
        assert_eq!(server.sessions_of("ann").await, []);
        let known = v1::ListDevicesRequest { realm: server.realm(), subject: "ann".to_owned(), ..Default::default() };
        let known = server.sessions.clone().list_devices(known).await.expect("lists").into_inner().devices;
        assert_eq!((known.len(), known[0].trusted), (1, true), "no answer was lost to another");
        forget(server, "ann", "phone").await;
    }
    let login = server.login("ann", "phone").await;
    let answers = join_all((0..8).map(|_| server.refresh(&login.refresh_token))).await;
    let tokens: BTreeSet<_> = answers.into_iter().map(|answer| answer.expect("refreshed").refresh_token).collect();
    assert_eq!((tokens.len(), server.sessions_of("ann").await[0].generation), (1, 1));
}

pub(super) async fn trust(server: &TestServer, subject: &str, device_id: &str) {
    let (realm, subject, device_id) = (server.realm(), subject.to_owned(), device_id.to_owned());
    let request = v1::TrustDeviceRequest { realm, subject, device_id };
    server.sessions.clone().trust_device(request).await.expect("trusts");
}

async fn forget(server: &TestServer, subject: &str, device_id: &str) {
    let (realm, subject, device_id) = (server.realm(), subject.to_owned(), device_id.to_owned());
    let request = v1::ForgetDeviceRequest { realm, subject, device_id };
    server.sessions.clone().forget_device(request).await.expect("forgets");
}
