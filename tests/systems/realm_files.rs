//! The realm files as an operator checks them before a start.

use std::process::Command;

use crate::SYSTEMS;
use crate::boot::realm_file;

/// `check-config` accepts all of them, and each holds the realm that it is named after.
pub(crate) fn check() -> Result<(), String> {
    let files = SYSTEMS.map(|system| realm_file(system.realm));
    let mut command = Command::new(env!("CARGO_BIN_EXE_token-authority"));
    let output = command.arg("check-config").args(&files).output().map_err(|error| error.to_string())?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(err.into_owned());
    }
    let expected: String = SYSTEMS
        .iter()
        .zip(&files)
        .map(|(system, file)| {
            let mut realms = ["default", system.realm];
            realms.sort_unstable();
            format!("{}: ok (realms: {})\n", file.display(), realms.join(", "))
        })
        .collect();
    if out == expected { Ok(()) } else { Err(format!("{out}\ninstead of\n{expected}")) }
}
