//! The client against real servers, raw sockets and in-memory pipes.

mod calls;
mod connection;
mod events;
mod loss;
mod pipe;
mod shared;
mod streams;
mod support;
