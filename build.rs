//! Compiles the `.proto` files into messages, stubs, descriptor set, request checks and addresses, and
//! redacted `Debug`, without `protoc` on the machine. Knows no rule of the API: rules stand in the files.

#[path = "build/addressing.rs"]
mod addressing;
#[path = "build/redaction.rs"]
mod redaction;
#[path = "build/rules.rs"]
mod rules;
#[path = "build/rust_names.rs"]
mod rust_names;
#[path = "build/validation.rs"]
mod validation;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_reflect::DescriptorPool;
use protox::Compiler;

const PACKAGE: &str = "token_authority.v1";
const WELL_KNOWN_PACKAGE: &str = "google.protobuf";
const PROTO_ROOT: &str = "proto";
/// Upstream files that ours import, carried because a build must not need a network.
const THIRD_PARTY_ROOT: &str = "third_party";

fn main() -> Result<(), Box<dyn Error>> {
    rerun_if_changed();
    let out_dir = PathBuf::from(variable("OUT_DIR").ok_or("cargo sets OUT_DIR")?);

    let mut compiler = Compiler::new([PROTO_ROOT, THIRD_PARTY_ROOT])?;
    compiler.open_files(proto_files()?)?;
    let pool = compiler.descriptor_pool();

    fs::write(out_dir.join("descriptor.bin"), descriptor_set(&mut compiler))?;
    fs::write(out_dir.join("validate.rs"), validation::generate(&pool, PACKAGE)?)?;
    fs::write(out_dir.join("addressing.rs"), addressing::generate(&pool, PACKAGE)?)?;
    fs::write(out_dir.join("redaction.rs"), redaction::generate(&pool, PACKAGE)?)?;
    compile(&mut compiler, &pool, &out_dir)
}

#[allow(clippy::print_stdout, reason = "cargo reads instructions from standard output")]
fn rerun_if_changed() {
    // This program's own files need no line: cargo runs it again when it is built again.
    for root in [PROTO_ROOT, THIRD_PARTY_ROOT] {
        println!("cargo:rerun-if-changed={root}");
    }
}

#[allow(clippy::disallowed_methods, reason = "a build script is configured by its environment")]
fn variable(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name)
}

fn proto_files() -> std::io::Result<Vec<PathBuf>> {
    let directory = Path::new(PROTO_ROOT).join(PACKAGE.replace('.', "/"));
    let mut files =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    // A directory's order differs between machines; the output must not.
    files.sort();
    Ok(files)
}

/// For reflection: whole, so that a client needs nothing else, and without the comments.
fn descriptor_set(compiler: &mut Compiler) -> Vec<u8> {
    compiler.include_imports(true).include_source_info(false).encode_file_descriptor_set()
}

/// Messages and stubs of our own package only. prost wants to see the well-known types that its
/// fields use, and takes their code from `prost-types`; options are read above and leave no code.
fn compile(compiler: &mut Compiler, pool: &DescriptorPool, out_dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut files = compiler.include_imports(true).include_source_info(true).file_descriptor_set();
    files.file.retain(|file| [PACKAGE, WELL_KNOWN_PACKAGE].contains(&file.package()));

    tonic_prost_build::configure()
        .build_client(variable("CARGO_FEATURE_CLIENT").is_some())
        .build_server(variable("CARGO_FEATURE_SERVER").is_some())
        .skip_debug(redaction::redacted_messages(pool, PACKAGE))
        .out_dir(out_dir)
        .compile_fds(files)?;
    Ok(())
}
