//! Realms as their files say now, read again when SIGHUP comes. What is wrong with one file leaves all of
//! them as they were; what else a configuration says waits for the next start.

use std::io;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tracing::{error, info, warn};

use crate::authority::clients::Clients;
use crate::authority::redefine_realms::RealmDefinition;
use crate::authority::{Authority, Error};
use crate::config::{Config, ConfigError, DEFAULT_REALM, Registered};
use crate::delivery::{self, DeliveryError};
use crate::domain::ids::RealmName;
use crate::domain::policy::RealmPolicy;
use crate::tasks::Tasks;

/// Why the realms stay as they were.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What the files say.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store, or a realm's record in it.
    #[error(transparent)]
    Realms(#[from] Error),
    /// Its last client was taken from the file, and with it what kept strangers out.
    #[error(
        "realm {0} would have no client any more, so that a call without a proof could be the operator's: restart \
         the server if that is meant, or say server.anonymous = \"none\""
    )]
    Opened(RealmName),
    /// The way of one-time codes.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// Puts changed realms into service.
#[derive(Debug, Clone)]
pub(super) struct Reload {
    authority: Arc<Authority>,
    /// Of the issuers, as at the start.
    base: Arc<str>,
    /// As it was read last. Held while realms are exchanged, so that they are in the order of readings.
    current: Arc<Mutex<Config>>,
    outcomes: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Reload {
    pub(super) fn new(authority: Arc<Authority>, base: &str, config: Config, registry: &mut Registry) -> Self {
        let outcomes = Family::default();
        registry.register("realm_reloads", "Times that the realms were read again, by outcome", outcomes.clone());
        Self { authority, base: base.into(), current: Arc::new(Mutex::new(config)), outcomes }
    }

    /// Reads once more whenever `asked` says so.
    pub(super) fn follow(
        self,
        tasks: &Tasks,
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> io::Result<()> {
        let mut asked = super::hangups()?;
        tasks.spawn_until_stopped(async move {
            while asked.recv().await.is_some() {
                // Logged and counted there.
                let _ = self.reload(read()).await;
            }
        });
        Ok(())
    }

    /// Makes the realms what this says; the names of those that are new or changed.
    pub(super) async fn reload(&self, read: Result<Config, ConfigError>) -> Result<Vec<RealmName>, ReloadError> {
        let done = self.exchange(read).await;
        let outcome = match &done {
            Ok(changed) => {
                let names: Vec<_> = changed.iter().map(RealmName::as_str).collect();
                info!(changed = names.join(", "), "the realms were read again");
                "done"
            }
            Err(wrong) => {
                for wrong in wrong.to_string().lines() {
                    error!(wrong, "the realms stay as they were");
                }
                "refused"
            }
        };
        self.outcomes.get_or_create(&[("outcome", outcome)]).inc();
        done
    }

    async fn exchange(&self, read: Result<Config, ConfigError>) -> Result<Vec<RealmName>, ReloadError> {
        let read = read?;
        let mut current = self.current.lock().await;
        if besides_realms(&read) != besides_realms(&current) {
            warn!("settings besides realms have changed: they take effect at the next start");
        }
        let mut next = read;
        keep_undefined(&mut next, &current);
        check_guarded(&next, &current)?;
        delivery::check(&next.realms)?;
        let changed = self.authority.redefine_realms(definitions(&next, &self.base)).await?;
        *current = next;
        Ok(changed)
    }
}

/// Each realm of a configuration.
pub(super) fn definitions(config: &Config, base: &str) -> Vec<RealmDefinition> {
    let definition = |policy: &RealmPolicy| {
        let clients = config.clients.get(&policy.realm).cloned().unwrap_or_default();
        let issuer = match policy.realm.as_str() {
            DEFAULT_REALM => base.into(),
            name => format!("{base}/realms/{name}").into(),
        };
        RealmDefinition { policy: policy.clone(), clients: Arc::new(Clients::new(clients)), issuer }
    };
    config.realms.iter().map(definition).collect()
}

/// A realm that is no longer defined stays: a file that is missing for a moment must not end its sessions,
/// nor make `default` as permissive as it is where nobody defines it.
fn keep_undefined(next: &mut Config, current: &Config) {
    let implied = Config::default().realms;
    for known in &current.realms {
        let defined = next.realms.iter().position(|policy| policy.realm == known.realm);
        let undefined = defined.is_none_or(|index| {
            implied.contains(&next.realms[index])
                && !next.clients.contains_key(&known.realm)
                && (!implied.contains(known) || current.clients.contains_key(&known.realm))
        });
        if undefined {
            warn!(realm = known.realm.as_str(), "no longer defined: it stays as it was until the next start");
            next.realms.retain(|policy| policy.realm != known.realm);
            next.realms.push(known.clone());
            next.clients.extend(current.clients.get(&known.realm).map(|own| (known.realm.clone(), own.clone())));
        }
    }
}

/// What only a start may do: open a realm to callers without a proof.
fn check_guarded(next: &Config, current: &Config) -> Result<(), ReloadError> {
    let guarded = |config: &Config, realm| config.clients.get(realm).is_some_and(|clients| !clients.is_empty());
    let opened = current.clients.keys().find(|realm| guarded(current, realm) && !guarded(next, realm));
    match opened.filter(|_| current.anonymous.is_none()) {
        Some(realm) => Err(ReloadError::Opened(realm.clone())),
        None => Ok(()),
    }
}

fn besides_realms(config: &Config) -> Config {
    Config { realms: Vec::new(), clients: Registered::new(), ..config.clone() }
}
