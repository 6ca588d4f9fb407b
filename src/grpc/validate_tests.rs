//! Tables for each kind of rule, accepted and refused, through real requests; and for the build's
//! refusal of rules that nobody checks.

use prost_reflect::{DescriptorPool, DynamicMessage};

use super::rules::{self, Rule, UnknownRule};
use super::{FieldPath, Validate, Violation, Violations, check, min_len};
use crate::proto::{FILE_DESCRIPTOR_SET, v1};

fn issue() -> v1::IssueTokenRequest {
    v1::IssueTokenRequest { subject: "alice".into(), ..Default::default() }
}

/// The broken rules as `field: description`.
fn broken(request: &impl Validate) -> Vec<String> {
    let violations = check(request).err().unwrap_or_default();
    violations.into_iter().map(|Violation { field, description }| format!("{field}: {description}")).collect()
}

#[test]
fn what_is_at_the_limit_is_accepted() {
    let full = v1::IssueTokenRequest {
        // Two bytes each: the limit counts characters.
        realm: "ä".repeat(63),
        subject: "s".repeat(255),
        client_id: "c".repeat(255),
        audience: vec!["a".repeat(255); 32],
        scope: vec!["s".into(); 32],
        device: Some(v1::Device { device_id: "d".repeat(128), ..Default::default() }),
        confirmation: confirmation(&"t".repeat(43)),
        request_id: "r".repeat(128),
        ..Default::default()
    };
    assert_eq!(check(&full), Ok(()));
    assert_eq!(check(&issue()), Ok(()));
    assert_eq!(check(&v1::RevokeRealmRequest::default()), Ok(()));
    assert_eq!(check(&introspect(None)), Ok(()));
    assert_eq!(check(&introspect(Some(v1::Consistency::default()))), Ok(()));
    for page_size in [0, 1000] {
        assert_eq!(check(&list(page_size)), Ok(()), "page_size {page_size}");
    }
    for state in [v1::KeyState::Unspecified, v1::KeyState::Revoked] {
        let request = v1::ListKeysRequest { state: state.into(), ..Default::default() };
        assert_eq!(check(&request), Ok(()), "{state:?}");
    }
    for algorithm in ["", "RS256", "EdDSA"] {
        let request = v1::PrepareKeyRequest { algorithm: algorithm.into(), ..Default::default() };
        assert_eq!(check(&request), Ok(()), "{algorithm}");
    }
    for count in [1, 1000] {
        assert_eq!(check(&batch(vec![String::new(); count])), Ok(()), "{count} tokens");
    }
}

#[test]
fn what_is_past_the_limit_is_named_with_its_length() {
    let device = v1::Device { device_id: "d".repeat(129), ..Default::default() };
    let table: [(&str, v1::IssueTokenRequest); 8] = [
        ("realm: must have at most 63 characters, has 64", v1::IssueTokenRequest { realm: "ä".repeat(64), ..issue() }),
        ("subject: must have 1 or more characters, has 0", v1::IssueTokenRequest { subject: String::new(), ..issue() }),
        (
            "client_id: must have at most 255 bytes, has 256",
            // Fewer characters than the limit: it counts bytes.
            v1::IssueTokenRequest { client_id: "ä".repeat(128), ..issue() },
        ),
        (
            "audience: must have at most 32 items, has 33",
            v1::IssueTokenRequest { audience: vec!["a".into(); 33], ..issue() },
        ),
        (
            "scope[1]: must have 1 or more characters, has 0",
            v1::IssueTokenRequest { scope: vec!["read".into(), String::new()], ..issue() },
        ),
        (
            "device.device_id: must have at most 128 bytes, has 129",
            v1::IssueTokenRequest { device: Some(device), ..issue() },
        ),
        (
            "confirmation.jwk_thumbprint: must have 43 or more characters, has 5",
            v1::IssueTokenRequest { confirmation: confirmation("short"), ..issue() },
        ),
        (
            "confirmation.thumbprint: must be set",
            v1::IssueTokenRequest { confirmation: Some(v1::Confirmation::default()), ..issue() },
        ),
    ];
    for (expected, request) in table {
        assert_eq!(broken(&request), [expected]);
    }
}

#[test]
fn characters_are_counted_however_many_bytes_they_have() {
    for (character, given, breaks) in
        [("😀", 42, true), ("😀", 43, false), ("ä", 42, true), ("a", 42, true), ("a", 43, false)]
    {
        let mut out = Violations::default();
        min_len(&character.repeat(given), 43, &FieldPath::Request, &mut out);
        assert_eq!(!out.0.is_empty(), breaks, "{given} of {character}");
    }
}

#[test]
fn numbers_enums_and_presence_are_checked() {
    assert_eq!(broken(&list(-1)), ["page_size: must be at least 0, is below"]);
    assert_eq!(broken(&list(1001)), ["page_size: must be at most 1000, is above"]);

    let unknown_state = v1::ListKeysRequest { state: 99, ..Default::default() };
    assert_eq!(broken(&unknown_state), ["state: must be a value that the enum defines"]);

    let no_claims = v1::UpdateSessionClaimsRequest { session_id: "s".into(), ..Default::default() };
    assert_eq!(broken(&no_claims), ["claims: must be set"]);

    assert_eq!(broken(&batch(Vec::new())), ["tokens: must have 1 or more items, has 0"]);

    let empty = v1::consistency::Requirement::AtLeastAsFresh(String::new());
    assert_eq!(
        broken(&introspect(Some(v1::Consistency { requirement: Some(empty) }))),
        ["consistency.at_least_as_fresh: must have 1 or more characters, has 0"],
    );
}

#[test]
fn a_value_is_never_repeated() {
    let request = v1::PrepareKeyRequest { algorithm: "planted".into(), ..Default::default() };
    let [only] = &broken(&request)[..] else { panic!("one violation expected") };
    assert!(only.ends_with("is another value of 7 bytes"), "{only}");
    assert!(!only.contains("planted"), "{only}");
}

#[test]
fn a_batch_of_wrong_items_is_reported_in_part() {
    let violations = check(&batch(vec!["t".repeat(16_385); 1000])).err().unwrap_or_default();
    assert_eq!(violations.len(), 16);
}

#[test]
fn debug_output_redacts_what_the_proto_marks() {
    let request =
        v1::RefreshTokenRequest { realm: "shown".into(), refresh_token: "planted".into(), ..Default::default() };
    let printed = format!("{request:?}");
    assert!(printed.contains("realm: \"shown\"") && printed.contains("[redacted]"), "{printed}");
    assert!(!printed.contains("planted"), "{printed}");
}

#[test]
fn known_rules_are_read_in_full() {
    let table = [
        (r#"{"required":true}"#, vec![Rule::Required]),
        (r#"{"string":{"minLen":"1","maxBytes":"9"}}"#, vec![Rule::MinLen(1), Rule::MaxBytes(9)]),
        (r#"{"string":{"maxLen":"3"}}"#, vec![Rule::MaxLen(3)]),
        (r#"{"string":{"in":["a",""]}}"#, vec![Rule::In(vec!["a".into(), String::new()])]),
        (r#"{"int32":{"gte":-1,"lte":5}}"#, vec![Rule::Lte(5), Rule::Gte(-1)]),
        (r#"{"enum":{"definedOnly":true}}"#, vec![Rule::DefinedOnly]),
        (
            r#"{"repeated":{"minItems":"1","maxItems":"2","items":{"string":{"minLen":"4"}}}}"#,
            vec![Rule::MinItems(1), Rule::MaxItems(2), Rule::Items(vec![Rule::MinLen(4)])],
        ),
    ];
    for (json, expected) in table {
        assert_eq!(rules::read(&field_rules(json)), Ok(expected), "{json}");
    }
}

#[test]
fn a_rule_that_nobody_checks_fails_the_build() {
    let table = [
        (r#"{"string":{"minLen":"1","pattern":"^a"}}"#, "string.pattern"),
        (r#"{"string":{"email":true}}"#, "string.email"),
        (r#"{"int32":{"gt":0}}"#, "int32.gt"),
        (r#"{"bytes":{"maxLen":"1"}}"#, "bytes"),
        (r#"{"repeated":{"unique":true}}"#, "repeated.unique"),
        (r#"{"repeated":{"items":{"string":{"uuid":true}}}}"#, "string.uuid"),
        (r#"{"ignore":"IGNORE_ALWAYS"}"#, "ignore"),
        (r#"{"cel":[{"id":"x"}]}"#, "cel"),
    ];
    for (json, rule) in table {
        assert_eq!(rules::read(&field_rules(json)), Err(UnknownRule(rule.into())), "{json}");
    }
}

#[test]
fn a_rule_newer_than_the_carried_file_fails_the_build() {
    // Field 2000 of FieldRules, which no file defines, as a varint.
    let mut rules = field_rules("{}");
    prost::Message::merge(&mut rules, &[0x80, 0x7d, 0x01][..]).expect("valid wire form");
    assert!(rules::read(&rules).is_err());
}

fn field_rules(json: &str) -> DynamicMessage {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the built descriptor set");
    let descriptor = pool.get_message_by_name("buf.validate.FieldRules").expect("carried");
    DynamicMessage::deserialize(descriptor, &mut serde_json::Deserializer::from_str(json)).expect("rules in JSON form")
}

fn confirmation(thumbprint: &str) -> Option<v1::Confirmation> {
    let thumbprint = v1::confirmation::Thumbprint::JwkThumbprint(thumbprint.into());
    Some(v1::Confirmation { thumbprint: Some(thumbprint) })
}

fn introspect(consistency: Option<v1::Consistency>) -> v1::IntrospectTokenRequest {
    v1::IntrospectTokenRequest { token: "t".into(), consistency, ..Default::default() }
}

fn list(page_size: i32) -> v1::ListSessionsRequest {
    v1::ListSessionsRequest { subject: "alice".into(), page_size, ..Default::default() }
}

fn batch(tokens: Vec<String>) -> v1::BatchIntrospectTokensRequest {
    v1::BatchIntrospectTokensRequest { tokens, ..Default::default() }
}
