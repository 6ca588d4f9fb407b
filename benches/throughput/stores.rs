//! Where the service keeps things in the benchmark: a directory, a Redis of the benchmark's own, a Cluster
//! of three. Each starts when it is first asked for, and ends with the benchmark.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use token_authority::verify::client::SecretHash;
use tokio::sync::OnceCell;

use crate::Failure;
use crate::redis_fleet::RedisFleet;
use crate::redis_server::RedisServer;

/// The client that each realm knows, and its secret.
pub(crate) const CLIENT: &str = "bench";
const SECRET: &str = "tas_a-secret-of-the-benchmark";
/// About the record of a subject with one session.
pub(crate) const RECORD_BYTES: usize = 450;
/// Written ahead and synced every second; rewriting the file would disturb what is measured.
pub(crate) const DURABLE: [&str; 6] =
    ["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    Embedded,
    Redis,
    Cluster,
}

impl Backing {
    pub(crate) const ALL: [Self; 3] = [Self::Embedded, Self::Redis, Self::Cluster];

    /// Behind the name of a row.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "",
            Self::Redis => " on Redis",
            Self::Cluster => " on Cluster",
        }
    }
}

pub(crate) struct Stores {
    directory: TempDir,
    redis: OnceCell<RedisServer>,
    cluster: OnceCell<RedisFleet>,
}

impl Stores {
    /// With the realms `default` (RS256), `es256` and `eddsa`, which know the same client.
    pub(crate) fn new() -> Result<Self, Failure> {
        let directory = TempDir::new()?;
        let realms = directory.path().join("realms");
        fs::create_dir(&realms)?;
        let secret = SecretHash::of(SECRET).ok_or("the secret is too short")?;
        for (name, algorithm) in [("default", "RS256"), ("es256", "ES256"), ("eddsa", "EdDSA")] {
            let text = format!(
                "[realm]\nname = \"{name}\"\nalgorithm = \"{algorithm}\"\naccess_lifetime = \"24h\"\n\n[[realm.clients]]\nid = \"{CLIENT}\"\n\
                 secrets = [\"{secret}\"]\ngrants = [\"refresh_token\"]\naudiences = \"any\"\nscopes = \"any\"\n\
                 roles = [\"issuer\", \"introspector\"]\n"
            );
            fs::write(realms.join(format!("{name}.toml")), text)?;
        }
        Ok(Self { directory, redis: OnceCell::new(), cluster: OnceCell::new() })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// As `--store` takes it; a Redis has room for several stores, by prefix.
    pub(crate) async fn url(&self, backing: Backing, prefix: &str) -> Result<String, Failure> {
        Ok(match backing {
            Backing::Embedded => format!("embedded:{}", self.directory().join(prefix).display()),
            Backing::Redis => self.redis().await.url(prefix),
            Backing::Cluster => self.cluster.get_or_init(|| RedisFleet::cluster_of_three(&DURABLE)).await.url(prefix),
        })
    }

    pub(crate) async fn redis(&self) -> &RedisServer {
        self.redis.get_or_init(|| RedisServer::start_with(&DURABLE)).await
    }
}

/// How that client proves itself.
pub(crate) fn authorization() -> String {
    format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")))
}
