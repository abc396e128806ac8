//! A daemon that is killed while it sends messages to a provider of many moods, and the next one on the same data.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rpc_sms::testing::{CountingGateway, Mode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::{Peer, Running, command};

/// How often a daemon is killed. `.ci/full` asks for more.
const KILLS: &str = "SMS_KILLS";
const KILLS_DEFAULT: u64 = 50;

/// Messages that are sent at once.
const BURST: u64 = 24;

/// What an operator reads of a message whose outcome is not known.
const EXPLAINED: [&str; 6] = [
    "the server ended while it was being sent",
    "the connection was lost before the answer",
    "the connection was lost before the end of the gateway's answer",
    "no answer in time",
    "the answer was not complete in time",
    "HTTP 500",
];

/// The messages of all lives: their keys, and their ids once they are acknowledged.
#[derive(Default)]
struct Book {
    next: u64,
    acknowledged: BTreeMap<u64, String>,
    doubtful: BTreeSet<u64>,
}

struct Bench {
    dir: TempDir,
    provider: CountingGateway,
    random: fastrand::Rng,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let provider = CountingGateway::start(Mode::answer(200, "{}"))
            .await
            .unwrap();
        let settings = format!(
            r#"[sms]
countries = ["*"]
attempts_max = 1000000

[[sms.gateways]]
name = "one"
kind = "http"

[sms.gateways.http]
url = "{}"
timeout_ms = 100
form = {{ id = "{{id}}", to = "{{to}}", text = "{{text}}" }}

[sms.gateways.http.response]
rules = [{{ status = [200], class = "sent" }}]
"#,
            provider.url()
        );
        fs::write(dir.path().join("config.toml"), settings).unwrap();
        Self {
            dir,
            provider,
            random: fastrand::Rng::with_seed(7),
        }
    }

    fn mood(&mut self) -> Mode {
        match self.random.u8(..8) {
            0 => Mode::Hang,
            1 => Mode::ResetBefore,
            2 => Mode::ResetAfter,
            3 => Mode::CutOff,
            4 => Mode::answer(500, "oops"),
            _ => Mode::answer(200, "{}"),
        }
    }

    /// One life of the daemon: messages are sent, and it is killed behind some of their acknowledgements.
    fn live_and_die(&mut self, book: &mut Book) {
        let mood = self.mood();
        self.provider.set_mode(mood);
        let (daemon, address) = start(self.dir.path());
        let mut peer = Peer::connect(&address);
        let mut keys: Vec<u64> = book.doubtful.iter().copied().collect();
        keys.extend(book.next..book.next + BURST);
        book.next += BURST;
        for key in &keys {
            book.doubtful.insert(*key);
            peer.send(&send(*key));
        }

        // The mood changes while messages are under way.
        let read = self.random.usize(1..=keys.len());
        let change = self.random.usize(..read);
        for place in 0..read {
            if place == change {
                let mood = self.mood();
                self.provider.set_mode(mood);
            }
            note(book, &peer.line());
        }
        daemon.signal("KILL");
        // What it had written counts: its sender may have read it.
        while let Some(reply) = peer.whole_line() {
            note(book, &reply);
        }
    }

    /// The last life: a provider that answers gets all that still waits. Answers the messages by their ids.
    fn live_on(&self, book: &mut Book) -> BTreeMap<String, Value> {
        self.provider.set_mode(Mode::answer(200, "{}"));
        let (_daemon, address) = start(self.dir.path());
        let mut peer = Peer::connect(&address);
        for key in book.doubtful.clone() {
            peer.send(&send(key));
            let reply = peer.line();
            note(book, &reply);
        }
        assert_eq!(book.doubtful, BTreeSet::new());

        let mut open: BTreeSet<String> = book.acknowledged.values().cloned().collect();
        let watch = json!({"after": 0, "status": ["sent", "unknown", "failed"]});
        let mut watching = Peer::connect(&address);
        watching.send(&json!({"cmdid": 1105, "id": 1, "params": watch}).to_string());
        while !open.is_empty() {
            let item: Value = serde_json::from_str(&watching.line()).unwrap();
            for event in item["data"]["events"].as_array().unwrap() {
                open.remove(event["id"].as_str().unwrap());
            }
        }

        let mut messages = BTreeMap::new();
        let ids: Vec<&String> = book.acknowledged.values().collect();
        for ids in ids.chunks(100) {
            let reply = peer.ask(&json!({"cmdid": 1102, "params": {"ids": ids}}).to_string());
            for message in reply["data"]["messages"].as_array().unwrap() {
                let id = message["id"].as_str().unwrap().to_owned();
                messages.insert(id, message.clone());
            }
        }
        messages
    }

    /// How often the provider was given each message, whatever the attempt.
    fn submissions(&self) -> BTreeMap<String, usize> {
        let mut submissions = BTreeMap::new();
        for request in self.provider.requests() {
            let id = request.body.strip_prefix("id=").unwrap();
            let id = id.split(['&', '-']).next().unwrap();
            *submissions.entry(id.to_owned()).or_default() += 1;
        }
        submissions
    }
}

fn send(key: u64) -> String {
    let params = json!({"to": "+8613800138000", "text": format!("message {key}")});
    let meta = json!({"idempotency-key": format!("k{key}")});
    json!({"cmdid": 1101, "id": key + 10, "meta": meta, "params": params}).to_string()
}

/// Notes an acknowledgement.
fn note(book: &mut Book, reply: &str) {
    let reply: Value = serde_json::from_str(reply).unwrap();
    assert_eq!(reply["code"], 0, "{reply}");
    let key = reply["id"].as_u64().unwrap() - 10;
    let id = reply["data"]["id"].as_str().unwrap().to_owned();
    book.doubtful.remove(&key);

    // One that was acknowledged before has the same id.
    let known = book.acknowledged.entry(key).or_insert_with(|| id.clone());
    assert_eq!(*known, id);
}

fn start(dir: &Path) -> (Running, String) {
    let mut command = command();
    command
        .args(["--listen", "127.0.0.1:0", "--config"])
        .arg(dir.join("config.toml"))
        .arg("--data-dir")
        .arg(dir.join("data"));
    let mut daemon = Running::spawn(command);
    let address = daemon.address();
    (daemon, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_or_submitted_twice_by_daemons_that_are_killed_and_each_unknown_one_is_explained()
 {
    let kills = std::env::var(KILLS).map_or(KILLS_DEFAULT, |kills| kills.parse().unwrap());
    let mut bench = Bench::new().await;
    let mut book = Book::default();
    for _ in 0..kills {
        bench.live_and_die(&mut book);
    }

    let messages = bench.live_on(&mut book);
    let submissions = bench.submissions();
    let ids: BTreeSet<&String> = book.acknowledged.values().collect();
    assert_eq!(
        ids.len(),
        book.acknowledged.len(),
        "each key has its own message"
    );
    let mut unknown = 0;
    for id in ids {
        let message = &messages[id];
        let times = submissions.get(id).copied().unwrap_or(0);
        let error = message["error"].as_str().unwrap_or_default();

        // No mood of the provider is a definite refusal of a request that it has.
        assert!(times <= 1, "{times} times: {message}");
        match message["status"].as_str().unwrap() {
            "sent" => assert_eq!(times, 1, "{message}"),
            "unknown" => {
                assert!(EXPLAINED.contains(&error), "{message}");
                unknown += 1;
            }
            _ => panic!("{message}"),
        }
    }
    println!(
        "{} messages in {kills} lives, {unknown} unknown",
        book.acknowledged.len()
    );
}
