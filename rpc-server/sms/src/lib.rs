//! The SMS service: numbers, texts, the states of a message, and the outbox that holds them.
//!
//! The rooms, from the ground up: [`message`] (ids and parts), [`text`] (encodings and segments), [`number`] (phone numbers),
//! [`limits`] (of messages to one number), [`states`] (what may become of a message), [`outcome`] (what an answer of a gateway means),
//! [`store`] (the outbox on disk), [`mapping`] (the parts of which a gateway's request is described), [`config`] (settings), [`gateway`] (what brings messages to a provider), [`outbox`] (what connects
//! them), [`receipts`] (taken from providers over HTTP), [`service`] (the commands).

pub mod config;
pub mod gateway;
pub mod limits;
pub mod mapping;
pub mod message;
pub mod number;
pub mod outbox;
pub mod outcome;
pub mod receipts;
pub mod service;
pub mod states;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
