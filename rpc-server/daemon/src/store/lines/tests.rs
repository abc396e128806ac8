use std::fs::File;
use std::io::Write;

use super::super::entry::EntryRef;
use super::*;

fn file_with(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

/// A segment of `end` bytes that starts with `seq`.
fn segment_of(end: u64, seq: u64) -> Stretch {
    Stretch {
        offset: 0,
        seq,
        end,
        last: u64::MAX,
    }
}

#[test]
fn the_shortest_line_is_as_long_as_it_is_said_to_be() {
    // As older versions wrote it, without the time of receipt.
    let line = "{\"seq\":1,\"ts\":0,\"level\":\"info\",\"service\":\"\",\"message\":\"\"}\n";
    assert!(EntryRef::parse(line.as_bytes()).is_some());
    assert_eq!(line.len() as u64, LINE_BYTES_MIN);
}

#[test]
fn lines_too_long_to_be_entries_are_passed_over_whole() {
    let long = "x".repeat(2 * LINE_BYTES_MAX + 5);
    let file = file_with(format!("a\n{long}\nb\nc").as_bytes());
    let mut lines = Lines::new(&file, 0, file.metadata().unwrap().len(), 4096).unwrap();

    let mut seen = Vec::new();
    while let Some(line) = lines.next().unwrap() {
        seen.push((line.offset, line.bytes, line.text.to_vec(), line.whole));
    }

    let behind = long.len() as u64 + 3;
    let expected = [
        (0, 2, b"a\n".to_vec(), true),
        (2, long.len() as u64 + 1, Vec::new(), true),
        (behind, 2, b"b\n".to_vec(), true),
        (behind + 2, 1, b"c".to_vec(), false),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_sequence_goes_on_behind_damage_but_not_further_than_the_damage_can_hide() {
    let mut sequence = Sequence::new(5, 1000);
    assert!(sequence.accept(Some(5), 100));
    assert!(!sequence.accept(Some(5), 100), "twice");
    assert!(!sequence.accept(Some(900), 100), "a flipped digit");
    assert_eq!(sequence.next(), 6 + 200 / LINE_BYTES_MIN);
    assert!(!sequence.accept(Some(6 + 1 + 200 / LINE_BYTES_MIN), 1));

    assert!(sequence.accept(Some(8), 100));
    assert!(!sequence.accept(Some(10), 100));
    assert!(!sequence.accept(None, 1));
    assert!(sequence.accept(Some(9), 100));

    let mut sequence = Sequence::new(5, 5);
    assert!(sequence.accept(Some(5), 100));
    assert!(
        !sequence.accept(Some(6), 100),
        "belongs to the next segment"
    );
}

#[test]
fn a_number_is_read_from_the_start_of_a_line_only() {
    let check = |line: &str, expected| assert_eq!(leading_seq(line.as_bytes()), expected, "{line}");

    check("{\"seq\":17,\"ts\":1}\n", Some(17));
    check("{\"seq\":17", None);
    check("{\"seq\":,", None);
    check("{\"seq\":+1,", None);
    check("{\"seq\":1x,", None);
    check("{\"seq\":99999999999999999999,", None);
    check("{\"ts\":1,\"seq\":17,", None);
}

#[test]
fn locating_never_goes_past_the_line_and_comes_close_to_it() {
    let line = |seq: u64| {
        format!(
            "{{\"seq\":{seq},{:>1$}}}\n",
            "",
            usize::try_from(seq * 7919 % 300).unwrap()
        )
    };

    let offsets: Vec<usize> = (3..3000)
        .scan(0, |at, seq| {
            Some(std::mem::replace(at, *at + line(seq).len()))
        })
        .collect();
    let mut content: Vec<u8> = (3..3000).flat_map(|seq| line(seq).into_bytes()).collect();

    // Damage of every kind: a newline lost, a newline added, a digit changed, a run of zeros.
    let (lost, more, digit, zeros) = (
        offsets[700] - 1,
        offsets[1500] + 4,
        offsets[2000] + 7,
        offsets[2300],
    );
    content[lost] = b'-';
    content[more] = b'\n';
    content[digit] = b'9';
    content[zeros..zeros + 9000].fill(0);

    let file = file_with(&content);
    for seq in (3..3000).chain([5000, u64::MAX]) {
        let LineStart { offset, seq: at } =
            locate(&file, &segment_of(content.len() as u64, 3), seq).unwrap();
        assert!(at <= seq);
        assert_eq!(offset, offsets[usize::try_from(at - 3).unwrap()] as u64);

        let wanted = offsets[usize::try_from(seq.min(2999) - 3).unwrap()] as u64;
        assert!(
            wanted - offset < 4 * SEARCH_BYTES_MIN,
            "{seq}: {}",
            wanted - offset
        );
    }

    let first = LineStart { offset: 0, seq: 3 };
    assert_eq!(
        locate(&file, &segment_of(content.len() as u64, 3), 1).unwrap(),
        first
    );
    assert_eq!(locate(&file, &segment_of(0, 3), 9).unwrap(), first);
}

#[test]
fn a_line_with_a_wrong_number_never_leads_past_the_one_that_is_looked_for() {
    let line = |seq: u64| format!("{{\"seq\":{seq},{:100}}}\n", "");
    let line_bytes = line(10_000).len() as u64;
    let whole: String = (10_000..11_000).map(line).collect();
    let file = file_with(whole.as_bytes());
    let len = whole.len() as u64;

    // Each line in turn, because it is only some that are looked at.
    for seq in 10_200..11_000 {
        let at = SeekFrom::Start((seq - 10_000) * line_bytes);
        let write = |line: String| {
            (&file)
                .seek(at)
                .and_then(|_| (&file).write_all(line.as_bytes()))
                .unwrap();
        };

        write(line(seq - 150));
        for wanted in [seq - 150, seq - 1, seq] {
            let LineStart { offset, seq: found } =
                locate(&file, &segment_of(len, 10_000), wanted).unwrap();
            assert!(found <= wanted);
            assert_eq!(
                offset,
                (found - 10_000) * line_bytes,
                "{seq} is damaged, {wanted} is wanted"
            );
        }

        write(line(seq));
    }
}
