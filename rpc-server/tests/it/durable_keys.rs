//! Repeated calls whose keys survive a restart: a store that writes a file, and what `Deduplicate` makes of it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use rpc_server::blocking::{BlockingPool, Caller};
use rpc_server::layers::{Deduplicate, DeduplicateConfig, KeptOutcome, KeyStore, KeyedCall, Known};
use rpc_server::{Router, Status, service};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{Gate, TestServer, settle};

/// Keys in a file of lines: the first says which store it is and since when it knows all keys, each other one what became
/// of a key. A store for production would also drop old keys, and move `known_since` on with that.
#[derive(Clone)]
struct FileStore {
    id: String,
    known_since: SystemTime,
    file: Arc<Mutex<Contents>>,
    pool: BlockingPool,
}

struct Contents {
    file: File,
    keys: HashMap<String, Entry>,
}

/// What became of a key: it has begun, ended with an outcome, or was taken away.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    key: String,
    fingerprint: u128,
    outcome: Option<String>,
    #[serde(default)]
    is_gone: bool,
}

#[derive(Serialize, Deserialize)]
struct Head {
    id: String,
    known_since_ms: u64,
}

impl FileStore {
    /// Opens the store, and makes it if it does not exist.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;

        if text.is_empty() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let head = Head {
                id: format!("file-{:016x}", fastrand::u64(..)),
                known_since_ms: u64::try_from(now.as_millis()).unwrap(),
            };
            text = serde_json::to_string(&head)? + "\n";
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
        }

        // A line that a crash has cut off was never acknowledged.
        let mut lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let head: Head = serde_json::from_str(lines.next().unwrap_or_default())?;
        let mut keys = HashMap::new();
        for line in lines {
            let entry: Entry = serde_json::from_str(line)?;
            if entry.is_gone {
                keys.remove(&entry.key);
            } else {
                keys.insert(entry.key.clone(), entry);
            }
        }

        Ok(Self {
            id: head.id,
            known_since: UNIX_EPOCH + Duration::from_millis(head.known_since_ms),
            file: Arc::new(Mutex::new(Contents { file, keys })),
            pool: BlockingPool::default(),
        })
    }

    /// Does something with the file in a thread that may block.
    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Contents) -> io::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Status>> {
        let file = Arc::clone(&self.file);
        let done = self
            .pool
            .run(Caller::default(), move |_| work(&mut file.lock().unwrap()));
        async move { Ok(done.await??) }.boxed()
    }

    fn note(&self, entry: Entry) -> BoxFuture<'static, Result<(), Status>> {
        self.with(move |contents| contents.note(entry))
    }
}

impl Contents {
    fn note(&mut self, entry: Entry) -> io::Result<()> {
        let line = serde_json::to_string(&entry)? + "\n";
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data()?;

        if entry.is_gone {
            self.keys.remove(&entry.key);
        } else {
            self.keys.insert(entry.key.clone(), entry);
        }
        Ok(())
    }
}

/// A key belongs to an identity and a command.
fn name(call: &KeyedCall) -> String {
    format!("{} {} {}", call.cmdid(), call.identity(), call.key())
}

fn begun(call: &KeyedCall) -> Entry {
    Entry {
        key: name(call),
        fingerprint: call.fingerprint(),
        outcome: None,
        is_gone: false,
    }
}

impl KeyStore for FileStore {
    fn id(&self) -> &str {
        &self.id
    }

    fn begin<'s>(&'s self, call: &'s KeyedCall) -> BoxFuture<'s, Result<Known, Status>> {
        let is_too_old = call.may_be_older_than(self.known_since);
        let entry = begun(call);

        self.with(move |contents| {
            let Some(known) = contents.keys.get(&entry.key) else {
                if is_too_old {
                    return Ok(Known::Lost);
                }
                return contents.note(entry).map(|()| Known::New);
            };

            let fingerprint = known.fingerprint;
            let outcome = known.outcome.as_deref().and_then(KeptOutcome::from_json);
            Ok(match outcome {
                None => Known::Begun { fingerprint },
                Some(outcome) => Known::Ended {
                    fingerprint,
                    outcome,
                },
            })
        })
    }

    fn finish<'s>(
        &'s self,
        call: &'s KeyedCall,
        outcome: &'s KeptOutcome,
    ) -> BoxFuture<'s, Result<(), Status>> {
        self.note(Entry {
            outcome: Some(outcome.to_json()),
            ..begun(call)
        })
    }

    fn forget<'s>(&'s self, call: &'s KeyedCall) -> BoxFuture<'s, Result<(), Status>> {
        self.note(Entry {
            is_gone: true,
            ..begun(call)
        })
    }
}

/// Sends messages.
#[service]
trait Sms {
    /// Sends a message; fails with the code that its text is.
    #[rpc(cmdid = 100, dedup)]
    async fn send(&self, text: String) -> Result<u32, Status>;
}

#[derive(Clone)]
struct Gateway {
    sent: Arc<AtomicU32>,
    gate: Gate,
}

impl Sms for Gateway {
    async fn send(&self, text: String) -> Result<u32, Status> {
        self.gate.pass().await;
        let number = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
        match text.parse::<u32>() {
            Ok(code) => Err(Status::new(code, "as it was told").with_details(&number)),
            Err(_) => Ok(number),
        }
    }
}

impl Gateway {
    fn new(passes: usize) -> Self {
        let gate = Gate::closed();
        gate.let_pass(passes);
        Self {
            sent: Arc::default(),
            gate,
        }
    }

    fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }

    /// A server whose process has just begun.
    async fn start(&self, path: &Path) -> (TestServer, Deduplicate) {
        let store = FileStore::open(path).unwrap();
        self.start_with(store).await
    }

    async fn start_with(&self, store: impl KeyStore) -> (TestServer, Deduplicate) {
        let keys = Deduplicate::durable(DeduplicateConfig::default(), store);
        let router = Router::new().deduplicate(keys.clone());
        let router = router.serve(SmsServer(self.clone())).unwrap();
        (TestServer::start(router).await, keys)
    }
}

fn path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    (directory, path)
}

fn call(key: &str, age_ms: Option<u64>, text: &str) -> String {
    let mut meta = json!({ "idempotency-key": key });
    if let Some(age) = age_ms {
        meta["idempotency-age-ms"] = json!(age.to_string());
    }
    json!({"id": 1, "cmdid": 100, "meta": meta, "params": text}).to_string()
}

#[tokio::test]
async fn outcomes_are_answered_again_after_a_restart_and_the_store_has_the_same_name() {
    let (_directory, path) = path();
    let gateway = Gateway::new(100);
    let texts = ["hi", "5", "14"];

    let (before, keys) = gateway.start(&path).await;
    let mut first = Vec::new();
    for text in texts {
        first.push(before.connect().ask(&call(text, None, text)).await);
    }
    let name = keys.store().to_owned();
    assert_eq!(gateway.sent(), 3);
    drop((before, keys));

    let (after, keys) = gateway.start(&path).await;
    assert_eq!(keys.store(), name);
    let description = json!({"id": 1, "cmdid": 1, "params": {"cmdid": 100}}).to_string();
    let description = after.connect().ask(&description).await;
    assert_eq!(
        description["data"]["commands"][0]["dedup"],
        json!({ "store": name })
    );

    for (text, first) in texts.iter().zip(&first).take(2) {
        let again = after.connect().ask(&call(text, Some(1), text)).await;
        assert_eq!(again, *first);
    }
    assert_eq!((gateway.sent(), keys.stats().replayed), (3, 2));

    // It did not run, so that it is as if it had never been there.
    let again = after.connect().ask(&call("14", Some(0), "14")).await;
    assert_eq!(again["code"], 9, "the store is younger than 10 s: {again}");
    let again = after.connect().ask(&call("14", None, "14")).await;
    assert_eq!((&again["code"], gateway.sent()), (&json!(14), 4));

    let conflict = after.connect().ask(&call("hi", Some(1), "ho")).await;
    assert_eq!(conflict["code"], 6);
}

#[tokio::test]
async fn a_call_that_was_cut_off_by_a_restart_is_not_run_again() {
    let (_directory, path) = path();
    let gateway = Gateway::new(0);
    let (before, _) = gateway.start(&path).await;
    let mut client = before.connect();
    client.send(call("a", None, "hi") + "\n").await;
    // The head, and that the call has begun.
    while std::fs::read_to_string(&path).unwrap().lines().count() < 2 {
        settle().await;
    }

    // The process is killed: a new one finds what the old one has noted.
    let restarted = Gateway::new(100);
    let (after, keys) = restarted.start(&path).await;
    for _ in 0..2 {
        let again = after.connect().ask(&call("a", Some(1), "hi")).await;
        assert_eq!(
            (&again["code"], &again["rejected"]),
            (&json!(9), &Value::Null)
        );
    }
    assert_eq!((restarted.sent(), keys.stats().refused), (0, 2));
}

#[tokio::test]
async fn a_repetition_that_is_older_than_the_store_is_refused() {
    let (_directory, path) = path();
    let gateway = Gateway::new(100);
    let (server, _) = gateway.start(&path).await;

    let lost = server.connect().ask(&call("a", Some(60_000), "hi")).await;
    assert_eq!((&lost["code"], gateway.sent()), (&json!(9), 0));
}

#[tokio::test]
async fn repetitions_of_a_call_that_runs_attach_to_it_and_do_not_reach_the_store() {
    let (_directory, path) = path();
    let gateway = Gateway::new(0);
    let (server, keys) = gateway.start(&path).await;

    let mut clients = [server.connect(), server.connect(), server.connect()];
    for client in &mut clients {
        client.send(call("a", None, "hi") + "\n").await;
    }
    while keys.stats().attached < 2 {
        settle().await;
    }
    gateway.gate.let_pass(1);
    for client in &mut clients {
        assert_eq!(client.reply().await["data"], 1);
    }
    assert_eq!((gateway.sent(), keys.stats().ran), (1, 1));
}

/// Fails while it is told to.
struct Failing(FileStore, Arc<AtomicBool>);

impl KeyStore for Failing {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn begin<'s>(&'s self, call: &'s KeyedCall) -> BoxFuture<'s, Result<Known, Status>> {
        if self.1.load(Ordering::SeqCst) {
            return ready(Err(Status::unavailable("the disk is full"))).boxed();
        }
        self.0.begin(call)
    }

    fn finish<'s>(
        &'s self,
        call: &'s KeyedCall,
        outcome: &'s KeptOutcome,
    ) -> BoxFuture<'s, Result<(), Status>> {
        self.0.finish(call, outcome)
    }

    fn forget<'s>(&'s self, call: &'s KeyedCall) -> BoxFuture<'s, Result<(), Status>> {
        self.0.forget(call)
    }
}

#[tokio::test]
async fn a_call_that_the_store_cannot_note_is_rejected_and_may_be_sent_again() {
    let (_directory, path) = path();
    let (gateway, fails) = (Gateway::new(100), Arc::new(AtomicBool::new(true)));
    let store = Failing(FileStore::open(&path).unwrap(), Arc::clone(&fails));
    let (server, _) = gateway.start_with(store).await;

    let refused = server.connect().ask(&call("a", None, "hi")).await;
    assert_eq!(
        (&refused["code"], &refused["rejected"]),
        (&json!(14), &json!(true))
    );
    assert_eq!(gateway.sent(), 0);

    fails.store(false, Ordering::SeqCst);
    let taken = server.connect().ask(&call("a", None, "hi")).await;
    assert_eq!((&taken["data"], gateway.sent()), (&json!(1), 1));
}
