//! Settings: file, environment and flags, their check, and how they are printed.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use super::{Running, command, output};

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
        "`listen`: other machines can reach 0.0.0.0:0",
        "none is not a directory that exists",
        "`listen`: 127.0.0.1:port: invalid port value; write HOST:PORT",
        "[[listeners]] \"127.0.0.1:0\": ",
        "`admin.listen`: other machines can reach 0.0.0.0:0",
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
