//! Who calls, and what was shown to prove it. What a caller may do is the table's (`authorization`).

use std::fmt;
use std::sync::Arc;

use tracing::debug;

use crate::domain::caller_name::{CertificateName, ServiceAccount};
use crate::domain::client::{Client, Role};
use crate::domain::ids::Subject;
pub use crate::verify::client::RegisteredClient;
use crate::verify::service_account::Cluster;
use crate::verify::{Bearer, VerifiedToken, Verifier};

use super::client_proof::ClientProof;
use super::{Authority, Error, Realm};

/// Who calls, in one realm.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Nobody in particular: what anybody may do.
    Anybody,
    /// Who runs the server, for showing nothing: every role.
    Operator(Anonymous),
    /// A registered client: the roles that it is registered with.
    Client(Arc<RegisteredClient>, KnownBy),
    /// The bearer of an access token: self-service for its subject.
    Subject(Arc<VerifiedToken>),
}

/// By what a client is known.
#[derive(Debug, Clone)]
pub enum KnownBy {
    /// Its own secret or key.
    Itself,
    /// A name in a certificate.
    Certificate(CertificateName),
    /// A service account of the cluster.
    ServiceAccount(ServiceAccount),
}

impl Caller {
    /// Whether it has the role.
    pub fn has(&self, role: Role) -> bool {
        match self {
            Self::Anybody => false,
            Self::Operator(_) => true,
            Self::Client(client, _) => client.client.roles.contains(&role),
            Self::Subject(_) => role == Role::SelfService,
        }
    }

    /// The client that bounds what is done for it; `None`: nothing does but the realm.
    pub fn client(&self) -> Option<&Client> {
        match self {
            Self::Client(client, _) => Some(&client.client),
            Self::Anybody | Self::Operator(_) | Self::Subject(_) => None,
        }
    }

    /// Its own subject: for a client, that of the tokens that it gets for itself.
    pub(super) fn subject(&self) -> Option<Subject> {
        match self {
            Self::Anybody | Self::Operator(_) => None,
            Self::Client(client, _) => Subject::parse(client.client.id.as_str()).ok(),
            Self::Subject(token) => Some(token.subject.clone()),
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

impl Anonymous {
    fn is_operator_of(self, realm: &Realm) -> bool {
        match self {
            Self::Nobody => false,
            Self::OperatorWithoutClients => realm.clients.is_empty(),
            Self::Operator => true,
        }
    }
}

/// What a call shows.
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

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Authority {
    /// Who calls. Whatever is wrong with a proof, the answer is the same; somebody who is proven to be
    /// somebody else than the realm knows is nobody.
    pub(super) async fn caller(&self, realm: &Realm, shown: &Credentials<'_>) -> Result<Caller, Error> {
        match shown {
            Credentials::Nothing(anonymous) if anonymous.is_operator_of(realm) => Ok(Caller::Operator(*anonymous)),
            Credentials::Nothing(_) | Credentials::Unreadable => Err(Error::ClientNotAuthenticated),
            Credentials::Proof(proof) => self.itself(realm, proof).await,
            Credentials::Certificate(names) => {
                let known = realm.clients.by_certificate(names);
                Ok(known.map_or(Caller::Anybody, |(client, name)| {
                    Caller::Client(client.clone(), KnownBy::Certificate(name.clone()))
                }))
            }
            Credentials::Bearer(token) => self.bearer(realm, token).await,
        }
    }

    /// Whether who was found to call is so still: tokens end, and registrations change, while a call goes on.
    pub(super) fn check_caller(&self, realm: &Realm, caller: &Caller) -> Result<(), Error> {
        let holds = match caller {
            Caller::Anybody => true,
            Caller::Operator(anonymous) => anonymous.is_operator_of(realm),
            Caller::Client(client, _) => realm.clients.find(&client.client.id) == Some(client),
            Caller::Subject(token) => {
                self.check_index()?;
                self.verifier.check(token, self.now()).is_ok()
            }
        };
        if holds { Ok(()) } else { Err(Error::ClientNotAuthenticated) }
    }

    async fn itself(&self, realm: &Realm, proof: &ClientProof) -> Result<Caller, Error> {
        Ok(Caller::Client(self.authenticate_client(realm, proof).await?, KnownBy::Itself))
    }

    /// One of three kinds of token, each of which is refused where another is wanted.
    async fn bearer(&self, realm: &Realm, token: &str) -> Result<Caller, Error> {
        let cluster = self.cluster.as_deref();
        match Bearer::of(token, cluster.map(Cluster::issuer)) {
            Bearer::AccessToken => self.subject(realm, token).await,
            Bearer::ServiceAccount => {
                let account = cluster.map(|cluster| cluster.check(token, self.now()));
                match account {
                    Some(Ok(account)) => {
                        let client = realm.clients.by_service_account(&account);
                        Ok(client
                            .cloned()
                            .map_or(Caller::Anybody, |client| Caller::Client(client, KnownBy::ServiceAccount(account))))
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
                self.itself(realm, &proof).await
            }
        }
    }

    /// The subject of an active access token that a login of its own gave it.
    async fn subject(&self, realm: &Realm, token: &str) -> Result<Caller, Error> {
        self.check_index()?;
        let check = |verifier: &Verifier| verifier.verify(realm.name(), token, self.now());
        match self.with_newest_keys(realm.name(), check).await? {
            Ok(token) if is_of_login(&token) => Ok(Caller::Subject(token)),
            Ok(_) => Err(Error::ClientNotAuthenticated),
            Err(rejection) => {
                debug!(realm = realm.policy.realm.as_str(), reason = rejection.label(), "bearer refused");
                Err(Error::ClientNotAuthenticated)
            }
        }
    }
}

/// Whether a token speaks for its subject. One that is bound to a key does not: nobody has proven the key here,
/// so that a thief would pass as well (RFC 9449, section 7.2). Nor does one that was exchanged, which is a
/// service's, nor one without a session, which may be a client's own.
fn is_of_login(token: &VerifiedToken) -> bool {
    token.confirmation.is_none() && token.session_client.is_none() && token.session.is_some()
}
