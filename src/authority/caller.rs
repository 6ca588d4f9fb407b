//! Who calls, and what was shown to prove it. What a caller may do is the table's (`authorization`).

use std::sync::Arc;

use tracing::debug;

use crate::domain::client::{Client, Role};
use crate::domain::ids::Subject;
pub use crate::verify::client::RegisteredClient;
use crate::verify::{Bearer, Verifier};

use super::client_proof::ClientProof;
use super::{Authority, Error, Realm};

/// Who calls, in one realm.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody in particular: what anybody may do.
    Anybody,
    /// Who runs the server: every role.
    Operator,
    /// A registered client: the roles that it is registered with.
    Client(Arc<RegisteredClient>),
    /// The bearer of an access token: self-service for its subject.
    Subject(Subject),
}

impl Caller {
    /// Whether it has the role.
    pub fn has(&self, role: Role) -> bool {
        match self {
            Self::Anybody => false,
            Self::Operator => true,
            Self::Client(client) => client.client.roles.contains(&role),
            Self::Subject(_) => role == Role::SelfService,
        }
    }

    /// The client that bounds what is done for it; `None`: nothing does but the realm.
    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::Client(client) => Some(&client.client),
            Self::Anybody | Self::Operator | Self::Subject(_) => None,
        }
    }

    /// Its own subject: for a client, that of the tokens that it gets for itself.
    pub(super) fn subject(&self) -> Option<Subject> {
        match self {
            Self::Anybody | Self::Operator => None,
            Self::Client(client) => Subject::parse(client.client.id.as_str()).ok(),
            Self::Subject(subject) => Some(subject.clone()),
        }
    }
}

/// As whom a call acts that shows nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anonymous {
    /// As nobody.
    #[default]
    Nobody,
    /// As the operator, in realms without clients.
    OperatorWithoutClients,
    /// As the operator.
    Operator,
}

/// What a call shows.
#[derive(Debug)]
pub enum Credentials<'a> {
    /// Nothing.
    Nothing(Anonymous),
    /// What a client proves itself with.
    Proof(ClientProof),
    /// A token of any kind (RFC 6750).
    Bearer(&'a str),
    /// The names in a certificate that the connection was made with.
    Certificate(&'a [String]),
    /// Something that can't be read.
    Unreadable,
}

impl Authority {
    /// Who calls. Whatever is wrong with a proof, the answer is the same; somebody who is proven to be
    /// somebody else than the realm knows is nobody.
    pub(super) async fn caller(&self, realm: &Realm, shown: &Credentials<'_>) -> Result<Caller, Error> {
        match shown {
            Credentials::Nothing(Anonymous::Operator) => Ok(Caller::Operator),
            Credentials::Nothing(Anonymous::OperatorWithoutClients) if realm.clients.is_empty() => Ok(Caller::Operator),
            Credentials::Nothing(_) | Credentials::Unreadable => Err(Error::ClientNotAuthenticated),
            Credentials::Proof(proof) => self.authenticate_client(realm, proof).await.map(Caller::Client),
            Credentials::Certificate(names) => {
                Ok(realm.clients.by_certificate(names).cloned().map_or(Caller::Anybody, Caller::Client))
            }
            Credentials::Bearer(token) => self.bearer(realm, token).await,
        }
    }

    /// One of three kinds of token, each of which is refused where another is wanted.
    async fn bearer(&self, realm: &Realm, token: &str) -> Result<Caller, Error> {
        let cluster = self.cluster.as_deref();
        match Bearer::of(token, cluster.map(|cluster| cluster.issuer())) {
            Bearer::AccessToken => self.subject(realm, token).await,
            Bearer::ServiceAccount => {
                let account = cluster.map(|cluster| cluster.check(token, self.now()));
                match account {
                    Some(Ok(account)) => {
                        let client = realm.clients.by_service_account(&account);
                        Ok(client.cloned().map_or(Caller::Anybody, Caller::Client))
                    }
                    Some(Err(rejection)) => {
                        debug!(reason = rejection.label(), "service account token refused");
                        Err(Error::ClientNotAuthenticated)
                    }
                    None => Err(Error::ClientNotAuthenticated),
                }
            }
            Bearer::Assertion => {
                let proof = ClientProof::Assertion { id: None, assertion: token.to_owned() };
                self.authenticate_client(realm, &proof).await.map(Caller::Client)
            }
        }
    }

    /// The subject of an active access token. One that is bound to a key is no bearer's: nobody has proven
    /// the key here, so that a thief would pass as well (RFC 9449, section 7.2).
    async fn subject(&self, realm: &Realm, token: &str) -> Result<Caller, Error> {
        self.check_index()?;
        let check = |verifier: &Verifier| verifier.verify(realm.name(), token, self.now());
        match self.with_newest_keys(realm.name(), check).await? {
            Ok(token) if token.confirmation.is_none() => Ok(Caller::Subject(token.subject.clone())),
            Ok(_) => Err(Error::ClientNotAuthenticated),
            Err(rejection) => {
                debug!(realm = realm.policy.realm.as_str(), reason = rejection.label(), "bearer refused");
                Err(Error::ClientNotAuthenticated)
            }
        }
    }
}
