//! In whose name something is done, for the audit alone: noted where a call is let in, and known from there
//! on to whatever the call leads to, so that no use case has to hand it on. Decides nothing.

use std::cell::OnceCell;
use std::fmt::Write as _;

use super::audit::hex;
use super::caller::{Caller, KnownBy};

tokio::task_local! {
    /// Of the call that a task serves. Empty: nobody was asked who calls.
    static NAME: OnceCell<By>;
}

/// Serves a call: what it leads to is done in the name of the caller that the gate finds.
pub fn attributed<F: Future>(call: F) -> impl Future<Output = F::Output> {
    NAME.scope(OnceCell::new(), call)
}

/// Who does something.
#[derive(Debug, Clone)]
pub(super) enum By {
    /// The authority itself, as time or the store's log asks for it.
    Server,
    /// Whoever has the token or cookie that the request carries.
    Bearer,
    /// Who was found to call.
    Caller(Caller),
}

impl By {
    /// Who does what is done now.
    pub(super) fn current() -> Self {
        NAME.try_with(|by| by.get().cloned().unwrap_or(Self::Bearer)).unwrap_or(Self::Server)
    }

    /// Has what the call leads to done in the name of this caller.
    pub(super) fn note(caller: &Caller) {
        // A call is let in once; outside of calls, nothing asks.
        let _ = NAME.try_with(|by| by.set(Self::Caller(caller.clone())));
    }

    /// Goes on in this name, also as a task of its own.
    pub(super) fn carry<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        NAME.scope(OnceCell::from(self), work)
    }

    /// As the audit says it, in one vocabulary. Of a subject the session is named, and never who it is.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Server => "server".to_owned(),
            Self::Bearer | Self::Caller(Caller::Anybody) => "bearer".to_owned(),
            Self::Caller(Caller::Operator(_)) => "operator".to_owned(),
            Self::Caller(Caller::Subject(token)) => {
                token.session.map_or_else(|| "bearer".to_owned(), |sid| format!("session:{}", hex(sid.session)))
            }
            Self::Caller(Caller::Client(client, known)) => {
                let mut name = format!("client:{}", client.client.id);
                // Writing to a text does not fail.
                let _ = match known {
                    KnownBy::Itself => Ok(()),
                    KnownBy::Certificate(shown) => write!(name, " certificate:{shown}"),
                    KnownBy::ServiceAccount(account) => write!(name, " service-account:{account}"),
                };
                name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::authority::caller::{Anonymous, RegisteredClient};
    use crate::domain::caller_name::{CertificateName, ServiceAccount};
    use crate::domain::client::Client;
    use crate::domain::ids::ClientId;
    use crate::domain::policy::Allowed;

    fn shop(known: KnownBy) -> Caller {
        let (audiences, scopes) = (Allowed::Any, Allowed::Any);
        let id = ClientId::parse("shop").expect("a client");
        let registered = RegisteredClient {
            client: Client { id, grants: [].into(), audiences, scopes, roles: [].into() },
            secrets: Vec::new(),
            keys: Vec::new(),
            certificates: Vec::new(),
            service_accounts: Vec::new(),
        };
        Caller::Client(Arc::new(registered), known)
    }

    #[tokio::test]
    async fn what_a_call_leads_to_is_done_in_its_callers_name() {
        let certificate = CertificateName::parse("spiffe://example.org/shop").expect("a name");
        let account = ServiceAccount::parse("shop/web").expect("an account");
        for (caller, name) in [
            (Caller::Operator(Anonymous::Operator), "operator"),
            (Caller::Anybody, "bearer"),
            (shop(KnownBy::Itself), "client:shop"),
            (shop(KnownBy::Certificate(certificate)), "client:shop certificate:spiffe://example.org/shop"),
            (shop(KnownBy::ServiceAccount(account)), "client:shop service-account:shop/web"),
        ] {
            let call = attributed(async {
                assert_eq!(By::current().name(), "bearer", "nobody was found yet");
                By::note(&caller);
                let elsewhere = By::current().carry(async { By::current().name() });
                let own = By::Server.carry(async { By::current().name() }).await;
                (By::current().name(), own, elsewhere)
            });
            let (here, own, elsewhere) = call.await;
            // A task of its own stands outside the call.
            assert_eq!([here, elsewhere.await, own], [name, name, "server"]);
        }
        assert_eq!(By::current().name(), "server");
    }
}
