//! `check-config --explain`: what a caller may do in each realm of a configuration, from the same table by
//! which a server decides. Talks to no server.

use std::fmt::Display;
use std::io::{self, Write};

use crate::authority::authorization::{Admits, Reach, table};
use crate::authority::caller::RegisteredClient;
use crate::config::Config;
use crate::domain::policy::Allowed;

/// Writes what the caller may do: a client's id, a SPIFFE id, a host's name, or NAMESPACE/NAME.
pub(super) fn explain(out: &mut dyn Write, config: &Config, caller: &str) -> io::Result<()> {
    for realm in config.realm_names() {
        let clients = config.clients.get(realm).map_or(&[][..], Vec::as_slice);
        match clients.iter().find(|client| is_known_as(client, caller)) {
            Some(client) => {
                writeln!(out, "realm {realm}: {caller} is client {:?}", client.client.id.as_str())?;
                describe(out, client)?;
            }
            None => writeln!(out, "realm {realm}: {caller} is nobody, and may call what anybody may")?,
        }
    }
    Ok(())
}

fn is_known_as(client: &RegisteredClient, caller: &str) -> bool {
    let host = caller.strip_prefix("dns:").unwrap_or(caller);
    client.client.id.as_str() == caller
        || client.certificates.iter().any(|name| name.as_str() == host)
        || client.service_accounts.iter().any(|account| account.as_str() == caller)
}

fn describe(out: &mut dyn Write, registered: &RegisteredClient) -> io::Result<()> {
    let client = &registered.client;
    let roles: Vec<_> = client.roles.iter().map(|role| role.name()).collect();
    let grants: Vec<_> = client.grants.iter().map(|grant| grant.name()).collect();
    writeln!(out, "  roles      {}", or_none(&roles))?;
    writeln!(out, "  audiences  {}", allowed(&client.audiences))?;
    writeln!(out, "  scopes     {}", allowed(&client.scopes))?;
    writeln!(out, "  grants     {}", or_none(&grants))?;
    for row in table().iter().filter(|row| !matches!(row.admits, Admits::Anybody | Admits::Carried)) {
        match row.admits.reach(|role| client.roles.contains(&role)) {
            Reach::Nothing => {}
            Reach::Own => writeln!(out, "  may call   {} (its own subject only)", row.call)?,
            Reach::All => writeln!(out, "  may call   {}", row.call)?,
        }
    }
    Ok(())
}

fn allowed<T: Ord + Display>(allowed: &Allowed<T>) -> String {
    match allowed {
        Allowed::Any => "any".to_owned(),
        Allowed::Only(names) => or_none(&names.iter().map(ToString::to_string).collect::<Vec<_>>()),
    }
}

fn or_none<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
