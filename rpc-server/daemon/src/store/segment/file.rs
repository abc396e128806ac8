//! A segment that is open for reading, in either form.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::super::packed::Packed;
use super::names::{Form, path, path_of};

/// A segment that is open for reading. Its offsets are those of the plain file, whichever form it has.
pub(in crate::store) enum SegmentFile {
    Plain(File),
    Packed(Packed),
}

impl SegmentFile {
    /// Opens the file of a segment in this form.
    pub(in crate::store) fn open(path: &Path, form: Form) -> io::Result<Self> {
        match form {
            Form::Plain => File::open(path).map(Self::Plain),
            Form::Packed => Packed::open(path).map(Self::Packed),
        }
    }

    /// Opens the segment that starts with `first`. If it is there in both forms, its compression has not come to its end, or
    /// an operator's unpacking: the compressed one is taken if it holds more.
    pub(in crate::store) fn find(dir: &Path, first: u64) -> io::Result<Self> {
        let packed = path_of(dir, first, Form::Packed);
        let plain = match Self::open(&path(dir, first), Form::Plain) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::open(&packed, Form::Packed);
            }
            found => found?,
        };

        let len = plain.len()?;
        let packed = Packed::open(&packed).ok();
        let longer = packed.filter(|packed| packed.has_more_than(len));
        Ok(longer.map_or(plain, Self::Packed))
    }

    /// The bytes of its lines.
    pub(in crate::store) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Plain(file) => Ok(file.metadata()?.len()),
            Self::Packed(packed) => Ok(packed.len()),
        }
    }
}

impl Read for &SegmentFile {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        match self {
            SegmentFile::Plain(file) => (&*file).read(block),
            SegmentFile::Packed(packed) => (&*packed).read(block),
        }
    }
}

impl Seek for &SegmentFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            SegmentFile::Plain(file) => (&*file).seek(to),
            SegmentFile::Packed(packed) => (&*packed).seek(to),
        }
    }
}

impl Read for SegmentFile {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        (&*self).read(block)
    }
}
