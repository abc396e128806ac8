//! Calls of methods with `dedup`: what a client does where one may have run, over connections that are cut.

mod network;
mod random;
mod typed;
mod untyped;

use network::{Gateway, Network, Sms, one, two};
