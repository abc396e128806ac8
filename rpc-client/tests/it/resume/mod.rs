//! Resumable streams over connections that are lost: each item comes once.

mod away;
mod breaking;
mod cut;
mod rare;

use futures::stream::{self, Stream, StreamExt};
use rpc_core::Resume;
use rpc_server::{Status, service};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Number {
    n: u64,
}

#[service]
trait Numbers {
    /// The numbers above `after`, up to `to`; at `gap` they begin later.
    #[rpc(
        cmdid = 100,
        idempotent,
        no_timeout,
        resumable(cursor = "n", param = "after")
    )]
    fn follow(&self, after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send;

    /// As `follow`, for callers that cannot go on.
    #[rpc(cmdid = 101, idempotent, no_timeout)]
    fn once(&self, after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send;
}

struct Counting;

fn numbers(after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send {
    // A few at a time, so that connections are lost between items, too.
    stream::iter(after + 1..=to).then(|n| async move {
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
        Ok(Number { n })
    })
}

impl Numbers for Counting {
    fn follow(&self, after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send {
        numbers(after, to)
    }

    fn once(&self, after: u64, to: u64) -> impl Stream<Item = Result<Number, Status>> + Send {
        numbers(after, to)
    }
}

#[test]
fn describe_tells_the_members_of_the_cursor() {
    let [follow, once] = &NumbersService::descriptors()[..] else {
        panic!("there are two commands");
    };
    assert_eq!(follow.resumable, [Resume::new("n", "after")]);
    assert!(once.resumable.is_empty());
    let described = serde_json::to_value(follow).unwrap();
    assert_eq!(
        described["resumable"],
        serde_json::json!([{"cursor": "n", "param": "after"}])
    );
}
