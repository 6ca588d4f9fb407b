#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    token_authority::fuzzing::refresh_token(input);
});
