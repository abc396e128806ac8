use rpc_core::api::log::{Append, Level};

use super::*;

impl Queue {
    /// A batch that is there.
    fn take_batch(&self) -> Batch {
        match self.take(Duration::ZERO) {
            Taken::Batch(batch) => batch,
            Taken::Nothing | Taken::End => panic!("there is no batch"),
        }
    }
}

fn at_most(bytes_max: usize) -> QueueLimits {
    QueueLimits {
        bytes_max,
        emit_bytes_max: bytes_max,
    }
}

/// The line of the entry of [`new`], behind its number.
const REST: &str = ",\"ts\":1,\"level\":\"info\",\"service\":\"s\",\"message\":\"\",\"rx\":0}\n";

fn with_message(message: String) -> NewEntries {
    let mut entry = Append::new(Level::Info, "s", message);
    entry.ts = Some(1);
    NewEntries::from(&entry).received_at(0)
}

fn new() -> NewEntries {
    with_message(String::new())
}

#[tokio::test]
async fn what_gathers_is_one_batch_and_all_its_callers_are_told() {
    let queue = Queue::new(9, at_most(1000), Durability::Process);
    let first = queue.push(&new()).unwrap();
    let batch = queue.take_batch();
    let others: Vec<Appended> = (0..3).map(|_| queue.push(&new()).unwrap()).collect();
    queue.finish(batch, &Ok(()));
    assert_eq!(first.await.unwrap(), 9);

    let batch = queue.take_batch();
    assert_eq!(batch.first, 10);
    let lines = format!("{{\"seq\":10{REST}{{\"seq\":11{REST}{{\"seq\":12{REST}");
    assert_eq!(str::from_utf8(&batch.lines).unwrap(), lines);
    queue.finish(batch, &Ok(()));

    for (seq, appended) in (10..).zip(others) {
        assert_eq!(appended.await.unwrap(), seq);
    }
}

#[test]
fn a_full_queue_refuses_at_once_until_its_batch_is_done() {
    let line = r#"{"seq":1"#.len() + REST.len();
    let queue = Queue::new(
        1,
        at_most(line + SEQ_BYTES_MAX + REST.len()),
        Durability::Process,
    );
    let overloaded = || matches!(queue.push(&new()), Err(StoreError::Overloaded));

    let appended = [queue.push(&new()).unwrap(), queue.push(&new()).unwrap()];
    assert!(overloaded());

    let batch = queue.take_batch();

    // No longer in the queue, but in memory still.
    assert!(overloaded());

    queue.finish(batch, &Ok(()));
    assert!(!overloaded());
    drop(appended);
}

#[test]
fn an_entry_larger_than_the_whole_queue_is_taken_alone() {
    let queue = Queue::new(1, at_most(1), Durability::Process);
    assert!(queue.push(&new()).is_ok());
    assert!(matches!(queue.push(&new()), Err(StoreError::Overloaded)));

    // What is too long is not even tried.
    let longest = LINE_BYTES_MAX - SEQ_BYTES_MAX - REST.len();
    assert!(matches!(
        queue.push(&with_message("x".repeat(longest))),
        Err(StoreError::Overloaded)
    ));
    assert!(matches!(
        queue.push(&with_message("x".repeat(longest + 1))),
        Err(StoreError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn a_failed_batch_fails_its_own_callers_only() {
    let queue = Queue::new(1, at_most(1000), Durability::Process);
    let lost = queue.push(&new()).unwrap();
    let batch = queue.take_batch();
    let kept = queue.push(&new()).unwrap();
    queue.finish(batch, &Err(StoreError::Full { path: "f".into() }));
    assert!(matches!(lost.await, Err(StoreError::Full { .. })));

    let batch = queue.take_batch();
    assert_eq!(batch.first, 2);
    queue.finish(batch, &Ok(()));
    assert_eq!(kept.await.unwrap(), 2);
}

#[tokio::test]
async fn a_closed_queue_hands_out_the_rest_and_an_abandoned_one_fails_it() {
    let queue = Queue::new(1, at_most(1000), Durability::Process);
    let appended = queue.push(&new()).unwrap();
    queue.close();
    assert!(matches!(queue.push(&new()), Err(StoreError::Closed)));

    drop(queue.take_batch());
    assert!(matches!(queue.take(Duration::MAX), Taken::End));
    assert!(
        matches!(appended.await, Err(StoreError::Closed)),
        "its batch was dropped"
    );

    let queue = Queue::new(1, at_most(1000), Durability::Process);
    let appended = queue.push(&new()).unwrap();
    queue.abandon();
    assert!(matches!(appended.await, Err(StoreError::Closed)));
    assert!(matches!(queue.take(Duration::MAX), Taken::End));
}

#[test]
fn the_first_line_of_a_write_is_marked_if_the_write_is_synced() {
    let lines = |durability| {
        let queue = Queue::new(1, at_most(1000), durability);
        let written = [2, 1].map(|count| {
            let pushed: Vec<_> = (0..count).map(|_| queue.push(&new()).unwrap()).collect();
            let batch = queue.take_batch();
            let lines = String::from_utf8(batch.lines.clone()).unwrap();
            queue.finish(batch, &Ok(()));
            drop(pushed);
            lines
        });
        written.concat()
    };

    let plain = format!("{{\"seq\":1{REST}{{\"seq\":2{REST}{{\"seq\":3{REST}");
    assert_eq!(lines(Durability::Process), plain);
    let marked = REST.replace("}\n", "} \n");
    let expected = format!("{{\"seq\":1{marked}{{\"seq\":2{REST}{{\"seq\":3{marked}");
    assert_eq!(lines(Durability::Power), expected);
}
