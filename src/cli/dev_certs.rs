//! `dev-certs`: certificates with which TLS can be tried, and a configuration that knows the client's. Their authority's key is made, used and
//! forgotten, so nobody who finds the files can make another certificate.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use zeroize::Zeroizing;

use crate::authority::ports::Clock as _;
use crate::config::DEFAULT_REALM;
use crate::domain::client::Role;
use crate::listener::Identity;
use crate::system::SystemClock;

use super::Streams;
use super::failure::{Exit, Failure};

const LIFETIME: Duration = Duration::from_secs(365 * 86_400);
/// Other machines' clocks may be behind.
const BACKDATED: Duration = Duration::from_secs(3_600);
const CERTIFICATE_MODE: u32 = 0o644;
const KEY_MODE: u32 = 0o600;
const CONFIG: &str = "server.toml";

/// Make certificates to try TLS with, valid for a year
#[derive(Debug, Args)]
pub(super) struct DevCerts {
    /// Directory for ca.pem, server.pem, server-key.pem, client.pem, client-key.pem and server.toml
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Whom the client's certificate names [default: spiffe://dev.local/client]
    #[arg(long, value_name = "URI", value_parser = parse_spiffe_id)]
    spiffe_id: Option<String>,
}

impl DevCerts {
    pub(super) fn run(self, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let directory = &self.directory;
        let client = self.spiffe_id.as_deref().unwrap_or("spiffe://dev.local/client");
        let mut files = files(client).map_err(Failure::refused)?;
        fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
        let absolute = fs::canonicalize(directory).map_err(|error| failed(directory, &error))?;
        files.push((CONFIG, CERTIFICATE_MODE, Zeroizing::new(config(&absolute, client))));
        // All or none: a pair of which one half is from before fits nothing.
        for (name, ..) in &files {
            let path = directory.join(name);
            if path.symlink_metadata().is_ok() {
                return Err(failed(&path, &io::ErrorKind::AlreadyExists.into()));
            }
        }
        for (name, mode, text) in &files {
            let path = directory.join(name);
            write_new(&path, *mode, text).map_err(|error| failed(&path, &error))?;
        }
        let shown = directory.display();
        writeln!(streams.out, "made {shown}/ca.pem, and server and client certificates for a year")?;
        writeln!(streams.out, "  token-authority serve --config {shown}/{CONFIG}")?;
        writeln!(
            streams.out,
            "  token-authority token issue --subject alice --ca {shown}/ca.pem --cert {shown}/client.pem \
             --key {shown}/client-key.pem"
        )?;
        Ok(Exit::Done)
    }
}

type NewFile = (&'static str, u32, Zeroizing<String>);

/// Each file with its mode and text.
fn files(spiffe_id: &str) -> Result<Vec<NewFile>, rcgen::Error> {
    let mut authority = named("Token Authority development CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let server = [
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
    ];
    let (server, server_key) = signed(&authority, "localhost", &server, ExtendedKeyUsagePurpose::ServerAuth)?;
    let client = [SanType::URI(spiffe_id.try_into()?)];
    let (client, client_key) = signed(&authority, "client", &client, ExtendedKeyUsagePurpose::ClientAuth)?;
    Ok(vec![
        ("ca.pem", CERTIFICATE_MODE, Zeroizing::new(authority.pem())),
        ("server.pem", CERTIFICATE_MODE, server),
        ("server-key.pem", KEY_MODE, server_key),
        ("client.pem", CERTIFICATE_MODE, client),
        ("client-key.pem", KEY_MODE, client_key),
    ])
}

/// For a server that demands certificates, and lets the client's do everything.
fn config(directory: &Path, client: &str) -> String {
    let file = |name| directory.join(name).display().to_string();
    let roles: Vec<_> = Role::ALL.into_iter().map(Role::name).collect();
    format!(
        "[tls]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n\n[realm]\nname = {DEFAULT_REALM:?}\n\n\
         [[realm.clients]]\nid = \"dev\"\ncertificates = [{client:?}]\naudiences = \"any\"\nscopes = \"any\"\n\
         roles = {roles:?}\n",
        file("server.pem"),
        file("server-key.pem"),
        file("ca.pem"),
    )
}

/// A certificate with its key.
fn signed(
    authority: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    alternative_names: &[SanType],
    usage: ExtendedKeyUsagePurpose,
) -> Result<(Zeroizing<String>, Zeroizing<String>), rcgen::Error> {
    let mut params = named(name);
    params.subject_alt_names = alternative_names.to_vec();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    Ok((Zeroizing::new(certificate.pem()), Zeroizing::new(key.serialize_pem())))
}

fn named(name: &str) -> CertificateParams {
    let now = Duration::from_millis(u64::try_from(SystemClock::default().now().millis()).unwrap_or_default());
    let from = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(BACKDATED);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (from, from + LIFETIME);
    params
}

fn write_new(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::AlreadyExists => "exists, and is left as it is: name another directory, or remove it".to_owned(),
        _ => format!("can't be written: {error}"),
    };
    Failure::refused(format_args!("{}: {advice}", path.display()))
}

fn parse_spiffe_id(text: &str) -> Result<String, String> {
    match Identity::spiffe(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("must be a SPIFFE id such as spiffe://example.org/web".to_owned()),
    }
}
