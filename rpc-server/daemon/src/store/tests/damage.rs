//! Files after a crash, and after bytes of them have changed.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::super::reading::backward::Backward;
use super::super::reading::scan::{Range, Scan};
use super::super::segments::Segments;
use super::*;

/// A scan of the whole log.
const EVERYTHING: Range = Range {
    after: 0,
    place: None,
    bytes_max: u64::MAX,
};

/// As if the store had been killed: it leaves no record of its end.
pub(super) fn forget_closing(dir: &TempDir) {
    fs::remove_file(dir.path().join("closed.json")).unwrap();
}

/// What may become of the record of which appends were here: nothing, and what a kill, an operator or a disk does to it.
pub(super) const WAYS_TO_LOSE_THE_RECORD: [fn(&TempDir); 4] = [
    |_| {},
    forget_closing,
    |dir| fs::remove_file(known_file(dir)).unwrap(),
    |dir| fs::write(known_file(dir), "{").unwrap(),
];

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_off_and_its_number_given_to_the_next() {
    let dir = TempDir::new().unwrap();
    append(&open(&dir), 1..=3).await;
    let path = segment_path(&dir, 1);
    let whole = fs::read(&path).unwrap();

    let last_line = whole[..whole.len() - 1]
        .iter()
        .rposition(|&byte| byte == b'\n')
        .unwrap()
        + 1;

    for cut in last_line..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        forget_closing(&dir);

        let store = open_small(&dir, 1 << 20);
        let kept = if cut == whole.len() { 3 } else { 2 };
        assert_eq!((store.last(), store.damaged()), (kept, 0), "cut at {cut}");

        append(&store, [kept + 1]).await;
        let all = read_all(&store, &query(0)).await;
        assert_eq!(
            all,
            (1..=kept + 1)
                .map(|n| (n, n.to_string()))
                .collect::<Vec<_>>(),
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn zeros_a_loss_of_power_leaves_at_the_end_are_cut_off() {
    let dir = TempDir::new().unwrap();
    append(&open(&dir), 1..=3).await;

    let path = segment_path(&dir, 1);
    let mut content = fs::read(&path).unwrap();
    content.resize(content.len() + 3 * lines::LINE_BYTES_MAX, 0);
    fs::write(&path, content).unwrap();
    forget_closing(&dir);

    let store = open(&dir);
    append(&store, [4]).await;
    assert_eq!(seqs(&read_all(&store, &query(0)).await), [1, 2, 3, 4]);
    assert_eq!(store.damaged(), 0);
}

#[tokio::test]
async fn a_flipped_byte_costs_no_more_than_its_line_and_is_never_silent() {
    let dir = TempDir::new().unwrap();
    append(&open(&dir), 1..=6).await;

    let path = segment_path(&dir, 1);
    let whole = fs::read(&path).unwrap();
    let line = whole.len() / 6;

    // Each byte of the third line and of the last: inside, and where the next entry will follow.
    for (damaged_seq, at) in (2 * line..3 * line)
        .map(|at| (3, at))
        .chain((5 * line..6 * line).map(|at| (6, at)))
    {
        for flip in [0x01, 0x02, 0x20, 0x80, 0xff, whole[at] ^ b'\n'] {
            let mut content = whole.clone();
            content[at] ^= flip;
            if content == whole {
                continue;
            }

            let case = format!("byte {at} of line {damaged_seq} ^ {flip:#x}");
            fs::write(&path, &content).unwrap();
            forget_closing(&dir);
            let store = open_small(&dir, 1 << 20);
            let next = store.append(&entry("new")).unwrap().await.unwrap();
            assert!(next > 6, "{case}: a number was given out twice");

            for _ in 0..2 {
                let all = read_all(&store, &query(0)).await;
                for seq in [1, 2, 5, next] {
                    assert!(seqs(&all).contains(&seq), "{case}: {seq} is lost");
                }

                let lost = 7 - u64::try_from(all.len()).unwrap();
                assert!(lost <= 2, "{case}");
                if lost > 0 {
                    assert!(
                        (1..=2).contains(&store.damaged()),
                        "{case}: {} reported",
                        store.damaged()
                    );
                }
            }

            // Only a newline at the very end is mended, because the next entry needs one.
            let kept = if at == whole.len() - 1 {
                &whole
            } else {
                &content
            };
            assert!(
                fs::read(&path).unwrap().starts_with(kept),
                "{case}: the file was changed"
            );

            // What was appended behind the damage is found again.
            drop(store);
            let store = open_small(&dir, 1 << 20);
            assert_eq!(store.last(), next, "{case}");
        }
    }
}

#[tokio::test]
async fn a_byte_flipped_at_any_position_of_a_closed_segment_costs_its_line_alone_and_is_reported() {
    let dir = TempDir::new().unwrap();
    append(&open_small(&dir, 360), 1..=12).await;
    let path = files(dir.path())[1].clone();
    let whole = fs::read(&path).unwrap();
    let line_of = |at: usize| 5 + whole[..at].split(|byte| *byte == b'\n').count() as u64 - 1;
    assert_eq!(line_of(whole.len() - 1), 8);
    assert!(path.with_extension("idx").exists());

    let mut lost = 0;
    for at in 0..whole.len() {
        for flip in [0x01, 0x04, 0x10, 0x80] {
            let mut content = whole.clone();
            content[at] ^= flip;
            fs::write(&path, &content).unwrap();
            let case = format!("byte {at} ^ {flip:#x}");
            let recovered = Segments::recover(dir.path(), None, &mut |_| ()).unwrap();
            let segments = recovered.segments;

            // Also those that the index lets through. They are read twice, and reported once.
            let of_order = Query {
                filter: of_service("order").into(),
                ..query(0)
            };
            let mut found = Vec::new();
            for query in [query(0), of_order, query(0)] {
                let scan = Scan::run(&segments, &query, EVERYTHING, &|| false).unwrap();
                found = scan.entries.iter().map(|raw| seq_of(raw)).collect();
                let touched = [line_of(at), line_of(at) + u64::from(whole[at] == b'\n')];
                let mut rest = (1..=12).filter(|seq| !touched.contains(seq));
                assert!(rest.all(|seq| found.contains(&seq)), "{case}: {found:?}");
                assert_eq!(scan.next, 12, "{case}");
            }

            let all = query(0);
            let down = Backward::run(&segments, &all, 13, u64::MAX, &|| false).unwrap();
            let down = down.entries.iter().rev().map(|raw| seq_of(raw));
            assert!(down.eq(found.iter().copied()), "{case}");
            let damaged = segments.damaged();
            assert_eq!(damaged > 0, found.len() < 12, "{case}: {damaged}");
            assert!(damaged <= 2, "{case}: {damaged}");
            lost += usize::from(damaged > 0);
        }
    }

    // All others have changed a text or a number, which cannot be noticed.
    assert!(lost > whole.len() * 4 / 2, "{lost} of {}", whole.len() * 4);
}

#[tokio::test]
async fn damage_in_an_old_segment_is_reported_once_when_it_is_read() {
    let dir = TempDir::new().unwrap();
    append(&open_small(&dir, 300), 1..=20).await;

    let old = files(dir.path())[1].clone();
    let mut content = fs::read(&old).unwrap();
    content[3] ^= 0xff;
    fs::write(&old, &content).unwrap();

    let store = open_small(&dir, 300);
    assert_eq!(store.damaged(), 0);
    for _ in 0..3 {
        assert_eq!(read_all(&store, &query(0)).await.len(), 19);
        assert_eq!(store.damaged(), 1);
    }

    // A file that is shorter than it was, or gone: what is left can be read.
    content.truncate(content.len() / 2);
    fs::write(&old, &content).unwrap();
    assert!((10..19).contains(&read_all(&store, &query(0)).await.len()));
    assert!(store.damaged() > 1);

    fs::remove_file(&old).unwrap();
    assert!((10..19).contains(&read_all(&store, &query(0)).await.len()));
    assert_eq!(read_all(&store, &query(19)).await.len(), 1);
}

#[tokio::test]
async fn a_tail_that_looks_whole_but_has_a_wrong_number_is_cut_off() {
    let dir = TempDir::new().unwrap();
    append(&open(&dir), 1..=3).await;

    let path = segment_path(&dir, 1);
    let mut content = fs::read(&path).unwrap();
    content.extend_from_slice(br#"{"seq":9,"ts":1,"level":"info","service":"","message":""}-"#);
    fs::write(&path, content).unwrap();
    forget_closing(&dir);

    append(&open(&dir), [4]).await;
    assert_eq!(seqs(&read_all(&open(&dir), &query(0)).await), [1, 2, 3, 4]);
}

/// Something that another program does to a file.
type Change = fn(&Path);

fn truncate(path: &Path) {
    fs::write(path, "").unwrap();
}

fn replace(path: &Path) {
    let content = fs::read(path).unwrap();
    fs::rename(path, path.with_extension("moved")).unwrap();
    fs::write(path, content).unwrap();
}

fn replace_by_symlink(path: &Path) {
    let moved = path.with_extension("moved");
    fs::rename(path, &moved).unwrap();
    std::os::unix::fs::symlink(moved, path).unwrap();
}

fn link(path: &Path) {
    fs::hard_link(path, path.with_extension("link")).unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn add_to(path: &Path) {
    let mut content = fs::read(path).unwrap();
    content.extend_from_slice(b"of another program\n");
    fs::write(path, content).unwrap();
}

const CHANGES: [(&str, Change); 6] = [
    ("truncated", truncate),
    ("replaced", replace),
    ("replaced by a symbolic link", replace_by_symlink),
    ("linked", link),
    ("removed", remove),
    ("added to", add_to),
];

#[tokio::test]
async fn a_segment_that_another_program_has_changed_is_not_written_to_and_no_number_comes_twice() {
    for (name, change) in CHANGES {
        let dir = TempDir::new().unwrap();
        let path = segment_path(&dir, 1);
        let store = open(&dir);
        append(&store, 1..=12).await;
        change(&path);
        let changed = fs::read(&path).ok();

        append(&store, [13]).await;
        assert_eq!(store.last(), 13, "{name}");
        assert_eq!(fs::read(&path).ok(), changed, "{name}");
        assert_eq!(seqs(&read_all(&store, &query(12)).await), [13], "{name}");
        drop(store);

        let store = open(&dir);
        append(&store, [14]).await;
        assert_eq!(
            seqs(&read_all(&store, &query(12)).await),
            [13, 14],
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_segment_that_is_changed_before_the_end_keeps_its_numbers() {
    for (name, change) in CHANGES {
        let dir = TempDir::new().unwrap();
        let store = open(&dir);
        append(&store, 1..=12).await;
        change(&segment_path(&dir, 1));
        drop(store);

        let store = open(&dir);
        assert_eq!(store.last(), 12, "{name}");
        append(&store, [13]).await;
        assert_eq!(seqs(&read_all(&store, &query(12)).await), [13], "{name}");
    }
}

#[tokio::test]
async fn a_segment_that_is_changed_while_the_log_is_closed_keeps_its_numbers() {
    for (name, change) in CHANGES {
        let dir = TempDir::new().unwrap();
        append(&open(&dir), 1..=12).await;
        change(&segment_path(&dir, 1));

        // A link instead of the newest keeps the store from opening.
        let opened = open_with(dir.path(), LogConfig::default());
        if name == "replaced by a symbolic link" {
            assert!(opened.unwrap_err().to_string().contains("symbolic link"));
            continue;
        }

        let store = opened.unwrap();
        assert!(store.last() >= 12, "{name}");
        let seq = store.append(&entry("next")).unwrap().await.unwrap();
        assert!(seq > 12, "{name}: {seq} was given out twice");
        drop(store);

        let store = open(&dir);
        assert_eq!(store.last(), seq, "{name}");
        assert_eq!(
            seqs(&read_all(&store, &query(seq - 1)).await),
            [seq],
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_empty_segment_whose_place_is_taken_does_not_keep_its_entry_out() {
    let dir = TempDir::new().unwrap();
    fs::write(segment_path(&dir, 1), "").unwrap();
    let store = open(&dir);
    add_to(&segment_path(&dir, 1));

    append(&store, [1]).await;
    assert_eq!(seqs(&read_all(&store, &query(0)).await), [1]);
}

#[test]
fn thousands_of_damaged_lines_are_told_in_a_few_lines_of_the_log() {
    let dir = TempDir::new().unwrap();
    let good = r#"{"seq":1,"ts":1,"level":"info","service":"","message":""}"#;
    let content = format!("{good}\n{}", "damaged\n".repeat(100_000));
    fs::write(segment_path(&dir, 1), content).unwrap();

    let told = Told::default();
    // With a single subscriber, a test in another thread that comes to a line of the log first would switch it off for
    // this one, too.
    let _second = tracing::Dispatch::new(Told::default());
    let store = tracing::subscriber::with_default(told.clone(), || open(&dir));

    assert!(store.damaged() >= 1000, "{}", store.damaged());
    assert_eq!(told.count(), 11);
}

/// Counts what is logged.
#[derive(Clone, Default)]
struct Told(Arc<AtomicU64>);

impl Told {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl tracing::Subscriber for Told {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
