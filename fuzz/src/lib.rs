//! What the fuzz targets share.

pub mod input;
pub mod judge;
pub mod pipe;
pub mod polled;
