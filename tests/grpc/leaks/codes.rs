//! One-time codes as they are asked for, tried and used up, well and badly.

use token_authority::proto::v1;
use token_authority::proto::v1::otp_service_client::OtpServiceClient;
use tonic::Code;

use super::{BAD, Caller, FORGED, PHONE};
use crate::code_receiver::CodeReceiver;

/// Every code that was sent.
pub(super) async fn of(mut codes: OtpServiceClient<Caller>, receiver: &CodeReceiver) -> Vec<String> {
    let mut sent: Vec<String> = Vec::new();
    for _ in 0..2 {
        let request = v1::RequestCodeRequest { recipient: PHONE.into(), ..Default::default() };
        codes.request_code(request).await.expect("a code");
        // What was not taken is sent again.
        let code = loop {
            let message = receiver.next().await;
            if !sent.iter().any(|known| known == message.data("code")) {
                break message.data("code").to_owned();
            }
        };
        sent.push(code);
    }
    let attempt = |recipient: &str, code: &str| v1::VerifyCodeRequest {
        recipient: recipient.into(),
        code: code.into(),
        subject: PHONE.into(),
        ..Default::default()
    };
    codes.verify_code(attempt(PHONE, &sent[1])).await.expect("the right code");
    for recipient in [PHONE, FORGED, BAD] {
        let request =
            v1::RequestCodeRequest { recipient: recipient.into(), client_id: BAD.into(), ..Default::default() };
        codes.request_code(request).await.expect_err("no such client");
    }
    // Until nobody may try any more.
    let mut refused = Vec::new();
    for _ in 0..4 {
        refused.push(codes.verify_code(attempt(PHONE, &sent[1])).await.expect_err("used up").code());
    }
    assert_eq!(refused.last(), Some(&Code::ResourceExhausted), "{refused:?}");
    sent
}
