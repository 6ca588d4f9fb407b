//! How a device and the key that tokens are bound to are written down.

use prost::Message;

use crate::domain::ids::DeviceId;
use crate::domain::session::Device;
use crate::domain::token::Confirmation;

use super::{DecodeError, bytes};

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeviceV2 {
    #[prost(string, tag = "2")]
    platform: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    user_agent: String,
    #[prost(string, tag = "5")]
    ip_address: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ConfirmationV2 {
    #[prost(bytes = "vec", tag = "1")]
    jwk_thumbprint: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    certificate_thumbprint: Vec<u8>,
}

/// All but its id; `None` where that says nothing.
pub(super) fn encode_device(device: &Device) -> Option<DeviceV2> {
    let told = DeviceV2 {
        platform: device.platform.clone(),
        name: device.name.clone(),
        user_agent: device.user_agent.clone(),
        ip_address: device.ip_address.clone(),
    };
    (told != DeviceV2::default()).then_some(told)
}

pub(super) fn decode_device(id: &str, device: DeviceV2) -> Result<Device, DecodeError> {
    Ok(Device {
        id: if id.is_empty() { None } else { Some(DeviceId::parse(id)?) },
        platform: device.platform,
        name: device.name,
        user_agent: device.user_agent,
        ip_address: device.ip_address,
    })
}

pub(super) fn encode_confirmation(confirmation: &Confirmation) -> ConfirmationV2 {
    match confirmation {
        Confirmation::JwkThumbprint(thumbprint) => {
            ConfirmationV2 { jwk_thumbprint: thumbprint.to_vec(), certificate_thumbprint: Vec::new() }
        }
        Confirmation::CertificateThumbprint(thumbprint) => {
            ConfirmationV2 { jwk_thumbprint: Vec::new(), certificate_thumbprint: thumbprint.to_vec() }
        }
    }
}

pub(super) fn decode_confirmation(confirmation: &ConfirmationV2) -> Result<Confirmation, DecodeError> {
    if confirmation.certificate_thumbprint.is_empty() {
        Ok(Confirmation::JwkThumbprint(bytes(&confirmation.jwk_thumbprint, "confirmation")?))
    } else {
        Ok(Confirmation::CertificateThumbprint(bytes(&confirmation.certificate_thumbprint, "confirmation")?))
    }
}
