//! Examples, as programs in `src/bin/`; README.md says what each one shows.

/// The project's README, whose code must compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
