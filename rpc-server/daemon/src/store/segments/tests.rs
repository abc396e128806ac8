use std::cell::Cell;
use std::fs;
use std::io::Seek;

use super::damage::LineNumbers;
use super::*;

fn segments(lens: &[(u64, u64)], last: u64) -> Segments {
    segments_in(Path::new("d"), lens, last)
}

fn segments_in(dir: &Path, lens: &[(u64, u64)], last: u64) -> Segments {
    let dir = dir.to_owned();
    let segments = lens
        .iter()
        .map(|&(first, len)| Listed::new(first, len))
        .collect();
    let total = lens.iter().map(|&(_, len)| len).sum();

    Segments {
        dir,
        state: Mutex::new(State {
            segments,
            last,
            total,
            unreadable: BTreeSet::new(),
        }),
        damaged: AtomicU64::new(0),
    }
}

#[test]
fn a_view_is_the_segment_of_the_next_entry() {
    let segments = segments(&[(11, 100), (21, 200), (31, 50)], 33);

    let check = |after, expected: Option<(u64, u64, u64)>| {
        let view = segments
            .view(after)
            .map(|view| (view.first, view.len, view.last));
        assert_eq!(view, expected, "after {after}");
    };

    check(0, Some((11, 100, 20)));
    check(10, Some((11, 100, 20)));
    check(19, Some((11, 100, 20)));
    check(20, Some((21, 200, 30)));
    check(30, Some((31, 50, 33)));
    check(32, Some((31, 50, 33)));
    check(33, None);
    check(u64::MAX, None);
}

#[test]
fn lines_are_numbered_in_one_pass() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    fs::write(&file, "a\nbb\n\nccc\nd").unwrap();

    let mut lines = LineNumbers::of(fs::File::open(&file).unwrap());
    let numbers = [0, 2, 5, 6, 6, 10].map(|offset| lines.at(offset).unwrap());
    assert_eq!(numbers, [1, 2, 3, 4, 4, 5]);
    assert_eq!(lines.reader.stream_position().unwrap(), 10, "read once");
}

#[test]
fn damage_is_not_reported_for_a_call_that_is_over_and_then_by_the_next_scan() {
    let segments = segments(&[(11, 100)], 20);
    let looks = Cell::new(0);
    let is_over = || {
        looks.set(looks.get() + 1);
        looks.get() > 2
    };

    segments.report_damage(11, &[1, 2, 3, 4], &is_over);
    assert_eq!((segments.damaged(), looks.get()), (2, 3));
    segments.report_damage(11, &[1, 2, 3, 4], &|| false);
    assert_eq!(segments.damaged(), 4);
}

#[test]
fn the_oldest_are_forgotten_first_and_the_newest_never() {
    let segments = segments(&[(11, 100), (21, 200), (31, 50)], 33);
    let forget = |bytes_max| segments.forget_oldest(bytes_max).map(|oldest| oldest.first);
    assert_eq!(forget(350), None);
    assert_eq!(forget(249), Some(11));
    assert_eq!(forget(250), None);
    assert_eq!(forget(0), Some(21));
    assert_eq!(forget(0), None);
    assert_eq!(segments.view(0).map(|view| view.first), Some(31));
}

#[test]
fn retention_deletes_both_forms_of_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let segments = segments_in(dir.path(), &[(1, 100), (11, 100)], 20);
    let both = [Form::Plain, Form::Packed].map(|form| path_of(dir.path(), 1, form));
    for file in &both {
        fs::write(file, "of both").unwrap();
    }

    segments.retain(100);
    assert_eq!(both.map(|file| file.exists()), [false, false]);
}

#[cfg(feature = "zstd")]
#[test]
fn a_plain_file_that_cannot_be_deleted_behind_its_compression_is_deleted_later() {
    let dir = tempfile::tempdir().unwrap();
    let segments = segments_in(dir.path(), &[(1, 100), (11, 100)], 20);
    let new = dir.path().join("new");
    fs::write(&new, "compressed").unwrap();

    // A directory is no file that could be deleted as one.
    let plain = path_of(dir.path(), 1, Form::Plain);
    fs::create_dir(&plain).unwrap();
    let view = segments.view(0).unwrap();
    segments.replace(&view, &new, 10).unwrap();
    assert_eq!((segments.compressed(), segments.total_bytes()), (1, 110));
    assert!(segments.delete_plain_again(), "it is still there");

    fs::remove_dir(&plain).unwrap();
    fs::write(&plain, "lines").unwrap();
    assert!(!segments.delete_plain_again());
    assert!(!plain.exists());
    assert!(path_of(dir.path(), 1, Form::Packed).exists());
}
