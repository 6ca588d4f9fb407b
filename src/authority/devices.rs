//! A subject's devices: listed, trusted, forgotten.

use crate::domain::ids::{DeviceId, Subject};
use crate::domain::live::{LiveDevice, known_devices};
use crate::domain::refusal::Refusal;
use crate::domain::revocation::Revision;
use crate::domain::trust_device::{forget_device, trust_device};

use super::authorization::Permit;
use super::{Authority, Error, is_cut_off};

impl Authority {
    /// The devices that the subject has used, the latest used first.
    pub async fn list_devices(&self, realm: &str, subject: &Subject) -> Result<Vec<LiveDevice>, Error> {
        let realm = self.realm(realm)?;
        self.check_index()?;
        let record = self.subjects.read(&realm.record_key(realm.place(subject))).await?;
        Ok(known_devices(record.as_ref(), self.now(), |session| is_cut_off(&self.index, realm.name(), session)))
    }

    /// Trusts a device for as long as the realm says; the device afterwards. Trust holds for sessions of every
    /// audience, so an issuer has to be one for all of them.
    pub async fn trust_device(&self, by: &Permit, subject: &Subject, id: DeviceId) -> Result<LiveDevice, Error> {
        let known = by.realm();
        if by.issuer().is_some_and(|client| !client.audiences.covers(&known.policy.audiences)) {
            return Err(Refusal::ClientNotPermitted.into());
        }
        let trusted = id.clone();
        self.change(known, known.place(subject), move |record, context| trust_device(record, &trusted, context))
            .await?
            .answer?;
        let devices = self.list_devices(known.name().as_str(), subject).await?;
        // It may be forgotten already, by somebody else.
        devices.into_iter().find(|live| live.device.is(&id)).ok_or_else(|| Refusal::UnknownDevice.into())
    }

    /// Forgets a device and ends its sessions; how many, and proof.
    pub async fn forget_device(
        &self,
        realm: &str,
        subject: &Subject,
        id: DeviceId,
    ) -> Result<(usize, Revision), Error> {
        let realm = self.realm(realm)?;
        let place = realm.place(subject);
        let committed = self.change(&realm, place, move |record, context| forget_device(record, &id, context)).await?;
        let count = committed.answer?;
        match committed.revision {
            Some(revision) => Ok((count, revision)),
            // Forgotten before, maybe by a commit whose outcome nobody knew.
            None => Ok((count, self.proof_of(&realm.record_key(place)).await?)),
        }
    }
}
