//! The binary, as an operator meets it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

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

#[test]
fn it_says_where_it_listens_in_text_and_in_json() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    assert_eq!(
        daemon.connect().ask("{\"cmdid\":0,\"params\":1}"),
        json!({"code": 0, "data": 1})
    );
    let line = daemon.seen.pop().unwrap();
    assert!(
        line.contains(" INFO listening on 127.0.0.1:") && !line.contains('\u{1b}'),
        "{line}"
    );
    drop(daemon);
    let mut daemon = Running::start(data.path(), &["--log-format", "json"]);
    assert_eq!(
        daemon.connect().ask("{\"cmdid\":0,\"params\":1}"),
        json!({"code": 0, "data": 1})
    );
    let line: Value = serde_json::from_str(&daemon.seen.pop().unwrap()).unwrap();
    assert_eq!(line["level"], "INFO");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .starts_with("listening on 127.0.0.1:"),
        "{line}"
    );
}

#[test]
fn sigterm_drains_and_a_call_in_flight_is_answered() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let mut peer = daemon.connect();
    peer.send("{\"id\":1,\"cmdid\":10001,\"params\":{\"ms\":2500}}");
    peer.send("{\"id\":2,\"cmdid\":1002,\"params\":{\"wait_ms\":25000}}");
    assert_eq!(
        peer.ask("{\"id\":3,\"cmdid\":0}")["id"],
        3,
        "both others run"
    );
    daemon.signal("TERM");
    daemon.log_line("SIGTERM: draining");
    // The long poll ends; what comes behind the notice is too late.
    let mut lines = vec![peer.line()];
    while !lines
        .iter()
        .any(|line| line.starts_with("{\"event\":\"goaway\","))
    {
        lines.push(peer.line());
    }
    peer.send("{\"id\":4,\"cmdid\":10004,\"params\":{\"a\":1,\"b\":2}}");
    lines.resize_with(4, || peer.line());
    lines.sort_unstable();
    assert!(lines[0].starts_with("{\"event\":\"goaway\","), "{lines:?}");
    assert_eq!(
        lines[1],
        "{\"id\":1,\"code\":0,\"data\":{\"slept_ms\":2500}}"
    );
    assert!(
        lines[2].starts_with("{\"id\":2,\"code\":0,\"data\":{\"log\":\"")
            && lines[2].ends_with("\"entries\":[],\"next\":0,\"oldest\":1,\"last\":0}}"),
        "{lines:?}"
    );
    assert!(
        lines[3].starts_with("{\"id\":4,\"code\":14,") && lines[3].contains("\"rejected\":true"),
        "{lines:?}"
    );
    assert_eq!(peer.line(), "", "then the end");
    drop(peer);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped connections=1 dropped=0"), "{log}");
}

#[test]
fn sigint_drains_as_well() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let peer = daemon.connect();
    daemon.signal("INT");
    daemon.log_line("SIGINT: draining");
    drop(peer);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_second_signal_stops_it_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let mut peer = daemon.connect();
    peer.send("{\"id\":1,\"cmdid\":10001,\"params\":{\"ms\":60000}}");
    assert_eq!(peer.ask("{\"id\":2,\"cmdid\":0}")["id"], 2);
    daemon.signal("TERM");
    daemon.log_line("SIGTERM: draining");
    let start = Instant::now();
    daemon.signal("TERM");
    let (status, log) = daemon.ended();
    // The drain's own limit is 10 s.
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("SIGTERM again: stopped at once"), "{log}");
}

#[test]
fn settings_are_checked_with_their_exit_code_and_nothing_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (file, data) = (
        directory.path().join("config.toml"),
        directory.path().join("data"),
    );
    let (file, data) = (file.to_str().unwrap(), data.to_str().unwrap());
    let check = |text: &str, more: &[&str], env: &[(&str, &str)]| {
        fs::write(file, text).unwrap();
        output(
            &[
                &["--check-config", "--config", file, "--data-dir", data],
                more,
            ]
            .concat(),
            env,
        )
    };
    // A port that is taken: it is not bound.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let (good, stdout, stderr) = check(
        "[limits]\nframe_bytes_max = 5000\n",
        &["--listen", &listen],
        &[],
    );
    assert_eq!(
        (good.status.code(), stdout.trim(), stderr.as_str()),
        (Some(0), "the settings are right", "")
    );
    assert!(!Path::new(data).exists());
    for (text, env, expected) in [
        (
            "[limits]\nframe_byte_max = 1\n",
            &[][..],
            "unknown key `limits.frame_byte_max`; did you mean `limits.frame_bytes_max`?",
        ),
        ("data-dir = \"x\"\n", &[], "did you mean `data_dir`?"),
        (
            "[limits]\nframe_bytes_max = 0\n",
            &[],
            "`limits.frame_bytes_max` is 0 and must be at least 1",
        ),
        ("[limits]\nconnections_max = \"many\"\n", &[], "line 2"),
        ("listen = [\n", &[], "config.toml: "),
        ("log_level = \"loud=very\"\n", &[], "`log_level`"),
        (
            "",
            &[("RPC_SERVER_LIMITS_FRAME_BYTES_MAX", "1k")],
            "`RPC_SERVER_LIMITS_FRAME_BYTES_MAX` is \"1k\" and must be an integer",
        ),
    ] {
        let (bad, stdout, stderr) = check(text, &[], env);
        assert_eq!(
            (bad.status.code(), stdout.as_str()),
            (Some(2), ""),
            "{text} {env:?}: {stderr}"
        );
        assert!(
            stderr.starts_with("rpc-server: ") && stderr.contains(expected),
            "{text} {env:?}: {stderr}"
        );
    }
    let (missing, _, stderr) = output(&["--check-config", "--config", "/nowhere/config.toml"], &[]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr.contains("/nowhere/config.toml: "), "{stderr}");
    let (wrong_flag, _, stderr) = output(&["--lissen", "127.0.0.1:0"], &[]);
    assert_eq!(wrong_flag.status.code(), Some(2));
    assert!(stderr.contains("--listen"), "{stderr}");
}

#[test]
fn variables_of_others_with_our_prefix_are_a_warning_in_the_log_and_of_check_config() {
    let data = tempfile::tempdir().unwrap();
    let env = [
        ("RPC_SERVER_SERVICE_HOST", "10.0.0.7"),
        ("RPC_SERVER_PORT", "tcp://10.0.0.7:8889"),
        ("RPC_SERVER_CONFIG", ""),
        ("RPC_SERVER_DATADIR", "x"),
    ];
    let expected = "`RPC_SERVER_DATADIR` (did you mean `RPC_SERVER_DATA_DIR`?), `RPC_SERVER_PORT`, \
                    `RPC_SERVER_SERVICE_HOST`";
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data.path().to_str().unwrap(),
    ];

    let (checked, stdout, stderr) = output(&[&arguments[..], &["--check-config"]].concat(), &env);
    assert_eq!(
        (checked.status.code(), stdout.trim()),
        (Some(0), "the settings are right"),
        "{stderr}"
    );
    assert!(
        stderr.starts_with("rpc-server: warning: ") && stderr.contains(expected),
        "{stderr}"
    );

    let mut command = command();
    command.args(arguments).envs(env);
    let mut daemon = Running::spawn(command);
    let warning = daemon.log_line("are ignored");
    assert!(
        warning.contains("WARN") && warning.contains(expected),
        "{warning}"
    );
    daemon.log_line("listening on");
}

#[test]
fn what_keeps_the_daemon_from_starting_is_said_by_check_config_all_at_once_and_by_a_start_alike() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    fs::write(at("file"), "").unwrap();

    let (file, here) = (at("config.toml"), directory.path().display());
    let text = format!(
        "listen = [\"0.0.0.0:0\", \"unix:{here}/none/socket\", \"127.0.0.1:port\"]\n\
         tokens_file = \"{here}/tokens\"\nlog_level = \"inof\"\ndata_dir = \"{here}/file\"\n\
         [limits]\nframe_bytes_max = 0\n[admin]\nlisten = \"0.0.0.0:0\"\n\
         [[listeners]]\naddress = \"127.0.0.1:0\"\ncertificate_file = \"{here}/cert\"\nkey_file = \"{here}/key\"\n\
         [[commands]]\ncmdid = 77\nin_flight_max = 1\n"
    );
    fs::write(&file, text).unwrap();

    let (checked, stdout, stderr) = output(&["--check-config", "--config", &file], &[]);
    assert_eq!((checked.status.code(), stdout.as_str()), (Some(2), ""));

    let parts = [
        "`limits.frame_bytes_max` is 0 and must be at least 1",
        "`log_level` = \"inof\": \"inof\" must be error, warn, info, debug, trace or off",
        "`listen`: 0.0.0.0:0 is reached from other machines",
        "none is not a directory that exists",
        "`listen`: 127.0.0.1:port: invalid port value; write HOST:PORT",
        "[[listeners]] \"127.0.0.1:0\": ",
        "`admin.listen`: 0.0.0.0:0 is reached from other machines",
        "`tokens_file` ",
        "[[commands]] `cmdid` = 77: no service of `services` has this command; their commands are \
         1001, 1002, 1003, 1004, 1005, 1006, 1007, 1101, ",
        "is not a directory; name one",
    ];
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), parts.len(), "{stderr}");
    for (line, part) in lines.iter().zip(parts) {
        assert!(
            line.starts_with("rpc-server: ") && line.contains(part),
            "{part}: {line}"
        );
    }
    assert!(lines[1].ends_with("did you mean `info`?"), "{}", lines[1]);

    let (started, _, said) = output(&["--config", &file], &[]);
    assert_eq!((started.status.code(), said), (Some(2), stderr));
}

#[test]
fn all_that_cannot_be_read_in_a_file_and_the_environment_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml").display().to_string();
    fs::write(
        &file,
        "workers = \"many\"\n[limits]\nframe_byte_max = 1\nconnections_max = -1\n[[grants]]\nidentity = 5\n",
    )
    .unwrap();

    let env = [
        ("RPC_SERVER_LOG_FORMAT", "xml"),
        ("RPC_SERVER_ADMISSION_IN_FLIGHT_MAX", "1k"),
    ];
    let (_, _, stderr) = output(&["--check-config", "--config", &file], &env);
    let mut lines: Vec<&str> = stderr.lines().collect();
    lines.sort_unstable();

    for part in [
        "`workers`, line 1, column 11: invalid type",
        "unknown key `limits.frame_byte_max`; did you mean `limits.frame_bytes_max`?",
        "`limits.connections_max`, line 4, column 19: ",
        "`grants.identity`, line 6, column 12: invalid type",
        "`RPC_SERVER_LOG_FORMAT`: unknown variant `xml`",
        "`RPC_SERVER_ADMISSION_IN_FLIGHT_MAX` is \"1k\" and must be an integer",
    ] {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert_eq!(lines.len(), 6, "{stderr}");
}

#[test]
fn the_printed_settings_read_back_and_environment_and_flags_go_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let mut text = String::from(
        "listen = [\"127.0.0.1:1\"]\nlog_format = \"json\"\ndata_dir = \"/from/file\"\n",
    );
    let _ = writeln!(
        text,
        "[limits]\nframe_bytes_max = 11\nconnections_max = 12\n[log]\nfsync = false"
    );
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let env = [
        ("RPC_SERVER_CONFIG", file),
        ("RPC_SERVER_LIMITS_FRAME_BYTES_MAX", "21"),
        ("RPC_SERVER_DATA_DIR", "/from/env"),
        ("RPC_SERVER_LISTEN", "127.0.0.1:2,unix:/two"),
        ("RPC_SERVER_SERVICES", "test"),
        ("RUST_LOG", "warn"),
    ];
    let flags = [
        "--print-config",
        "--log-level",
        "debug",
        "--data-dir",
        "/from/flag",
        "--listen",
        "127.0.0.1:3",
        "--listen",
        "127.0.0.1:4",
    ];
    let (printed, stdout, stderr) = output(&flags, &env);
    assert_eq!(printed.status.code(), Some(0), "{stderr}");
    for expected in [
        "\nframe_bytes_max = 21\n",
        "\nconnections_max = 12\n",
        "\nfsync = false\n",
        "\nlog_format = \"json\"\n",
        "\nlog_level = \"debug\"\n",
        "\ndata_dir = \"/from/flag\"\n",
        "\nlisten = [\"127.0.0.1:3\", \"127.0.0.1:4\"]\n",
        "\nservices = [\"test\"]\n",
        "\nhandler_timeout_ms = 30000\n",
    ] {
        assert!(
            format!("\n{stdout}").contains(expected),
            "{expected} is missing in {stdout}"
        );
    }
    let (_, from_env, _) = output(&["--print-config"], &env);
    assert!(
        from_env.contains("\"127.0.0.1:2\", \"unix:/two\"") && from_env.contains("/from/env"),
        "{from_env}"
    );
    assert!(from_env.contains("\nlog_level = \"warn\"\n"), "{from_env}");
    fs::write(file, &stdout).unwrap();
    let (_, again, stderr) = output(&["--print-config", "--config", file], &[]);
    assert_eq!((again, stderr), (stdout, String::new()));
}

#[test]
fn its_version_names_the_program() {
    let (printed, stdout, _) = output(&["--version"], &[]);
    assert_eq!(printed.status.code(), Some(0));
    assert!(stdout.starts_with("rpc-server "), "{stdout}");
}

#[test]
fn the_reference_of_all_settings_is_what_the_program_prints() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rpc-server.toml");
    let (printed, stdout, stderr) = output(&["--print-config"], &[]);
    assert_eq!(printed.status.code(), Some(0), "{stderr}");
    assert!(
        fs::read_to_string(file).unwrap() == stdout,
        "docs/rpc-server.toml is not what the program prints; renew it: \
         cargo run -p rpc-daemon -- --print-config >docs/rpc-server.toml"
    );
}

#[test]
fn a_second_daemon_on_one_data_directory_says_why_it_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let mut first = Running::start(data.path(), &[]);
    let mut peer = first.connect();
    let (status, log) = Running::start(data.path(), &[]).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains("is in use: another daemon holds its lock") && log.contains("ERROR"),
        "{log}"
    );
    assert!(
        log.contains(data.path().to_str().unwrap()) && !log.contains("listening"),
        "{log}"
    );
    assert_eq!(peer.append("the first one goes on"), 1);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, log) = Running::start_on(&["--listen", &address], data.path(), &[]).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.contains(&format!("cannot listen on {address}: ")),
        "{log}"
    );
}

#[test]
fn entries_survive_a_restart_and_a_kill() {
    let data = tempfile::tempdir().unwrap();
    for (round, signal) in [(0, "TERM"), (1, "KILL"), (2, "KILL")] {
        let mut daemon = Running::start(data.path(), &[]);
        let mut peer = daemon.connect();
        assert_eq!(peer.append(&format!("entry {round}")), round + 1);
        daemon.signal(signal);
        let (status, log) = daemon.ended();
        assert_eq!(status.success(), signal == "TERM", "{log}");
    }
    let mut daemon = Running::start(data.path(), &[]);
    assert_eq!(
        daemon.connect().messages(),
        ["entry 0", "entry 1", "entry 2"]
    );
}

#[test]
fn a_unix_socket_is_served_and_what_a_killed_daemon_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rpc.sock");
    let listen = format!("unix:{}", path.display());
    for signal in ["KILL", "TERM"] {
        let mut daemon = Running::start_on(&["--listen", &listen], directory.path(), &[]);
        assert_eq!(daemon.address(), listen);
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(
            Peer(BufReader::new(stream)).ask("{\"cmdid\":0,\"params\":1}")["data"],
            1
        );
        // A second daemon leaves a living one alone.
        let other = directory.path().join("other");
        let (status, log) = Running::start_on(&["--listen", &listen], &other, &[]).ended();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(
            log.contains(&listen) && log.contains("another process listens there"),
            "{log}"
        );
        daemon.signal(signal);
        daemon.ended();
        assert_eq!(path.exists(), signal == "KILL");
    }
}

#[test]
fn it_listens_on_every_address_that_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", directory.path().join("s").display());
    let listen = [
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &unix,
        "--listen",
        "127.0.0.1:0",
    ];
    let mut daemon = Running::start_on(&listen, directory.path(), &[]);
    let addresses = [daemon.address(), daemon.address(), daemon.address()];
    assert_eq!(addresses[1], unix);
    for address in [&addresses[0], &addresses[2]] {
        let mut peer = Peer(BufReader::new(TcpStream::connect(address).unwrap()));
        assert_eq!(peer.ask("{\"cmdid\":0,\"params\":1}")["data"], 1);
    }
}

#[test]
fn a_panic_is_logged_with_its_text_and_the_daemon_lives() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let mut peer = daemon.connect();
    assert_eq!(peer.ask("{\"id\":1,\"cmdid\":10002}")["code"], 13);
    // Where the program was, and then which command it was.
    for which in ["panicked at ", "a handler panicked cmdid=10002"] {
        let line = daemon.log_line(which);
        assert!(
            line.contains("ERROR") && line.contains("a secret of the handler"),
            "{line}"
        );
    }
    assert_eq!(peer.ask("{\"cmdid\":0,\"params\":1}")["data"], 1);
}

#[test]
fn what_a_caller_sends_cannot_forge_or_colour_the_log() {
    let data = tempfile::tempdir().unwrap();
    let mut daemon = Running::start(data.path(), &[]);
    let mut peer = daemon.connect();
    let hostile = "\\u001b[31m \u{9b}31m \\n \u{2028} \u{7f} 2026-01-01 ERROR forged";
    assert_eq!(
        peer.ask(&format!("{{\"cmdid\":10000,\"params\":\"{hostile}\"}}")),
        json!({"code": 0})
    );
    let line = daemon.log_line("forged");
    assert!(line.contains(" INFO test peer=127.0.0.1:"), "{line}");
    assert!(
        !line.contains(|c: char| c.is_control() || c == '\u{2028}'),
        "{}",
        line.escape_debug()
    );
    // The parameters of all other commands are private.
    peer.append("a private matter");
    assert_eq!(
        peer.ask("{\"cmdid\":10004,\"params\":{\"a\":\"a private matter\"}}")["code"],
        3
    );
    daemon.signal("TERM");
    drop(peer);
    let (_, log) = daemon.ended();
    assert!(!log.contains("private matter"), "{log}");
}

#[test]
fn restarts_with_a_socket_that_is_handed_over_refuse_no_connection() {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Connects, asks and closes, again and again, whether there is a daemon or not.
    let (stop, stopped) = channel::<()>();
    let caller = thread::spawn(move || {
        let mut answers = Vec::new();
        while stopped.try_recv() != Err(TryRecvError::Disconnected) {
            let stream = TcpStream::connect(address).expect("it is never refused");
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut peer = Peer(BufReader::new(stream));
            let mut answer = peer.ask("{\"id\":1,\"cmdid\":10000}");
            if answer["event"] == "goaway" {
                answer = serde_json::from_str(&peer.line()).unwrap();
            }
            assert!(
                answer["code"] == 0 || answer["rejected"] == true,
                "{answer}"
            );
            answers.push(answer);
        }
        answers
    });
    for _ in 0..4 {
        let mut daemon = Running::inherit(&listener, data.path());
        assert_eq!(daemon.address(), address.to_string());
        let mut peer = Peer(BufReader::new(TcpStream::connect(address).unwrap()));
        assert_eq!(
            peer.ask("{\"cmdid\":0,\"params\":1}"),
            json!({"code": 0, "data": 1})
        );
        daemon.signal("TERM");
        let (status, log) = daemon.ended();
        assert!(status.success(), "{log}");
    }
    // The caller waits for the next daemon by now.
    let _last = Running::inherit(&listener, data.path());
    drop(stop);
    let answers = caller.join().unwrap();
    assert!(
        answers.iter().any(|answer| answer["code"] == 0),
        "{} answers",
        answers.len()
    );
}

#[test]
fn an_inherited_connection_stops_the_start_with_what_to_set() {
    let data = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();

    let (status, log) = Running::inherit_socket(OwnedFd::from(connection), data.path()).ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("set `Accept=no` in the socket unit"), "{log}");
}

#[test]
fn what_is_to_be_inherited_and_is_not_there_stops_the_start() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let (output, _, log) = output(&["--listen", "inherited", "--data-dir", data], &[]);
    assert!(
        !output.status.success() && log.contains("`LISTEN_FDS` names none"),
        "{log}"
    );
}
