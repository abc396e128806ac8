//! Runs the program, and looks at what it prints.

#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::Path;

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
            "read 300 entries back in 1 pages: every line is there",
            r#"{"seq":1,"ts":"#,
            r#""service":"shop""#,
            r#"{"seq":300,"ts":"#,
            "connections opened: 1 for all 302 calls, 302 requests per connection",
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
                "every line is there",
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
    says(&text(&output.stderr), &["usage: quickstart [FILE]"]);
}
