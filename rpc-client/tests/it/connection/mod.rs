//! Raw sockets in the place of a server: what a connection makes of what it says.

mod life;
mod replies;
