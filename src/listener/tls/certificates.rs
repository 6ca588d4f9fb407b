//! The certificates in force: read at the start, and again whenever their files change. What is wrong
//! with new ones changes nothing.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{Stream, StreamExt as _};
use rustls::ServerConfig;
use rustls::time_provider::TimeProvider;
use tokio::sync::watch;
use tracing::{error, info};

use crate::config::{TlsConfig, TlsMode};

use super::Tls;
use super::material::{Material, Texts, TlsError};

/// How often files are compared: by what they hold, since orchestrators swap links.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What each edge speaks; a client that offers nothing else is refused (RFC 7301, section 3.2).
const GRPC: &[u8] = b"h2";
const HTTP: &[u8] = b"http/1.1";

/// The files, what they held when they were last in order, and what follows for each edge.
pub struct Certificates {
    files: TlsConfig,
    time: Arc<dyn TimeProvider>,
    texts: Texts,
    grpc: watch::Sender<Arc<ServerConfig>>,
    http: watch::Sender<Arc<ServerConfig>>,
    /// What was said last of new files, so that it is said once.
    refused: Option<String>,
}

impl Certificates {
    /// Reads and checks the files.
    pub fn open(files: TlsConfig, time: Arc<dyn TimeProvider>) -> Result<Self, TlsError> {
        let texts = Texts::read(&files)?;
        let [grpc, http] = both(&texts, &files, &time)?;
        let (grpc, http) = (watch::Sender::new(grpc), watch::Sender::new(http));
        Ok(Self { files, time, texts, grpc, http, refused: None })
    }

    /// What the gRPC listener speaks, if it is TLS.
    pub fn grpc(&self) -> Option<Tls> {
        tls(self.files.grpc, &self.grpc)
    }

    /// What the HTTP listener speaks, if it is TLS.
    pub fn http(&self) -> Option<Tls> {
        tls(self.files.http, &self.http)
    }

    /// Takes in new files: looks at times, and whenever it is `asked`. Connections that are open stay
    /// as they are.
    pub async fn follow(mut self, asked: impl Stream<Item = ()>) -> Infallible {
        let mut asked = std::pin::pin!(asked.fuse());
        loop {
            tokio::select! {
                Some(()) = asked.next() => {
                    // Who asks is answered, though nothing has changed.
                    self.refused = None;
                    info!("asked to read the certificates again");
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match self.look() {
                Ok(Looked::Same) => self.refused = None,
                Ok(Looked::New) => {
                    self.refused = None;
                    info!(file = %self.files.certificate.display(), "new certificates are in use");
                }
                Err(wrong) => {
                    let wrong = wrong.to_string();
                    if self.refused.as_ref() != Some(&wrong) {
                        error!(wrong, "new certificates are not used; those from before are");
                        self.refused = Some(wrong);
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Result<Looked, TlsError> {
        let texts = Texts::read(&self.files)?;
        if texts == self.texts {
            return Ok(Looked::Same);
        }
        let [grpc, http] = both(&texts, &self.files, &self.time)?;
        self.grpc.send_replace(grpc);
        self.http.send_replace(http);
        self.texts = texts;
        Ok(Looked::New)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

enum Looked {
    Same,
    New,
}

/// gRPC's and HTTP's: both or none, so that they never differ in whom they trust.
fn both(texts: &Texts, files: &TlsConfig, time: &Arc<dyn TimeProvider>) -> Result<[Arc<ServerConfig>; 2], TlsError> {
    let material = Material::parse(texts, files, &**time)?;
    Ok([material.server(files.grpc, GRPC, time.clone())?, material.server(files.http, HTTP, time.clone())?])
}

fn tls(mode: TlsMode, current: &watch::Sender<Arc<ServerConfig>>) -> Option<Tls> {
    (mode != TlsMode::Off).then(|| Tls { mode, current: current.subscribe() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures::stream;
    use rcgen::generate_simple_self_signed;
    use rustls::time_provider::DefaultTimeProvider;
    use tempfile::TempDir;
    use tokio::time::Instant;

    use super::*;

    fn write(files: &TlsConfig) {
        let pair = generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        fs::write(&files.certificate, pair.cert.pem()).expect("writes");
        fs::write(&files.key, pair.signing_key.serialize_pem()).expect("writes");
    }

    fn open(directory: &TempDir) -> (TlsConfig, Certificates) {
        let files = TlsConfig {
            certificate: directory.path().join("certificate.pem"),
            key: directory.path().join("key.pem"),
            client_ca: None,
            grpc: TlsMode::Server,
            http: TlsMode::Off,
        };
        write(&files);
        let certificates = Certificates::open(files.clone(), Arc::new(DefaultTimeProvider)).expect("in order");
        (files, certificates)
    }

    /// As an orchestrator does, which tells nobody.
    #[tokio::test(start_paused = true)]
    async fn new_files_are_found_in_time_once_they_fit_together() {
        let directory = TempDir::new().expect("a directory");
        let (files, certificates) = open(&directory);
        assert!(certificates.http().is_none(), "plaintext, as it was told");
        let mut tls = certificates.grpc().expect("TLS");
        let mut following = std::pin::pin!(certificates.follow(stream::pending()));
        let mut within = async |time| {
            let changed = tls.current.changed();
            tokio::select! {
                changed = tokio::time::timeout(time, changed) => changed.is_ok(),
                _ = &mut following => false,
            }
        };
        assert!(!within(LOOK_EVERY * 3).await, "nothing is new");
        fs::write(&files.certificate, "half of").expect("writes");
        assert!(!within(LOOK_EVERY * 3).await, "a half-written file is not taken");
        write(&files);
        let begun = Instant::now();
        assert!(within(LOOK_EVERY * 3).await, "new files are");
        assert!(begun.elapsed() <= LOOK_EVERY, "{:?}", begun.elapsed());
        assert!(!within(LOOK_EVERY * 3).await, "once");
    }
}
