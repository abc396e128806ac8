//! The client against real servers, raw sockets and in-memory pipes.

mod balance;
mod blocking;
mod calls;
mod connection;
mod day_one;
mod deadline;
mod discover;
mod docs;
mod events;
mod hedge;
mod keyed;
mod layers;
mod loss;
mod metrics;
mod modes;
#[path = "../../../rpc-server/tests/needs/mod.rs"]
mod needs;
mod pipe;
mod ready;
mod reconnect;
mod restart;
mod resume;
mod retry;
mod services;
mod shared;
mod ship;
mod streams;
mod support;
mod testing;
mod timing;
mod tls;
mod tower;
mod undelimited;
