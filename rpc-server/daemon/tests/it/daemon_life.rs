//! The daemon's life as its operator steers it: refusals at the start, SIGHUP, and what systemd is told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rpc_server::Tokens;
use serde_json::json;
use tempfile::TempDir;

use crate::authority::{Authority, Holds, set_mode};
use crate::daemon::{PATIENCE, Peer, Running, command};
use crate::log_service::HeldFile;

const TOKEN: &str = "token-of-orders-0123456789abcdef";
const NEXT: &str = "next-token-of-orders-0123456789a";

/// A config file and what it names, in a directory of their own.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn tokens(&self, tokens: &[&str]) {
        let lines = tokens
            .iter()
            .map(|token| format!("orders {}\n", Tokens::hash(token).unwrap()));
        self.write("tokens", &lines.collect::<String>());
    }

    /// Writes the daemon's config; its data is here, too.
    pub(crate) fn configure(&self, config: &str) {
        let data = self.path("data").display().to_string();
        let services = "services = [\"test\", \"conformance\"]";
        self.write(
            "config.toml",
            &format!("data_dir = {data:?}\n{services}\n{config}"),
        );
    }

    pub(crate) fn start(&self, config: &str, env: &[(&str, &str)]) -> Running {
        self.configure(config);
        let mut command = command();
        command
            .arg("--config")
            .arg(self.path("config.toml"))
            .envs(env.iter().copied());
        Running::spawn(command)
    }
}

#[test]
fn an_address_that_others_reach_is_refused_unless_it_is_said_to_be_right_and_then_warned_of() {
    let place = Place::new();
    let (status, log) = place.start("listen = [\"0.0.0.0:0\"]", &[]).ended();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(
        log.contains("which has neither TLS nor authentication")
            && log.contains("`allow_plaintext = true`"),
        "{log}"
    );
    let mut daemon = place.start("listen = [\"0.0.0.0:0\"]\nallow_plaintext = true", &[]);
    let line = daemon.log_line("NOT PROTECTED");
    assert!(
        line.contains("WARN") && line.contains("address=0.0.0.0:"),
        "{line}"
    );
    daemon.log_line("listening on 0.0.0.0:");
}

#[test]
fn a_key_that_everybody_may_read_keeps_the_daemon_from_starting() {
    let (place, ca) = (Place::new(), Authority::new("servers"));
    let pair = ca.server("rpc.test", Holds::Now);
    set_mode(&pair.key, 0o644);
    let (key, certificate) = (&pair.key, &pair.certificate);
    let config = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n"
    );
    let (status, log) = place.start(&config, &[]).ended();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(
        log.contains(&key.display().to_string())
            && log.contains("(mode 0644); set its mode to 0600"),
        "{log}"
    );
    std::fs::remove_file(key).unwrap();
    let (status, log) = place.start(&config, &[]).ended();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("No such file"), "{log}");
}

/// Answers of a plain listener that wants a token.
fn listener(place: &Place, rest: &str) -> String {
    let tokens = place.path("tokens").display().to_string();
    format!(
        "tokens_file = {tokens:?}\n{rest}\n[[listeners]]\naddress = \"127.0.0.1:0\"\nrequire_authentication = true\n"
    )
}

fn authenticate(token: &str) -> String {
    json!({ "cmdid": 6, "params": { "token": token } }).to_string()
}

#[test]
fn sighup_puts_tokens_grants_and_the_log_level_into_effect_and_names_what_waits_for_a_restart() {
    let place = Place::new();
    place.tokens(&[TOKEN]);
    let config = listener(&place, "");
    let mut daemon = place.start(&config, &[]);
    let address = daemon.address();
    let mut peer = Peer::connect(&address);
    assert_eq!(peer.ask(&authenticate(TOKEN))["data"]["identity"], "orders");
    assert_eq!(peer.ask("{\"cmdid\":10000}")["code"], 0);

    // A wrong file changes nothing.
    place.write("tokens", "orders nonsense\n");
    place.configure(&config.replace(
        "[[listeners]]",
        "log_level = \"info,rpc_server=debug\"\nworkers = 1\n[[listeners]]",
    ));
    daemon.signal("HUP");
    let line = daemon.log_line("not reloaded, the old state stays");
    assert!(
        line.contains("ERROR")
            && line.contains("line 1: the hash must be 64")
            && !line.contains("nonsense"),
        "{line}"
    );
    assert!(daemon.log_line("needs a restart").contains("keys=workers"));
    assert_eq!(peer.ask("{\"cmdid\":10000}")["code"], 0);
    drop(Peer::connect(&address));
    daemon.log_line("connection opened");

    place.configure("listen = 5");
    daemon.signal("HUP");
    daemon.log_line("not reloaded, all settings stay as they were");
    assert_eq!(peer.ask("{\"cmdid\":10000}")["code"], 0);

    place.tokens(&[TOKEN, NEXT]);
    place.configure(&format!(
        "{config}[[grants]]\nidentity = \"orders\"\ncommands = [\"10001\"]\n"
    ));
    daemon.signal("HUP");
    daemon.log_line("reloaded: tokens");
    daemon.log_line("reloaded: grants");
    assert_eq!(peer.ask("{\"cmdid\":10000}")["code"], 7);
    place.tokens(&[NEXT]);
    place.configure(&config);
    daemon.signal("HUP");
    daemon.log_line("reloaded: tokens");
    daemon.log_line("reloaded: grants");
    assert_eq!(
        peer.ask("{\"cmdid\":10000}")["code"],
        16,
        "its token is gone"
    );
    assert_eq!(peer.ask(&authenticate(NEXT))["code"], 0);
    assert_eq!(peer.ask("{\"cmdid\":10000}")["code"], 0);
    daemon.signal("TERM");
    drop(peer);
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(TOKEN) && !log.contains(NEXT), "{log}");
}

#[test]
fn sighup_puts_the_limits_of_commands_into_effect_for_open_connections() {
    let place = Place::new();
    let config = |limits: &[(u32, u32, u32)]| {
        let command = |(cmdid, in_flight_max, rate): &(u32, u32, u32)| {
            format!(
                "[[commands]]\ncmdid = {cmdid}\nin_flight_max = {in_flight_max}\nrequests_per_second = {rate}\n"
            )
        };
        format!(
            "listen = [\"127.0.0.1:0\"]\n{}",
            limits.iter().map(command).collect::<String>()
        )
    };
    // 10001 waits for as long as it is told, and 10000 is done at once.
    let mut daemon = place.start(&config(&[(10000, 0, 1), (10001, 1, 0)]), &[]);
    let mut peer = Peer::connect(&daemon.address());
    let too_many_a_second = |peer: &mut Peer<TcpStream>| {
        (0..50).any(|_| peer.ask("{\"id\":1,\"cmdid\":10000}")["code"] == 8)
    };
    let beside_one = |peer: &mut Peer<TcpStream>| {
        peer.ask("{\"id\":2,\"cmdid\":10001,\"params\":{\"ms\":0}}")["code"].take()
    };
    peer.send("{\"id\":99,\"cmdid\":10001,\"params\":{\"ms\":60000}}");
    assert!(too_many_a_second(&mut peer));
    assert_eq!(beside_one(&mut peer), 8);

    place.configure(&config(&[(10000, 0, 0), (10001, 2, 0)]));
    daemon.signal("HUP");
    daemon.log_line("reloaded: commands");
    assert!(!too_many_a_second(&mut peer));
    assert_eq!(beside_one(&mut peer), 0);

    // One that is not named any more has no limit; one that had none at the start waits.
    place.configure(&config(&[(10000, 0, 1), (10004, 1, 0)]));
    daemon.signal("HUP");
    daemon.log_line("reloaded: commands");
    assert!(
        daemon
            .log_line("needs a restart")
            .contains("keys=commands of 10004")
    );
    assert!(too_many_a_second(&mut peer));
    assert_eq!(beside_one(&mut peer), 0);

    // Settings that are wrong change nothing.
    place.configure(&config(&[(10000, 0, 0), (10000, 0, 0)]));
    daemon.signal("HUP");
    daemon.log_line("names cmdid 10000 twice");
    assert!(too_many_a_second(&mut peer));
}

#[test]
fn sighup_serves_a_renewed_certificate() {
    let (place, ca) = (Place::new(), Authority::new("servers"));
    let pair = ca.server("rpc.test", Holds::Now);
    let (key, certificate) = (&pair.key, &pair.certificate);
    let config = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n"
    );
    let mut daemon = place.start(&config, &[]);
    daemon.log_line("listening on");
    let next = ca.server("rpc.test", Holds::Now);
    std::fs::copy(&next.key, key).unwrap();
    daemon.signal("HUP");
    daemon.log_line("is not the key of the certificate");
    std::fs::copy(&next.certificate, certificate).unwrap();
    daemon.signal("HUP");
    daemon.log_line("reloaded: certificate");
    daemon.signal("HUP");
    daemon.log_line("reloaded: nothing has changed");
}

#[test]
fn neither_sighup_nor_sigterm_waits_for_reads_that_hang() {
    let place = Place::new();
    let config =
        "listen = [\"127.0.0.1:0\"]\n[blocking]\nthreads_max = 2\n[drain]\ntimeout_ms = 1\n";
    let mut daemon = place.start(config, &[("RPC_SERVER_SERVICES", "log")]);
    let mut peer = Peer::connect(&daemon.address());
    let entry = json!({ "level": "info", "service": "s", "message": "m" });
    let append = json!({ "cmdid": 1001, "params": entry }).to_string();
    assert_eq!(peer.ask(&append)["code"], 0);

    // More of them than a runtime has threads for blocking work.
    let _held = HeldFile::of(&place.path("data"));
    for id in 1..=600 {
        peer.send(&json!({ "id": id, "cmdid": 1002 }).to_string());
    }
    let mut figures = || peer.ask("{\"cmdid\":3}")["data"]["blocking"].take();
    let begun = std::time::Instant::now();
    while figures()["running"] != 2 {
        assert!(begun.elapsed() < PATIENCE, "{}", figures());
    }
    assert_eq!(figures()["waiting"], 598);

    daemon.signal("HUP");
    daemon.log_line("reloaded: nothing has changed");
    daemon.signal("TERM");
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// What systemd would hear.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 4096];
        let read = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    /// The next message with this line.
    fn hear_of(&self, line: &str) -> String {
        loop {
            let message = self.hear();
            if message.lines().any(|told| told == line) {
                return message;
            }
        }
    }
}

#[test]
fn systemd_is_told_of_readiness_reloads_life_and_the_end() {
    let place = Place::new();
    let path = place.path("notify");
    let manager = Manager::at(&path);
    let env = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "50000"),
    ];
    let mut daemon = place.start("listen = [\"127.0.0.1:0\"]", &env);
    let address = daemon.address();
    let ready = manager.hear_of("READY=1");
    assert!(
        ready.contains(&format!("STATUS=listening on {address}\n")),
        "{ready}"
    );
    manager.hear_of("WATCHDOG=1");
    manager.hear_of("WATCHDOG=1");
    daemon.signal("HUP");
    let reloading = manager.hear_of("RELOADING=1");
    let time = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .unwrap();
    assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
    manager.hear_of("READY=1");
    manager.hear_of("WATCHDOG=1");
    daemon.signal("TERM");
    manager.hear_of("STOPPING=1");
    let (status, log) = daemon.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A runtime that is stopped says nothing: that is what the watchdog is for.
#[test]
fn a_process_that_is_stuck_is_silent_to_the_watchdog() {
    let place = Place::new();
    let path = place.path("notify");
    let manager = Manager::at(&path);
    let env = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "20000"),
    ];
    let daemon = place.start("listen = [\"127.0.0.1:0\"]", &env);
    manager.hear_of("WATCHDOG=1");
    daemon.signal("STOP");
    manager
        .0
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // What was sent before.
    let mut bytes = [0; 4096];
    let mut heard = 0;
    while manager.0.recv(&mut bytes).is_ok() {
        heard += 1;
        assert!(heard < 100, "it goes on");
    }
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    daemon.signal("CONT");
    manager.hear_of("WATCHDOG=1");
}

#[test]
fn a_token_is_hashed_from_standard_input_and_a_short_one_is_refused() {
    let hash = |token: &str| {
        let mut child = command();
        child
            .arg("--hash-token")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Command::spawn(&mut child).unwrap();
        writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    assert_eq!(
        hash(TOKEN),
        (Some(0), format!("{}\n", Tokens::hash(TOKEN).unwrap()))
    );
    assert_eq!(hash("password"), (Some(2), String::new()));
}

#[test]
fn sighup_puts_the_access_log_and_the_limits_of_connections_into_effect_for_open_connections() {
    let place = Place::new();
    let listen = "listen = [\"127.0.0.1:0\"]";
    let mut daemon = place.start(listen, &[]);
    let address = daemon.address();
    let mut peer = Peer::connect(&address);
    assert_eq!(
        peer.ask("{\"cmdid\":10000,\"params\":\"before\"}")["code"],
        0
    );

    place.configure(&format!(
        "{listen}\n[access_log]\nper_million = 1000000\n[limits]\nconnections_max = 1\n[drain]\ntimeout_ms = 9000"
    ));
    daemon.signal("HUP");
    daemon.log_line("reloaded: access_log.per_million 1000000");
    daemon.log_line("reloaded: limits.connections_max 1");
    let line = daemon.log_line("needs a restart");
    assert!(line.contains("keys=drain.timeout_ms"), "{line}");

    assert_eq!(peer.ask("{\"cmdid\":10000,\"id\":77}")["code"], 0);
    let line = daemon.log_line("latency_us=");
    assert!(line.contains("id=77"), "{line}");
    let refused = Peer::connect(&address).ask("{\"cmdid\":10000}");
    assert_eq!(refused["code"], 8, "{refused}");

    // What cannot work changes nothing.
    place.configure(&format!("{listen}\n[limits]\nconnections_max = 0"));
    daemon.signal("HUP");
    daemon.log_line("`limits.connections_max` is 0 and must be at least 1");
    assert_eq!(Peer::connect(&address).ask("{\"cmdid\":10000}")["code"], 8);

    place.configure(listen);
    daemon.signal("HUP");
    daemon.log_line("reloaded: limits.connections_max 10000");
    assert_eq!(Peer::connect(&address).ask("{\"cmdid\":10000}")["code"], 0);
    assert_eq!(peer.ask("{\"cmdid\":10000}")["code"], 0);
}

#[test]
fn a_limit_on_the_size_of_files_fails_what_is_too_large_and_the_daemon_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let daemon = command();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -f 16; exec \"$0\" \"$@\""])
        .arg(daemon.get_program())
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        // The outbox of the SMS service takes more than the limit from the start.
        .env("RPC_SERVER_SERVICES", "log");
    let mut daemon = Running::spawn(limited);
    let mut peer = daemon.connect();
    let mut append = |message: String| {
        let params = json!({"level": "info", "service": "s", "message": message});
        peer.ask(&json!({"cmdid": 1001, "params": params}).to_string())
    };

    assert_eq!(append("small".into())["data"]["seq"], 1);
    let reply = append("x".repeat(20_000));
    assert_eq!(reply["code"], 8, "{reply}");
    for seq in 3..=10 {
        assert_eq!(append("y".repeat(3_000))["data"]["seq"], seq);
    }

    daemon.log_line("SIGXFSZ");
    daemon.signal("TERM");
    let (status, log) = daemon.ended();
    assert!(status.success(), "{log}");
}

/// A daemon whose standard error is not read, on a socket of its own, which logs each call.
fn start_unread(place: &Place) -> (Child, String) {
    let socket = place.path("rpc.sock");
    let child = command()
        .args([
            "--listen",
            &format!("unix:{}", socket.display()),
            "--data-dir",
        ])
        .arg(place.path("data"))
        .env("RPC_SERVER_ACCESS_LOG_PER_MILLION", "1000000")
        .env("RPC_SERVER_LOG_LINES_BYTES_MAX", "16384")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    (child, socket.display().to_string())
}

/// Connects once the daemon listens.
fn connect_unix(socket: &str) -> Peer<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Peer::over(stream),
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// More calls than a pipe and the queue of the log together have room for.
fn call_often(peer: &mut Peer<UnixStream>) {
    let params = "x".repeat(500);
    for n in 0..1_000 {
        let call = json!({"id": n, "cmdid": 10_000, "params": params});
        assert_eq!(peer.ask(&call.to_string())["code"], 0);
    }
    assert_eq!(
        peer.ask(r#"{"cmdid":0,"params":"still here"}"#)["data"],
        "still here"
    );
}

#[test]
fn a_standard_error_that_is_not_read_holds_up_neither_calls_nor_pages_nor_the_end() {
    let place = Place::new();
    let (mut child, socket) = start_unread(&place);
    call_often(&mut connect_unix(&socket));

    let mut page = UnixStream::connect(&socket).unwrap();
    page.set_read_timeout(Some(PATIENCE)).unwrap();
    page.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    terminate(&child);
    assert!(child.wait().unwrap().success());
}

fn terminate(child: &Child) {
    let kill = ["-TERM", &child.id().to_string()];
    assert!(Command::new("kill").args(kill).status().unwrap().success());
}

#[test]
fn what_was_dropped_while_standard_error_was_not_read_is_said_once_it_is() {
    let place = Place::new();
    let (mut child, socket) = start_unread(&place);
    call_often(&mut connect_unix(&socket));

    // Its end waits for the log to be written, which ends the log.
    terminate(&child);
    let mut log = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success());

    let told = log
        .lines()
        .find(|line| line.contains("lines of this log were dropped"));
    assert!(
        told.is_some_and(|told| told.contains("ERROR") && told.contains("dropped=")),
        "{log}"
    );
}
