//! Runs every example, and looks at what it prints.

#[path = "../../rpc-server/tests/needs/mod.rs"]
mod needs;
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{run, says, stdout, text};

const AUTH: &str = env!("CARGO_BIN_EXE_auth");
const BALANCE: &str = env!("CARGO_BIN_EXE_balance");
const BLOCKING: &str = env!("CARGO_BIN_EXE_blocking");
const CHAOS: &str = env!("CARGO_BIN_EXE_chaos");
const CHECKOUT: &str = env!("CARGO_BIN_EXE_checkout");
const FAILOVER: &str = env!("CARGO_BIN_EXE_failover");
const GATEWAY: &str = env!("CARGO_BIN_EXE_gateway");
const HELLO: &str = env!("CARGO_BIN_EXE_hello");
const KEEPALIVE: &str = env!("CARGO_BIN_EXE_keepalive");
const LAYERS: &str = env!("CARGO_BIN_EXE_layers");
const LONGPOLL: &str = env!("CARGO_BIN_EXE_longpoll");
const MAKE_ROOM: &str = env!("CARGO_BIN_EXE_make_room");
const NO_SOCKET: &str = env!("CARGO_BIN_EXE_no_socket");
const ORDERS: &str = env!("CARGO_BIN_EXE_orders");
const SHORT_LONG: &str = env!("CARGO_BIN_EXE_short_long");
const SHUTDOWN: &str = env!("CARGO_BIN_EXE_shutdown");
const SOAK: &str = env!("CARGO_BIN_EXE_soak");
const STREAM: &str = env!("CARGO_BIN_EXE_stream");
const TLS: &str = env!("CARGO_BIN_EXE_tls");
const TORNADO_PARITY: &str = env!("CARGO_BIN_EXE_tornado_parity");
const TOWER_LAYERS: &str = env!("CARGO_BIN_EXE_tower_layers");
const TRACED: &str = env!("CARGO_BIN_EXE_traced");

/// The programs for a newcomer, and what each prints, in this order.
const FIRST: [(&str, &[&str]); 9] = [
    (
        AUTH,
        &[
            "with the token: Some(\"orders\")",
            "not granted: code 7 ",
            "without a token: code 16 ",
        ],
    ),
    (BLOCKING, &["this program has ", "refused: ", "code 5 "]),
    (HELLO, &["Hello world!", "refused: code 3 "]),
    (
        LAYERS,
        &["command 100: 0 OK, ", "fast", "command 101: 5 NOT_FOUND, "],
    ),
    (NO_SOCKET, &["ann has a book", "bob's card has expired"]),
    (
        SHUTDOWN,
        &[
            "finished, though the server was asked to stop",
            "is_clean: true",
            "not sent",
        ],
    ),
    (STREAM, &["1009\n1013\n1019\n1021\n1031\n"]),
    (TLS, &["encrypted"]),
    (
        TOWER_LAYERS,
        &["again: ", "code 8 ", r#"["done", "done", "done"]"#],
    ),
];

#[test]
fn the_first_examples_do_what_they_say_in_under_60_lines() {
    for (program, expected) in FIRST {
        says(&stdout(&run(program, &[])), expected);

        let name = Path::new(program).file_name().unwrap().to_str().unwrap();
        let source = format!("{}/src/bin/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let lines = std::fs::read_to_string(source).unwrap().lines().count();
        assert!(lines < 60, "{name} has {lines} lines");
    }
}

#[test]
fn every_example_is_run_by_a_test() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let found: BTreeSet<String> = std::fs::read_dir(examples)
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();

    let first = FIRST.iter().map(|(program, _)| *program);
    let tested = first
        .chain([
            BALANCE,
            CHAOS,
            CHECKOUT,
            FAILOVER,
            GATEWAY,
            KEEPALIVE,
            LONGPOLL,
            MAKE_ROOM,
            ORDERS,
            SHORT_LONG,
            SOAK,
            TORNADO_PARITY,
            TRACED,
        ])
        .map(|path| Path::new(path).file_stem().unwrap())
        .map(|name| name.to_str().unwrap().to_owned());

    assert_eq!(found, tested.collect());
}

#[test]
fn long_connections_are_compared_with_short_ones() {
    says(
        &stdout(&run(SHORT_LONG, &[Path::new("--quick")])),
        &[
            "100 callers",
            "plain  one for each call ",
            "1.0 x",
            "plain  one for each caller ",
            "plain  one for all ",
            "TLS    one for each call ",
            "1.0 x",
            "TLS    one for each caller ",
            "TLS    one for all ",
            "Look at `times`",
        ],
    );
}

/// On a machine without Redis the program says what is missing.
#[test]
fn each_message_of_a_redis_list_reaches_the_client_that_waits_for_it() {
    let output = run(LONGPOLL, &[Path::new("--quick")]);
    if !needs::has("redis-server", "redis-server") {
        assert!(text(&output.stderr).contains("apt-get install redis-server"));
        return;
    }

    says(
        &stdout(&output),
        &[
            "100 clients wait, and 200 messages a second",
            "long polling ",
            "200         200 ",
            "server-sent events ",
            "200         200 ",
            "Look at the time",
        ],
    );
}

#[test]
fn an_order_is_one_trace_through_two_services() {
    let output = stdout(&run(TRACED, &[]));
    says(
        &output,
        &[
            "paid 250 cents",
            "trace ",
            ": rpc_call > shop.check_out > payments.charge",
        ],
    );
}

#[test]
fn orders_are_served_until_standard_input_ends() {
    let mut orders = Command::new(ORDERS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let mut stdout = BufReader::new(orders.stdout.take().unwrap());
    stdout.read_line(&mut address).unwrap();

    let mut connection = TcpStream::connect(address.trim()).unwrap();
    let place = "{\"cmdid\":2001,\"params\":{\"item\":\"pear\",\"count\":101}}\n";
    connection.write_all(place.as_bytes()).unwrap();
    let mut reply = String::new();
    BufReader::new(&connection).read_line(&mut reply).unwrap();
    assert_eq!(
        reply,
        "{\"code\":1001,\"message\":\"only 100 of `pear` are left\",\"details\":{\"item\":\"pear\",\"left\":100}}\n"
    );

    drop((connection, orders.stdin.take()));
    assert!(orders.wait().unwrap().success());
}

#[test]
fn chaos_judges_a_daemon_under_bad_peers() {
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(CHAOS);
    command
        .args(["--quick", "--only", "half-close", "--out"])
        .arg(out.path());

    says(
        &stdout(&command.output().unwrap()),
        &["| half-close |", "| pass |", "1 rows, 0 missed"],
    );

    let table = std::fs::read_to_string(out.path()).unwrap();
    says(
        &table,
        &[
            "| row | p99 alone, ms |",
            "| half-close |",
            "1 rows, 0 missed",
        ],
    );

    let unknown = Command::new(CHAOS)
        .args(["--only", "no such row"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn soak_finds_both_books_the_same_and_nothing_left() {
    let output = Command::new(SOAK)
        .args(["--minutes", "0.1"])
        .output()
        .unwrap();

    says(
        &stdout(&output),
        &[
            "| replies that were wrong | 0 ",
            "did not though answered | 0 |",
            "| calls that ran twice | 0 |",
            "all of it held",
        ],
    );
}

#[test]
fn failover_keeps_its_promises_for_a_few_rounds() {
    let output = Command::new(FAILOVER).arg("3").output().unwrap();
    says(
        &stdout(&output),
        &[
            "kill -9 of one of three servers, 3 times, under calls that may run once only",
            "round 3: server 0 killed:",
            "every verdict is true:",
            "under idempotent calls",
            "every verdict is true:",
            "rolling restarts with drain, 3 times",
            "0 did not run, 0 may have run",
            "shares of servers that take 1, 1 and 20 ms",
            "all of it held",
        ],
    );
}

#[test]
fn checkout_charges_no_order_twice_whatever_its_seed_brings() {
    let output = stdout(&run(CHECKOUT, &[]));
    says(
        &output,
        &[
            "called as a function: order 7 is Paid",
            "params that do not fit: code 3 INVALID_ARGUMENT: `params`",
            "with faults by seed 7: {Paid: ",
            "Unknown: ",
            " charges: not sent ",
            "over a connection in memory: order 8 is Paid",
        ],
    );

    // By its seed, each run is the same.
    assert_eq!(output, stdout(&run(CHECKOUT, &[])));
}

#[test]
fn the_gateway_passes_its_deadline_and_its_trace_on_over_one_connection_to_each_service() {
    let output = stdout(&run(GATEWAY, &[]));
    says(
        &output,
        &[
            "a request: 4 pears at 400 cents",
            " ms left, in trace 00-4bf92f3577b34da6a3ce929d0e0e4736-",
            " ms left, in trace 00-4bf92f3577b34da6a3ce929d0e0e4736-",
            "a slow service: 504 Gateway Timeout after 1",
            "stock  took 1282 requests over 1 connection",
            // Those of the stock, and the cancel of the call that was too slow.
            "prices took 1283 requests over 1 connection",
        ],
    );
}

#[test]
fn keepalive_shows_two_connections_or_one_and_one_behind_the_gateway() {
    /// The ports of the row that begins so.
    fn ports<'o>(output: &'o str, row: &str) -> (&'o str, &'o str) {
        let line = output.lines().find(|line| line.trim().starts_with(row));
        let line = line.unwrap();
        let ports = line.split_once("from ports ").unwrap().1;
        let ports = ports.split_once(';').unwrap().0;
        ports.split_once(" and ").unwrap()
    }

    for (kind, direct) in [("short", 2), ("long", 1)] {
        let output = stdout(&run(KEEPALIVE, &["--type", kind].map(Path::new)));
        let (first, second) = ports(&output, "direct");
        assert_eq!(first == second, direct == 1, "{output}");
        let (first, second) = ports(&output, "gateway");
        assert_eq!(first, second, "{output}");

        let counts = format!("the service counts {direct}, ss sees {} open", 2 - direct);
        says(&output, &[&counts, "the service counts 1, ss sees 1 open"]);
    }
}

#[test]
fn newcomers_at_a_full_server_are_served_and_only_idle_connections_with_ids_make_room() {
    let sizes = ["--idle", "400", "--newcomers", "40"].map(Path::new);
    let output = stdout(&run(MAKE_ROOM, &sizes));

    // The numbers of a row: connections, asked to go, calls, failed.
    let row = |name: &str| -> Vec<u64> {
        let line = output.lines().find(|line| line.starts_with(name)).unwrap();
        let numbers = line[name.len()..].split_whitespace();
        numbers.map(|number| number.parse().unwrap()).collect()
    };
    assert_eq!(row("newcomers"), [40, 0, 40, 0], "{output}");
    assert_eq!(row("idle, without ids"), [4, 0, 4, 0], "{output}");
    assert_eq!(row("with a call in flight"), [4, 0, 4, 0], "{output}");

    // Of those that read late, each is asked: they have been idle for longest.
    let late = row("idle, read their goaway when they call again");
    assert_eq!(late, [20, 20, 20, 0], "{output}");
    let prompt = row("idle, read their goaway at once");
    assert_eq!(prompt, [380, 20, 360, 0], "{output}");
    says(&output, &["has asked 40 connections to go, and refused 0"]);
}

#[test]
fn balance_shows_which_servers_get_the_calls() {
    let output = stdout(&run(BALANCE, &["--calls", "80"].map(Path::new)));
    let shares = |name: &str| -> Option<Vec<u64>> {
        let line = output.lines().find(|line| line.starts_with(name))?;
        let (_, shares) = line.trim_start_matches(name).trim().split_once("   ")?;
        Some(shares.split(", ").map(|n| n.parse().unwrap()).collect())
    };

    for name in [
        "2 clients with a list of the servers",
        "2 clients with dns:",
    ] {
        let shares = shares(name).unwrap_or_else(|| panic!("{name}: {output}"));
        assert_eq!(shares.iter().sum::<u64>(), 80, "{output}");
        assert!(shares.iter().all(|&calls| calls > 0), "{output}");
    }
    let threads = shares("one server with workers = 4, 64 connections that are kept");
    assert_eq!(threads.unwrap().iter().sum::<u64>(), 80, "{output}");

    // Where nginx is not installed, its rows are left out, and the program says so.
    let kept = shares("2 clients behind nginx that keep their connection");
    let short = shares("2 clients behind nginx, a connection for each call");
    let by_age = shares("2 clients behind nginx, drain.connection_age_max_ms = 100");
    match (kept, short, by_age) {
        (Some(kept), Some(short), Some(by_age)) => {
            let idle = kept.iter().filter(|&&calls| calls == 0).count();
            assert_eq!(idle, 2, "{output}");
            assert_eq!(short, [20, 20, 20, 20], "{output}");
            assert!(by_age.iter().all(|&calls| calls > 0), "{output}");
        }
        (None, None, None) => {
            assert!(
                output.contains("skipped: the rows behind nginx"),
                "{output}"
            );
            needs::leave_out("nginx is not installed (Debian: nginx-light, libnginx-mod-stream)");
        }
        _ => panic!("{output}"),
    }
}

#[test]
fn tornado_parity_answers_the_old_client_in_order_and_the_modern_one() {
    let output = stdout(&run(TORNADO_PARITY, &[]));
    says(
        &output,
        &[
            "three requests in one packet",
            r#"< {"code":0}"#,
            r#"< {"code":0}"#,
            r#"< {"code":0}"#,
            r#"< {"code":0,"data":3}"#,
            r#"< {"code":3,"message":"`params`: missing field `content`"}"#,
            r#"< {"code":12,"message":"no command has cmdid 4711"#,
            r#"< {"code":0}"#,
            "the test command has run 7 times",
            "params that do not fit: 127.0.0.1:",
            "server: 12 requests on 2 connections",
        ],
    );
}

#[test]
fn tornado_parity_serves_the_original_client_until_it_is_interrupted() {
    let mut server = Listening::start();
    let mut socket = TcpStream::connect(&server.address).unwrap();

    // What Client/Demo.py sends, in the order in which Python 2 writes the fields.
    let request = "{\"timestamp\": 1437000000, \"params\": {\"content\": \"Hello world!\"}, \"cmdid\": 10000}\n";
    socket.write_all(request.as_bytes()).unwrap();

    let mut reply = String::new();
    BufReader::new(&socket).read_line(&mut reply).unwrap();
    assert_eq!(reply, "{\"code\":0}\n");
    drop(socket);

    // The shell's own `kill`: the program of that name is not everywhere.
    let kill = format!("kill -INT {}", server.child.id());
    let interrupted = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(interrupted.success());

    let mut rest = String::new();
    server.stdout.read_to_string(&mut rest).unwrap();
    says(
        &rest,
        &[
            "server: \"Hello world!\" from 127.0.0.1:",
            "made at 1437000000",
            "stopped",
        ],
    );

    assert!(server.child.wait().unwrap().success());
}

#[test]
fn tornado_parity_is_a_client_of_servers_without_ids() {
    let server = Listening::start();
    let address = Path::new(&server.address);
    let call = Path::new("--call");

    let expected = |count: &str| {
        let count = format!("how often it has run: {count}\n");
        [
            "the test command: done",
            "code 3",
            &count,
            "a second on one connection",
        ]
        .map(str::to_owned)
    };
    let lines = stdout(&run(TORNADO_PARITY, &[call, address]));
    says(&lines, &expected("1").each_ref().map(String::as_str));
    let undelimited = Path::new("--undelimited");
    let objects = stdout(&run(TORNADO_PARITY, &[call, address, undelimited]));
    says(&objects, &expected("2").each_ref().map(String::as_str));
}

#[test]
fn tornado_parity_puts_an_http_server_before_the_service_and_no_request_fails() {
    let arguments = ["--front", "--quick"].map(Path::new);
    let table = stdout(&run(TORNADO_PARITY, &arguments));
    says(
        &table,
        &[
            "in a second",
            "rpc, one connection",
            "100 in ",
            "500 in ",
            "HTTP, kept",
            "500 in ",
            "HTTP, short",
            "500 in ",
            "The front had 1 connection to the rpc service",
        ],
    );
    assert!(!table.contains("failed"), "{table}");
}

/// `tornado_parity --listen`, killed where the test ends before it.
struct Listening {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Listening {
    fn start() -> Self {
        let mut command = Command::new(TORNADO_PARITY);
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();

        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("listening on ")
            .and_then(|rest| rest.split_once(';'))
            .unwrap()
            .0
            .to_owned();

        Self {
            child,
            stdout,
            address,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
