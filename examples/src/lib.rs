//! Examples, as programs in `src/bin/`; README.md says what each one shows. What several of them need is here.

/// The project's README, whose code must compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

/// The tutorial of typed services, whose code must compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/services.md")]
mod services {}

/// The guide for those who write a server, whose code must compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/server.md")]
mod server {}

pub mod gateway;
pub mod process;
pub mod web;
