//! The keys of a Kubernetes cluster: read at the start, and again from now on. The last good ones stay.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::client::{FetchKeys as _, HttpJwks};
use crate::config::{KeySetSource, KubernetesConfig};
use crate::tasks::Tasks;
use crate::verify::service_account::Cluster;

use super::StartError;

/// A cluster publishes a key well before it signs.
const READ_EVERY: Duration = Duration::from_secs(60);
/// While there are none, nobody with a service account gets in.
const FIRST_READ_EVERY: Duration = Duration::from_secs(5);

/// The cluster, kept up with. A file must be right at the start; who answers at a URL may come later.
pub(super) async fn open(config: Option<&KubernetesConfig>, tasks: &Tasks) -> Result<Option<Arc<Cluster>>, StartError> {
    let Some(KubernetesConfig { issuer, audience, key_set }) = config.cloned() else { return Ok(None) };
    let cluster = Arc::new(Cluster::new(issuer, audience));
    let first = read(&cluster, &key_set).await;
    if let (Err(problem), KeySetSource::File(_)) = (&first, &key_set) {
        return Err(StartError::Other(problem.clone()));
    }
    let keeping = cluster.clone();
    tasks.spawn_until_stopped(async move { keep_up(&keeping, &key_set, first).await });
    Ok(Some(cluster))
}

async fn keep_up(cluster: &Cluster, source: &KeySetSource, first: Result<(), String>) {
    let mut has_keys = first.is_ok();
    let mut last = first;
    loop {
        if let Err(problem) = &last {
            warn!(%problem, "the keys of the Kubernetes cluster can't be read");
        }
        tokio::time::sleep(if has_keys { READ_EVERY } else { FIRST_READ_EVERY }).await;
        last = read(cluster, source).await;
        if last.is_ok() && !has_keys {
            has_keys = true;
            info!("the keys of the Kubernetes cluster are known");
        }
    }
}

async fn read(cluster: &Cluster, source: &KeySetSource) -> Result<(), String> {
    let (named, set) = match source {
        KeySetSource::File(path) => {
            let set = tokio::fs::read(path).await.map_err(|error| error.to_string());
            (path.display().to_string(), set)
        }
        KeySetSource::Url(url) => {
            let fetched = match url.parse() {
                Ok(uri) => HttpJwks::new(uri).fetch().await.map_err(|error| error.to_string()),
                Err(_) => Err("is no URL".to_owned()),
            };
            (url.clone(), fetched)
        }
    };
    let installed = set.and_then(|set| cluster.install(&set).map_err(|error| error.to_string()));
    installed.map_err(|problem| format!("{named}: {problem}"))
}
