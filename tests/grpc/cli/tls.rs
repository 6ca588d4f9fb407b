//! The command line over TLS, from making certificates to calling with them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::command::{run, write};
use crate::server_process::ServerProcess;

const MADE: [&str; 6] = ["ca.pem", "client-key.pem", "client.pem", "server-key.pem", "server.pem", "server.toml"];

#[test]
fn made_certificates_serve_and_call() {
    let directory = TempDir::new().expect("a directory");
    let certs = directory.path().join("new/certs");
    let file = |name: &str| certs.join(name).display().to_string();
    let made = run(&["dev-certs", &certs.display().to_string()]);
    assert!(made.code == Some(0) && made.out.contains("serve --config") && made.err.is_empty(), "{made:?}");
    assert_eq!(names(&certs), MADE);
    for name in MADE {
        let mode = fs::metadata(certs.join(name)).expect("made").permissions().mode() & 0o777;
        let text = fs::read_to_string(certs.join(name)).expect("text");
        assert_eq!(text.contains("PRIVATE KEY"), name.contains("key"), "{name}");
        assert_eq!(mode & 0o077 == 0, name.contains("key"), "{name}: {mode:o}");
    }

    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client-key.pem"));
    let server_key = file("server-key.pem");
    // Certificates are required, so nobody has to say --insecure.
    let server = ServerProcess::start(&["--config", &file("server.toml"), "--grpc", "0.0.0.0:0"]);
    let said = server.stderr_lines().join("\n");
    assert!(said.contains("--endpoint https://127.0.0.1:") && !said.contains("WARNING"), "{said}");
    let endpoint = format!("https://localhost:{}", server.grpc().port());
    let call =
        |flags: &[&str]| run(&[&["token", "issue", "--subject", "alice", "--endpoint", &endpoint], flags].concat());
    assert_eq!(call(&["--ca", &ca, "--cert", &cert, "--key", &key]).code, Some(0));
    call(&["--ca", &ca]).failed(3, &endpoint);
    call(&["--cert", &cert, "--key", &key]).failed(3, &endpoint);
    call(&["--ca", &ca, "--cert", &cert]).failed(2, "--cert and --key go together");
    call(&["--ca", &ca, "--cert", &cert, "--key", "/nowhere.pem"]).failed(1, "/nowhere.pem: can't be read");
    call(&["--ca", &server_key]).failed(3, &endpoint);
    let plaintext = run(&["token", "introspect", "t", "--ca", &ca, "--endpoint", "http://127.0.0.1:1"]);
    plaintext.failed(2, "are for https:// endpoints");
}

#[test]
fn nothing_is_overwritten() {
    let directory = TempDir::new().expect("a directory");
    let into = directory.path().display().to_string();
    let kept = write(directory.path(), "server-key.pem", "precious");
    run(&["dev-certs", &into]).failed(1, &format!("{kept}: exists, and is left as it is"));
    assert_eq!(fs::read_to_string(&kept).expect("still there"), "precious");
    assert_eq!(names(directory.path()), ["server-key.pem"], "and nothing is made beside it");
    run(&["dev-certs", &kept]).failed(1, &kept);
    run(&["dev-certs", &into, "--spiffe-id", "https://example.org/"]).failed(2, "must be a SPIFFE id");
    run(&["dev-certs"]).failed(2, "<DIR>");
}

#[test]
fn wrong_certificates_end_the_start() {
    let directory = TempDir::new().expect("a directory");
    for certs in ["a", "b"] {
        assert_eq!(run(&["dev-certs", &directory.path().join(certs).display().to_string()]).code, Some(0));
    }
    for (certificate, key, says) in [
        ("a/server.pem", "b/server-key.pem", "b/server-key.pem: is not the key of the certificate in "),
        ("a/server-key.pem", "a/server-key.pem", "a/server-key.pem: must hold certificates as PEM"),
        ("c.pem", "a/server-key.pem", "c.pem: can't be read"),
    ] {
        let path = |name| directory.path().join(name).display().to_string();
        let arguments = ["--tls-certificate", &path(certificate), "--tls-key", &path(key)];
        let (status, stderr) = ServerProcess::fails_to_start(directory.path(), &arguments);
        let error = stderr.lines().find(|line| line.starts_with("error: TLS: ")).unwrap_or_default();
        assert!(status.code() == Some(1) && error.contains(says), "{certificate} {key}: {stderr}");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
    names.sort();
    names
}
