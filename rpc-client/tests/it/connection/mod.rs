//! Raw sockets instead of a server: how a connection takes what is written to it.

mod life;
mod replies;
