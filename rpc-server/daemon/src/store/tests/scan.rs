//! Scans whose calls are over.

use std::cell::Cell;
use std::sync::mpsc;

use futures::poll;
use rpc_server::blocking::Caller;

use super::super::reading::SCAN_BYTES_MAX;
use super::super::reading::scan::{Range, Scan};
use super::super::segments::{FoundSegments, Segments};
use super::super::walk::BLOCK_BYTES;
use super::*;

/// A query that nothing matches, so that everything is looked at.
fn nothing() -> Query {
    Query {
        filter: containing("zzz").into(),
        ..query(0)
    }
}

#[tokio::test]
async fn a_scan_whose_call_is_over_reads_no_further_block() {
    let dir = TempDir::new().unwrap();
    let store = open_small(&dir, 64 * 1024 * 1024);
    let appended: Vec<Appended> = (0..4000)
        .map(|_| store.append(&entry("m".repeat(500))).unwrap())
        .collect();
    for appended in appended {
        appended.await.unwrap();
    }
    drop(store);

    let FoundSegments { segments, .. } = Segments::recover(dir.path(), None, &mut |_| ()).unwrap();
    let blocks = fs::read(segment_path(&dir, 1)).unwrap().len() / BLOCK_BYTES;
    assert!(blocks > 20, "{blocks}");

    // Each block is read after a look.
    let looks = Cell::new(0);
    let scan = |blocks_max: usize| {
        looks.set(0);
        let is_over = || {
            looks.set(looks.get() + 1);
            looks.get() > blocks_max
        };
        let range = Range {
            after: 0,
            place: None,
            bytes_max: SCAN_BYTES_MAX,
        };
        let scan = Scan::run(&segments, &nothing(), range, &is_over);
        scan.map(|scan| scan.next)
    };

    assert_eq!(scan(usize::MAX).unwrap(), 4000);
    assert!(looks.get() > blocks, "{} of {blocks}", looks.get());

    for blocks_max in [0, 1, 3, 10] {
        let error = scan(blocks_max).unwrap_err();
        assert!(error.to_string().ends_with("the call is over"), "{error}");
        assert_eq!(looks.get(), blocks_max + 1);
    }
}

#[tokio::test]
async fn a_read_that_is_dropped_while_it_waits_for_a_thread_does_not_scan() {
    let dir = TempDir::new().unwrap();
    let pool = BlockingPool::new(1, 10);
    let store = LogStore::open(dir.path(), LogConfig::default(), &pool).unwrap();
    append(&store, [1]).await;

    let (release, released) = mpsc::channel::<()>();
    let mut busy = Box::pin(pool.run(Caller::default(), move |_| released.recv_timeout(LONG)));
    assert!(poll!(&mut busy).is_pending());

    let mut read = Box::pin(store.read(nothing()));
    assert!(poll!(&mut read).is_pending());
    drop(read);

    drop(release);
    busy.await.unwrap().unwrap_err();
    pool.at_rest().await;
    let report = pool.report();
    assert_eq!(
        (report.started, report.abandoned, report.waiting),
        (1, 1, 0)
    );
}
