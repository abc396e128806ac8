//! The driver of this client for `conformance/run_client.py`: it does what each line of its standard input says, and
//! tells on its standard output what a caller sees. conformance/README.md describes both.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io::Write as _;
use std::time::Duration;

use futures::stream::{BoxStream, Stream};
use futures::{StreamExt, TryStreamExt};
use rpc_client::{CallOptions, Client, Command, Config, Error, LastTiming, Status, service};
use rpc_core::Resume;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What a line asks for. Each verb reads the members that it knows.
#[derive(Deserialize)]
struct Ask {
    verb: String,
    #[serde(rename = "as")]
    name: String,
    #[serde(default = "usual_client")]
    client: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    cmdid: u32,
    #[serde(default)]
    params: Value,
    timeout_ms: Option<u64>,
    #[serde(default)]
    idempotent: bool,
    idempotency_key: Option<String>,
    #[serde(default)]
    dedup: bool,
    #[serde(default)]
    meta: HashMap<String, String>,
    #[serde(default)]
    ordered: bool,
    /// Where the time of the call goes, if that is to be told.
    #[serde(default, deserialize_with = "wanted_timing")]
    timing: Option<LastTiming>,
    /// The members of a stream's cursor, as `describe` has them.
    #[serde(default)]
    resumable: Vec<Resume>,
    #[serde(default = "one")]
    n: usize,
}

fn wanted_timing<'de, D: Deserializer<'de>>(wanted: D) -> Result<Option<LastTiming>, D::Error> {
    let is_wanted = bool::deserialize(wanted)?;
    Ok(is_wanted.then(LastTiming::new))
}

fn usual_client() -> String {
    "client".to_owned()
}

const fn one() -> usize {
    1
}

/// What was begun under a name: dropping it gives it up.
struct Begun {
    task: JoinHandle<()>,
    /// Asks a stream for this number of items.
    wanted: Option<mpsc::UnboundedSender<usize>>,
}

#[derive(Default)]
struct Driver {
    clients: HashMap<String, Client>,
    begun: HashMap<String, Begun>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let features = [
        "authenticate",
        "cancel",
        "dedup",
        "endpoints",
        "idempotent",
        "liveness",
        "ordered",
        "resume",
        "retry",
        "streams",
        "timing",
    ];
    write(&json!({"driver": 1, "client": "rpc-client (Rust)", "features": features}));

    let mut driver = Driver::default();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        driver.obey(serde_json::from_str(&line)?).await?;
    }
    Ok(())
}

impl Driver {
    async fn obey(&mut self, ask: Ask) -> Result<(), Box<dyn StdError>> {
        match ask.verb.as_str() {
            "open" => {
                let client = open(&ask)?;
                self.clients.insert(ask.name.clone(), client);
                tell(&ask.name, json!({"done": true}));
            }
            "close" => {
                for (_, begun) in self.begun.drain() {
                    begun.task.abort();
                    // Its end, however it came, is that the client is held no longer.
                    let _ = begun.task.await;
                }
                self.clients.remove(&ask.name);
                tell(&ask.name, json!({"done": true}));
            }
            "cancel" => {
                if let Some(begun) = self.begun.remove(&ask.name) {
                    begun.task.abort();
                    let _ = begun.task.await;
                }
                tell(&ask.name, json!({"cancelled": true}));
            }
            "next" => {
                let begun = self.begun.get(&ask.name).ok_or("no such stream")?;
                let wanted = begun.wanted.as_ref().ok_or("not a stream")?;
                // A stream that is over has told its end.
                let _ = wanted.send(ask.n);
            }
            _ => self.begin(ask)?,
        }
        Ok(())
    }

    /// Begins what takes its time.
    fn begin(&mut self, ask: Ask) -> Result<(), Box<dyn StdError>> {
        let name = ask.name.clone();
        let client_name = match ask.verb.as_str() {
            "connect" | "flush" => &ask.name,
            _ => &ask.client,
        };
        let client = self.clients.get(client_name).ok_or("no such client")?;
        let client = client.clone();
        let mut wanted = None;

        let task = match ask.verb.as_str() {
            "call" => tokio::spawn(async move {
                let result = command(&client, &ask).call::<_, Value>(&ask.params).await;
                tell_with_timing(&ask, told_result(result, "data"));
            }),
            "notify" => tokio::spawn(async move {
                let result = command(&client, &ask).notify(&ask.params).await;
                tell(&ask.name, told_result(result.map(|()| true.into()), "done"));
            }),
            "connect" => tokio::spawn(async move {
                let result = client.connect().await;
                tell(&ask.name, told_result(result.map(|()| true.into()), "done"));
            }),
            "flush" => tokio::spawn(async move {
                let result = client.flush().await;
                tell(&ask.name, told_result(result.map(|()| true.into()), "done"));
            }),
            "stream" => {
                let (sender, receiver) = mpsc::unbounded_channel();
                wanted = Some(sender);
                tokio::spawn(stream(client, ask, receiver))
            }
            verb => return Err(format!("`{verb}` is not a verb of the driver protocol").into()),
        };

        self.begun.insert(name, Begun { task, wanted });
        Ok(())
    }
}

fn open(ask: &Ask) -> Result<Client, Box<dyn StdError>> {
    let mut settings = ask.settings.clone();
    let token = settings.remove("token");
    let config = grouped(settings)?;

    let mut builder = Client::builder(ask.target.as_str()).config(config);
    if let Some(Value::String(token)) = token {
        builder = builder.token(token);
    }
    Ok(builder.build())
}

/// The settings of the driver protocol stand side by side: each has the name that it has in its group, or that of its group
/// before it where it says nothing alone, as `retry_base_ms` for `retry.base_ms`.
fn grouped(settings: Map<String, Value>) -> Result<Config, Box<dyn StdError>> {
    let mut config = serde_json::to_value(Config::default())?;
    let groups = config
        .as_object_mut()
        .expect("a config is an object of groups");

    for (name, value) in settings {
        let mut places = groups.iter_mut().filter_map(|(group, settings)| {
            let alone = name.strip_prefix(&format!("{group}_")).unwrap_or(&name);
            settings.get_mut(alone)
        });
        match places.next() {
            Some(place) => *place = value,
            None => return Err(format!("there is no setting `{name}`").into()),
        }
    }

    Ok(serde_json::from_value(config)?)
}

fn command<'c>(client: &'c Client, ask: &Ask) -> Command<'c> {
    let mut command = client.command(ask.cmdid);
    if let Some(timeout) = ask.timeout_ms {
        command = command.timeout(Duration::from_millis(timeout));
    }
    if ask.idempotent {
        command = command.idempotent();
    }
    if let Some(key) = &ask.idempotency_key {
        command = command.idempotency_key(key.as_str());
    }
    if ask.dedup {
        command = command.dedup();
    }
    if ask.ordered {
        command = command.ordered();
    }
    for (key, value) in &ask.meta {
        command = command.meta(key.as_str(), value.as_str());
    }
    if let Some(timing) = &ask.timing {
        command = command.timing(timing);
    }
    command
}

/// A stream that goes on where it was lost. That is said of a command, and not of a call: so there is a command for each
/// cursor that the cases have.
#[service]
trait Follow {
    #[rpc(cmdid = 100, no_timeout, resumable(cursor = "next", param = "after"))]
    fn follow(&self, params: Value) -> impl Stream<Item = Result<Value, Status>> + Send;
}

/// The same with a cursor of two members.
#[service]
trait FollowLog {
    #[rpc(
        cmdid = 100,
        no_timeout,
        resumable(cursor = "log", param = "log", cursor = "next", param = "after")
    )]
    fn follow(&self, params: Value) -> impl Stream<Item = Result<Value, Status>> + Send;
}

/// The items of a stream, or how it fails, as it is told.
type Items = BoxStream<'static, Result<Value, Value>>;

async fn begin_stream(client: &Client, ask: &Ask) -> Result<Items, Value> {
    let mut options = CallOptions::new();
    if let Some(timeout) = ask.timeout_ms {
        options = options.timeout(Duration::from_millis(timeout));
    }
    if let Some(timing) = &ask.timing {
        options = options.timing(timing);
    }
    let (client, params) = (client.clone(), ask.params.clone());

    match ask.resumable.len() {
        0 => {
            let items = command(&client, ask).stream::<_, Value>(&params).await;
            let items = items.map_err(|error| described(&error))?;
            Ok(items.map_err(|error| described(&error)).boxed())
        }
        1 => {
            let service = FollowClient::new(client).with(options);
            let items = service.follow(params).await;
            let items = items.map_err(|status| told_of(&status))?;
            Ok(items.map_err(|status| told_of(&status)).boxed())
        }
        _ => {
            let log = FollowLogClient::new(client).with(options);
            let items = log.follow(params).await;
            let items = items.map_err(|status| told_of(&status))?;
            Ok(items.map_err(|status| told_of(&status)).boxed())
        }
    }
}

/// A failure of a typed client, which is a status.
fn told_of(status: &Status) -> Value {
    json!({"code": status.code().number(), "message": status.message(), "details": status.details(), "text": status.to_string()})
}

/// Reads as many items as it is asked for, and tells each, until the stream is over.
async fn stream(client: Client, ask: Ask, mut wanted: mpsc::UnboundedReceiver<usize>) {
    let mut items = match begin_stream(&client, &ask).await {
        Ok(items) => items,
        Err(error) => {
            wanted.recv().await;
            tell(&ask.name, json!({"error": error}));
            return;
        }
    };

    while let Some(n) = wanted.recv().await {
        for _ in 0..n {
            let Some(item) = items.next().await else {
                tell_with_timing(&ask, json!({"end": true}));
                return;
            };

            match item {
                Ok(item) => tell(&ask.name, json!({"item": item})),
                Err(error) => return tell_with_timing(&ask, json!({"error": error})),
            }
        }
    }
}

fn told_result(result: Result<Value, Error>, member: &str) -> Value {
    match result {
        Ok(value) => json!({ member: value }),
        Err(error) => json!({"error": described(&error)}),
    }
}

/// With the times of the call, where it was told any.
fn tell_with_timing(ask: &Ask, mut what: Value) {
    if let Some(server) = ask.timing.as_ref().and_then(LastTiming::get) {
        what["timing"] =
            json!({"queue_us": server.queue.as_micros(), "run_us": server.run.as_micros()});
    }
    tell(&ask.name, what);
}

fn described(error: &Error) -> Value {
    let mut told = json!({
        "code": error.code().number(),
        "text": error.to_string(),
        "answered": error.status().is_some(),
        "sent": error.was_sent(),
        "rejected": error.is_rejected(),
        "may_have_run": error.may_have_run(),
        "attempts": error.attempts(),
    });

    if let Some(status) = error.status() {
        told["message"] = status.message().into();
        if let Some(details) = status.details() {
            told["details"] = serde_json::from_str(details.get()).unwrap_or_default();
        }
        if let Some(after) = status.retry_after() {
            told["retry_after_ms"] = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into();
        }
    }
    told
}

fn tell(name: &str, mut what: Value) {
    what["as"] = name.into();
    write(&what);
}

/// One line at once, so that what several tasks tell does not mix.
fn write(what: &Value) {
    let mut out = std::io::stdout().lock();
    // The runner has gone: the end of the input follows.
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}
