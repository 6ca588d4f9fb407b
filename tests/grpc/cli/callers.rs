//! As whom the command line calls, and what it says that a caller may do.

use std::fs;

use tempfile::TempDir;
use token_authority::verify::client::SecretHash;

use super::command::{Ended, run, run_with, write};
use crate::certificates::{Authority, Files, Pair};
use crate::server_process::ServerProcess;

const SECRET: &str = "tas_0123456789abcdef0123456789";

#[test]
fn a_client_calls_by_its_secret_from_a_file_the_environment_or_standard_input() {
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str, text: &str| write(directory.path(), name, text);
    let hash = SecretHash::of(SECRET).expect("long enough").to_string();
    let client =
        format!("[[realm.clients]]\nid = \"app\"\nsecrets = [{hash:?}]\nroles = [\"issuer\"]\naudiences = \"any\"\n");
    let realm = file("realm.toml", &format!("[realm]\nname = \"default\"\nalgorithm = \"EdDSA\"\n{client}"));
    let server = ServerProcess::start(&["--config", &realm]);
    let endpoint = server.endpoint();
    let (right, wrong) = (file("secret", &format!("{SECRET}\n")), file("wrong", "tas_another_0123456789abc"));
    let call = |command: &[&str], flags: &[&str], input: &str, environment: &[(&str, &str)]| -> Ended {
        run_with(&[command, &["--endpoint", &endpoint], flags].concat(), input.as_bytes(), environment)
    };
    let issue = |flags: &[&str], input: &str, environment: &[(&str, &str)]| {
        call(&["token", "issue", "--subject", "ann"], flags, input, environment)
    };
    let variables = [("TOKEN_AUTHORITY_CLIENT_ID", "app"), ("TOKEN_AUTHORITY_CLIENT_SECRET_FILE", right.as_str())];
    for ended in [
        issue(&["--client-id", "app", "--client-secret-file", &right], "", &[]),
        issue(&["--client-id", "app", "--client-secret-file", "-"], SECRET, &[]),
        issue(&[], "", &variables),
        // A flag wins.
        issue(&["--client-id", "app"], "", &[("TOKEN_AUTHORITY_CLIENT_ID", "other"), variables[1]]),
    ] {
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    issue(&[], "", &[]).failed(1, "(CLIENT_NOT_AUTHENTICATED)");
    issue(&["--client-id", "app", "--client-secret-file", &wrong], "", &[]).failed(1, "(CLIENT_NOT_AUTHENTICATED)");
    issue(&["--client-id", "other", "--client-secret-file", &right], "", &[]).failed(1, "(CLIENT_NOT_AUTHENTICATED)");
    let list = ["session", "list", "--subject", "ann"];
    call(&list, &["--client-id", "app", "--client-secret-file", &right], "", &[]).failed(1, "(CLIENT_NOT_PERMITTED)");
    issue(&["--client-id", "app"], "", &[]).failed(2, "go together");
    issue(&["--client-secret-file", &right], "", &[]).failed(2, "go together");
    issue(&["--client-id", "app", "--client-secret-file", "/nowhere"], "", &[]).failed(1, "/nowhere: can't be read");
}

#[test]
fn a_client_calls_by_its_certificate() {
    let (authority, directory) = (Authority::new(), TempDir::new().expect("a directory"));
    let files = Files(directory.path());
    files.write(&authority.server(), &authority);
    let server = ServerProcess::start_in(directory.path(), &["--config", &files.config("grpc = \"optional\"")]);
    let (endpoint, ca) = (format!("https://{}", server.grpc()), files.path("ca.pem").display().to_string());
    let issue = |pair: Option<Pair>| {
        let command = ["token", "issue", "--subject", "ann", "--endpoint", &endpoint, "--ca", &ca];
        let Some(pair) = pair else { return run(&command) };
        let names = [("cert.pem", &pair.certificate), ("key.pem", &pair.key)];
        let [cert, key] = names.map(|(name, text)| write(directory.path(), name, text));
        run(&[&command[..], &["--cert", &cert, "--key", &key]].concat())
    };
    let known = issue(Some(authority.client()));
    assert_eq!(known.code, Some(0), "{known:?}");
    issue(Some(authority.server_as_client())).failed(1, "(CLIENT_NOT_PERMITTED)");
    issue(None).failed(1, "(CLIENT_NOT_AUTHENTICATED)");
}

#[test]
fn what_a_caller_may_do_is_explained_by_each_of_its_names() {
    let directory = TempDir::new().expect("a directory");
    let hash = SecretHash::of(SECRET).expect("long enough").to_string();
    let keys = write(directory.path(), "jwks.json", "{\"keys\":[]}");
    let text = format!(
        "[kubernetes]\nissuer = \"https://cluster.example\"\naudience = \"token-authority\"\njwks_file = {keys:?}\n\
         [realm]\nname = \"shop\"\nscopes = [\"read\", \"write\"]\n\
         [[realm.clients]]\nid = \"app\"\nsecrets = [{hash:?}]\nroles = [\"issuer\", \"self-service\"]\n\
         audiences = \"any\"\nscopes = [\"read\"]\ngrants = [\"refresh_token\"]\n\
         [[realm.clients]]\nid = \"gateway\"\nroles = [\"gateway\"]\n\
         certificates = [\"spiffe://example.org/gateway\", \"dns:gateway.example.org\"]\n\
         [[realm.clients]]\nid = \"web\"\nroles = [\"key-admin\"]\nservice_accounts = [\"shop/web\"]\n"
    );
    let config = write(directory.path(), "c.toml", &text);
    let explained = |caller: &str| {
        let ended = run(&["check-config", "--explain", caller, &config]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.starts_with(&format!("{config}: ok (realms: default, shop)\n")), "{ended:?}");
        assert!(ended.out.contains(&format!("realm default: {caller} is nobody, and may call what anybody may\n")));
        let (_, shop) = ended.out.split_once("realm shop: ").expect("its realm");
        shop.to_owned()
    };
    let calls = |explained: &str| {
        explained.lines().filter_map(|line| line.strip_prefix("  may call   /").map(str::to_owned)).collect::<Vec<_>>()
    };
    let app = explained("app");
    let head = "app is client \"app\"\n  roles      issuer, self-service\n  audiences  any\n  scopes     read\n  \
                grants     refresh_token\n";
    assert!(app.starts_with(head), "{app}");
    let service = "token_authority.v1.SessionService";
    let may = calls(&app);
    for (call, is_there) in [
        ("token_authority.v1.TokenService/IssueToken".to_owned(), true),
        (format!("{service}/TrustDevice"), true),
        (format!("{service}/RevokeSession (its own subject only)"), true),
        (format!("{service}/EraseSubject"), false),
        ("token_authority.v1.KeyService/RevokeKey".to_owned(), false),
        ("oauth2/token".to_owned(), true),
        ("livez".to_owned(), false),
    ] {
        assert_eq!(may.contains(&call), is_there, "{call} in {may:?}");
    }
    for name in ["gateway", "spiffe://example.org/gateway", "dns:gateway.example.org", "gateway.example.org"] {
        let gateway = explained(name);
        assert!(gateway.starts_with(&format!("{name} is client \"gateway\"\n  roles      gateway\n")), "{gateway}");
        assert!(calls(&gateway).contains(&"envoy.service.auth.v3.Authorization/Check".to_owned()), "{gateway}");
    }
    let web = explained("shop/web");
    assert!(web.starts_with("shop/web is client \"web\"\n  roles      key-admin\n  audiences  none\n"), "{web}");
    assert!(calls(&web).contains(&"token_authority.v1.KeyService/RevokeKey".to_owned()), "{web}");
    for stranger in ["nobody", "shop/other", "spiffe://example.org/other", SECRET] {
        assert_eq!(explained(stranger), format!("{stranger} is nobody, and may call what anybody may\n"));
    }
    assert!(!fs::read_to_string(&config).expect("text").contains(SECRET), "a hash alone");
}
