//! Servers of the authority in this process on one Redis, by the machine's own clock: they share it with
//! Redis, which a turned one does not.

use std::time::Duration;

use tempfile::TempDir;
use token_authority::app::Server;
use token_authority::config::{Config, CreateKey, StoreUrl};
use token_authority::domain::algorithm::Algorithm;
use token_authority::proto::v1::ListSessionsRequest;
use token_authority::proto::v1::session_service_client::SessionServiceClient;
use tonic::transport::Channel;

/// Generous: a loaded machine is slow.
const AVAILABLE_WITHIN: Duration = Duration::from_secs(30);

pub(crate) struct World {
    servers: Vec<Server>,
    /// One of each server.
    pub(crate) channels: Vec<Channel>,
    /// The key is the same for all.
    directory: TempDir,
}

impl World {
    pub(crate) async fn on(url: &str, servers: usize) -> Self {
        let directory = TempDir::new().expect("a directory");
        let mut world = Self { servers: Vec::new(), channels: Vec::new(), directory };
        for _ in 0..servers {
            world.add(url).await;
        }
        world
    }

    /// One more server, on this Redis or one with the same data.
    pub(crate) async fn add(&mut self, url: &str) {
        let mut config = Config::on_free_ports(self.directory.path());
        config.store = StoreUrl::parse(url).expect("a URL");
        config.encryption_key_file = Some(self.directory.path().join("kek"));
        config.create_key = CreateKey::IfMissing;
        config.public_url = Some("http://127.0.0.1".to_owned());
        let policy = config.realms.first_mut().expect("the default realm");
        // A fault on a loaded machine may take longer than the usual leeway.
        policy.reuse_leeway = Duration::from_secs(300);
        policy.algorithm = Algorithm::EdDsa;
        let server = Server::start(config).await.expect("starts");
        let channel = Channel::from_shared(format!("http://{}", server.grpc_address())).expect("an address");
        self.channels.push(channel.connect().await.expect("connects"));
        self.servers.push(server);
    }

    /// Waits until every server reaches the store.
    pub(crate) async fn is_available(&self) {
        let available = async {
            for channel in &self.channels {
                let mut sessions = SessionServiceClient::new(channel.clone());
                let request = ListSessionsRequest { subject: "nobody".to_owned(), ..Default::default() };
                while sessions.list_sessions(request.clone()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(AVAILABLE_WITHIN, available).await.expect("every server reaches the store");
    }

    /// Where the key-encryption key is.
    pub(crate) fn key_file(&self) -> std::path::PathBuf {
        self.directory.path().join("kek")
    }
}
