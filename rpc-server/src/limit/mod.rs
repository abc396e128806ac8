//! Limits that all connections of a server share.

mod addresses;
mod admission;
mod changeable;
mod gradient;
mod memory;
mod peers;
mod results;
mod seats;

#[cfg(feature = "tokens")]
pub(crate) use addresses::network_of;
pub(crate) use addresses::{AddressPermit, Addresses};
pub(crate) use admission::{Admission, CallCount, Full};
pub(crate) use changeable::Changeable;
pub(crate) use memory::{Holder, Level, Memory, MemoryShare};
pub(crate) use results::{ResultBytes, Results, outcome_bytes};
pub(crate) use seats::{Seat, Seats, Settled};
