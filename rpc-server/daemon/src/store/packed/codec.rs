//! The only file that knows the library behind the format.

#[cfg(feature = "zstd")]
use std::io;

/// Whether the library is there. A daemon in another program may be built without it: it compresses nothing, and opens no
/// file that another one has compressed.
pub(super) const IS_SUPPORTED: bool = cfg!(feature = "zstd");

/// The content of a frame; `None` if it is damaged, or not of this length.
#[cfg(feature = "zstd")]
pub(super) fn decompress(packed: &[u8], plain: u32) -> Option<Vec<u8>> {
    let content = zstd::bulk::decompress(packed, plain as usize).ok()?;
    (content.len() == plain as usize).then_some(content)
}

#[cfg(not(feature = "zstd"))]
pub(super) fn decompress(_: &[u8], _: u32) -> Option<Vec<u8>> {
    None
}

/// The bytes of the first frame of `bytes`, and those of its content; `None` if that is not a whole frame.
#[cfg(feature = "zstd")]
pub(super) fn lengths(bytes: &[u8]) -> Option<(usize, u64)> {
    let packed = zstd::zstd_safe::find_frame_compressed_size(bytes).ok()?;
    let plain = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
    Some((packed, plain))
}

#[cfg(not(feature = "zstd"))]
pub(super) fn lengths(_: &[u8]) -> Option<(usize, u64)> {
    None
}

/// What compresses one frame after another.
#[cfg(feature = "zstd")]
pub(super) struct Compressor(zstd::bulk::Compressor<'static>);

#[cfg(feature = "zstd")]
impl Compressor {
    /// Of the levels above this one, none makes lines of a log a tenth smaller, and all take twice the time.
    const LEVEL: i32 = 3;

    pub(super) fn new() -> io::Result<Self> {
        let mut inner = zstd::bulk::Compressor::new(Self::LEVEL)?;
        inner.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
        inner.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(true))?;
        Ok(Self(inner))
    }

    pub(super) fn compress(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(plain)
    }
}
