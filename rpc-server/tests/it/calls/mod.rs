//! Calls and what ends them before their time: deadlines, cancels, lost peers, panics.

mod deadlines;
mod given_up;
mod order;
mod replies;
mod timing;
