//! A daemon whose threads are full of work, much of it of calls that are over: other clients are served, and its operator is
//! heard.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rpc_client::Client;
use rpc_core::Code;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Outcome;
use crate::attack::Attack;
use crate::daemon::fill_log;
use crate::report::Row;

/// What another client's read, and an operator's SIGHUP, may take.
const AT_ONCE: Duration = Duration::from_secs(1);
/// `limits.drain_timeout_ms`, and what ending takes beside it.
const DRAIN: Duration = Duration::from_millis(10_500);
/// After which something is taken for never happening.
const NEVER: Duration = Duration::from_secs(30);
const LOG_MEGABYTES: usize = 20;

/// What is looked at while attacks go on.
pub(crate) struct Aftermath {
    pub(crate) name: &'static str,
    /// The attacks, all at one time.
    attacks: &'static [&'static str],
    /// Whether `--quick` runs it, too.
    pub(crate) is_quick: bool,
}

pub(crate) const ROWS: [Aftermath; 2] = [
    Aftermath {
        name: "reads-cancelled-aftermath",
        attacks: &["reads-cancelled"],
        is_quick: true,
    },
    Aftermath {
        name: "log-aftermath",
        attacks: &[
            "tails-unread-100",
            "tails-by-fields-8",
            "batches-50",
            "filters-cancelled-8",
            "emits-8",
        ],
        is_quick: false,
    },
];

impl Aftermath {
    pub(crate) async fn run(&self) -> Outcome<Row> {
        let mut row = Row {
            name: self.name.into(),
            ..Row::default()
        };
        let mut program = match Program::start() {
            Ok(program) => program,
            Err(error) => {
                // The other rows need no program.
                row.bound(false, || error.to_string());
                return Ok(row);
            }
        };

        let address = program.address().await?;
        fill_log(&address, LOG_MEGABYTES).await?;

        let attacks = Attack::all_on(self.attacks, &address)?;
        let client = Client::new(address.as_str());
        let read = took(Instant::now(), || async {
            let page = json!({ "after": 0, "limit": 1 });
            client.call::<_, Value>(1_002, &page).await.is_ok()
        })
        .await;

        // Afterwards the good client may not add any more.
        program.grant("\"1001-1007\"")?;
        let sent = Instant::now();
        program.signal("HUP")?;
        let hangup = took(sent, || async {
            let terms = json!({ "a": 1, "b": 2 });
            let added = client.call::<_, Value>(10_004, &terms).await;
            added.is_err_and(|error| error.code() == Code::PERMISSION_DENIED)
        })
        .await;

        let sent = Instant::now();
        program.signal("TERM")?;
        let end = program.ended(sent).await?;
        // What they have seen last is a connection that ended.
        drop(attacks);

        row.notes = format!(
            "another client's read {}, SIGHUP {}, SIGTERM {}",
            shown(read),
            shown(hangup),
            shown(end)
        );
        let is_within = |time: Option<Duration>, most| time.is_some_and(|time| time <= most);
        row.bound(is_within(read, AT_ONCE), || {
            format!("another client's read took {}", shown(read))
        });
        row.bound(is_within(hangup, AT_ONCE), || {
            format!("SIGHUP took effect after {}", shown(hangup))
        });
        row.bound(is_within(end, DRAIN), || {
            format!("SIGTERM ended it after {}", shown(end))
        });

        Ok(row)
    }
}

/// How long it takes, since it began, until it is true; none where that never comes.
async fn took<Done: Future<Output = bool>>(
    began: Instant,
    is_done: impl Fn() -> Done,
) -> Option<Duration> {
    while began.elapsed() < NEVER {
        if is_done().await {
            return Some(began.elapsed());
        }
        sleep(Duration::from_millis(5)).await;
    }

    None
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(
        || "never".to_owned(),
        |time| format!("{} ms", time.as_millis()),
    )
}

/// The program `rpc-server`, with its signals.
struct Program {
    child: Child,
    /// Its settings, its data and its log.
    directory: tempfile::TempDir,
}

impl Program {
    fn start() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        write_config(directory.path(), "\"*\"")?;

        let program = std::env::current_exe()?.with_file_name("rpc-server");
        let mut command = Command::new(&program);
        command
            .arg("--config")
            .arg(config_of(directory.path()))
            .stderr(File::create(log_of(directory.path()))?);
        let child = command.spawn().map_err(|error| {
            let program = program.display();
            format!(
                "cannot start {program} ({error}); `cargo build --release -p rpc-daemon` makes it"
            )
        })?;

        Ok(Self { child, directory })
    }

    /// Where it listens, once it does.
    async fn address(&mut self) -> Outcome<String> {
        let log = log_of(self.directory.path());
        let listens = || async { says_address(&log).is_some() };
        took(Instant::now(), listens).await;
        says_address(&log).ok_or_else(|| format!("no address in {}", log.display()).into())
    }

    /// Writes settings in which every caller may call these commands only.
    fn grant(&self, commands: &str) -> Outcome<()> {
        write_config(self.directory.path(), commands)
    }

    fn signal(&self, name: &str) -> Outcome<()> {
        let mut kill = Command::new("kill");
        let status = kill
            .args(["-s", name, &self.child.id().to_string()])
            .status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("SIG{name} could not be sent").into())
        }
    }

    /// How long it takes, since it was told to, until it has ended.
    async fn ended(&mut self, began: Instant) -> Outcome<Option<Duration>> {
        while began.elapsed() < NEVER {
            if self.child.try_wait()?.is_some() {
                return Ok(Some(began.elapsed()));
            }
            sleep(Duration::from_millis(5)).await;
        }

        Ok(None)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn config_of(directory: &Path) -> PathBuf {
    directory.join("config.toml")
}

fn log_of(directory: &Path) -> PathBuf {
    directory.join("log")
}

fn write_config(directory: &Path, commands: &str) -> Outcome<()> {
    let data = directory.join("data");
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\ndata_dir = \"{}\"\nservices = [\"log\", \"conformance\"]\n\
         [log]\nretention_bytes = 200000000\n[[grants]]\nidentity = \"*\"\ncommands = [{commands}]\n",
        data.display()
    );
    fs::write(config_of(directory), text)?;
    Ok(())
}

/// The address in the line that says that it listens.
fn says_address(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains("listening on"))?;
    let at = line.find("127.0.0.1:")?;
    let address = line[at..].split_whitespace().next()?;
    Some(address.trim_end_matches(['"', ',']).to_owned())
}
