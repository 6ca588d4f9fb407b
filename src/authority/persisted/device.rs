//! How a device and the key that tokens are bound to are written down.

use prost::Message;

use crate::domain::device::KnownDevice;
use crate::domain::ids::DeviceId;
use crate::domain::session::Device;
use crate::domain::time::Timestamp;
use crate::domain::token::Confirmation;

use super::{DecodeError, bytes, moment};

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredDevice {
    #[prost(string, tag = "2")]
    platform: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    user_agent: String,
    #[prost(string, tag = "5")]
    ip_address: String,
}

/// Times as in a session.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredKnownDevice {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    device: Option<StoredDevice>,
    /// Before the record's `changed`.
    #[prost(int64, tag = "3")]
    first_used: i64,
    /// After `first_used`.
    #[prost(int64, tag = "4")]
    last_used: i64,
    #[prost(int64, tag = "5")]
    trusted_until: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StoredConfirmation {
    #[prost(bytes = "vec", tag = "1")]
    jwk_thumbprint: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    certificate_thumbprint: Vec<u8>,
}

/// All but its id; `None` where that says nothing.
pub(super) fn encode_device(device: &Device) -> Option<StoredDevice> {
    let told = StoredDevice {
        platform: device.platform.clone(),
        name: device.name.clone(),
        user_agent: device.user_agent.clone(),
        ip_address: device.ip_address.clone(),
    };
    (told != StoredDevice::default()).then_some(told)
}

pub(super) fn decode_device(id: &str, device: StoredDevice) -> Result<Device, DecodeError> {
    Ok(Device {
        id: if id.is_empty() { None } else { Some(DeviceId::parse(id)?) },
        platform: device.platform,
        name: device.name,
        user_agent: device.user_agent,
        ip_address: device.ip_address,
    })
}

pub(super) fn encode_known(known: &KnownDevice, changed: Timestamp) -> StoredKnownDevice {
    StoredKnownDevice {
        id: known.device.id.as_ref().map(ToString::to_string).unwrap_or_default(),
        device: encode_device(&known.device),
        first_used: changed.millis() - known.first_used.millis(),
        last_used: known.last_used.millis() - known.first_used.millis(),
        trusted_until: known.trusted_until.millis(),
    }
}

pub(super) fn decode_known(known: StoredKnownDevice, changed: Timestamp) -> Result<KnownDevice, DecodeError> {
    let first_used = moment(changed.millis().saturating_sub(known.first_used));
    Ok(KnownDevice {
        device: decode_device(&known.id, known.device.unwrap_or_default())?,
        first_used,
        last_used: moment(first_used.millis().saturating_add(known.last_used)),
        trusted_until: Timestamp::from_millis(known.trusted_until),
    })
}

pub(super) fn encode_confirmation(confirmation: &Confirmation) -> StoredConfirmation {
    match confirmation {
        Confirmation::JwkThumbprint(thumbprint) => {
            StoredConfirmation { jwk_thumbprint: thumbprint.to_vec(), certificate_thumbprint: Vec::new() }
        }
        Confirmation::CertificateThumbprint(thumbprint) => {
            StoredConfirmation { jwk_thumbprint: Vec::new(), certificate_thumbprint: thumbprint.to_vec() }
        }
    }
}

pub(super) fn decode_confirmation(confirmation: &StoredConfirmation) -> Result<Confirmation, DecodeError> {
    if confirmation.certificate_thumbprint.is_empty() {
        Ok(Confirmation::JwkThumbprint(bytes(&confirmation.jwk_thumbprint, "confirmation")?))
    } else {
        Ok(Confirmation::CertificateThumbprint(bytes(&confirmation.certificate_thumbprint, "confirmation")?))
    }
}
