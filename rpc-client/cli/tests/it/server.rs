use std::io::{BufRead, BufReader, Write};

use serde_json::Value;

use crate::support::{Server, peer_that_answers, rpc_at};

#[test]
fn health_prints_the_status_and_exits_with_0_for_serving() {
    let server = Server::start();
    server.rpc(&["health"]).assert(0, "serving\n", "");
    server.rpc(&["health", "log"]).assert(0, "serving\n", "");
    server.rpc(&["health", "mail"]).assert(
        1,
        "",
        &format!(
            "rpc: {}: code 5 NOT_FOUND: no service is named `mail`\n\
             hint: check what was asked for; `rpc describe` lists services and commands\n",
            server.address
        ),
    );
}

#[test]
fn a_server_that_is_not_serving_is_not_healthy() {
    let address = peer_that_answers(r#""code":0,"data":{"status":"draining"}"#);
    rpc_at(&address, &["health"], "").assert(1, "draining\n", "");
}

#[test]
fn stats_are_one_line_of_json_where_no_terminal_is() {
    let server = Server::start();
    for arguments in [&["stats"][..], &["stats", "--json"]] {
        let stdout = server.rpc(arguments).data();
        assert_eq!(stdout.lines().count(), 1);
        let stats: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(stats["connection"]["requests"], 1);
        assert_eq!(stats["server"]["connections_open"], 1);
    }
}

#[test]
fn describe_is_one_line_of_json_where_no_terminal_is() {
    let server = Server::start();
    for arguments in [
        &["describe"][..],
        &["describe", "2"],
        &["describe", "--json"],
    ] {
        let stdout = server.rpc(arguments).data();
        assert_eq!(stdout.lines().count(), 1);
        let described: Value = serde_json::from_str(&stdout).unwrap();
        assert!(described["commands"].is_array(), "{stdout}");
    }

    let ran = server.rpc(&["describe", "--json", "--text"]);
    assert_eq!(ran.exit, 2);
}

#[test]
fn describe_lists_the_commands_as_a_table() {
    let server = Server::start();
    let stdout = server.rpc(&["describe", "--text"]).data();
    let mut lines = stdout.lines();
    assert_eq!(
        lines.next(),
        Some(concat!(
            "rpc-server ",
            env!("CARGO_PKG_VERSION"),
            ", protocol 1"
        ))
    );
    assert_eq!(lines.next(), Some(""));
    assert_eq!(
        lines.next(),
        Some("CMDID  NAME                  KIND    DOES")
    );
    let rows: Vec<&str> = lines.collect();
    assert_eq!(
        rows[0],
        "    0  rpc.ping              unary   Replies with its params."
    );
    assert!(rows.contains(
        &" 1001  log.append            unary   Writes an entry, and replies with its number once it is on disk."
    ));
    assert!(rows.contains(&"10005  conformance.count     stream  Streams `n` items."));
}

#[test]
fn describe_lists_a_command_whose_name_is_longer_than_any_line() {
    let data = format!(
        r#""code":0,"data":{{"protocol":1,"server":{{"name":"s","version":"1"}},"commands":[
           {{"cmdid":100,"service":"s","method":"{}","kind":"unary","idempotent":false,"doc":"Does."}}]}}"#,
        "m".repeat(70_000)
    );
    let address = peer_that_answers(data.replace('\n', " ").leak());

    let ran = rpc_at(&address, &["describe", "--text"], "");

    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.ends_with("mm  unary   Does.\n"));
}

#[test]
fn describe_shows_one_command_with_its_fields_or_what_the_server_sent() {
    let server = Server::start();
    let stdout = server.rpc(&["describe", "--text", "2"]).data();
    let expected = "2 rpc.health (unary, idempotent)\n\
                    Tells whether the server, or one of its services, accepts calls.\n\
                    \n\
                    params: an object\n  \
                      service  a text  optional\n\
                    \n\
                    data: an object\n  \
                      instance  a text                                 optional\n  \
                      status    one of serving, not_serving, draining  optional\n\
                    \n\
                    example: rpc call rpc.health '{}'\n";
    assert_eq!(stdout, expected);

    let json = server.rpc(&["describe", "--json", "2"]).data();
    assert_eq!(json.lines().count(), 1);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["commands"][0]["method"], "health");

    let ran = server.rpc(&["describe", "77"]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""));
    assert!(
        ran.stderr
            .contains("code 5 NOT_FOUND: no command has cmdid 77\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn list_shows_the_commands_of_one_service() {
    let server = Server::start();
    let stdout = server.rpc(&["list", "log"]).data();
    let names: Vec<_> = stdout
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "log.append",
            "log.read",
            "log.append_batch",
            "log.emit",
            "log.flush",
            "log.tail",
            "log.stats"
        ]
    );
    assert!(server.rpc(&["list"]).data().contains("rpc.ping"));

    server.rpc(&["list", "lok"]).assert(
        2,
        "",
        "rpc: the server has no service `lok`\nhint: it has rpc, log, sms, test, conformance\n",
    );
}

#[test]
fn describe_of_a_name_is_enough_to_call_it() {
    let server = Server::start();
    let stdout = server.rpc(&["describe", "--text", "log.append"]).data();
    for line in [
        "  level    one of trace, debug, info, warn, error, fatal  required  Severity of the event.",
        "  trace    a text                                         optional  Id of the trace that the event belongs to.",
    ] {
        assert!(stdout.lines().any(|it| it == line), "{stdout}");
    }

    // The example works as it is, but for the shell's quotes.
    let example = stdout.lines().last().unwrap();
    let params = example
        .strip_prefix("example: rpc call log.append '")
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap();
    let called = server.rpc(&["call", "log.append", params]).data();
    // The daemon of the tests does not wait for its disk.
    assert_eq!(called, "{\"seq\":1,\"synced\":false}\n");

    let json = server.rpc(&["describe", "--json", "log.append"]).data();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["cmdid"], 1001);

    server.rpc(&["describe", "log.apend"]).assert(
        2,
        "",
        "rpc: the server has no command `log.apend`\nhint: there are log.append, log.read, log.append_batch, log.emit, log.flush, log.tail, log.stats\n",
    );
}

#[test]
fn a_full_server_answers_stats_health_and_ping() {
    let data = tempfile::tempdir().unwrap();
    let mut config = rpc_daemon::DaemonConfig {
        listen: vec!["127.0.0.1:0".into()],
        data_dir: data.path().to_owned(),
        ..rpc_daemon::DaemonConfig::default()
    };
    config.limits.connections_max = 1;
    let server = Server::with(config, Some(data));

    // A call on it is answered, so that the daemon has it.
    let mut kept = std::net::TcpStream::connect(&server.address).unwrap();
    kept.write_all(b"{\"cmdid\":0}\n").unwrap();
    let mut reply = String::new();
    BufReader::new(&kept).read_line(&mut reply).unwrap();

    let stats: Value = serde_json::from_str(&server.rpc(&["stats"]).data()).unwrap();
    assert_eq!(stats["server"]["connections_accepted"], 2);
    server.rpc(&["health"]).assert(1, "not_serving\n", "");
    let pinged = server.rpc(&["ping", "--count", "1"]);
    assert_eq!(pinged.exit, 0, "{pinged:?}");

    let refused = server.rpc(&["call", "1002"]);
    assert_ne!(refused.exit, 0);
    assert!(
        refused.stderr.contains("`limits.connections_max` of 1"),
        "{refused:?}"
    );
}
