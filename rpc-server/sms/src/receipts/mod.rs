//! Receipts over HTTP: a listener of their own, the paths of the gateways, and the proofs that a receipt is the provider's.

mod listener;
mod path;
mod report;
#[cfg(test)]
mod tests;
mod verify;

pub use listener::ReceiptListener;
pub use path::ReceiptPaths;
