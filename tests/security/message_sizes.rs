//! How large a message each method takes, for every method that the protos describe: a new one is in
//! the table by itself.

use prost_reflect::DescriptorPool;
use token_authority::proto::FILE_DESCRIPTOR_SET;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::raw_client::RawClient;
use super::server_process::ServerProcess;

const MOST: usize = 64 << 10;
const MOST_OF_A_BATCH: usize = 4 << 20;
const PACKAGE: &str = "token_authority.v1";

/// A message of so many bytes: one field that no message has, which is skipped.
fn message(bytes: usize) -> Vec<u8> {
    let mut message = Vec::new();
    prost::encoding::encode_key(1_000, prost::encoding::WireType::LengthDelimited, &mut message);
    let left = bytes - message.len();
    let prefix = (1..5).find(|prefix| prost::encoding::encoded_len_varint((left - prefix) as u64) == *prefix);
    prost::encoding::encode_varint((left - prefix.expect("a length")) as u64, &mut message);
    message.resize(bytes, 0);
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn each_method_takes_what_it_needs_and_no_more() {
    let server = ServerProcess::start(&[]);
    let mut client = RawClient::connect(server.grpc()).await;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("descriptors");
    let mut bounded = Vec::new();
    for service in pool.services().filter(|service| service.package_name() == PACKAGE) {
        let (mut served, mut unserved) = (Vec::new(), Vec::new());
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let is_batch = method.name().starts_with("Batch");
            let most = if is_batch { MOST_OF_A_BATCH } else { MOST };
            let refused = client.call(&path, &[], &message(most + 1)).await.expect_err("too large");
            if refused.code() == Code::Unimplemented {
                unserved.push(path);
                continue;
            }
            assert_eq!(refused.code(), Code::OutOfRange, "{path}: {refused:?}");
            if !is_batch {
                let reason = refused.get_details_error_info().map(|info| info.reason);
                assert_eq!(reason.as_deref(), Some("REQUEST_TOO_LARGE"), "{path}");
            }
            if !method.is_server_streaming() {
                let code = client.call(&path, &[], &message(most)).await.err().map(|status| status.code());
                assert_ne!(code, Some(Code::OutOfRange), "{path}: {most} bytes are not too many");
            }
            served.push(path);
        }
        assert!(served.is_empty() || unserved.is_empty(), "{unserved:?} beside {served:?}");
        bounded.extend(served);
    }
    println!("{} methods: {bounded:?}", bounded.len());
    for name in ["TokenService/IssueToken", "TokenService/BatchRevokeTokens", "SessionService/EraseSubject"] {
        assert!(bounded.contains(&format!("/{PACKAGE}.{name}")), "{name}");
    }
}
