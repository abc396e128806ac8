//! The frames of a file whose table is damaged: each tells its own length.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{FRAME_BYTES_MAX, Frame, PACKED_BYTES_MAX, codec};

/// The first two bytes and the last two of a frame that decompressors skip; its first byte is 0x50 to 0x5f.
const SKIPPED: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The frames up to the table, or to the first bytes that are not a frame. Those bytes are taken for the last frame, whose
/// length is not known: it counts as a single byte.
pub(super) fn frames(file: &File) -> io::Result<Vec<Frame>> {
    let len = file.metadata()?.len();
    let mut frames = Vec::new();
    let (mut at, mut offset) = (0, 0);

    while at < len {
        let bytes = read_at(file, at, len)?;
        // Where the frames end, the table begins.
        if bytes.len() > 3 && bytes[0] & 0xf0 == 0x50 && bytes[1..4] == SKIPPED {
            break;
        }

        let found = codec::lengths(&bytes).and_then(|(packed, plain)| {
            let (packed, plain) = (u32::try_from(packed).ok()?, u32::try_from(plain).ok()?);
            (packed > 0 && plain <= FRAME_BYTES_MAX).then_some((packed, plain))
        });
        let Some((packed, plain)) = found else {
            frames.push(Frame {
                at,
                packed: 0,
                offset,
                plain: 1,
            });
            break;
        };

        frames.push(Frame {
            at,
            packed,
            offset,
            plain,
        });
        at += u64::from(packed);
        offset += u64::from(plain);
    }

    Ok(frames)
}

/// As many bytes as a frame may have, or as there are.
fn read_at(file: &File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let bytes = (len - at).min(u64::from(PACKED_BYTES_MAX));
    let mut bytes = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
