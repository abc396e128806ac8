//! Compressed segments: independent frames of zstd, so that a reader decompresses only what it reads.
//!
//! `zstdcat` reads such a file as it is. Behind its frames come two that decompressors skip: a fingerprint of the last
//! one, and that last one, the table of the frames in zstd's own "seekable" format. A reader takes the places of the frames
//! from the table; where that is damaged, from the frames themselves.
//!
//! The content has the offsets that it had in the plain file. A frame that is damaged reads as one line that is no entry, as
//! long as the frame: readers count and report it as they do a damaged line, and go on behind it.

mod codec;
#[cfg(feature = "zstd")]
mod pack;
mod survey;
mod table;
#[cfg(all(test, feature = "zstd"))]
mod tests;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

#[cfg(all(test, feature = "zstd"))]
pub(super) use pack::stand_in;
#[cfg(feature = "zstd")]
pub(super) use pack::{Packing, new_path, pack};

/// Maximum number of bytes that a frame holds when it is decompressed, which a reader has in memory.
const FRAME_BYTES_MAX: u32 = 2 * 1024 * 1024;

/// Maximum number of bytes of a compressed frame: what does not get smaller gets a little larger.
const PACKED_BYTES_MAX: u32 = FRAME_BYTES_MAX + FRAME_BYTES_MAX / 128;

/// A compressed segment, open for reading.
pub(super) struct Packed {
    file: File,
    frames: Vec<Frame>,
    /// The bytes that it holds when it is decompressed.
    len: u64,
    has_table: bool,
    /// Borrowed for a single read or seek.
    cursor: RefCell<Cursor>,
}

/// Where a frame is, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    /// Where it begins in the file.
    at: u64,
    /// Number of its bytes there.
    packed: u32,
    /// Where its content begins.
    offset: u64,
    /// Number of bytes of its content.
    plain: u32,
}

/// Where reading goes on, and the frame that was read last.
#[derive(Default)]
struct Cursor {
    offset: u64,
    frame: Option<usize>,
    content: Vec<u8>,
}

impl Packed {
    /// Opens a compressed segment and finds its frames.
    ///
    /// # Errors
    ///
    /// Those of the disk, and `Unsupported` without the library. A file that makes no sense is no error: it reads as
    /// damage.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !codec::IS_SUPPORTED {
            let message = "it is compressed, and this program was built without the feature `zstd`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }

        let file = File::open(path)?;
        let table = table::read(&file)?;
        let has_table = table.is_some();
        let frames = match table {
            Some(frames) => frames,
            None => survey::frames(&file)?,
        };
        let len = frames.last().map_or(0, Frame::end);
        Ok(Self {
            file,
            frames,
            len,
            has_table,
            cursor: RefCell::default(),
        })
    }

    /// Whether its table is whole. Without it, its frames were read instead.
    pub(super) fn has_table(&self) -> bool {
        self.has_table
    }

    /// The bytes that it holds when it is decompressed.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds more than a plain file of this length.
    pub(super) fn has_more_than(&self, plain: u64) -> bool {
        // Without a table, the bytes behind the last frame may count as a frame of a single byte.
        let not_known = u64::from(!self.has_table);
        self.len > plain.saturating_add(not_known)
    }

    /// Where the frame begins in the file that holds the byte at `offset`, if that frame is damaged.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub(super) fn damaged_frame(&self, offset: u64) -> io::Result<Option<u64>> {
        let frame = self.frames.get(self.frame_at(offset));
        let Some(frame) = frame.filter(|frame| frame.offset <= offset) else {
            return Ok(None);
        };

        Ok(self.content_of(frame)?.is_none().then_some(frame.at))
    }

    /// The number of the frame that holds the byte at `offset`, or of none.
    fn frame_at(&self, offset: u64) -> usize {
        self.frames.partition_point(|frame| frame.end() <= offset)
    }

    /// What a frame holds; `None` if it is damaged.
    fn content_of(&self, frame: &Frame) -> io::Result<Option<Vec<u8>>> {
        let mut packed = vec![0; frame.packed as usize];
        match self.file.read_exact_at(&mut packed, frame.at) {
            Ok(()) => Ok(codec::decompress(&packed, frame.plain)),
            // Another program has shortened the file.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fills the cursor with the content of a frame.
    fn load(&self, number: usize, cursor: &mut Cursor) -> io::Result<()> {
        let frame = self.frames[number];
        cursor.frame = None;

        let content = self.content_of(&frame)?;
        cursor.content = content.unwrap_or_else(|| in_place_of(frame));
        cursor.frame = Some(number);
        Ok(())
    }
}

impl Frame {
    /// Where its content ends.
    fn end(&self) -> u64 {
        self.offset + u64::from(self.plain)
    }
}

/// A line that is no entry.
fn in_place_of(frame: Frame) -> Vec<u8> {
    let mut line = vec![0; frame.plain as usize];
    if let Some(last) = line.last_mut() {
        *last = b'\n';
    }
    line
}

impl Read for &Packed {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let cursor = &mut *self.cursor.borrow_mut();
        let number = self.frame_at(cursor.offset);
        let Some(frame) = self.frames.get(number) else {
            return Ok(0);
        };

        if cursor.frame != Some(number) {
            self.load(number, cursor)?;
        }

        let skipped = usize::try_from(cursor.offset - frame.offset).unwrap_or(usize::MAX);
        let rest = cursor.content.get(skipped..).unwrap_or_default();
        let bytes = rest.len().min(block.len());
        block[..bytes].copy_from_slice(&rest[..bytes]);
        cursor.offset += bytes as u64;
        Ok(bytes)
    }
}

impl Seek for &Packed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let cursor = &mut *self.cursor.borrow_mut();
        let offset = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(by) => cursor.offset.checked_add_signed(by),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
        };

        cursor.offset = offset.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(cursor.offset)
    }
}
