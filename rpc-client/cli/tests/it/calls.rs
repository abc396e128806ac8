use crate::support::{Server, command, rpc_at};

#[test]
fn call_prints_only_the_data_as_the_server_sent_it() {
    let server = Server::start();
    let check = |arguments: &[&str], stdout: &str| server.rpc(arguments).assert(0, stdout, "");
    check(&["call", "10004", r#"{"a":1,"b":2}"#], "{\"sum\":3}\n");
    check(
        &[
            "call",
            "0",
            r#"{"b": 1.0, "a": ["é", 12345678901234567890123]}"#,
        ],
        "{\"b\": 1.0, \"a\": [\"é\", 12345678901234567890123]}\n",
    );
    check(&["call", "0"], "{}\n");
    check(&["call", "0", "null"], "null\n");
    check(&["call", "0", "-5"], "-5\n");
}

#[test]
fn a_reply_without_data_prints_nothing() {
    Server::start()
        .rpc(&["call", "10000", r#"{"name":"world"}"#])
        .assert(0, "", "");
}

#[test]
fn params_come_from_standard_input_on_a_dash() {
    let server = Server::start();
    let input = "{\n  \"a\": 40,\n  \"b\": 2\n}\n";
    server
        .rpc_with_input(&["call", "10004", "-"], input)
        .assert(0, "{\"sum\":42}\n", "");
}

#[test]
fn address_and_timeout_are_taken_before_and_behind_the_subcommand_and_override_the_environment() {
    let server = Server::start();
    let check = |arguments: &[&str]| rpc_at("unix:/nowhere", arguments, "").assert(0, "1\n", "");
    check(&[
        "--addr",
        &server.address,
        "--timeout",
        "1m",
        "call",
        "0",
        "1",
    ]);
    check(&[
        "call",
        "0",
        "1",
        "--timeout",
        "1.5s",
        "--addr",
        &server.address,
    ]);
    check(&["call", "--addr", &server.address, "0", "1"]);
}

#[test]
fn without_an_address_it_is_the_daemons_default() {
    let mut command = command("", &["call", "0"]);
    let help = command
        .env_remove("RPC_ADDR")
        .arg("--help")
        .output()
        .unwrap();
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("[default: 127.0.0.1:8889]")
    );
}

#[test]
fn metadata_the_timeout_and_the_missing_id_reach_the_server() {
    let server = Server::start();
    let told = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&server.rpc(&[&["call", "10007"], arguments].concat()).data()).unwrap()
    };
    let multiplexed = told(&["--meta", "a=b", "--meta", "c=d=e", "--timeout", "600s"]);
    assert_eq!(
        multiplexed["meta"],
        serde_json::json!({"a": "b", "c": "d=e"})
    );
    assert!(multiplexed["id"].is_u64());
    assert!((60_000..=600_000).contains(&multiplexed["timeout_ms"].as_u64().unwrap()));
    let ordered = told(&["--ordered"]);
    assert!(ordered["id"].is_null());
    assert!(ordered["timestamp"].as_i64().unwrap() > 0);
}

#[test]
fn each_item_of_a_stream_is_a_line() {
    let server = Server::start();
    server
        .rpc(&["call", "10005", "--stream", r#"{"n":3}"#])
        .assert(0, "{\"i\":0}\n{\"i\":1}\n{\"i\":2}\n", "");
    server
        .rpc(&["call", "10005", "--stream", r#"{"n":0}"#])
        .assert(0, "", "");
    let many = server
        .rpc(&["call", "10005", "--stream", r#"{"n":100000}"#])
        .data();
    assert_eq!(many.lines().count(), 100_000);
    assert!(many.ends_with("{\"i\":99999}\n"));
    // A command that answers once is a stream of one.
    server
        .rpc(&["call", "0", "--stream", "7"])
        .assert(0, "7\n", "");
}

#[test]
fn a_stream_that_is_called_as_one_reply_says_how_to_call_it() {
    let server = Server::start();
    let address = &server.address;
    server.rpc(&["call", "10005", r#"{"n":3}"#]).assert(
        1,
        "",
        &format!(
            "rpc: {address}: code 13 INTERNAL: the command answers with a stream; call it as a stream\n\
             hint: call a command that streams with `rpc call --stream`, or by its name\n"
        ),
    );
}

#[test]
fn notify_prints_nothing_and_has_sent_when_it_ends() {
    let server = Server::start();
    let entry = r#"{"level":"info","service":"cron","message":"done"}"#;
    server.rpc(&["notify", "1001", entry]).assert(0, "", "");
    // Waits for it, where it is not there yet.
    let page = server
        .rpc(&["call", "1002", r#"{"wait_ms":20000}"#, "--timeout", "25s"])
        .data();
    assert!(page.contains(r#""message":"done""#), "{page}");
    server
        .rpc_with_input(&["notify", "1001", "-"], entry)
        .assert(0, "", "");
    let page = server
        .rpc(&[
            "call",
            "1002",
            r#"{"after":1,"wait_ms":20000}"#,
            "--timeout",
            "25s",
        ])
        .data();
    assert!(page.contains(r#""seq":2"#), "{page}");
    // No reply says that it was not understood.
    server.rpc(&["notify", "9", "--ordered"]).assert(0, "", "");
}

#[test]
fn a_command_is_called_by_its_name_with_json_or_with_flags() {
    let server = Server::start();
    let append = |arguments: &[&str]| {
        let arguments = [&["call", "log.append"], arguments].concat();
        server.rpc(&arguments)
    };

    append(&[r#"{"level":"info","service":"order","message":"hi"}"#]).assert(
        0,
        "{\"seq\":1,\"synced\":false}\n",
        "",
    );
    append(&["--level", "warn", "--service=order", "--message", "ho"]).assert(
        0,
        "{\"seq\":2,\"synced\":false}\n",
        "",
    );

    let read = server.rpc(&["call", "log.read", "--after", "1", "--limit", "5"]);
    assert!(read.data().contains("\"message\":\"ho\""));
    // Only one service has a command of this name.
    server
        .rpc(&[
            "call",
            "append",
            "--level",
            "info",
            "--service",
            "s",
            "--message",
            "-",
        ])
        .assert(0, "{\"seq\":3,\"synced\":false}\n", "");
}

#[test]
fn params_of_a_named_command_are_checked_before_they_are_sent() {
    let server = Server::start();
    let hint = "\nhint: `rpc describe log.append` shows what it takes\n";
    let check = |arguments: &[&str], message: &str| {
        let arguments = [&["call", "log.append"], arguments].concat();
        server
            .rpc(&arguments)
            .assert(2, "", &format!("rpc: {message}{hint}"));
    };

    check(
        &[r#"{"level":"loud","service":"order","message":"hi"}"#],
        "`params.level`: \"loud\" is not one of trace, debug, info, warn, error, fatal",
    );
    check(
        &[r#"{"level":"info","service":"order"}"#],
        "`params.message`: missing; it is a text",
    );
    check(
        &[r#"{"level":"info","service":"order","message":"hi","lvl":1}"#],
        "`params.lvl`: unknown; did you mean `level`? The fields are fields, level, message, service, trace, ts",
    );
    // Not that the field is missing that was meant.
    check(
        &[r#"{"level":"info","service":"order","mesage":"hi"}"#],
        "`params.mesage`: unknown; did you mean `message`? The fields are fields, level, message, service, trace, ts",
    );
    check(
        &["--level", "info", "--service", "order", "--mesage", "hi"],
        "`--mesage` is not a field of the params; did you mean `--message`? The fields are --fields, --level, --message, --service, --trace, --ts",
    );
    check(
        &["--ts", "soon"],
        "`--ts soon`: it takes an integer, 0 or more",
    );

    // By its number it is the server that checks.
    let ran = server.rpc(&["call", "1001", r#"{"level":"loud"}"#]);
    assert!(ran.exit == 1 && ran.stderr.contains("code 3"), "{ran:?}");
    // Nothing of it was written.
    let read = server.rpc(&["call", "log.read"]).data();
    assert!(read.contains("\"entries\":[],\"next\":0"), "{read}");
}

#[test]
fn a_named_command_that_streams_needs_no_flag() {
    let server = Server::start();
    server
        .rpc(&["call", "conformance.count", r#"{"n":3}"#])
        .assert(0, "{\"i\":0}\n{\"i\":1}\n{\"i\":2}\n", "");
    // A oneway one is not waited for.
    server
        .rpc(&["call", "rpc.cancel", "--id", "7"])
        .assert(0, "", "");
}

#[test]
fn timing_prints_where_the_time_of_a_call_went_and_its_parts_are_the_whole() {
    let server = Server::start();
    let ran = server.rpc(&["call", "10001", "--timing", r#"{"ms":20}"#]);
    assert_eq!((ran.exit, &*ran.stdout), (0, "{\"slept_ms\":20}\n"));

    assert!(check_times(&ran.stderr) >= 20_000, "{}", ran.stderr);

    let params = r#"{"code":1001,"message":"no room"}"#;
    let failed = server.rpc(&["call", "10006", "--timing", params]);
    assert_eq!((failed.exit, &*failed.stdout), (1, ""));
    let lines: Vec<_> = failed.stderr.lines().collect();
    check_times(&failed.stderr);
    assert!(lines[4].contains("no room"), "{}", failed.stderr);

    let refused = server.rpc(&["call", "--timing", "log.emit", r#"{"entries":[]}"#]);
    assert_eq!((refused.exit, &*refused.stdout), (2, ""));
    assert!(refused.stderr.contains("no reply"), "{}", refused.stderr);
}

#[test]
fn timing_of_a_stream_is_printed_behind_its_items() {
    let server = Server::start();
    let items = "{\"i\":0}\n{\"i\":1}\n";
    let by_name = ["call", "--timing", "conformance.count", r#"{"n":2}"#];
    let by_number = ["call", "--timing", "--stream", "10005", r#"{"n":2}"#];
    for arguments in [&by_name[..], &by_number] {
        let ran = server.rpc(arguments);
        assert_eq!((ran.exit, &*ran.stdout), (0, items));
        check_times(&ran.stderr);
    }

    let failed = server.rpc(&[
        "call",
        "--timing",
        "--stream",
        "10006",
        r#"{"code":1001,"message":"no room"}"#,
    ]);
    assert_eq!((failed.exit, &*failed.stdout), (1, ""));
    let lines: Vec<_> = failed.stderr.lines().collect();
    check_times(&failed.stderr);
    assert!(lines[4].contains("no room"), "{}", failed.stderr);
}

/// The parts of a call's time are the whole. Returns the handler's, in microseconds.
fn check_times(told: &str) -> u64 {
    let microseconds = |name: &str| -> u64 {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        let time = line.and_then(|line| line.trim().strip_suffix(" ms"));
        let digits = time.unwrap_or_else(|| panic!("{told}")).replace('.', "");
        digits.parse().unwrap()
    };

    let [total, network, queue, run] = ["total", "network", "queue", "run"].map(microseconds);
    // Each is cut to whole microseconds.
    assert!((0..=2).contains(&(total - network - queue - run)), "{told}");
    run
}
