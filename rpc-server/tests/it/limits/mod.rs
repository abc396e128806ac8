//! Limits: what a server takes on, and its answers at a limit.

mod calls;
mod floods;
mod time;
