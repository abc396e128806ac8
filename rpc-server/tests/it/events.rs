//! Readers of server-sent events: each gets every item once, whether its connection lasts or not.
//!
//! 100 readers of 100 items by default; `EVENT_READERS=1000 EVENT_ITEMS=1000` are more. A tenth of them lose
//! their connection three times.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use futures::stream;
use rpc_core::Resume;
use rpc_server::{
    Config, Descriptor, Kind, ListenOptions, Params, Reply, Route, Router, Server, State,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::{PATIENCE, TestServer};

const CUTS: u64 = 3;

/// Streams the numbers behind `after` as they are published.
async fn follow(
    State(last): State<watch::Receiver<u64>>,
    Params(params): Params<Value>,
) -> Result<Reply, rpc_server::Status> {
    let Some(after) = params["after"].as_u64() else {
        return Err(rpc_server::Status::invalid_argument("`after` is missing"));
    };
    let items = stream::unfold((last, after), |(mut last, after)| async move {
        last.wait_for(|last| *last > after).await.ok()?;
        Some((Ok(json!({"n": after + 1})), (last, after + 1)))
    });
    Ok(Reply::stream(items))
}

/// A reader of events over one connection.
struct Reader {
    io: BufReader<TcpStream>,
    /// What was read of an event that is not whole.
    part: String,
}

impl Reader {
    /// Asks for all items, or for those behind this event.
    async fn open(address: SocketAddr, last: Option<&str>) -> Self {
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!(
            "POST /test.follow HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Accept: text/event-stream\r\n{}Content-Length: 11\r\n\r\n{{\"after\":0}}",
            last.unwrap_or_default()
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Self {
            io: BufReader::new(stream),
            part: String::new(),
        };

        let status = reader.line().await;
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        while !reader.line().await.is_empty() {}
        reader
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.io.read_line(&mut line)).await;
        read.expect("a line comes").unwrap();
        line.trim_end().to_owned()
    }

    /// The next event: its id and its number.
    async fn event(&mut self) -> (String, u64) {
        loop {
            if let Some((event, rest)) = self.part.split_once("\n\n") {
                let (id, data) = event.split_once('\n').unwrap();
                let id = id.strip_prefix("id: ").unwrap().to_owned();
                let data: Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
                let rest = rest.to_owned();
                self.part = rest;
                return (id, data["n"].as_u64().unwrap());
            }

            let length = usize::from_str_radix(&self.line().await, 16).unwrap();
            let mut chunk = vec![0; length + 2];
            let read = timeout(PATIENCE, self.io.read_exact(&mut chunk)).await;
            read.expect("a chunk comes").unwrap();
            self.part += std::str::from_utf8(&chunk[..length]).unwrap();
        }
    }
}

/// Reads all items, each once and in its order. The connection is lost behind those of these numbers, as if what
/// was under way then had not come.
async fn read_all(address: SocketAddr, items: u64, cuts: Vec<u64>, read: Arc<AtomicU64>) {
    let mut reader = Reader::open(address, None).await;
    for wanted in 1..=items {
        let (id, n) = reader.event().await;
        assert_eq!(n, wanted, "cut behind {cuts:?}");
        read.fetch_add(1, Ordering::Relaxed);
        if cuts.contains(&n) {
            drop(reader);
            reader = Reader::open(address, Some(&id)).await;
        }
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(otherwise, |set| u64::from_str(&set).expect(name))
}

#[tokio::test]
async fn each_reader_of_events_gets_every_item_once_also_one_that_connects_again() {
    let (readers, items) = (setting("EVENT_READERS", 100), setting("EVENT_ITEMS", 100));
    let (publish, last) = watch::channel(0);
    let named = Descriptor::new("test", "follow").kind(Kind::Stream);
    let named = named.resumable([Resume::new("n", "after")]);
    let router = Router::with_state(last)
        .route(100, Route::new(follow).describe(named))
        .unwrap();

    let config = Config::default().with(|config| config.limits.connections_per_address = 0);
    let options = ListenOptions::new("127.0.0.1:0").http_calls(true);
    let server = Server::builder().config(config).listen_with(options);
    let server = server.router(router).bind().await.unwrap();
    let address = server.addresses()[0].tcp().unwrap();
    let server = TestServer::of(server);

    let read = Arc::<AtomicU64>::default();
    let reading: Vec<_> = (0..readers)
        .map(|reader| {
            let cuts = (0..CUTS).filter(|_| reader % 10 == 0);
            let cuts = cuts.map(|_| fastrand::u64(1..items)).collect();
            tokio::spawn(read_all(address, items, cuts, Arc::clone(&read)))
        })
        .collect();
    // Not long before they are read: the first ones while readers connect, the others as these come and go.
    for n in 1..=items {
        let enough = n.saturating_sub(10) * readers / 2;
        let reading = async {
            while read.load(Ordering::Relaxed) < enough {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reading).await.expect("they are read");
        publish.send_replace(n);
    }

    try_join_all(reading).await.unwrap();
    let stats = server.stats();
    assert!(stats.connections_accepted > readers);
    assert_eq!(stats.limits.output_cuts + stats.limits.write_stalls, 0);
}
