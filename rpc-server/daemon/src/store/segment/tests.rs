use super::*;

#[test]
fn a_name_is_twenty_digits_and_an_extension() {
    let check = |name, expected| assert_eq!(parse(name), expected, "{name}");

    check("00000000000000000001.ndjson", Some((1, Form::Plain)));
    check("00009007199254740991.ndjson", Some((SEQ_MAX, Form::Plain)));
    check("00000000000000000007.ndjson.zst", Some((7, Form::Packed)));
    check("00009007199254740992.ndjson", None);
    check("00000000000000000000.ndjson", None);
    check("0000000000000000001.ndjson", None);
    check("+0000000000000000001.ndjson", None);
    check("00000000000000000001.json", None);
    check("00000000000000000001.ndjson.zst.new", None);
    check("lock", None);

    assert_eq!(
        path(Path::new("d"), 42),
        Path::new("d/00000000000000000042.ndjson")
    );
    for form in [Form::Plain, Form::Packed] {
        let index = beside(&path_of(Path::new("d"), 42, form), "idx");
        assert_eq!(index, Path::new("d/00000000000000000042.idx"));
    }
}

#[test]
fn a_symbolic_link_in_place_of_the_newest_segment_is_refused_and_what_it_leads_to_is_left_alone() {
    let dir = tempfile::TempDir::new().unwrap();
    let other = dir.path().join("other");
    fs::write(&other, "of another program, without a newline").unwrap();
    std::os::unix::fs::symlink(&other, path(dir.path(), 1)).unwrap();

    let Err(error) = Segment::recover(dir.path(), 1, Durability::Process, &mut |_, _| ()) else {
        panic!("the link is followed");
    };
    assert!(
        error.to_string().contains("it is a symbolic link"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(&other).unwrap(),
        "of another program, without a newline"
    );
}

#[test]
fn giving_up_removes_a_new_file_and_shortens_one_that_readers_know() {
    let dir = tempfile::TempDir::new().unwrap();
    let lock = DirLock::take(dir.path()).unwrap();
    let full = || StoreError::Full { path: "f".into() };
    let segment = Segment::create(dir.path(), 7, Some(&lock), SystemTime::now()).unwrap();
    assert!(path(dir.path(), 7).exists());
    assert!(segment.give_up(full(), Some(&lock)).did_not_run());
    assert!(!path(dir.path(), 7).exists());

    let mut segment = Segment::create(dir.path(), 8, None, SystemTime::now()).unwrap();
    segment.append(b"durable\n", Durability::Power).unwrap();
    segment.listed = true;

    // What a write that failed half way has left.
    segment.file.write_all(b"not dur").unwrap();
    assert!(segment.give_up(full(), Some(&lock)).did_not_run());
    assert_eq!(fs::read(path(dir.path(), 8)).unwrap(), b"durable\n");
}

#[test]
fn entries_that_the_disk_does_not_take_back_are_not_said_to_be_gone() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut segment = Segment::create(dir.path(), 1, None, SystemTime::now()).unwrap();
    segment.append(b"an entry\n", Durability::Process).unwrap();
    segment.listed = true;
    segment.len = 0;
    // What may only be read is not cut off.
    segment.file = File::open(path(dir.path(), 1)).unwrap();

    let full = StoreError::Full { path: "f".into() };
    let told = segment.give_up(full, None);
    assert!(matches!(told, StoreError::LeftBehind { .. }), "{told}");
    assert!(!told.did_not_run());
    assert!(told.to_string().contains("they may appear after a restart"));
}
