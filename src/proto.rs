//! The wire: messages, stubs and descriptors as generated from `proto/`. Holds no code of its own,
//! and nothing else in the crate may depend on how it was made.

/// Package `token_authority.v1`. Each item is documented in its `.proto` file.
pub mod v1 {
    // Generated: its comments are the `.proto` files', checked by `buf lint`.
    #![allow(missing_docs, unreachable_pub, unused_qualifications)]
    #![allow(clippy::all, clippy::needless_pass_by_value, rustdoc::all)]

    include!(concat!(env!("OUT_DIR"), "/token_authority.v1.rs"));
}

// `Debug` of messages with `debug_redact` fields, in place of the derived one, which would print
// tokens and personal data.
include!(concat!(env!("OUT_DIR"), "/redaction.rs"));

/// Every file of the API with what it imports, as an encoded `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
