//! Devices: used, trusted, forgotten, noticed when they change.

use super::super::TRUST;
use super::World;
use crate::domain::device::{OnChange, Trust};
use crate::domain::fact::Fact;
use crate::domain::ids::DeviceId;
use crate::domain::refusal::Refusal;
use crate::domain::session::Device;
use crate::domain::time::Timestamp;
use crate::domain::trust_device::{forget_device, trust_device};

impl World {
    pub(super) fn note_use(&mut self, device: u8, user_agent: u8, facts: &[Fact], refusal: Option<&Refusal>) {
        let seen = self.devices.entry(device).or_default();
        let changed = seen.user_agent.is_some_and(|known| known != user_agent);
        let noticed = facts.contains(&Fact::DeviceChanged(device_id(device)));
        assert!(self.lossy || noticed == changed, "changed: {changed}, noticed: {noticed}");
        if changed && self.policy.devices.on_change == OnChange::Refuse {
            assert!(self.lossy || refusal == Some(&Refusal::DeviceNotTrusted));
            return;
        }
        seen.user_agent = Some(user_agent);
        if changed && self.policy.devices.on_change == OnChange::Untrust {
            seen.trusted_until = Timestamp::ZERO;
        }
    }

    pub(super) fn trust(&mut self, device: u8) {
        let id = device_id(device);
        let (answer, _) = self.decide(|record, context| trust_device(record, &id, context));
        let known = self.devices.get_mut(&device).filter(|seen| seen.user_agent.is_some());
        assert!(self.lossy || answer.is_ok() == known.is_some(), "only a device that was used is trusted");
        if let (Ok(until), Some(seen)) = (answer, known) {
            assert_eq!(until, self.now + TRUST);
            seen.trusted_until = until;
        }
    }

    pub(super) fn forget(&mut self, device: u8) {
        let id = device_id(device);
        let of_it: Vec<_> = self
            .record
            .iter()
            .flat_map(|record| &record.sessions)
            .filter(|session| session.device.id.as_ref() == Some(&id))
            .map(|session| session.id)
            .collect();
        let (answer, _) = self.decide(|record, context| forget_device(record, &id, context));
        assert!(answer.is_ok_and(|ended| ended <= of_it.len()));
        let record = self.record.as_ref();
        assert!(record.is_none_or(|record| record.device(&id).is_none()), "a forgotten device is known");
        assert!(of_it.iter().all(|id| record.is_none_or(|record| record.session(*id).is_none())), "its session lives");
        self.acknowledge(&of_it);
        self.devices.remove(&device);
    }

    /// What the record says of trust is what was done to the devices, unless the store lost some of it.
    pub(super) fn check_devices(&self) {
        for (device, seen) in self.devices.iter().filter(|_| !self.lossy) {
            let told = Device { id: Some(device_id(*device)), ..Device::default() };
            let trust = self.record.as_ref().map_or(Trust::Untrusted, |record| record.trust(&told, self.now));
            assert_eq!(trust == Trust::Trusted, self.now < seen.trusted_until, "device {device}");
        }
    }
}

pub(super) fn device_id(device: u8) -> DeviceId {
    DeviceId::parse(&device.to_string()).expect("an id")
}
