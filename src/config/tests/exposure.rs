//! Who can reach a server, and as whom strangers call.

use super::{error, load};
use crate::config::*;

#[test]
fn nothing_listens_beyond_loopback_unless_said() {
    let far: Option<SocketAddr> = "0.0.0.0:50051".parse().ok();
    let refused = load("", &[], Flags { grpc: far, ..Flags::default() }).expect_err("refused");
    assert!(refused.starts_with("--grpc: 0.0.0.0:50051 is reachable") && refused.contains("--insecure"), "{refused}");
    let refused = error("[server]\nhttp = \"[::]:8080\"\n");
    assert!(refused.starts_with("c.toml:2: server.http: [::]:8080 is reachable"), "{refused}");
    let refused = error("[server]\nhttp = \"127.0.0.1:50051\"\n");
    assert!(refused.starts_with("c.toml:2: server.http: gRPC and HTTP would both listen"), "{refused}");

    let allowed = Flags { grpc: far, exposure: Some(Exposure::Insecure), ..Flags::default() };
    assert_eq!(load("", &[], allowed).expect("loads").exposure, Exposure::Insecure);
    let allowed = load("[server]\nhttp = \"[::]:8080\"\ninsecure = true\n", &[], Flags::default());
    assert_eq!(allowed.expect("loads").exposure, Exposure::Insecure);
}

#[test]
fn what_speaks_tls_may_be_reached_from_anywhere() {
    let far = "[server]\ngrpc = \"0.0.0.0:1\"\nhttp = \"0.0.0.0:2\"\nhealth = \"0.0.0.0:3\"\n";
    let tls = "[tls]\ncertificate = \"a\"\nkey = \"b\"\n";
    let config = load(&format!("{far}{tls}client_ca = \"c\"\n"), &[], Flags::default()).expect("loads");
    let modes = config.tls.map(|tls| (tls.grpc, tls.http));
    assert_eq!(modes, Some((TlsMode::Mutual, TlsMode::Mutual)), "the default with a client_ca");
    for (more, wrong) in [
        ("grpc = \"off\"\nhttp = \"off\"\n", vec![2, 3]),
        ("client_ca = \"c\"\nhttp = \"off\"\n", vec![3]),
        ("client_ca = \"c\"\ngrpc = \"off\"\n", vec![2]),
    ] {
        let refused = error(&format!("{far}{tls}{more}"));
        let lines: Vec<_> = refused.lines().filter(|line| line.contains("is reachable from other machines")).collect();
        let expected: Vec<_> = wrong.iter().map(|line| format!("c.toml:{line}: server.")).collect();
        assert!(lines.iter().zip(&expected).all(|(line, start)| line.starts_with(start)), "{more}: {refused}");
        assert_eq!((lines.len(), refused.lines().count()), (expected.len(), expected.len()), "{more}: {refused}");
    }
    for more in ["", "client_ca = \"c\"\ngrpc = \"optional\"\nhttp = \"server\"\n"] {
        assert!(load(&format!("{far}{tls}{more}"), &[], Flags::default()).is_ok(), "{more}");
    }
    let refused = error("[server]\nhealth = \"127.0.0.1:8080\"\n");
    assert!(refused.starts_with("c.toml:2: server.health: HTTP and health would both listen"), "{refused}");
}

#[test]
fn strangers_are_the_operator_only_where_there_are_none() {
    let anonymous = "[server]\nanonymous = \"operator\"\n";
    let config = load(anonymous, &[], Flags::default()).expect("on loopback");
    assert_eq!(config.anonymous, Some(AnonymousCalls::Operator));
    let tls = "[tls]\ncertificate = \"a\"\nkey = \"b\"\n";
    let refused = error(&format!("{anonymous}{tls}"));
    assert!(refused.starts_with("c.toml:2: server.anonymous: "), "{refused}");
    let insecure = Flags { exposure: Some(Exposure::Insecure), ..Flags::default() };
    assert!(load(&format!("{anonymous}{tls}"), &[], insecure).is_ok());
    let nobody = load("[server]\nanonymous = \"none\"\n", &[], Flags::default()).expect("loads");
    assert_eq!(nobody.anonymous, Some(AnonymousCalls::Nobody));
}

#[test]
fn a_cluster_is_described_whole_or_not_at_all() {
    let whole = "[kubernetes]\nissuer = \"https://c\"\naudience = \"a\"\njwks_url = \"http://127.0.0.1:1/jwks\"\n";
    let config = load(whole, &[], Flags::default()).expect("loads").kubernetes.expect("a cluster");
    assert_eq!(config.key_set, KeySetSource::Url("http://127.0.0.1:1/jwks".to_owned()));
    for wrong in [
        whole.replace("audience = \"a\"\n", ""),
        whole.replace("issuer = \"https://c\"\n", ""),
        whole.replace("http://127", "https://127"),
        whole.replace("jwks_url = \"http://127.0.0.1:1/jwks\"\n", ""),
    ] {
        assert!(error(&wrong).starts_with("c.toml:"), "{wrong}");
    }
}
