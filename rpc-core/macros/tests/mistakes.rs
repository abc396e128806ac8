//! Mistakes are compile errors at their place. The texts are this project's own; those of the compiler, which differ
//! from version to version, are looked at by `.ci/services`.
//!
//! `TRYBUILD=overwrite cargo test -p rpc-macros --test mistakes` renews the expected texts.

#[test]
fn each_mistake_is_an_error_that_says_what_would_be_right() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/mistakes/*.rs");
}
