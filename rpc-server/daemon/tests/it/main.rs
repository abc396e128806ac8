//! The daemon from outside: its binary, its services, and the vectors.

#[allow(dead_code, reason = "the tests of the library use the rest of it")]
#[path = "../../../tests/it/tls/authority.rs"]
mod authority;
mod conformance;
mod daemon;
mod daemon_life;
mod daemon_log;
mod descriptors;
mod life;
mod log_emit;
mod log_repeats;
mod log_service;
mod log_tail;
mod loggers;
#[path = "../../../tests/needs/mod.rs"]
mod needs;
mod sms;
mod sms_kill;
mod sms_metrics;
mod sms_private;
#[allow(dead_code, reason = "the tests of the library use the rest of it")]
#[path = "../../../tests/it/support.rs"]
mod support;
mod syslog;
mod traces;
