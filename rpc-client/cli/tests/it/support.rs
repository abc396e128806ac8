//! A daemon to talk to, and the binary under test.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use rpc_daemon::config::ServiceName;
use rpc_daemon::{Daemon, DaemonConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A daemon with every service it has; stopped when dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().to_owned();
        Self::run("127.0.0.1:0", &path, Some(data))
    }

    pub(crate) fn start_at(listen: &str, data: &Path) -> Self {
        Self::run(listen, data, None)
    }

    fn run(listen: &str, data: &Path, owned: Option<TempDir>) -> Self {
        let config = DaemonConfig {
            listen: vec![listen.to_owned()],
            data_dir: data.to_owned(),
            services: vec![
                ServiceName::Test,
                ServiceName::Log,
                ServiceName::Sms,
                ServiceName::Conformance,
            ],
            ..DaemonConfig::default()
        };
        Self::with(config, owned)
    }

    /// `owned` is deleted with the daemon.
    pub(crate) fn with(mut config: DaemonConfig, owned: Option<TempDir>) -> Self {
        // Nothing in here survives the test, and no reader waits for a tail to end its turn.
        config.log.fsync = false;
        config.drain.timeout_ms = 100;
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, address) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let daemon = Daemon::bind(&config).await.unwrap();
                started.send(daemon.addresses()[0].to_string()).unwrap();
                daemon.run(async { drop(stopped.await) }).await.unwrap();
            });
            drop(owned);
        });
        let address = address.recv().unwrap();
        Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Runs `rpc` to its end.
    pub(crate) fn rpc(&self, arguments: &[&str]) -> Ran {
        rpc_at(&self.address, arguments, "")
    }

    pub(crate) fn rpc_with_input(&self, arguments: &[&str], input: impl AsRef<[u8]>) -> Ran {
        rpc_at(&self.address, arguments, input)
    }

    /// Runs `rpc` without waiting for it.
    pub(crate) fn start_rpc(&self, arguments: &[&str]) -> Running {
        start_rpc_at(&self.address, arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the daemon panicked");
        }
    }
}

/// How a run of `rpc` ended.
#[derive(Debug, PartialEq)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn assert(&self, exit: i32, stdout: &str, stderr: &str) {
        assert_eq!(
            (self.exit, self.stdout.as_str(), self.stderr.as_str()),
            (exit, stdout, stderr)
        );
    }

    /// Standard output of a run that did well.
    #[track_caller]
    pub(crate) fn data(self) -> String {
        assert_eq!((self.exit, self.stderr.as_str()), (0, ""));
        self.stdout
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A run of `rpc` that goes on.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) stderr: Lines<BufReader<ChildStderr>>,
}

impl Running {
    /// Starts a command whose output is piped, as [`command`] makes it.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub(crate) fn next_line(&mut self) -> String {
        self.stdout.next().expect("a line follows").unwrap()
    }

    pub(crate) fn next_error_line(&mut self) -> String {
        self.stderr.next().expect("a line follows").unwrap()
    }

    pub(crate) fn interrupt(&self) {
        let kill = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What is left, once standard output is closed on this side.
    pub(crate) fn close_stdout(self) -> (i32, String) {
        let Self {
            mut child,
            stdout,
            stderr,
        } = self;
        drop(stdout);
        let stderr: Vec<String> = stderr.map(Result::unwrap).collect();
        (
            child.wait().unwrap().code().expect("no signal ended it"),
            stderr.join("\n"),
        )
    }

    pub(crate) fn finish(self) -> Ran {
        let Self {
            mut child,
            stdout,
            stderr,
        } = self;
        let stdout: String = stdout.map(|line| line.unwrap() + "\n").collect();
        let stderr: String = stderr.map(|line| line.unwrap() + "\n").collect();
        Ran {
            exit: child.wait().unwrap().code().expect("no signal ended it"),
            stdout,
            stderr,
        }
    }
}

pub(crate) fn start_rpc_at(address: &str, arguments: &[&str]) -> Running {
    Running::of(command(address, arguments))
}

pub(crate) fn rpc_at(address: &str, arguments: &[&str], input: impl AsRef<[u8]>) -> Ran {
    let mut child = command(address, arguments)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_ref().to_vec();
    let writer = thread::spawn(move || {
        // It may end without reading.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

pub(crate) fn command(address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpc"));
    command
        .env("RPC_ADDR", address)
        .env_remove("RUST_LOG")
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Does this with the first connection to an address, which it returns.
pub(crate) fn peer(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    address
}

/// Answers the first call with `reply`, which is all of the line behind its id.
pub(crate) fn peer_that_answers(reply: &'static str) -> String {
    peer(move |stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let request: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        writeln!(&stream, r#"{{"id":{},{reply}}}"#, request["id"]).unwrap();
        lines.for_each(drop);
    })
}

/// Answers each call of a connection with `reply`, as [`peer_that_answers`] does the first one.
pub(crate) fn peer_that_repeats(reply: &'static str) -> String {
    peer(move |stream| {
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if writeln!(&stream, r#"{{"id":{},{reply}}}"#, request["id"]).is_err() {
                return;
            }
        }
    })
}

/// Takes a connection and never says a word.
pub(crate) fn silent_peer() -> String {
    peer(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

/// An address without a listener.
pub(crate) fn nowhere(dir: &TempDir) -> String {
    format!("unix:{}", dir.path().join("nowhere.sock").display())
}
