//! An access token is no refresh token, and the reverse, though one realm made both.

use token_authority::domain::algorithm::Algorithm;
use token_authority::domain::token::{RefreshToken, SessionSecret};
use token_authority::signing::refresh_token::RefreshKey;
use token_authority::verify::Rejection;

use crate::forge::{Forge, NOW, realm, sid};

#[test]
fn neither_is_taken_for_the_other() {
    let (forge, key) = (Forge::new(), RefreshKey::new(&[7; RefreshKey::BYTES]));
    let token = RefreshToken { session: sid(), secret: SessionSecret::new([1; 16]), generation: 1, expires: NOW };
    let refresh = key.seal(&realm("web"), &token);
    assert_eq!(key.open(&realm("web"), &refresh), Some(token), "where it belongs it opens");
    forge.refuses("a refresh token", &refresh, Rejection::Malformed("no dot"));
    for algorithm in Algorithm::ALL {
        let access = forge.token(algorithm);
        assert!(forge.verify(&access).is_ok(), "where it belongs it is accepted");
        for text in [access.clone(), format!("tar_{access}"), format!("tar_{}", &access[..114])] {
            assert_eq!(key.open(&realm("web"), &text), None, "{algorithm}");
        }
    }
}
