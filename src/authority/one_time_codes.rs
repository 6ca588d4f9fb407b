//! `RequestCode` and `VerifyCode`: a code goes to a recipient, and a session to the subject that the
//! caller names for it. How a code gets there is not known here.

use zeroize::Zeroizing;

use crate::domain::ids::ClientId;
use crate::domain::one_time_code::{self, CodePolicy, CodeRecord, Recipient};
use crate::domain::refusal::Refusal;
use crate::domain::session::Device;
use crate::domain::time::Timestamp;

use super::authorization::Permit;
use super::issue_token::{IssueToken, login};
use super::outbox::CodeMessage;
use super::ports::{Commit, Outcome, RecordKey, Version};
use super::sending::send;
use super::throttle::Address;
use super::{Authority, Error, IssuedTokens, Realm, audit, code_record};

/// How often a commit that lost a race is decided anew.
const MAX_CONFLICTS: usize = 16;

/// Where a code is to go.
#[derive(Debug, Clone)]
pub struct RequestCode {
    /// To whom.
    pub recipient: Recipient,
    /// Who asks, for whoever delivers it.
    pub client: Option<ClientId>,
    /// Where the user is.
    pub device: Device,
}

/// What a user typed, and the login that it is for.
#[derive(Debug, Clone)]
pub struct VerifyCode {
    /// Who got the code.
    pub recipient: Recipient,
    /// As typed.
    pub code: Zeroizing<String>,
    /// What is issued for it.
    pub login: IssueToken,
}

impl Authority {
    /// Makes a code and hands it over for delivery; until when it is good. Nothing is made that could
    /// not be handed over.
    pub async fn request_code(&self, by: &Permit, request: RequestCode) -> Result<Timestamp, Error> {
        let realm = by.realm();
        let policy = offered(realm)?;
        self.throttle_address(realm, Address::told(&request.device))?;
        let place = self.outbox.place(realm.name())?;
        let id = realm.code_key.record(&request.recipient);
        let code = self.draw_code();
        let digest = realm.code_key.digest(&id, &code);
        let decide = |record: &CodeRecord, now| match record.request(digest, policy, now) {
            Ok(record) => (Ok((now, now + policy.lifetime)), Some(record)),
            Err(refusal) => (Err(refusal), None),
        };
        let (made, expires) = self.change_code(realm, id, decide).await?;
        audit::code(realm.name(), "code_requested");
        place.send(CodeMessage {
            id: self.random(),
            realm: realm.name().clone(),
            delivery: policy.delivery.clone(),
            recipient: request.recipient,
            code,
            client: request.client,
            made,
            expires,
        });
        Ok(expires)
    }

    /// Uses a code up, then opens a session. What is wrong with the login is said before, and what fails
    /// after may be repeated by the same request id: the code stays used up by that request.
    pub async fn verify_code(&self, by: &Permit, request: VerifyCode) -> Result<IssuedTokens, Error> {
        let VerifyCode { recipient, code, login: asked } = request;
        asked.check_registered(by)?;
        let realm = by.realm().clone();
        let policy = offered(&realm)?;
        self.throttle_address(&realm, Address::told(&asked.device))?;
        let kind = asked.kind;
        let login = login(&realm, asked)?;
        login.check(&realm.policy)?;
        let id = realm.code_key.record(&recipient);
        let matches = |digest: &_| realm.code_key.matches(&id, &code, digest);
        let decide = |record: &CodeRecord, now| record.verify(login.request_id, policy, now, matches);
        self.change_code(&realm, id, decide).await?;
        audit::code(realm.name(), "code_verified");
        self.open(realm, kind, login).await
    }

    /// Runs a decision on a recipient's record until it is committed.
    async fn change_code<A>(
        &self,
        realm: &Realm,
        id: [u8; 16],
        decide: impl Fn(&CodeRecord, Timestamp) -> (Result<A, Refusal>, Option<CodeRecord>),
    ) -> Result<A, Error> {
        let key = RecordKey::code(realm.name().clone(), id);
        for _ in 0..MAX_CONFLICTS {
            let stored = self.store.load(&key).await?;
            let record = stored.as_ref().map(|stored| code_record::decode(&stored.bytes)).transpose()?;
            let (answer, written) = decide(&record.unwrap_or_default(), self.now());
            if let Some(written) = written {
                let commit = Commit {
                    id: Version(self.random()),
                    key: key.clone(),
                    expected: stored.map(|stored| stored.version),
                    bytes: code_record::encode(&written).into(),
                    expires: Some(written.expires()),
                    revocations: Vec::new(),
                };
                if send(&*self.store, &commit).await.outcome? == Outcome::Conflict {
                    continue;
                }
            }
            return answer.map_err(|refusal| {
                self.throttle.count(&refusal);
                audit::refused(realm.name(), &refusal);
                refusal.into()
            });
        }
        Err(Error::Overloaded)
    }

    fn draw_code(&self) -> Zeroizing<String> {
        loop {
            let mut random = [0; 4];
            self.entropy.fill(&mut random);
            if let Some(code) = one_time_code::code(u32::from_be_bytes(random)) {
                return code.into();
            }
        }
    }

    fn random(&self) -> [u8; 16] {
        let mut random = [0; 16];
        self.entropy.fill(&mut random);
        random
    }
}

fn offered(realm: &Realm) -> Result<&CodePolicy, Error> {
    Ok(realm.policy.codes.as_ref().ok_or(Refusal::CodesNotOffered)?)
}
