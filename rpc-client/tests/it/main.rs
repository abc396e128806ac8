//! The client against real servers, raw sockets and in-memory pipes.

mod blocking;
mod calls;
mod connection;
mod discover;
mod events;
mod layers;
mod loss;
mod mock;
mod pipe;
mod shared;
mod streams;
mod support;
