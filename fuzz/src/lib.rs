//! Shared parts of the fuzz targets.

pub mod input;
pub mod judge;
pub mod line;
pub mod pipe;
pub mod polled;
