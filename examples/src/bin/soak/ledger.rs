//! Both books side by side: what callers were told, and what the server ran.

use rpc_client::Client;

use crate::Outcome;
use crate::callers::Counted;
use crate::server::BOOK;

/// How often a number may have run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Expected {
    #[default]
    Any,
    Never,
    Once,
    AtMostOnce,
    AtLeastOnce,
}

#[derive(Default)]
pub(crate) struct Verdict {
    /// Answered and not run, or run and said not to have.
    pub(crate) lost: u64,
    /// Run more often than they may.
    pub(crate) doubled: u64,
}

/// Numbers that are asked for at once.
const PAGE: usize = 100_000;

pub(crate) async fn compare(counted: &Counted, server: &Client) -> Outcome<Verdict> {
    let mut verdict = Verdict::default();
    for (page, expected) in counted.expected.chunks(PAGE).enumerate() {
        let from = page * PAGE;
        let book: String = server.call(BOOK, &(from, from + expected.len())).await?;

        for (expected, ran) in expected.iter().zip(book.bytes().map(|digit| digit - b'0')) {
            match (expected, ran) {
                (Expected::Never, 1..) | (Expected::Once | Expected::AtLeastOnce, 0) => {
                    verdict.lost += 1;
                }
                (Expected::Once | Expected::AtMostOnce, 2..) => verdict.doubled += 1,
                _ => {}
            }
        }
    }

    Ok(verdict)
}
