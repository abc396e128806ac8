//! Calls that are balanced over several servers.

mod failing;
mod shares;
