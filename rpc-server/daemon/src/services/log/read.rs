//! `read` and `tail`: entries that are there, and those that come.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use rpc_core::api::log::{LOG_BYTES_MAX, Order, Read, TAIL_LAST_MAX, Tail};
use rpc_core::{Reply, Status};
use rpc_server::blocking::Caller;
use rpc_server::{Params, State};

use super::Connection;
use super::filter::{Wanted, check_length};
use crate::store::{self, Direction, LogEngine, Query, Start, TailQuery};

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

pub(super) async fn read(
    State(store): State<Arc<dyn LogEngine>>,
    caller: Caller,
    connection: Connection,
    Params(read): Params<Read>,
) -> Result<store::Page, Status> {
    let limit = read.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Status::invalid_argument(format!(
            "`params.limit` is {limit} and must be from 1 to {LIMIT_MAX}"
        )));
    }

    let direction = direction_of(&read)?;
    check_length("log", read.log.as_deref(), LOG_BYTES_MAX)?;
    let wanted = Wanted {
        level: read.level,
        service: read.service,
        contains: read.contains,
        text: read.text,
        trace: read.trace,
        fields: read.fields,
        from: read.from,
        to: read.to,
    };

    let filter = wanted.filter()?;
    let _held = connection.hold(filter.memory_bytes());
    let query = Query {
        log: read.log,
        after: read.after,
        direction,
        limit: limit as usize,
        wait: Duration::from_millis(read.wait_ms),
        filter,
        caller,
    };
    Ok(store.read(query).await?)
}

fn direction_of(read: &Read) -> Result<Direction, Status> {
    let is_down = read.order == Some(Order::Desc);
    if !is_down && read.before.is_some() {
        return Err(Status::invalid_argument(
            "`params.before` is only for `params.order` \"desc\"; give both or neither",
        ));
    }
    if is_down && read.wait_ms > 0 {
        return Err(Status::invalid_argument(
            "`params.wait_ms` is not for `params.order` \"desc\", which has nothing to wait for; leave it out",
        ));
    }

    Ok(match is_down {
        true => Direction::Down {
            before: read.before.unwrap_or(u64::MAX),
        },
        false => Direction::Up,
    })
}

/// The cursor is checked at once; nothing is read before the first item is asked for.
pub(super) async fn tail(
    State(store): State<Arc<dyn LogEngine>>,
    caller: Caller,
    connection: Connection,
    Params(tail): Params<Tail>,
) -> Result<Reply, Status> {
    let start = start_of(&tail)?;
    check_length("log", tail.log.as_deref(), LOG_BYTES_MAX)?;
    let wanted = Wanted {
        level: tail.level,
        service: tail.service,
        contains: tail.contains,
        text: tail.text,
        trace: tail.trace,
        fields: tail.fields,
        from: tail.from,
        to: tail.to,
    };

    let filter = wanted.filter()?;
    let items = store.tail(TailQuery {
        log: tail.log,
        start,
        held: connection.hold(filter.memory_bytes()),
        filter,
        caller,
    })?;
    Ok(Reply::stream(items.map_err(Status::from)))
}

/// Where to begin. A client that goes on after a lost connection adds the cursor to the params of its first call.
fn start_of(tail: &Tail) -> Result<Start, Status> {
    if let Some(last) = tail.last.filter(|last| *last > TAIL_LAST_MAX) {
        return Err(Status::invalid_argument(format!(
            "`params.last` is {last} and must be from 0 to {TAIL_LAST_MAX}"
        )));
    }

    Ok(match (tail.after, tail.last) {
        (Some(after), _) => Start::After(after),
        (None, Some(last)) => Start::Last(last as usize),
        (None, None) => Start::Now,
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use rpc_core::Peer;
    use rpc_core::api::log::Fields;
    use rpc_server::blocking::BlockingPool;

    use super::*;
    use crate::store::LogConfig;

    /// As many fields of a character each as a filter may have, about, and what they take at least.
    const FIELDS: usize = 150;
    const FIELDS_MEMORY: usize = FIELDS * 64;

    #[tokio::test]
    async fn what_the_filters_of_readers_that_wait_take_counts_for_their_connections() {
        let dir = tempfile::tempdir().unwrap();
        let pool = BlockingPool::default();
        let store = store::open(dir.path(), LogConfig::default(), &pool).unwrap();
        let peer = Arc::new(Peer::new("pipe", 1));

        let names = (' '..).filter(|name| !['"', '\\'].contains(name));
        let fields: Vec<String> = names
            .take(FIELDS)
            .map(|name| format!("\"{name}\":1"))
            .collect();
        let fields: Fields = format!("{{{}}}", fields.join(",")).parse().unwrap();
        let connection = || Connection(Some(Arc::clone(&peer)));

        let filter = Tail {
            fields: Some(fields.clone()),
            ..Tail::default()
        };
        let stream = tail(
            State(Arc::clone(&store)),
            Caller::new(&peer),
            connection(),
            Params(filter),
        );
        let stream = stream.await.unwrap();
        let of_one = peer.held_bytes();
        assert!(of_one > FIELDS_MEMORY, "{of_one} bytes");

        let filter = Read {
            fields: Some(fields),
            wait_ms: 60_000,
            ..Read::default()
        };
        let mut waiting = read(
            State(store),
            Caller::new(&peer),
            connection(),
            Params(filter),
        )
        .boxed();
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(peer.held_bytes(), 2 * of_one);

        drop((stream, waiting));
        assert_eq!(peer.held_bytes(), 0);
    }
}
