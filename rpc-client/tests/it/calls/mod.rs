//! Calls of one client to one server: unary, oneway and in order.

mod flush;
mod room;
mod unary;
