//! Indexes by themselves.

use rpc_core::api::log::Level;
use tempfile::TempDir;

use super::super::{Filter, Rest};
use super::*;

fn brief(seq: u64, ts: u64, service: &str) -> Brief<'_> {
    Brief {
        seq,
        ts,
        level: Level::Info,
        service: service.into(),
    }
}

/// Three frames: entries 1 to 3 of time 10 to 30, and so on.
fn index() -> Index {
    let mut index = Index::default();
    for n in 1..=9 {
        let service = if n < 4 { "a" } else { "b" };
        index.add(&brief(n, n * 10, service), n * FRAME_BYTES / 3 + 1);
    }
    assert_eq!(index.frames.len(), 3);
    index
}

fn whole(end: u64, last: u64) -> Stretch {
    Stretch {
        offset: 0,
        seq: 1,
        end,
        last,
    }
}

fn between(from: u64, to: u64) -> Filter {
    Filter {
        rest: Rest {
            from: Some(from),
            to: Some(to),
            ..Rest::default()
        },
        ..Filter::default()
    }
}

#[test]
fn frames_that_follow_on_one_another_are_one_stretch_and_those_that_do_not_pass_are_left_out() {
    let index = index();
    let end = index.end();
    let numbers = |filter: &Filter| {
        let stretches = index.stretches(filter, &whole(end, 9));
        let numbers = stretches.iter().map(|stretch| (stretch.seq, stretch.last));
        numbers.collect::<Vec<_>>()
    };

    assert_eq!(numbers(&Filter::default()), [(1, 9)]);
    assert_eq!(numbers(&between(0, 10)), []);
    assert_eq!(numbers(&between(0, 11)), [(1, 3)]);
    assert_eq!(numbers(&between(40, 61)), [(4, 6)]);
    assert_eq!(numbers(&between(30, 41)), [(1, 6)]);
    assert_eq!(numbers(&between(91, 99)), []);

    let of_service = |service: &str| Filter {
        service: Some(service.into()),
        ..Filter::default()
    };
    assert_eq!(numbers(&of_service("a")), [(1, 3)]);
    assert_eq!(numbers(&of_service("c")), []);
    let grave = Filter {
        level: Some(Level::Warn),
        ..Filter::default()
    };
    assert_eq!(numbers(&grave), []);

    // What the index does not have is looked at, and what the reader may not see is not.
    let more = index.stretches(&between(91, 99), &whole(end + 7, 11));
    assert_eq!(more.len(), 1);
    assert_eq!(
        (more[0].seq, more[0].offset, more[0].end),
        (10, end, end + 7)
    );
    let less = index.stretches(&Filter::default(), &whole(end - 1, 8));
    assert_eq!((less[0].end, less[0].last), (end - 1, 8));
}

#[test]
fn a_frame_with_too_many_services_may_have_any() {
    let mut index = Index::default();
    for n in 1..=40 {
        let service = format!("s{n}");
        index.add(&brief(n, 1, &service), n * 10);
    }
    let other = Filter {
        service: Some("other".into()),
        ..Filter::default()
    };
    assert_eq!(index.stretches(&other, &whole(400, 40)).len(), 1);
}

#[test]
fn an_index_with_any_byte_changed_or_missing_is_no_index() {
    let dir = TempDir::new().unwrap();
    let segment = dir.path().join("1.ndjson");
    let index = index();
    write(&segment, &index).unwrap();

    let len = index.end();
    assert_eq!(read(&segment, len, 1, 9).as_ref(), Some(&index));
    for (len, first, last) in [(len + 1, 1, 9), (len - 1, 1, 9), (len, 2, 9), (len, 1, 8)] {
        assert_eq!(read(&segment, len, first, last), None);
    }

    let path = segment.with_extension("idx");
    let content = std::fs::read(&path).unwrap();
    // Without its last newline it is whole.
    for at in 0..content.len() - 1 {
        let mut changed = content.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert_eq!(read(&segment, len, 1, 9), None, "byte {at}");
        std::fs::write(&path, &content[..at]).unwrap();
        assert_eq!(read(&segment, len, 1, 9), None, "{at} bytes");
    }

    remove(&segment);
    remove(&segment);
    assert_eq!(read(&segment, len, 1, 9), None);
}

#[test]
fn what_is_written_together_is_added_to_the_frame_that_is_open() {
    let index_of = |numbers: std::ops::Range<u64>| {
        let mut index = Index::default();
        let first = numbers.start;
        for n in numbers {
            index.add(&brief(n, n, "s"), (n + 1 - first) * 100);
        }
        index
    };

    let mut index = index_of(1..4);
    index.append(index_of(4..6).moved_to(300));
    assert_eq!(index, index_of(1..6));
}
