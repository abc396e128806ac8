use std::process::Command;

use crate::support::Server;

/// The words that bash offers at the end of this line, where `source <(rpc completion bash)` has been done.
fn offered(address: &str, line: &str) -> Vec<String> {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_rpc"));
    let path = std::env::var("PATH").unwrap_or_default();
    let script = r#"
        source <(rpc completion bash)
        complete -p rpc | grep -q _rpc || exit 1
        COMP_LINE=$1 COMP_POINT=${#1}
        _rpc
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let output = Command::new("bash")
        .args(["--norc", "-c", script, "bash", line])
        .env("RPC_ADDR", address)
        .env(
            "PATH",
            format!("{}:{path}", program.parent().unwrap().display()),
        )
        .output()
        .unwrap();

    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && stderr.is_empty(),
        "{line}: {stderr}"
    );
    let words = String::from_utf8(output.stdout).unwrap();
    words
        .lines()
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_what_the_server_has() {
    let server = Server::start();
    let check = |line: &str, expected: &[&str]| {
        assert_eq!(offered(&server.address, line), expected, "{line}");
    };

    check("rpc call log.r", &["log.read"]);
    check("rpc describe log.a", &["log.append", "log.append_batch"]);
    check("rpc list l", &["log"]);
    check("rpc call log.append --le", &["--level"]);
    check("rpc call log.append --level w", &["warn"]);
    check("rpc call --ord", &["--ordered"]);
    check("rpc ca", &["call"]);
    check("rpc completion ", &["bash", "zsh", "fish"]);
    check("rpc call log.append --message a", &[]);
    // The line says which server is asked.
    let line = format!("rpc --addr {} call log.r", server.address);
    assert_eq!(offered("127.0.0.1:1", &line), ["log.read"]);
}

#[test]
fn without_a_server_the_words_of_rpc_itself_are_completed_and_nothing_is_said() {
    let silent = "127.0.0.1:1";
    assert_eq!(offered(silent, "rpc call log."), [""; 0]);
    assert_eq!(offered(silent, "rpc desc"), ["describe"]);
}
