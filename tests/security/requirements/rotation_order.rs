//! Which of two refresh tokens is the newer is told by generation: not by a time, which may be equal.

use std::time::Duration;

use token_authority::domain::refusal::Refusal;
use token_authority::domain::time::Timestamp;
use token_authority::domain::transition::Grant;

use super::session_rules::{SessionRules, login};

fn generation(grant: &Grant) -> u64 {
    grant.refresh.as_ref().unwrap().token.generation
}

/// Also with a clock that stands still, and with one that was set back.
#[test]
fn two_rotations_within_one_second_are_in_order() {
    let noon = Timestamp::from_seconds(1_800_000_000);
    for (second_rotation, third_rotation) in [(0, 0), (1, 999), (400, 200)] {
        let mut rules = SessionRules::new(noon);
        let first = rules.login(&login(&["api"], &[])).unwrap();
        let token = |grant: &Grant| grant.refresh.as_ref().unwrap().token.clone();
        rules.now = noon + Duration::from_millis(second_rotation);
        let second = rules.refresh(&token(&first)).unwrap();
        rules.now = noon + Duration::from_millis(third_rotation);
        let third = rules.refresh(&token(&second)).unwrap();
        assert_eq!([&first, &second, &third].map(generation), [1, 2, 3]);
        assert_eq!([&second, &third].map(|grant| grant.access.issued), [noon; 2], "one second");
        assert_eq!(rules.refresh(&token(&second)), Ok(third.clone()), "the predecessor: the same successor");
        assert_eq!(rules.refresh(&token(&first)), Err(Refusal::RefreshTokenReplayed), "two generations old");
    }
}
