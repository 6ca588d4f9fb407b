//! Registered clients.

use super::{error, load};
use crate::config::*;
use crate::domain::client::{GrantType, Role};
use crate::domain::policy::Allowed;

#[test]
fn a_client_is_read_with_what_it_may_and_how_it_proves_itself() {
    let hash = format!("sha256:{}", "ab".repeat(32));
    let jwk = "{ kty = \"OKP\", crv = \"Ed25519\", x = \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\" }";
    let file = format!(
        "[realm]\nname = \"a\"\naudiences = [\"api\", \"mail\"]\n\
         [[realm.clients]]\nid = \"gateway\"\nsecrets = [{hash:?}]\naudiences = [\"api\"]\nroles = [\"introspector\"]\n\
         [[realm.clients]]\nid = \"app\"\nkeys = [{jwk}]\nscopes = \"any\"\ngrants = [\"refresh_token\"]\n"
    );
    let config = load(&file, &[], Flags::default()).expect("loads");
    let [gateway, app] = config.clients[&RealmName::parse("a").expect("a realm")].as_slice() else { panic!("two") };
    assert_eq!((gateway.client.id.as_str(), gateway.secrets[0].to_string()), ("gateway", hash));
    assert_eq!(gateway.client.check_role(Role::Introspector), Ok(()));
    assert!(gateway.client.check_role(Role::SessionAdmin).is_err() && gateway.client.grants.is_empty());
    assert_eq!((&gateway.client.scopes, app.keys.len()), (&Allowed::Only([].into()), 1));
    assert_eq!((app.client.check_grant(GrantType::RefreshToken), &app.client.scopes), (Ok(()), &Allowed::Any));
    assert!(app.client.check_grant(GrantType::TokenExchange).is_err());
}

#[test]
fn a_wrong_client_is_refused_where_it_stands_and_no_secret_repeated() {
    let ok = format!("secrets = [\"sha256:{}\"]", "ab".repeat(32));
    for (lines, expected) in [
        ("id = \"a\"", "c.toml:3: realm.clients: a client needs secrets, keys, certificates"),
        (&format!("{ok}\n"), "c.toml:3: realm.clients: id is missing"),
        (
            &format!("id = \"a\"\n{ok}\nrole = 1"),
            "c.toml:6: realm.clients.role: unknown key \"role\": did you mean \"roles\"?",
        ),
        (
            &format!("id = \"a\"\n{ok}\ngrants = [\"password\"]"),
            "c.toml:6: realm.clients.grants: must be \"refresh_token\" or",
        ),
        (
            &format!("id = \"a\"\n{ok}\naudiences = [\"other\"]"),
            "c.toml:6: realm.clients.audiences: \"other\" is not one of the realm's",
        ),
        (
            &format!("id = \"a\"\n{ok}\n[[realm.clients]]\nid = \"a\"\n{ok}"),
            "c.toml:6: realm.clients: client \"a\" is there already",
        ),
        ("id = \"a\"\nsecrets = [\"hunter2\"]", "c.toml:5: realm.clients.secrets: must hold hashes"),
        ("id = \"a\"\nsecrets = \"hunter2\"", "c.toml:5: realm.clients.secrets: must be a list of 1 to 2"),
        (
            "id = \"a\"\nkeys = [{ kty = \"oct\", k = \"hunter2\" }]",
            "c.toml:5: realm.clients.keys: not a key of that algorithm",
        ),
    ] {
        let refused = error(&format!("realm.name = \"b\"\nrealm.audiences = [\"api\"]\n[[realm.clients]]\n{lines}\n"));
        assert!(refused.starts_with(expected) && !refused.contains("hunter2"), "{refused}");
    }
    let refused = error("[realm]\nname = \"b\"\nclients = 1\n");
    assert_eq!(refused, "c.toml:3: realm.clients: must be tables: [[realm.clients]]");
}
