use std::fs::OpenOptions;
use std::io::Read;

use crate::support::{Server, command, nowhere, peer, rpc_at, silent_peer};

#[test]
fn an_error_of_the_server_exits_with_1_and_names_address_code_and_what_to_do() {
    let server = Server::start();
    let check = |arguments: &[&str], stderr: &str| {
        server
            .rpc(arguments)
            .assert(1, "", &stderr.replace("ADDRESS", &server.address));
    };
    check(
        &["call", "9"],
        "rpc: ADDRESS: code 12 UNIMPLEMENTED: no built-in command has cmdid 9; 0-99 are the protocol's, services begin at 100\n\
         hint: `rpc describe` lists all commands\n",
    );
    check(
        &[
            "call",
            "10006",
            r#"{"code":1042,"message":"refused","details":{"by": "gateway"}}"#,
        ],
        "rpc: ADDRESS: code 1042: refused\n\
         details: {\"by\": \"gateway\"}\n\
         hint: 1042 is a code of the service: its documentation says what to do\n",
    );
    check(
        &[
            "call",
            "10006",
            r#"{"code":8,"message":"full","rejected":true,"retry_after_ms":100}"#,
        ],
        "rpc: ADDRESS: code 8 RESOURCE_EXHAUSTED: full (rejected: it did not run) (retry after 100 ms)\n\
         hint: try again in 100 ms\n",
    );
    check(
        &["call", "10002"],
        "rpc: ADDRESS: code 13 INTERNAL: the handler of cmdid 10002 failed; the server's log says how\n\
         hint: the cause is in the server's log\n",
    );
}

#[test]
fn what_the_server_says_cannot_steer_the_terminal() {
    let server = Server::start();
    let ran = server.rpc(&[
        "call",
        "10006",
        r#"{"code":2,"message":"\u001b[2J\nrpc: all is well\u009b"}"#,
    ]);
    let first = ran.stderr.lines().next().unwrap();
    assert!(
        first.ends_with(r"code 2 UNKNOWN: \u001b[2J\nrpc: all is well\u009b"),
        "{first}"
    );
}

#[test]
fn usage_exits_with_2_before_anything_is_connected() {
    let dir = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], says: &str| {
        let ran = rpc_at(&nowhere(&dir), arguments, "{\"half\":");
        assert_eq!(
            (ran.exit, ran.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    };
    check(&[], "Usage: rpc [OPTIONS] <COMMAND>");
    check(&["cal"], "'call'");
    check(&["call"], "<NAME>");
    check(
        &["call", "4294967296"],
        "`4294967296` is not a cmdid: those are 0 to 4294967295",
    );
    check(&["call", "x", "{a:1}"], "params: not valid JSON");
    check(
        &["call", "0", "{a:1}"],
        "rpc: params: not valid JSON at byte 1: expected a key in double quotes\nhint: ",
    );
    check(
        &["notify", "0", "{} {}"],
        "rpc: params: not valid JSON at byte 3",
    );
    check(
        &["call", "0", "-"],
        "rpc: params from standard input: not valid JSON at byte 8",
    );
    check(&["call", "0", "--meta", "x"], "it must be KEY=VALUE");
    check(
        &["ping", "--timeout", "5"],
        "time unit needed, for example 5sec or 5ms",
    );
    check(&["ping", "--timeout", "0s"], "it must be at least 1ms");
    check(&["ping", "-c", "0"], "0 is not in 1..");
    check(
        &["log", "append", "--level", "loud", "x"],
        "expected one of trace, debug, info, warn, error, fatal",
    );
    check(
        &["log", "append", "--field", "x:=y", "x"],
        "`y` is not valid JSON",
    );
    check(
        &["log", "append", "--field", "x=1", "--field", "x:=2", "x"],
        "rpc: `--field` names the key `x` twice\nhint: give each key once",
    );
    check(
        &["call", "0", "--meta", "x=1", "--meta", "x=2"],
        "rpc: `--meta` names the key `x` twice\nhint: give each key once",
    );
    check(
        &["log", "read", "--all", "--limit", "7"],
        "cannot be used with",
    );
    check(&["log", "tail", "--json", "--text"], "cannot be used with");
}

#[test]
fn what_is_not_an_address_is_usage() {
    let hint = "hint: name the server with --addr HOST:PORT, --addr unix:PATH or RPC_ADDR\n";
    rpc_at("localhost", &["ping"], "").assert(
        2,
        "",
        &format!("rpc: `--addr` = \"localhost\": missing port; write HOST:PORT\n{hint}"),
    );
    let ran = rpc_at("localhost:http", &["ping"], "");
    assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.ends_with(hint), "{}", ran.stderr);
}

#[test]
fn a_server_that_cannot_be_reached_exits_with_3_whatever_the_subcommand() {
    let dir = tempfile::tempdir().unwrap();
    let address = nowhere(&dir);
    let stderr = format!(
        "rpc: {address}: code 14 UNAVAILABLE: not sent: cannot connect: No such file or directory (os error 2)\n\
         hint: is the daemon running there? start it with `rpc-server`, or name another address with --addr or RPC_ADDR\n"
    );
    let subcommands: [&[&str]; 13] = [
        &["call", "0"],
        &["call", "0", "--stream"],
        &["notify", "0"],
        &["ping"],
        &["health"],
        &["stats"],
        &["describe"],
        &["describe", "--json"],
        &["pipe"],
        &["log", "append", "x"],
        &["log", "append", "-"],
        &["log", "read"],
        &["log", "tail"],
    ];
    for subcommand in subcommands {
        rpc_at(&address, subcommand, "{\"cmdid\":0}\n").assert(3, "", &stderr);
    }
}

#[test]
fn a_connection_that_is_lost_exits_with_3_and_says_that_the_call_may_have_run() {
    let address = peer(|mut stream| {
        stream.read_exact(&mut [0; 8]).unwrap();
    });
    let ran = rpc_at(&address, &["call", "0"], "");
    assert_eq!((ran.exit, ran.stdout.as_str()), (3, ""));
    let start = format!("rpc: {address}: code 14 UNAVAILABLE: sent, and may have run: the ");
    assert!(ran.stderr.starts_with(&start), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("\nhint: it may have run: check before you send it again."),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_deadline_exits_with_4_whether_client_or_server_notices_it() {
    let server = Server::start();
    let check = |arguments: &[&str]| {
        let ran = server.rpc(arguments);
        assert_eq!((ran.exit, ran.stdout.as_str()), (4, ""), "{}", ran.stderr);
        let start = format!("rpc: {}: code 4 DEADLINE_EXCEEDED: ", server.address);
        assert!(
            ran.stderr.starts_with(&start) && ran.stderr.contains("--timeout"),
            "{}",
            ran.stderr
        );
    };
    check(&["call", "10001", r#"{"ms":60000}"#, "--timeout", "50ms"]);
    check(&[
        "--timeout",
        "50ms",
        "call",
        "--ordered",
        "10001",
        r#"{"ms":60000}"#,
    ]);
    check(&["call", "10006", r#"{"code":4,"message":"late"}"#]);

    let silent = silent_peer();
    rpc_at(&silent, &["call", "0", "--timeout", "2s"], "").assert(
        4,
        "",
        &format!(
            "rpc: {silent}: code 4 DEADLINE_EXCEEDED: no reply before the deadline; the call may have run\n\
             hint: it may have run: check before you send it again; --timeout allows more time\n"
        ),
    );
}

#[test]
fn notify_fails_where_the_server_does_not_read() {
    let silent = silent_peer();
    rpc_at(&silent, &["notify", "1001", "--timeout", "2s"], "").assert(
        4,
        "",
        &format!(
            "rpc: {silent}: code 4 DEADLINE_EXCEEDED: no reply before the deadline; the call may have run\n\
             hint: it may have run: check before you send it again; --timeout allows more time\n"
        ),
    );
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let server = Server::start();
    let mut stream = server.start_rpc(&["call", "10005", "--stream", r#"{"n":1000000}"#]);
    assert_eq!(stream.next_line(), r#"{"i":0}"#);
    assert_eq!(stream.close_stdout(), (0, String::new()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    let server = Server::start();
    for arguments in [&["call", "1"][..], &["describe"], &["ping", "-c", "1"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(&server.address, arguments)
            .stdout(full)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            stderr,
            "rpc: cannot write to standard output: No space left on device (os error 28)\n"
        );
    }
}

#[test]
fn help_and_version_are_data() {
    let ran = rpc_at("", &["--version"], "");
    ran.assert(0, concat!("rpc ", env!("CARGO_PKG_VERSION"), "\n"), "");
    let help = rpc_at("", &["--help"], "").data();
    assert!(help.contains("Exit codes:\n  0  "), "{help}");
    for subcommand in [
        "call", "notify", "ping", "health", "stats", "describe", "pipe", "log",
    ] {
        assert!(help.contains(&format!("\n  {subcommand} ")), "{subcommand}");
        rpc_at("", &[subcommand, "--help"], "").data();
    }
}

#[test]
fn an_empty_variable_of_the_environment_counts_as_not_set() {
    let server = Server::start();
    let run = |name: &str, arguments: &[&str]| {
        let mut command = command(&server.address, arguments);
        let output = command.env(name, "").output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };

    assert_eq!(run("RPC_TOKEN_FILE", &["health"]), (Some(0), String::new()));

    // A server there or none: it is the default address that is asked.
    let (exit, message) = run("RPC_ADDR", &["health", "--timeout", "1s"]);
    assert!(
        exit == Some(0) || message.contains("127.0.0.1:8889"),
        "{message}"
    );
}

#[test]
fn the_client_s_log_is_shown_at_the_level_of_the_flag_or_else_of_rust_log() {
    let server = Server::start();
    let logged = |flags: &[&str], rust_log: &str| {
        let arguments = [flags, &["call", "0", "1"]].concat();
        let mut command = command(&server.address, &arguments);
        let output = command.env("RUST_LOG", rust_log).output().unwrap();
        assert_eq!(output.stdout, b"1\n");
        String::from_utf8(output.stderr).unwrap()
    };

    assert_eq!(logged(&[], ""), "");
    assert!(logged(&["--log-level", "debug"], "").contains("connected"));
    assert!(logged(&[], "rpc_client=debug").contains("connected"));
    assert_eq!(logged(&["--log-level", "warn"], "debug"), "");
}

#[test]
fn a_wrong_log_level_is_a_usage_error_that_names_the_flag_or_the_variable() {
    let refused = |flags: &[&str], rust_log: &str| {
        let arguments = [flags, &["call", "0", "1"]].concat();
        let mut command = command("unix:/nowhere", &arguments);
        let output = command.env("RUST_LOG", rust_log).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };

    let wrong = "\"inof\" must be error, warn, info, debug, trace or off";
    let message = refused(&["--log-level", "inof"], "");
    assert!(
        message.contains(&format!("`--log-level` = \"inof\": {wrong}")),
        "{message}"
    );
    let message = refused(&[], "inof");
    assert!(
        message.contains(&format!("`RUST_LOG` = \"inof\": {wrong}")),
        "{message}"
    );
}
