//! Compressed files by themselves.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::pack::write;
use super::*;

/// Lines that differ, of about this number of bytes.
fn lines(bytes: usize) -> Vec<u8> {
    let mut lines = Vec::new();
    for n in 0_u64.. {
        if lines.len() >= bytes {
            break;
        }
        let line = format!("line {n} {:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        lines.extend(line.bytes());
    }
    lines
}

/// Where every group of this number of lines ends.
fn ends(content: &[u8], lines: usize) -> Vec<u64> {
    let newlines = content.iter().enumerate();
    let newlines = newlines.filter(|(_, byte)| **byte == b'\n');
    let ends = newlines.map(|(at, _)| at as u64 + 1);
    ends.skip(lines - 1).step_by(lines).collect()
}

struct File {
    dir: TempDir,
    content: Vec<u8>,
    ends: Vec<u64>,
}

impl File {
    fn new(content: Vec<u8>, ends: Vec<u64>) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("plain"), &content).unwrap();
        Self { dir, content, ends }
    }

    fn packed(&self) -> PathBuf {
        self.dir.path().join("packed")
    }

    fn pack(&self, is_over: &dyn Fn() -> bool) -> io::Result<Option<u64>> {
        let plain = self.dir.path().join("plain");
        pack(&self.packing(&plain, is_over), &self.packed())
    }

    fn packing<'a>(&self, plain: &'a Path, is_over: &'a dyn Fn() -> bool) -> Packing<'a> {
        Packing {
            plain,
            len: self.content.len() as u64,
            ends: self.ends.clone(),
            is_over,
            pause: &|_| (),
        }
    }

    fn read(&self) -> (Vec<u8>, Vec<Frame>) {
        let packed = Packed::open(&self.packed()).unwrap();
        let mut read = Vec::new();
        (&packed).read_to_end(&mut read).unwrap();
        assert_eq!(packed.len(), read.len() as u64);
        (read, packed.frames)
    }
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

fn never() -> bool {
    false
}

#[test]
fn what_is_compressed_is_read_from_any_offset_and_by_other_programs() {
    let content = lines(5 << 20);
    let file = File::new(content.clone(), ends(&content, 20_000));
    let bytes = file.pack(&never).unwrap().unwrap();
    assert_eq!(bytes, fs::metadata(file.packed()).unwrap().len());

    let (read, frames) = file.read();
    assert_eq!(read, content);
    let frame_ends: Vec<u64> = frames.iter().map(Frame::end).collect();
    assert!(file.ends.iter().all(|end| frame_ends.contains(end)));
    assert!(frames.iter().all(|frame| frame.plain <= FRAME_BYTES_MAX));

    let packed = Packed::open(&file.packed()).unwrap();
    for n in 0..200_u64 {
        let offset = n * 7919 * 31 % content.len() as u64;
        (&packed).seek(SeekFrom::Start(offset)).unwrap();
        let mut some = [0; 100];
        let count = (&packed).read(&mut some).unwrap();
        assert!(count > 0);
        assert!(content[in_memory(offset)..].starts_with(&some[..count]));
    }
    assert_eq!((&packed).seek(SeekFrom::End(-1)).unwrap() + 1, packed.len());
    assert!((&packed).seek(SeekFrom::Current(i64::MIN)).is_err());

    let all = zstd::stream::decode_all(fs::File::open(file.packed()).unwrap()).unwrap();
    assert_eq!(all, content);
}

#[test]
fn frames_are_bounded_where_nothing_tells_where_to_end_them_and_where_the_index_has_none() {
    let content = lines(3 << 20);
    for ends in [Vec::new(), vec![content.len() as u64]] {
        let file = File::new(content.clone(), ends);
        file.pack(&never).unwrap().unwrap();
        let (read, frames) = file.read();
        assert_eq!(read, content);
        assert!(frames.len() > 2);
        assert!(frames.iter().all(|frame| frame.plain <= FRAME_BYTES_MAX));
    }

    let empty = File::new(Vec::new(), Vec::new());
    empty.pack(&never).unwrap().unwrap();
    assert_eq!(empty.read().0, b"");
}

#[test]
fn a_byte_flipped_at_any_position_costs_one_frame_at_most_and_never_shows_another_content() {
    let content = lines(1500);
    let file = File::new(content.clone(), ends(&content, 20));
    file.pack(&never).unwrap().unwrap();
    let whole = fs::read(file.packed()).unwrap();
    let frames = file.read().1;
    assert!(frames.len() > 2);

    let in_frames = frames
        .last()
        .map_or(0, |frame| frame.at + u64::from(frame.packed));
    let mut lost: u64 = 0;
    for (at, flip) in (0..whole.len()).flat_map(|at| [1, 0x10, 0x80, 0xff].map(|flip| (at, flip))) {
        let mut changed = whole.clone();
        changed[at] ^= flip;
        fs::write(file.packed(), &changed).unwrap();

        let (read, found) = file.read();
        let case = format!("byte {at} ^ {flip:#x}");
        assert_eq!(found, frames, "{case}");
        let damaged: Vec<&Frame> = frames
            .iter()
            .filter(|frame| {
                let range = in_memory(frame.offset)..in_memory(frame.end());
                let is_same = read[range.clone()] == content[range.clone()];
                assert!(is_same || read[range] == in_place_of(**frame), "{case}");
                !is_same
            })
            .collect();

        assert!(damaged.len() <= 1, "{case}");
        for frame in damaged {
            let range = frame.at..frame.at + u64::from(frame.packed);
            assert!(range.contains(&(at as u64)), "{case}");
            lost += 1;
        }
    }
    // All but flips of bits that mean nothing; none in the table.
    assert!(lost > in_frames * 4 * 9 / 10, "{lost}");
    assert!(lost <= in_frames * 4, "{lost}");
}

#[test]
fn a_file_cut_at_any_byte_reads_as_its_whole_frames_and_damage() {
    let content = lines(600);
    let file = File::new(content.clone(), ends(&content, 10));
    file.pack(&never).unwrap().unwrap();
    let whole = fs::read(file.packed()).unwrap();
    let frames = file.read().1;

    for cut in 0..whole.len() {
        fs::write(file.packed(), &whole[..cut]).unwrap();
        let (read, _) = file.read();

        let is_kept = |frame: &&Frame| frame.at + u64::from(frame.packed) <= cut as u64;
        let kept = frames.iter().rfind(is_kept);
        let plain = kept.map_or(0, |frame| in_memory(frame.end()));
        let packed = kept.map_or(0, |frame| frame.at + u64::from(frame.packed));
        assert!(read.starts_with(&content[..plain]), "cut at {cut}");
        let rest = &read[plain..];
        let is_whole = plain == content.len() || packed == cut as u64;
        assert!(
            rest == b"\n" || (is_whole && rest.is_empty()),
            "cut at {cut}: {rest:?}"
        );
    }

    fs::write(file.packed(), "of another program").unwrap();
    assert_eq!(file.read().0, b"\n");
}

#[test]
fn a_disk_that_is_full_at_any_byte_or_an_end_of_the_work_leaves_no_file() {
    /// Takes this number of bytes.
    struct Disk(usize);

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            match taken {
                0 => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(taken),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let content = lines(600);
    let file = File::new(content.clone(), ends(&content, 10));
    let bytes = in_memory(file.pack(&never).unwrap().unwrap());
    for room in 0..bytes {
        let packing = file.packing(Path::new(""), &never);
        let error = write(&packing, &*content, Disk(room)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    let looks = Cell::new(0);
    let is_over = || {
        looks.set(looks.get() + 1);
        looks.get() > 2
    };
    assert_eq!(file.pack(&is_over).unwrap(), None);
    assert!(!file.packed().exists());

    stand_in::create_instead(Path::new("/dev/full"));
    let error = file.pack(&never).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    // A plain file that is shorter than it should be is left to its readers.
    fs::write(file.dir.path().join("plain"), &content[1..]).unwrap();
    let error = file.pack(&never).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(!file.packed().exists());
}

#[test]
fn a_compressed_file_has_the_time_of_the_plain_one_and_each_frame_is_followed_by_a_rest() {
    let content = lines(600);
    let file = File::new(content.clone(), ends(&content, 10));
    let plain = file.dir.path().join("plain");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    let opened = fs::File::options().append(true).open(&plain).unwrap();
    opened.set_modified(long_ago).unwrap();

    let rests = Cell::new(0);
    let packing = Packing {
        pause: &|_| rests.set(rests.get() + 1),
        ..file.packing(&plain, &never)
    };
    pack(&packing, &file.packed()).unwrap().unwrap();
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&file.packed()), modified(&plain));
    assert_eq!(rests.get(), file.read().1.len());
}

#[test]
fn a_time_that_is_corrected_during_the_compression_is_that_of_the_compressed_file() {
    let file = File::new(lines(600), Vec::new());
    let plain = file.dir.path().join("plain");
    let corrected = std::time::SystemTime::now() + Duration::from_secs(7200);
    let correct = |_| {
        let opened = fs::File::options().append(true).open(&plain).unwrap();
        opened.set_modified(corrected).unwrap();
    };

    let packing = Packing {
        pause: &correct,
        ..file.packing(&plain, &never)
    };
    pack(&packing, &file.packed()).unwrap().unwrap();
    let packed = fs::metadata(file.packed()).unwrap();
    assert_eq!(packed.modified().unwrap(), corrected);
}

#[test]
fn a_damaged_frame_is_found_by_each_offset_of_its_content() {
    let file = File::new(lines(5 << 20), Vec::new());
    file.pack(&never).unwrap();
    let (_, frames) = file.read();
    assert!(frames.len() > 2);
    let mut bytes = fs::read(file.packed()).unwrap();
    bytes[in_memory(frames[1].at) + 100] ^= 0x41;
    fs::write(file.packed(), bytes).unwrap();

    let packed = Packed::open(&file.packed()).unwrap();
    for (n, frame) in frames.iter().enumerate() {
        let expected = (n == 1).then_some(frame.at);
        for offset in [frame.offset, frame.end() - 1] {
            assert_eq!(packed.damaged_frame(offset).unwrap(), expected, "{n}");
        }
    }
    assert_eq!(packed.damaged_frame(packed.len()).unwrap(), None);
}
