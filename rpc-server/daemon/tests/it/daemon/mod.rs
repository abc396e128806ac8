//! The binary, as an operator meets it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod inherited;
mod logged;
mod settings;
mod start;
mod stop;

/// Longer than anything here may take, on a machine with other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon with no settings of this process's environment.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpc-server"));
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("RPC_SERVER_") || name == "RUST_LOG")
        {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn output(arguments: &[&str], env: &[(&str, &str)]) -> (Output, String, String) {
    let output = command()
        .args(arguments)
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

/// A daemon that runs until it is told otherwise.
pub(crate) struct Running {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// On a free port, with its data in `data`.
    fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::start_on(&["--listen", "127.0.0.1:0"], data, arguments)
    }

    fn start_on(listen: &[&str], data: &Path, arguments: &[&str]) -> Self {
        let mut command = command();
        command
            .args(listen)
            .arg("--data-dir")
            .arg(data)
            .args(arguments);
        command.env("RPC_SERVER_SERVICES", "test,log,conformance");
        Self::spawn(command)
    }

    /// With a socket that is handed over, as systemd does it.
    fn inherit(listener: &TcpListener, data: &Path) -> Self {
        Self::inherit_socket(OwnedFd::from(listener.try_clone().unwrap()), data)
    }

    fn inherit_socket(socket: OwnedFd, data: &Path) -> Self {
        let daemon = command();
        let mut command = Command::new("sh");
        // The socket is the third descriptor after the usual ones, and the shell becomes the daemon.
        command.args([
            "-c",
            "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3<&0 </dev/null",
        ]);
        command
            .arg(daemon.get_program())
            .args(["--listen", "inherited", "--data-dir"])
            .arg(data);
        for (name, value) in daemon.get_envs() {
            assert!(value.is_none(), "variables are only taken away");
            command.env_remove(name);
        }
        command.stdin(socket);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        thread::spawn(move || {
            for line in stderr.lines() {
                // The reader is gone once the test is over.
                let _ = sender.send(line.unwrap());
            }
        });
        Self {
            child,
            log,
            seen: Vec::new(),
        }
    }

    /// The next line of the log that contains the text.
    pub(crate) fn log_line(&mut self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line =
                line.unwrap_or_else(|_| panic!("no line with {text:?}, but {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Where it says that it listens.
    pub(crate) fn address(&mut self) -> String {
        let line = self.log_line("listening on ");
        let (_, address) = line.split_once("listening on ").unwrap();
        address.split([' ', '"']).next().unwrap().to_owned()
    }

    pub(crate) fn connect(&mut self) -> Peer<TcpStream> {
        Peer::connect(&self.address())
    }
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for its end, and reads the rest of its log.
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        // Its log ends with it.
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .log
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        assert!(
            Instant::now() < deadline,
            "it has not ended: {:#?}",
            self.seen
        );
        (self.child.wait().unwrap(), self.seen.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Peer<S>(BufReader<S>);

impl Peer<TcpStream> {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }
}

impl Peer<UnixStream> {
    pub(crate) fn over(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }
}

impl<S: Read + Write> Peer<S> {
    pub(crate) fn send(&mut self, line: &str) {
        self.0
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    /// The next line; empty at the end of the stream.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line that is whole; `None` at the end of the stream, and where it was cut off.
    pub(crate) fn whole_line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        line.strip_suffix('\n').map(str::to_owned)
    }

    pub(crate) fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        serde_json::from_str(&self.line()).unwrap()
    }

    fn append(&mut self, message: &str) -> Value {
        let entry = json!({"level": "info", "service": "s", "message": message});
        self.ask(&json!({"cmdid": 1001, "params": entry}).to_string())["data"]["seq"].take()
    }

    fn messages(&mut self) -> Vec<String> {
        let page = self.ask("{\"cmdid\":1002,\"params\":{}}");
        let entries = page["data"]["entries"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }
}
