//! The SMS service: numbers, texts, the states of a message, and the outbox that holds them.
//!
//! The rooms, from the ground up: [`message`] (ids), [`text`] (encodings and segments), [`number`] (phone numbers),
//! [`limits`] (of messages to one number), [`states`] (what may become of a message), [`outcome`] (what an answer of a gateway means),
//! [`store`] (the outbox on disk).

pub mod limits;
pub mod message;
pub mod number;
pub mod outcome;
pub mod states;
pub mod store;
pub mod text;
