//! Runs the program, and looks at what it prints.

#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{run, says, stdout, text};

const QUICKSTART: &str = env!("CARGO_BIN_EXE_quickstart");

#[test]
fn quickstart_ships_every_line_of_a_file_over_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.log");
    let mut lines: Vec<String> = (0..296).map(|n| format!("{n} order accepted")).collect();
    lines.push(r#"he said "it's \broken\" {"code":0} — ünïcödé 日本語 🦀 done"#.into());
    lines.push(format!("long {}", "x".repeat(100_000)));

    // Twice the same, which must come back twice.
    lines.extend([
        "ERROR: the disk is full".to_owned(),
        "ERROR: the disk is full".to_owned(),
    ]);
    let windows = lines.join("\r\n");
    std::fs::write(&file, format!("\n\n{windows}\n   \n")).unwrap();

    let output = stdout(&run(QUICKSTART, &[&file]));

    says(
        &output,
        &[
            &format!("file: {}", file.display()),
            "300 lines to ship, 3 empty ones skipped",
            "shipped 300 lines from 64 tasks",
            "read 300 entries back in 1 pages: all lines are there, and no others",
            r#"{"seq":1,"ts":"#,
            r#""service":"shop""#,
            r#"{"seq":300,"ts":"#,
            "connections opened: 1 for all 302 calls, 302 requests per connection",
            "on the wire a call is two lines of JSON:",
            r#"→ {"id":1,"cmdid":1001,"params":{"level":"info","service":"quickstart","message":"hello"}}"#,
            r#"← {"id":1,"code":0,"data":{"seq":301}}"#,
            "The same job over HTTP",
            "RPC, one shared connection      300",
            "HTTP, keep-alive                300",
            "HTTP, short                     300",
            "The transport alone",
            "RPC, one shared connection",
            "HTTP, keep-alive",
            "HTTP, short",
            "nc -N 127.0.0.1 8889",
        ],
    );
}

#[test]
fn quickstart_finds_a_log_of_this_machine_or_says_what_to_do() {
    let output = run(QUICKSTART, &[]);
    if output.status.success() {
        says(
            &stdout(&output),
            &[
                "file: /",
                "usual places",
                "all lines are there, and no others",
                "connections opened: 1 for all",
            ],
        );
    } else {
        // A machine without logs is no failure of the example.
        let expected =
            "quickstart: none of the usual log files can be read here; pass one: quickstart FILE\n";
        assert_eq!(text(&output.stderr), expected);
    }
}

#[test]
fn quickstart_names_the_file_that_it_cannot_ship() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, empty) = (dir.path().join("missing.log"), dir.path().join("empty.log"));
    std::fs::write(&empty, "\n \n").unwrap();

    for (path, reason) in [
        (&missing, "No such file or directory"),
        (&empty, "it has no lines to ship"),
    ] {
        let output = run(QUICKSTART, &[path]);
        assert_eq!(output.status.code(), Some(1));
        says(
            &text(&output.stderr),
            &["quickstart: ", path.to_str().unwrap(), reason],
        );
        assert_eq!(text(&output.stdout), "");
    }

    let output = run(QUICKSTART, &[Path::new("--unknown")]);
    assert_eq!(output.status.code(), Some(2));
    says(
        &text(&output.stderr),
        &["usage: quickstart [--stay] [FILE]"],
    );
}

#[test]
fn quickstart_keeps_its_daemon_until_it_is_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.log");
    std::fs::write(&file, "an order\n").unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let mut child = Command::new(QUICKSTART)
        .arg("--stay")
        .arg(&file)
        .env("TMPDIR", elsewhere.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();

    let page = lines
        .find_map(|line| {
            line.unwrap()
                .strip_prefix("  its page: ")
                .map(str::to_owned)
        })
        .expect("it names its page");
    let address = page.trim_start_matches("http://").trim_end_matches('/');

    let mut socket = TcpStream::connect(address).unwrap();
    write!(
        socket,
        "GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    // The shell's own `kill`: the program of that name is not everywhere.
    let kill = format!("kill -INT {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    assert!(child.wait().unwrap().success());

    let left: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().collect();
    assert!(left.is_empty(), "it left files behind: {left:?}");
}
