//! Requirements of `docs/requirements.md` that no other test shows: one small file each.

mod debug_output;
mod distinct_token_ids;
mod issued_tokens;
mod rotation_order;
mod session_rules;
mod token_kinds;
