//! The command line `rpc`, run as a user runs it, against a daemon in this process.

mod calls;
mod completion;
mod exits;
mod generate;
mod lock;
mod log;
mod log_doc;
#[path = "../../../../rpc-server/tests/needs/mod.rs"]
mod needs;
mod ping;
mod pipe;
mod server;
mod services_doc;
mod sms;
mod sms_doc;
mod support;
mod tls;
mod transcript;
