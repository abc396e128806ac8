//! Typed calls of any service, and layers around it.

mod service_client;
mod stack;
