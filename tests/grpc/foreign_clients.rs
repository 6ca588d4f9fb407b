//! The server as strangers use it: a client in Python, and the examples that newcomers copy, against
//! the real binary. What they check is theirs to say; here they only run.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::server_process::ServerProcess;

#[path = "../../examples/first_token.rs"]
#[allow(dead_code, reason = "its `main` is not called here")]
mod first_token;

#[test]
fn a_python_client_finds_the_promises_kept() {
    let server = ServerProcess::start(&[]);
    let output = python("tests/clients/python/client.py", &server);
    // The steps that must not silently go missing from the script.
    for step in ["lost, and got the same tokens", "two generations old", "whole family ended", "other device alive"] {
        assert!(output.contains(step), "no step {step:?} in:\n{output}");
    }
}

#[test]
fn the_first_python_example_works() {
    let server = ServerProcess::start(&[]);
    let output = python("examples/python/first_token.py", &server);
    assert!(output.contains("active: True subject: alice scope: read"), "{output}");
    assert!(output.contains("refreshed"), "{output}");
}

#[tokio::test]
async fn the_first_rust_example_works() {
    let server = ServerProcess::start(&[]);
    first_token::first_token(server.endpoint()).await.expect("the example ends well");
}

#[test]
fn the_readme_shows_the_examples_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect("a file");
    let (readme, rust) = (read("README.md"), read("examples/first_token.rs"));
    let (_, rust) = rust.split_once("\n\n").expect("a description, then code");
    for (language, code) in [("rust", rust), ("python", &read("examples/python/first_token.py"))] {
        assert!(readme.contains(&format!("```{language}\n{code}```")), "the {language} example differs");
    }
    let protected = read("examples/protected_axum.rs");
    let (_, serve) = protected.split_once("pub(crate) async fn serve").expect("its one function");
    assert!(readme.contains(&format!("```rust\npub(crate) async fn serve{serve}```")), "the axum example differs");
}

/// Runs a script on the server's address from the repository's root, as the README says; returns
/// what it printed.
fn python(script: &str, server: &ServerProcess) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(interpreter(root))
        .arg(script)
        .arg(server.grpc().to_string())
        .current_dir(root)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("python runs");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{printed}{complaint}", output.status);
    printed
}

fn interpreter(root: &Path) -> PathBuf {
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make test`, which installs it", python.display());
    python
}
