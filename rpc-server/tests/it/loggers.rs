//! Loggers of their own for commands: which lines they take, where they write them, and what bounds that.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures::{StreamExt, stream};
use rpc_server::config::{ConsoleFormat, LineFormat, LoggerConfig};
use rpc_server::loggers::{LogQueue, Loggers};
use rpc_server::{Config, Params, Reply, Router};
use serde_json::Value;
use tempfile::TempDir;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use crate::logged::{Memory, use_for_this_thread};
use crate::support::{Client, TestServer, call};

/// Logs a line of each level, with what it was given.
const PLACE: u32 = 300;
/// Logs a line for each of three items.
const WATCH: u32 = 301;
/// Logs as many lines of a kibibyte as it is told to.
const FILL: u32 = 302;
/// Logs a line, and belongs to no logger.
const OTHER: u32 = 400;

const LONG: Duration = Duration::from_secs(60);

async fn place(Params(item): Params<String>) {
    tracing::error!(item, "an error of place");
    tracing::info!(item, "placed");
    tracing::debug!(item, "a detail of place");
}

async fn watch() -> Reply {
    Reply::stream(stream::iter(0..3).map(|n| {
        tracing::info!(n, "an item of watch");
        Ok(n)
    }))
}

async fn fill(Params(lines): Params<usize>) {
    for n in 0..lines {
        tracing::info!(n, fill = "x".repeat(1_024), "filled");
    }
}

async fn other() {
    tracing::info!("a line of another command");
}

fn router() -> Router {
    Router::new()
        .route(PLACE, place)
        .and_then(|router| router.route(WATCH, watch))
        .and_then(|router| router.route(FILL, fill))
        .and_then(|router| router.route(OTHER, other))
        .unwrap()
}

/// A server with loggers, the log of this thread, and what the server's own log has written.
struct Rig {
    dir: TempDir,
    loggers: Loggers,
    console: Memory,
    queue: LogQueue,
    client: Client<tokio::io::DuplexStream>,
    _server: TestServer,
    _log: DefaultGuard,
}

impl Rig {
    async fn with(configs: impl FnOnce(&Path) -> Vec<LoggerConfig>) -> Self {
        let (dir, console) = (tempfile::tempdir().unwrap(), Memory::default());
        let queue = LogQueue::start(1 << 20, console.clone(), |_| ()).unwrap();
        let loggers = Loggers::open(&configs(dir.path()), queue.clone()).unwrap();

        let own = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(queue.clone());
        let own = own.with_filter(loggers.others());
        let log = tracing_subscriber::registry()
            .with(loggers.layer())
            .with(own);
        let guard = use_for_this_thread(log);

        let config = Config::default().with(|config| config.access_log.per_million = 1_000_000);
        let server = TestServer::with(config, loggers.around(router())).await;
        Self {
            dir,
            loggers,
            console,
            queue,
            client: server.connect(),
            _server: server,
            _log: guard,
        }
    }

    async fn place(&mut self, item: &str) {
        let params = format!("\"params\":\"{item}\"");
        self.client.send(call(1, PLACE, &params)).await;
        self.client.expect_code(1, 0).await;
    }

    /// What a file of the directory has.
    fn file(&self, name: &str) -> String {
        self.loggers.flush(LONG);
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// What was written to the console.
    fn console(&self) -> String {
        self.queue.flush(LONG);
        self.console.text()
    }
}

fn logger(dir: &Path, name: &str, commands: &str) -> LoggerConfig {
    LoggerConfig {
        name: name.into(),
        commands: vec![commands.into()],
        file: dir.join(format!("{name}.log")),
        ..LoggerConfig::default()
    }
}

#[tokio::test]
async fn the_lines_of_a_command_go_to_its_file_with_the_call_that_they_are_of() {
    let mut rig = Rig::with(|dir| {
        let orders = LoggerConfig {
            file_format: LineFormat::Json,
            ..logger(dir, "orders", "300-399")
        };
        vec![orders]
    })
    .await;
    rig.place("pear").await;
    rig.client.send(call(2, OTHER, "")).await;
    rig.client.expect_code(2, 0).await;

    let text = rig.file("orders.log");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let placed = lines
        .iter()
        .find(|line| line["message"] == "placed")
        .unwrap();
    assert_eq!(
        (&placed["item"], &placed["level"]),
        (&"pear".into(), &"INFO".into())
    );

    let span = &placed["span"];
    assert_eq!(
        (&span["logger"], &span["cmdid"], &span["id"], &span["peer"]),
        (&"orders".into(), &PLACE.into(), &1.into(), &"pipe".into())
    );
    assert!(!text.contains("a line of another command"), "{text}");
    assert!(rig.console().contains("a line of another command"));
}

#[tokio::test]
async fn each_logger_has_its_own_level() {
    let mut rig = Rig::with(|dir| {
        let [mut few, mut all] = [logger(dir, "few", "300"), logger(dir, "all", "301-302")];
        few.level = "error".into();
        all.level = "trace".into();
        vec![few, all]
    })
    .await;
    rig.place("pear").await;
    rig.client.send(call(2, FILL, "\"params\":1")).await;
    rig.client.expect_code(2, 0).await;

    let few = rig.file("few.log");
    assert!(
        few.contains("an error of place") && few.lines().count() == 1,
        "{few}"
    );
    assert!(rig.file("all.log").contains("filled"));
}

#[tokio::test]
async fn the_items_of_a_stream_belong_to_its_command() {
    let mut rig = Rig::with(|dir| vec![logger(dir, "orders", "301")]).await;
    rig.client.send(call(1, WATCH, "")).await;
    for _ in 0..4 {
        rig.client.expect_code(1, 0).await;
    }

    let text = rig.file("orders.log");
    assert_eq!(text.matches("an item of watch").count(), 3, "{text}");
}

#[tokio::test]
async fn the_lines_of_the_access_log_go_to_the_logger_of_their_command() {
    let mut rig = Rig::with(|dir| vec![logger(dir, "orders", "300")]).await;
    rig.place("pear").await;
    rig.client.send(call(2, OTHER, "")).await;
    rig.client.expect_code(2, 0).await;

    let text = rig.file("orders.log");
    assert!(text.contains("connection_requests=1"), "{text}");
    assert!(!text.contains("cmdid=400"), "{text}");
}

#[tokio::test]
async fn lines_on_the_console_have_the_format_of_their_logger_and_come_once() {
    let mut rig = Rig::with(|dir| {
        let orders = LoggerConfig {
            console: ConsoleFormat::Json,
            ..logger(dir, "orders", "300")
        };
        vec![orders]
    })
    .await;
    rig.place("pear").await;
    rig.client.send(call(2, OTHER, "")).await;
    rig.client.expect_code(2, 0).await;

    let text = rig.console();
    let of_place: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("\"placed\""))
        .collect();
    let [line] = of_place[..] else {
        panic!("{text}");
    };
    assert_eq!(serde_json::from_str::<Value>(line).unwrap()["item"], "pear");
    assert_eq!(text.matches("placed").count(), 1, "{text}");
    let access = text
        .lines()
        .filter(|line| line.contains("rpc_server::access"));
    let of_place: Vec<&str> = access.filter(|line| !line.contains("cmdid=400")).collect();
    assert!(
        of_place.len() == 1 && of_place[0].starts_with('{'),
        "{text}"
    );
    assert!(
        text.contains("INFO it::loggers: a line of another command"),
        "{text}"
    );
    assert!(rig.file("orders.log").contains("placed"));
}

#[tokio::test]
async fn a_full_file_gets_another_name_and_the_oldest_is_deleted() {
    const FILE_BYTES_MAX: u64 = 32 * 1024;
    let mut rig = Rig::with(|dir| {
        let orders = LoggerConfig {
            file_bytes_max: FILE_BYTES_MAX,
            lines_bytes_max: 32 * 1024,
            files_max: 2,
            ..logger(dir, "orders", "302")
        };
        vec![orders]
    })
    .await;

    for n in 0..20 {
        rig.client.send(call(n, FILL, "\"params\":10")).await;
        rig.client.expect_code(n, 0).await;
        rig.loggers.flush(LONG);
    }

    let mut files: Vec<(String, u64)> = fs::read_dir(rig.dir.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, entry.metadata().unwrap().len())
        })
        .collect();
    files.sort();
    let names: Vec<&str> = files.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["orders.log", "orders.log.1", "orders.log.2"]);
    assert!(
        files.iter().all(|(_, bytes)| *bytes <= FILE_BYTES_MAX),
        "{files:?}"
    );
    assert_eq!(rig.loggers.dropped("orders"), Some(0));
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew() {
    let mut rig = Rig::with(|dir| {
        let orders = LoggerConfig {
            file_bytes_max: 16 * 1024,
            lines_bytes_max: 16 * 1024,
            ..logger(dir, "orders", "300-302")
        };
        vec![orders]
    })
    .await;
    let fill = call(1, FILL, "\"params\":10");
    rig.client.send(&fill).await;
    rig.client.expect_code(1, 0).await;
    rig.loggers.flush(LONG);

    fs::rename(
        rig.dir.path().join("orders.log"),
        rig.dir.path().join("elsewhere"),
    )
    .unwrap();
    // It is full with these, and cannot be given another name.
    rig.client.send(&fill).await;
    rig.client.expect_code(1, 0).await;
    assert!(rig.file("orders.log").contains(" n=9 "));
}

#[tokio::test]
async fn a_file_that_takes_nothing_delays_no_call_and_its_lost_lines_are_counted() {
    let mut unread = None;
    let mut rig = Rig::with(|dir| {
        let orders = logger(dir, "orders", "300-302");
        let made = Command::new("mkfifo").arg(&orders.file).status().unwrap();
        assert!(made.success());
        // A pipe that is open at its other end, too, and never read.
        let open = File::options().read(true).write(true).open(&orders.file);
        unread = Some(open.unwrap());
        vec![LoggerConfig {
            lines_bytes_max: 64 * 1024,
            ..orders
        }]
    })
    .await;

    // More than a pipe holds, and than may wait.
    rig.client.send(call(1, FILL, "\"params\":1000")).await;
    rig.client.expect_code(1, 0).await;
    let dropped = rig.loggers.dropped("orders").unwrap();
    assert!((700..1000).contains(&dropped), "{dropped}");
    drop(unread);
}

#[tokio::test]
async fn lines_that_a_full_disk_does_not_take_are_counted() {
    let mut rig = Rig::with(|dir| {
        let orders = logger(dir, "orders", "300-302");
        // A device that never has room.
        std::os::unix::fs::symlink("/dev/full", &orders.file).unwrap();
        vec![orders]
    })
    .await;

    rig.client.send(call(1, FILL, "\"params\":10")).await;
    rig.client.expect_code(1, 0).await;
    rig.loggers.flush(LONG);
    // One of them is of the access log.
    assert_eq!(rig.loggers.dropped("orders"), Some(11));
}

#[tokio::test]
async fn a_logger_that_takes_the_place_of_another_one_goes_on_with_its_count_of_dropped_lines() {
    let full = |dir: &Path, lines_bytes_max: usize| LoggerConfig {
        lines_bytes_max,
        file: dir.join("full.log"),
        ..logger(dir, "orders", "300-302")
    };
    let mut rig = Rig::with(|dir| {
        std::os::unix::fs::symlink("/dev/full", dir.join("full.log")).unwrap();
        vec![full(dir, 1 << 20)]
    })
    .await;

    rig.client.send(call(1, FILL, "\"params\":10")).await;
    rig.client.expect_code(1, 0).await;
    rig.loggers.flush(LONG);
    assert_eq!(rig.loggers.dropped("orders"), Some(11));

    let dir = rig.dir.path().to_owned();
    for (id, lines_bytes_max) in [(2, 1 << 21), (3, 1 << 22)] {
        // Also after a while without it.
        if id == 3 {
            rig.loggers.set(&[]).unwrap();
            assert_eq!(rig.loggers.dropped("orders"), None);
        }
        rig.loggers.set(&[full(&dir, lines_bytes_max)]).unwrap();
        rig.client.send(call(id, FILL, "\"params\":10")).await;
        rig.client.expect_code(id, 0).await;
        rig.loggers.flush(LONG);
        assert_eq!(rig.loggers.dropped("orders"), Some(11 * id));
    }
}

#[tokio::test]
async fn loggers_that_are_replaced_write_their_lines_before_those_that_follow_and_a_flush_waits_for_them()
 {
    let mut rig = Rig::with(|dir| vec![logger(dir, "orders", "300-302")]).await;
    let levels = ["debug", "info"].into_iter().cycle();
    for (n, level) in (1..=20).zip(levels) {
        rig.client.send(call(n, FILL, "\"params\":100")).await;
        rig.client.expect_code(n, 0).await;
        let orders = LoggerConfig {
            level: level.into(),
            ..logger(rig.dir.path(), "orders", "300-302")
        };
        if n % 5 == 0 {
            rig.loggers.set(&[]).unwrap();
        }
        rig.loggers.set(&[orders]).unwrap();
    }
    rig.loggers.set(&[]).unwrap();
    rig.loggers.flush(LONG);

    let text = fs::read_to_string(rig.dir.path().join("orders.log")).unwrap();
    let filled = text.lines().filter(|line| line.contains("filled"));
    let numbers: Vec<usize> = filled
        .map(|line| {
            let (_, from) = line.split_once(" n=").unwrap();
            from.split(' ').next().unwrap().parse().unwrap()
        })
        .collect();
    let expected: Vec<usize> = (0..20).flat_map(|_| 0..100).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn other_loggers_take_effect_at_once_and_those_that_cannot_be_opened_change_nothing() {
    let mut rig = Rig::with(|dir| vec![logger(dir, "orders", "300")]).await;
    rig.place("first").await;
    assert!(!rig.file("orders.log").contains("a detail"));

    let more = LoggerConfig {
        level: "debug".into(),
        commands: vec!["300".into(), "400".into()],
        ..logger(rig.dir.path(), "orders", "")
    };
    assert_eq!(
        rig.loggers.set(std::slice::from_ref(&more)),
        Ok(vec![OTHER])
    );
    rig.place("second").await;
    let text = rig.file("orders.log");
    assert!(text.contains("a detail of place item=\"second\""), "{text}");

    let wrong = LoggerConfig {
        file: rig.dir.path().into(),
        ..more
    };
    assert!(rig.loggers.set(&[wrong]).is_err());
    rig.place("third").await;
    assert!(rig.file("orders.log").contains("third"));

    assert_eq!(rig.loggers.set(&[]), Ok(vec![]));
    rig.place("fourth").await;
    assert!(
        !fs::read_to_string(rig.dir.path().join("orders.log"))
            .unwrap()
            .contains("fourth")
    );
    assert!(rig.console().contains("fourth"));
}
