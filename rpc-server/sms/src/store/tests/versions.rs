//! Outboxes of older versions.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::*;

/// The tables of the first version, with a message that was sent, and one that was cancelled
/// after an attempt without an answer. Their numbers are erased.
const VERSION_1: &str = include_str!("version_1.sql");

/// The columns and indexes of each table, in their order.
fn shape(file: &std::path::Path) -> BTreeMap<String, Vec<String>> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT m.name, c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || coalesce(c.dflt_value, '') || ' ' || c.pk \
             FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' \
             UNION ALL SELECT 'index ' || name, coalesce(sql, '') FROM sqlite_schema WHERE type = 'index'",
        )
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();

    let mut shape: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        let (table, column) = row.unwrap();
        shape.entry(table).or_default().push(column);
    }
    shape
}

#[tokio::test]
async fn an_outbox_of_the_first_version_is_brought_to_this_one_and_keeps_what_it_has() {
    let mut outbox = Outbox::new();
    let file = outbox.file();
    outbox.store = None;
    let new = shape(&file);

    std::fs::remove_file(&file).unwrap();
    let old = Connection::open(&file).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    drop(old);
    outbox.reopen(NOW);
    assert_eq!(shape(&file), new);

    let receipt = receipt_of("m-1", ReceiptState::Delivered);
    assert!(outbox.receipt(receipt).await);
    let found = outbox
        .store()
        .reader()
        .message_of_key("shop", "order-7")
        .unwrap()
        .unwrap();
    assert_eq!((found.state, found.parts), (State::Delivered, 0));

    // That an attempt had no answer is known of its event.
    let cancelled = outbox
        .store()
        .reader()
        .message_of_key("shop", "order-8")
        .unwrap()
        .unwrap();
    let doubtful = Err(Refusal::MayDouble(State::Cancelled));
    assert_eq!(outbox.resend(cancelled.id).await, doubtful);

    outbox.reopen(NOW);
    assert_eq!(outbox.state(found.id), State::Delivered);
}
