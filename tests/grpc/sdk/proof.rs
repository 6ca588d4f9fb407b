//! A process proves to a real server who calls, in each way that the SDK has beside a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519};
use tempfile::TempDir;
use token_authority::client::{AuthorityChannel, Proof};
use token_authority::proto::v1;
use token_authority::proto::v1::token_service_client::TokenServiceClient;
use token_authority::verify::client::SecretHash;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::server_process::ServerProcess;

const SECRET: &str = "tas_: +%&=0123456789abcdef";

fn jwk(key: &KeyPair) -> String {
    let x = URL_SAFE_NO_PAD.encode(key.public_key_raw());
    format!("{{ kty = \"OKP\", crv = \"Ed25519\", x = {x:?} }}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_proves_each_call_by_a_key_or_a_secret() {
    let [own, other] = [(); 2].map(|()| KeyPair::generate_for(&PKCS_ED25519).expect("a key"));
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("realm.toml");
    let client = |id: &str, proof: &str| {
        format!(
            "[[realm.clients]]\nid = {id:?}\n{proof}\nroles = [\"issuer\"]\naudiences = \"any\"\nscopes = \"any\"\n"
        )
    };
    let hash = SecretHash::of(SECRET).expect("long enough").to_string();
    let keyed = client("keyed", &format!("keys = [{}]", jwk(&own)));
    let secret = client("secret", &format!("secrets = [{hash:?}]"));
    let realm = format!("[realm]\nname = \"default\"\nalgorithm = \"EdDSA\"\n{keyed}{secret}");
    std::fs::write(&file, realm).expect("writes");
    let server = ServerProcess::start(&["--config", file.to_str().expect("UTF-8")]);
    let channel = Channel::from_shared(server.endpoint()).expect("an address").connect().await.expect("connects");
    let issuer = format!("http://{}", server.http());
    let ask = async |proof: &Proof| -> Result<(), Status> {
        let mut tokens = TokenServiceClient::new(AuthorityChannel::new(channel.clone(), proof.clone()));
        let login = v1::IssueTokenRequest { subject: "ann".into(), ..Default::default() };
        tokens.issue_token(login).await.map(drop)
    };
    let by_key = |id: &str, issuer: &str, key: &KeyPair| {
        Proof::private_key(id, issuer, key.serialize_pem().as_bytes()).expect("a proof")
    };
    for proof in [by_key("keyed", &issuer, &own), Proof::secret("secret", SECRET).expect("a proof")] {
        // An assertion is good for one call, so that each has another.
        for _ in 0..2 {
            ask(&proof).await.unwrap_or_else(|status| panic!("{proof:?}: {status}"));
        }
    }
    for (proof, why) in [
        (by_key("keyed", &issuer, &other), "another's key"),
        (by_key("secret", &issuer, &own), "another's name"),
        (by_key("keyed", "https://other.example", &own), "for another server"),
        (Proof::secret("secret", "tas_another_0123456789abc").expect("a proof"), "another secret"),
        (Proof::secret("keyed", SECRET).expect("a proof"), "one that has none"),
        (Proof::default(), "nothing"),
    ] {
        assert_eq!(ask(&proof).await.expect_err(why).code(), Code::Unauthenticated, "{why}");
    }
}
