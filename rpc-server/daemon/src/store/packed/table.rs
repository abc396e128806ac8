//! The table of the frames at the end of a compressed segment, and the fingerprint before it.
//!
//! Both are frames that decompressors skip. The table has the form of zstd's "seekable" format (`contrib/seekable_format`
//! in its repository), without checksums of its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rpc_core::Fingerprint;

use super::{FRAME_BYTES_MAX, Frame, PACKED_BYTES_MAX};

/// Begins the frame of a fingerprint: the first number of those that are skipped.
const CHECK_MAGIC: u32 = 0x184D_2A50;
/// Begins the frame of a table. A reader goes by the numbers behind it.
#[cfg(feature = "zstd")]
const TABLE_MAGIC: u32 = 0x184D_2A5E;
/// Ends a table.
const END_MAGIC: u32 = 0x8F92_EAB1;

/// Two numbers before what a skipped frame has.
const HEAD_BYTES: usize = 8;
/// The frame of a fingerprint.
pub(super) const CHECK_BYTES: usize = HEAD_BYTES + 16;
/// The number of entries, a byte of flags, and the number at the end.
const FOOT_BYTES: usize = 9;
/// Two numbers: bytes in the file, bytes of the content.
const ENTRY_BYTES: usize = 8;

/// Number of frames at which a table is not believed: it would be one of a TiB.
const FRAMES_MAX: usize = 1 << 20;

/// Both frames, for these frames and in this order.
#[cfg(feature = "zstd")]
pub(super) fn encode(frames: &[Frame]) -> Vec<u8> {
    let check_entry = [(small(CHECK_BYTES), 0)];
    let entries = frames.iter().map(|frame| (frame.packed, frame.plain));
    let entries: Vec<(u32, u32)> = entries.chain(check_entry).collect();
    let length = entries.len() * ENTRY_BYTES + FOOT_BYTES;

    let mut table = Vec::with_capacity(HEAD_BYTES + length);
    table.extend(TABLE_MAGIC.to_le_bytes());
    table.extend(small(length).to_le_bytes());
    for (packed, plain) in &entries {
        table.extend(packed.to_le_bytes());
        table.extend(plain.to_le_bytes());
    }
    table.extend(small(entries.len()).to_le_bytes());
    table.push(0);
    table.extend(END_MAGIC.to_le_bytes());

    let mut both = check_of(&table).to_vec();
    both.extend(table);
    both
}

/// The frames of a file; `None` if its table is missing or damaged.
pub(super) fn read(file: &File) -> io::Result<Option<Vec<Frame>>> {
    let len = file.metadata()?.len();
    let mut foot = [0; FOOT_BYTES];
    let Some(foot_at) = len.checked_sub(FOOT_BYTES as u64) else {
        return Ok(None);
    };
    file.read_exact_at(&mut foot, foot_at)?;

    let entries = number(&foot, 0) as usize;
    if number(&foot, 5) != END_MAGIC || !(1..=FRAMES_MAX).contains(&entries) {
        return Ok(None);
    }

    let bytes = CHECK_BYTES + HEAD_BYTES + entries * ENTRY_BYTES + FOOT_BYTES;
    let Some(at) = len.checked_sub(bytes as u64) else {
        return Ok(None);
    };
    let mut both = vec![0; bytes];
    file.read_exact_at(&mut both, at)?;

    let (check, table) = both.split_at(CHECK_BYTES);
    if check[HEAD_BYTES..] != check_of(table)[HEAD_BYTES..] {
        return Ok(None);
    }
    Ok(decode(&table[HEAD_BYTES..], entries, at))
}

/// The frames of a table, which have to end at `end`.
fn decode(table: &[u8], entries: usize, end: u64) -> Option<Vec<Frame>> {
    let mut frames = Vec::with_capacity(entries - 1);
    let (mut at, mut offset) = (0, 0);

    // The last entry is the fingerprint's.
    for entry in table.chunks_exact(ENTRY_BYTES).take(entries - 1) {
        let (packed, plain) = (number(entry, 0), number(entry, 4));
        if packed > PACKED_BYTES_MAX || plain > FRAME_BYTES_MAX {
            return None;
        }

        frames.push(Frame {
            at,
            packed,
            offset,
            plain,
        });
        at += u64::from(packed);
        offset += u64::from(plain);
    }

    (at == end).then_some(frames)
}

fn check_of(table: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check[..4].copy_from_slice(&CHECK_MAGIC.to_le_bytes());
    check[4..8].copy_from_slice(&16_u32.to_le_bytes());
    check[8..].copy_from_slice(&Fingerprint::of(table).number().to_le_bytes());
    check
}

/// A number of the table: it has no frames for as many as do not fit.
#[cfg(feature = "zstd")]
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The number at a place, which is there.
fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}
