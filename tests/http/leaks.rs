//! What stands planted in a request of any endpoint is in no answer to it, neither head nor body, and not in
//! `/metrics`. Names that a caller asks for (realm, scope, audience, setting) are no secrets, and are said back.

use token_authority::authority::authorization::table;
use token_authority::domain::client::GrantType;

use crate::realm::{ACCESS_TOKEN, Realm, basic, secret};
use crate::wire::{get, send};

/// What each planted value has in it: as text, in base64, and as it is written in a form.
const PLANTED: [&str; 2] = ["planted", "cGxhbnRlZ"];
const VALUES: [&str; 6] = [
    "planted",
    "tar_planted",
    "cGxhbnRlZA.cGxhbnRlZA.cGxhbnRlZA",
    "planted \"\u{1b}[2K\\ \u{fc}",
    "planted%00%0d%0aSet-Cookie:%20planted=1",
    "<script>planted</script>",
];
/// The parameters that hold what nobody else is to know.
const PARAMETERS: [&str; 9] = [
    "token",
    "refresh_token",
    "subject_token",
    "actor_token",
    "client_id",
    "client_secret",
    "client_assertion",
    "token_type_hint",
    "unheard_of",
];

/// A head and a body.
type Attempt = (Vec<(&'static str, String)>, String);

fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Everything that a caller can put a value into.
fn attempts(value: &str, origin: &str) -> Vec<Attempt> {
    let right = || ("Authorization", basic("gateway", secret()));
    let assertion_type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let mut attempts = Vec::new();
    for grant in GrantType::ALL {
        let usual = [("grant_type", grant.name()), ("subject_token_type", ACCESS_TOKEN)];
        for parameter in PARAMETERS {
            let all = form(&[&usual[..], &[(parameter, value)]].concat());
            attempts.push((vec![right()], all.clone()));
            attempts.push((vec![right()], format!("{all}&{all}")));
            attempts.push((vec![], format!("{all}&client_assertion_type={assertion_type}")));
        }
    }
    let every: Vec<_> = PARAMETERS.iter().map(|name| (*name, value)).collect();
    attempts.push((vec![right()], form(&every)));
    attempts.push((vec![], form(&[("client_id", "gateway"), ("client_secret", value)])));
    attempts.push((vec![right()], form(&[("grant_type", value), ("token", value)])));
    attempts.push((vec![right(), ("Content-Type", "text/plain".into())], value.to_owned()));
    let visible = value.replace(|c: char| !c.is_ascii_graphic(), "_");
    for shown in [basic("gateway", value), basic(value, value), format!("Bearer {visible}"), visible.clone()] {
        attempts.push((vec![("Authorization", shown)], String::new()));
    }
    let names = ["access_token", "__Secure-access_token", "__Secure-refresh_token", "__Host-access_token"];
    let cookies: Vec<_> = names.iter().map(|name| format!("{name}={visible}")).collect();
    for origin in [origin.to_owned(), format!("https://{visible}.example")] {
        let head = vec![("Origin", origin), ("Cookie", cookies.join("; ")), ("X-Forwarded-Uri", format!("/{visible}"))];
        attempts.push((head, String::new()));
    }
    attempts
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_says_back_what_was_planted() {
    let realm = Realm::start().await;
    let (to, issuer) = (realm.server.http(), realm.issuer());
    // Good tokens of a planted subject, at a client that they are not of, and after they were used up.
    let tokens = realm.login_for("planted-subject", "app", &["orders"]).await;
    let next = realm.server.refresh(&tokens.refresh_token).await.expect("refreshes");
    realm.server.refresh(&next.refresh_token).await.expect("refreshes");
    let own = [tokens.access_token.as_str(), &tokens.refresh_token, &next.access_token, &next.refresh_token];
    let parts = own.iter().flat_map(|token| token.split('.')).skip(1).map(|part| &part[..part.len().min(24)]);
    let searched: Vec<_> = parts.chain(PLANTED).chain([&secret()[..12]]).collect();

    let (mut answers, mut refused) = (0, 0);
    for row in
        table().iter().filter(|row| !row.call.trim_start_matches('/').contains('.') || row.call.starts_with("/."))
    {
        let path = row.call.replace("{realm}", "default");
        for value in VALUES.iter().chain(&own) {
            for (head, body) in attempts(value, &issuer) {
                let mut head: Vec<_> = head.iter().map(|(name, value)| (*name, value.as_str())).collect();
                if !head.iter().any(|(name, _)| *name == "Content-Type") {
                    head.push(("Content-Type", "application/x-www-form-urlencoded"));
                }
                let answer = send(to, "POST", &path, &head, &body).await;
                let text = format!("{answer:?}");
                assert!(answer.status < 400 || !searched.iter().any(|one| text.contains(one)), "{path} {body}: {text}");
                (answers, refused) = (answers + 1, refused + usize::from(answer.status >= 400));
            }
        }
        for query in ["?token=planted&access_token=planted", "/planted", "/%ff%00planted"] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = send(to, method, &format!("{path}{query}"), &[("Cookie", "planted=planted")], "").await;
                assert!(!format!("{answer:?}").contains("planted"), "{method} {path}{query}: {answer:?}");
            }
        }
    }
    println!("{answers} answers, {refused} of them refusals");
    assert!(refused > 1_000, "{refused} of {answers}");
    let metrics = get(to, "/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(!searched.iter().any(|one| metrics.body.contains(one)), "{}", metrics.body);
}
