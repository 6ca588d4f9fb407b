//! `keys import`: works on the store itself, since a private key is never sent anywhere, and never an
//! argument, which every user of the machine could read.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use zeroize::Zeroizing;

use crate::app;
use crate::config::DEFAULT_REALM;
use crate::domain::algorithm::Algorithm;
use crate::domain::ids::RealmName;
use crate::grpc::key_message;
use crate::proto::v1;
use crate::signing::import::private_key;

use super::super::Streams;
use super::super::answer;
use super::super::client::ClientFlags;
use super::super::failure::{Exit, Failure};
use super::super::store_flags::StoreFlags;
use super::lines;
use super::prepare::algorithm;

/// More than the largest RSA key takes in any form.
const MAX_BYTES: usize = 64 << 10;

/// Add a private key that was made elsewhere, as a prepared one
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// PKCS#8, PKCS#1 or SEC 1 in PEM, or a JWK; "-" reads standard input
    file: PathBuf,
    /// RS256, PS256, ES256, EdDSA or HS256, if the realm has keys of it
    #[arg(long, value_name = "NAME", value_parser = algorithm())]
    algorithm: String,
    #[command(flatten)]
    store: StoreFlags,
}

impl Import {
    pub(super) async fn run(self, flags: &ClientFlags, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
        let realm = flags.realm.as_deref().unwrap_or(DEFAULT_REALM);
        let realm = RealmName::parse(realm).map_err(Failure::refused)?;
        let algorithm = Algorithm::parse(&self.algorithm).ok_or_else(|| Failure::refused("no such algorithm"))?;
        let place = self.file.display();
        let text = if self.file.as_os_str() == "-" {
            read(&mut *streams.input)
        } else {
            File::open(&self.file).and_then(|mut file| read(&mut file))
        };
        let text = text.map_err(|error| Failure::refused(format_args!("{place} can't be read: {error}")))?;
        let private = private_key(algorithm, &text);
        let private =
            private.map_err(|error| Failure::refused(format_args!("{place}, as {algorithm} key: {error}")))?;
        let imported = app::import(&self.store.config()?, &realm, algorithm, private).await;
        let key = key_message(&imported.map_err(Failure::refused)?);
        if flags.json {
            answer::json(streams.out, "PrepareKeyResponse", &v1::PrepareKeyResponse { key: Some(key) })?;
        } else {
            lines(&key).write(streams.out)?;
        }
        Ok(Exit::Done)
    }
}

fn read(input: &mut dyn Read) -> std::io::Result<Zeroizing<String>> {
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * MAX_BYTES));
    input.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_BYTES {
        return Err(std::io::Error::other(format!("longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}
