//! Compression of a plain segment.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::segment::FILE_MODE;
use super::codec::{self, Compressor};
use super::{FRAME_BYTES_MAX, Frame, table};

/// Bytes of a frame where nothing tells a better place to end it.
const FRAME_BYTES: u64 = 1024 * 1024;

/// What to compress.
pub(in crate::store) struct Packing<'a> {
    /// The plain segment.
    pub(in crate::store) plain: &'a Path,
    /// Number of its bytes.
    pub(in crate::store) len: u64,
    /// Where frames should end, in order: where those of the index do.
    pub(in crate::store) ends: Vec<u64>,
    /// Says that the work has to end.
    pub(in crate::store) is_over: &'a dyn Fn() -> bool,
    /// Is told after each frame how long it took.
    pub(in crate::store) pause: &'a dyn Fn(Duration),
}

/// Writes the compressed form of a segment to a new file with a temporary name, and makes it durable. It has the time of the
/// plain one, by which retention knows its age. Returns the number of its bytes; `None` if the work had to end.
///
/// # Errors
///
/// Those of the disk, and `InvalidData` if the plain file is not as long as it should be. The new file is deleted.
pub(in crate::store) fn pack(packing: &Packing<'_>, new: &Path) -> io::Result<Option<u64>> {
    let packed = try_to_pack(packing, new);
    if !matches!(packed, Ok(Some(_))) {
        // What is left of it is deleted at the next start.
        let _ = fs::remove_file(new);
    }
    packed
}

fn try_to_pack(packing: &Packing<'_>, new: &Path) -> io::Result<Option<u64>> {
    let plain = File::open(packing.plain)?;
    let file = create(new)?;

    let Some(bytes) = write(packing, &plain, &file)? else {
        return Ok(None);
    };
    file.sync_data()?;
    // Only now, as the time may have been corrected meanwhile.
    file.set_modified(plain.metadata()?.modified()?)?;
    file.sync_all()?;
    Ok(Some(bytes))
}

fn create(new: &Path) -> io::Result<File> {
    #[cfg(test)]
    if let Some(device) = stand_in::take() {
        return Ok(device);
    }

    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(new)
}

/// Compresses what can be read; returns the number of bytes written.
pub(super) fn write(
    packing: &Packing<'_>,
    mut plain: impl Read,
    mut out: impl Write,
) -> io::Result<Option<u64>> {
    let mut compressor = Compressor::new()?;
    let mut ends = packing.ends.iter().copied().peekable();
    let mut frames: Vec<Frame> = Vec::new();
    let (mut at, mut offset) = (0, 0);

    while offset < packing.len {
        if (packing.is_over)() {
            return Ok(None);
        }

        let begun = Instant::now();
        while ends.next_if(|end| *end <= offset).is_some() {}
        let length = frame_length(packing.len - offset, ends.peek().map(|end| end - offset));
        let mut content = vec![0; length as usize];
        plain.read_exact(&mut content)?;

        let packed = compressor.compress(&content)?;
        check(&packed, &content)?;
        out.write_all(&packed)?;

        let frame = Frame {
            at,
            packed: to_u32(packed.len())?,
            offset,
            plain: length,
        };
        frames.push(frame);
        at += u64::from(frame.packed);
        offset = frame.end();
        (packing.pause)(begun.elapsed());
    }

    let table = table::encode(&frames);
    out.write_all(&table)?;
    Ok(Some(at + table.len() as u64))
}

/// The length of a frame, of the bytes that are left and those up to where it should end.
fn frame_length(left: u64, wanted: Option<u64>) -> u32 {
    let wanted = wanted.filter(|wanted| *wanted <= u64::from(FRAME_BYTES_MAX));
    let length = wanted.unwrap_or(FRAME_BYTES).min(left);
    u32::try_from(length).unwrap_or(FRAME_BYTES_MAX)
}

/// What was acknowledged is about to be deleted in its plain form: that is not done on the word of one pass alone.
fn check(packed: &[u8], content: &[u8]) -> io::Result<()> {
    let length = to_u32(content.len())?;
    match codec::decompress(packed, length) {
        Some(again) if again == content => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a frame does not decompress to what it was made of",
        )),
    }
}

fn to_u32(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

/// The temporary name of a compressed segment.
pub(in crate::store) fn new_path(packed: &Path) -> PathBuf {
    packed.with_extension("zst.new")
}

/// Devices instead of files, for tests of a disk that fails.
#[cfg(test)]
pub(in crate::store) mod stand_in {
    use std::cell::Cell;

    use super::{File, Path};

    thread_local! {
        static NEXT: Cell<Option<File>> = const { Cell::new(None) };
    }

    /// Lets the next segment that this thread compresses be written to a device.
    pub(in crate::store) fn create_instead(device: &Path) {
        let file = File::options()
            .write(true)
            .open(device)
            .expect("the device is there");
        NEXT.set(Some(file));
    }

    pub(super) fn take() -> Option<File> {
        NEXT.take()
    }
}
