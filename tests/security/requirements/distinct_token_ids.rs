//! What makes a `jti` unguessable and unique: 128 bits of the system's randomness.

use std::collections::HashSet;

use token_authority::authority::ports::Entropy as _;
use token_authority::domain::ids::Route;
use token_authority::system::SystemEntropy;

use crate::forge::token_id;

#[test]
fn a_million_have_no_duplicate() {
    let mut seen = HashSet::with_capacity(1_000_000);
    let mut random = [0; 16];
    for _ in 0..1_000_000 {
        SystemEntropy.fill(&mut random);
        assert!(seen.insert(random));
    }
    // Their bits are mixed: a counter or a constant part would show.
    for bit in 0..128 {
        let set = seen.iter().take(10_000).filter(|random| random[bit / 8] >> (bit % 8) & 1 == 1).count();
        assert!((4_500..5_500).contains(&set), "bit {bit} is set in {set} of ten thousand");
    }
}

/// All 128 of them are in the text: ids that differ in any one differ there.
#[test]
fn each_bit_is_in_the_text() {
    let id = token_id(Route::BySid);
    let mut texts = HashSet::from([id.to_string()]);
    for bit in 0..128 {
        let mut other = id;
        other.random[bit / 8] ^= 1 << (bit % 8);
        assert!(texts.insert(other.to_string()), "bit {bit}");
    }
}
