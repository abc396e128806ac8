use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{keys_of_lists, known_keys};
use super::load::env_name;
use super::*;

fn load(text: &str, env: &[(&str, &str)]) -> Result<DaemonConfig, String> {
    let config = load_all(text, env)
        .map_err(|mistakes| mistakes.to_string())?
        .config;
    config
        .check_values()
        .map_err(|mistakes| mistakes.to_string())?;
    Ok(config)
}

fn load_all(text: &str, env: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    DaemonConfig::load(Some(file.path()), env, Overrides::default())
}

#[test]
fn no_two_settings_have_the_same_environment_variable() {
    let mut names = BTreeSet::new();
    for key in known_keys() {
        let name = env_name(&key);
        assert!(
            names.insert(name.clone()),
            "{key}: {name} is another one's, too"
        );
    }
}

#[track_caller]
fn refused(text: &str, env: &[(&str, &str)], part: &str) {
    let message = load(text, env).unwrap_err();
    assert!(message.contains(part), "{message}");
}

#[test]
fn the_printed_config_reads_back_as_itself_and_has_every_key_explained() {
    let config = DaemonConfig {
        limits: Limits {
            frame_bytes_max: 77,
            ..Limits::default()
        },
        ..DaemonConfig::default()
    };

    let text = config.to_commented_toml();
    assert_eq!(load(&text, &[]).unwrap(), config);

    let (mut section, mut before, mut printed) = (String::new(), "", BTreeSet::new());
    for line in text.lines() {
        let bare = line.strip_prefix('#').unwrap_or(line);
        if bare.starts_with('[') {
            section = format!("{}.", bare.trim_matches(['[', ']']));
        } else if let Some((key, _)) = bare.split_once(" =").filter(|_| !bare.starts_with(' ')) {
            assert!(before.starts_with("# "), "{section}{key} is not explained");
            printed.insert(format!("{section}{key}"));
        }

        before = line;
    }

    let of_lists = keys_of_lists();
    let is_list = |key: &String| {
        of_lists
            .iter()
            .any(|of_list| of_list.starts_with(&format!("{key}.")))
    };
    let known: BTreeSet<_> = known_keys()
        .into_iter()
        .filter(|key| !is_list(key))
        .chain(of_lists.clone())
        .collect();

    assert_eq!(printed, known);
}

#[test]
fn listeners_of_their_own_take_the_place_of_the_default_one_and_are_printed() {
    let text = "tokens_file = \"/t\"\n[[listeners]]\naddress = \"0.0.0.0:1\"\nrequire_authentication = true\n\
                first_frame_timeout_ms = 5\n[[grants]]\nidentity = \"a\"\ncommands = [\"1\", \"2-3\"]\n";
    let config = load(text, &[]).unwrap();
    assert!(config.listen.is_empty());
    assert_eq!(config.listeners[0].first_frame_timeout_ms, Some(5));
    assert!(config.listeners[0].admin_pages);
    assert_eq!(load(&config.to_commented_toml(), &[]).unwrap(), config);

    let both = load(&format!("listen = [\"127.0.0.1:2\"]\n{text}"), &[]).unwrap();
    assert_eq!((both.listen.len(), both.listeners.len()), (1, 1));
}

#[test]
fn environment_goes_over_the_file_and_flags_over_both() {
    let file = "listen = [\"127.0.0.1:1\"]\n[limits]\nframe_bytes_max = 5\nconnections_max = 6\n";
    let env = [
        ("RPC_SERVER_LIMITS_FRAME_BYTES_MAX", "9"),
        ("RPC_SERVER_LISTEN", "127.0.0.1:2, unix:/x"),
        ("RPC_SERVER_CONFIG", "ignored here"),
        ("PATH", "/bin"),
    ];

    let config = load(file, &env).unwrap();
    assert_eq!(
        (config.limits.frame_bytes_max, config.limits.connections_max),
        (9, 6)
    );
    assert_eq!(config.listen, ["127.0.0.1:2", "unix:/x"]);

    let flags = Overrides {
        listen: vec!["[::1]:3".into()],
        ..Overrides::default()
    };
    assert_eq!(
        DaemonConfig::load(None, [], flags).unwrap().config.listen,
        ["[::1]:3"]
    );
}

#[test]
fn commands_have_limits_of_their_own() {
    let text = "[[commands]]\ncmdid = 1001\nin_flight_max = 8\n[[commands]]\ncmdid = 1002\nrequests_per_second = 5\n";
    let config = load(text, &[]).unwrap();
    assert_eq!(
        (
            config.commands[0].in_flight_max,
            config.commands[1].requests_per_second
        ),
        (8, 5)
    );
    assert_eq!(load(&config.to_commented_toml(), &[]).unwrap(), config);

    refused(
        &format!("{text}[[commands]]\ncmdid = 1001"),
        &[],
        "names cmdid 1001 twice",
    );
    refused(
        "[[commands]]\ncmdid = 1001\nin_flight = 8",
        &[],
        "did you mean `commands.in_flight_max`?",
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    refused(
        "[limits]\nframe_byte_max = 1",
        &[],
        "unknown key `limits.frame_byte_max`; did you mean `limits.frame_bytes_max`?",
    );
    refused("lissen = []", &[], "did you mean `listen`?");
    refused(
        "[traces]\nendpont = \"\"",
        &[],
        "did you mean `traces.endpoint`?",
    );
    refused(
        "[[listeners]]\nadress = \"a:1\"",
        &[],
        "did you mean `listeners.address`?",
    );
}

#[cfg(feature = "sms")]
#[test]
fn an_unknown_name_deep_in_the_settings_of_sms_is_refused_with_its_place_and_the_one_that_was_meant()
 {
    let gateway = "[[sms.gateways]]\nname = \"a\"\n";
    for (more, expected) in [
        (
            "knd = \"http\"",
            "line 3, column 1: unknown field `knd`; did you mean `kind`?",
        ),
        (
            "kind = \"htp\"",
            "line 3, column 8: unknown variant `htp`, expected `file` or `http`; did you mean `http`?",
        ),
        (
            "[sms.gateways.http]\nurll = \"\"",
            "line 4, column 1: unknown field `urll`; did you mean `url`?",
        ),
        (
            "[sms.gateways.http.response]\nrules = [{ staus = [200] }]",
            "unknown field `staus`; did you mean `status`?",
        ),
        (
            "[sms.gateways.http.response]\nrules = [{ class = \"snt\" }]",
            "did you mean `sent`?",
        ),
        (
            "[sms.gateways.http.response]\nrules = [{ status = [700] }]",
            "700 is not a status of HTTP",
        ),
    ] {
        refused(&format!("{gateway}{more}"), &[], expected);
    }
    refused(
        "[sms]\nsegment_max = 1",
        &[],
        "did you mean `sms.segments_max`?",
    );
    refused(
        "[sms.class.otp]\nper_numbr = []",
        &[],
        "line 2, column 1: unknown field `per_numbr`; did you mean `per_number`?",
    );
}

#[test]
fn a_known_key_in_an_unknown_section_is_refused_with_its_own_section() {
    refused(
        "frame_bytes_max = 1",
        &[],
        "did you mean `limits.frame_bytes_max`?",
    );
    refused(
        "[limit]\nframe_bytes_max = 1",
        &[],
        "did you mean `limits.frame_bytes_max`?",
    );
    refused(
        "[[listener]]\naddress = \"a:1\"",
        &[],
        "did you mean `listeners.address`?",
    );
}

#[test]
fn a_setting_that_has_moved_is_refused_with_its_new_place() {
    refused(
        "[limits]\nhandler_timeout_ms = 1",
        &[],
        "`limits.handler_timeout_ms` has moved: it is `timeouts.handler_timeout_ms` now",
    );
    refused(
        "[limits]\naccess_log_per_million = 1",
        &[],
        "`limits.access_log_per_million` has moved: it is `access_log.per_million` now",
    );
    refused(
        "",
        &[("RPC_SERVER_LIMITS_TCP_USER_TIMEOUT_MS", "1")],
        "`RPC_SERVER_LIMITS_TCP_USER_TIMEOUT_MS` has moved: it is `RPC_SERVER_TCP_USER_TIMEOUT_MS` now",
    );

    // What has stayed where it was.
    let kept = "connections_max = 7\nconnections_per_address = 7\nframe_bytes_max = 70000\n\
                connection_bytes_max = 7000000\nmemory_bytes_max = 70000000";
    assert!(load(&format!("[limits]\n{kept}"), &[]).is_ok());
}

#[test]
fn a_value_of_a_wrong_type_is_refused_with_its_line_and_column() {
    refused(
        "[limits]\nframe_bytes_max = \"x\"",
        &[],
        "`limits.frame_bytes_max`, line 2, column 19: invalid type",
    );
    refused(
        "[traces]\nsampled_per_million = 0.5",
        &[],
        "`traces.sampled_per_million`, line 2, column 23: invalid type",
    );
}

#[test]
fn a_broken_file_is_refused_in_one_line() {
    for broken in [
        "\u{b}",
        "listen = [\n\n\"a\"",
        "\"a\\nb\" = 1",
        "[limits]\n\"a\\nb\" = 1",
    ] {
        let message = load(broken, &[]).unwrap_err();
        assert!(!message.contains('\n'), "more than one line: {message}");
    }
}

#[test]
fn a_value_that_means_nothing_is_refused_with_what_it_must_be() {
    refused(
        "[limits]\nframe_bytes_max = 0",
        &[],
        "`limits.frame_bytes_max` is 0 and must be at least 1",
    );
    refused(
        "listen = [\"8889\"]",
        &[],
        "must be HOST:PORT, unix:PATH or \"inherited\"",
    );
    refused("services = [\"mail\"]", &[], "unknown variant `mail`");
    refused(
        "[[grants]]\nidentity = \"a\"\ncommands = [\"x\"]",
        &[],
        "[[grants]] of \"a\": \"x\" must be a cmdid",
    );

    let https = [("RPC_SERVER_TRACES_ENDPOINT", "https://collector")];
    refused(
        "",
        &https,
        "`traces.endpoint`: \"https://collector\" must be the URL of a collector",
    );
}

#[test]
fn a_listener_or_a_grant_without_its_name_is_refused() {
    refused("[[listeners]]\n", &[], "`address` is missing");
    refused(
        "[[grants]]\ncommands = [\"1\"]",
        &[],
        "`identity` is missing",
    );
}

#[test]
fn a_listener_is_refused_where_a_key_needs_another_one() {
    let listener = |rest: &str| format!("[[listeners]]\naddress = \"a:1\"\n{rest}");

    refused(
        &listener("key_file = \"k\""),
        &[],
        "belong together; one is missing",
    );
    refused(
        &listener("client_certificates = \"required\""),
        &[],
        "needs TLS",
    );

    let tls = "certificate_file = \"c\"\nkey_file = \"k\"\n";
    refused(
        &listener(&format!("{tls}client_certificates = \"required\"")),
        &[],
        "`client_ca_file` and",
    );

    refused(
        &listener("require_authentication = true"),
        &[],
        "needs a way to authenticate",
    );
}

#[test]
fn a_wrong_variable_of_the_environment_is_refused_by_its_name() {
    refused(
        "",
        &[("RPC_SERVER_LIMITS_FRAME_BYTES_MAX", "1k")],
        "must be an integer",
    );
    refused(
        "",
        &[("RPC_SERVER_LOG_FORMAT", "xml")],
        "`RPC_SERVER_LOG_FORMAT`: unknown variant `xml`",
    );
}

#[test]
fn variables_that_set_nothing_are_one_warning_with_what_may_be_meant() {
    let env = [
        ("RPC_SERVER_SERVICE_HOST", "10.0.0.7"),
        ("RPC_SERVER_PORT", "tcp://10.0.0.7:8889"),
        ("RPC_SERVER_LIMIT_FRAME_BYTES_MAX", "1"),
        ("RPC_SERVER_A\nB", "1"),
        ("RPC_SERVER_LIMITS_CONNECTIONS_MAX", "7"),
    ];

    let loaded = load_all("", &env).unwrap();
    assert_eq!(loaded.config.limits.connections_max, 7);
    assert_eq!(
        loaded.warnings,
        [
            "environment variables that begin with `RPC_SERVER_` but set nothing are ignored: \
          `RPC_SERVER_A\\nB`, `RPC_SERVER_LIMIT_FRAME_BYTES_MAX` (did you mean \
          `RPC_SERVER_LIMITS_FRAME_BYTES_MAX`?), `RPC_SERVER_PORT`, `RPC_SERVER_SERVICE_HOST`"
        ]
    );
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let env = [
        ("RPC_SERVER_DATA_DIR", ""),
        ("RPC_SERVER_LIMITS_FRAME_BYTES_MAX", ""),
        ("RPC_SERVER_DATADIR", ""),
    ];

    let loaded = load_all("data_dir = \"/from/file\"", &env).unwrap();
    assert_eq!(loaded.config.data_dir, Path::new("/from/file"));
    assert_eq!(
        loaded.config,
        DaemonConfig {
            data_dir: "/from/file".into(),
            ..DaemonConfig::default()
        }
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_file_that_is_not_there_is_refused_by_its_path() {
    let missing = DaemonConfig::load(Some(Path::new("/nowhere/x.toml")), [], Overrides::default());
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("/nowhere/x.toml: ")
    );
}

#[test]
fn a_word_that_is_no_level_is_refused_and_what_a_filter_takes_is_not() {
    for (level, part) in [
        ("inof", "did you mean `info`?"),
        ("info,rpc_server", "\"rpc_server\" must be"),
        ("info, debug", "\" debug\" must be"),
        ("", "\"\" must be"),
        ("rpc_server=loud", "`log_level` = \"rpc_server=loud\": "),
    ] {
        refused(&format!("log_level = '{level}'"), &[], part);
    }

    for level in [
        "info",
        "WARN",
        "off",
        "info,rpc_server=debug",
        "warn,[call{cmdid=5}]=trace",
    ] {
        assert!(
            load(&format!("log_level = '{level}'"), &[]).is_ok(),
            "{level}"
        );
    }
}

#[test]
fn the_log_level_is_the_flag_s_then_that_of_its_variable_then_of_rust_log_then_of_the_file() {
    let file = "log_level = 'error'";
    let (own, rust_log) = (("RPC_SERVER_LOG_LEVEL", "debug"), ("RUST_LOG", "trace"));
    let log_level = |env: &[_]| load(file, env).unwrap().log_level;

    assert_eq!(log_level(&[]), "error");
    assert_eq!(log_level(&[("RUST_LOG", "")]), "error");
    assert_eq!(log_level(&[rust_log]), "trace");
    assert_eq!(log_level(&[own, rust_log]), "debug");
    assert_eq!(log_level(&[rust_log, own]), "debug");

    let env = [own, rust_log].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let flags = Overrides {
        log_level: Some("off".into()),
        ..Overrides::default()
    };
    let config = DaemonConfig::load(None, env, flags).unwrap().config;
    assert_eq!(config.log_level, "off");
}

#[test]
fn a_wrong_log_level_is_refused_by_the_name_of_the_flag_or_variable_that_has_set_it() {
    let wrong = "\"inof\" must be error, warn, info, debug, trace or off";
    for name in ["RUST_LOG", "RPC_SERVER_LOG_LEVEL"] {
        let part = format!("`{name}` = \"inof\": {wrong}");
        refused("log_level = 'info'", &[(name, "inof")], &part);
    }

    let flags = Overrides {
        log_level: Some("inof".into()),
        ..Overrides::default()
    };
    let refused = DaemonConfig::load(None, [], flags).unwrap_err().to_string();
    assert!(
        refused.starts_with(&format!("`--log-level` = \"inof\": {wrong}")),
        "{refused}"
    );

    // A wrong one counts for nothing if another goes before it.
    let env = [("RUST_LOG", "inof"), ("RPC_SERVER_LOG_LEVEL", "warn")];
    assert_eq!(load("", &env).unwrap().log_level, "warn");
}

#[test]
fn the_data_directory_is_checked_without_being_made_or_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let checked = |data_dir: &Path| {
        let config = DaemonConfig {
            listen: vec!["127.0.0.1:0".into()],
            data_dir: data_dir.to_owned(),
            ..DaemonConfig::default()
        };
        config.check().map_err(|mistakes| mistakes.to_string())
    };

    assert_eq!(checked(&directory.path().join("a/b")), Ok(()));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let message = checked(&file.join("data")).unwrap_err();
    assert!(
        message.contains("file is not a directory; name one"),
        "{message}"
    );

    // A lock that cannot be opened for writing keeps the store closed.
    std::fs::create_dir_all(directory.path().join("data/log/lock")).unwrap();
    let message = checked(&directory.path().join("data")).unwrap_err();
    assert!(message.contains("cannot be written to"), "{message}");
}

#[test]
fn what_a_log_level_says_of_the_server_counts_for_the_daemon() {
    use tracing::subscriber::with_default;
    use tracing_subscriber::layer::SubscriberExt as _;

    let takes = |level: &str, check: fn() -> bool| {
        let subscriber = tracing_subscriber::registry().with(log_filter(level).unwrap());
        with_default(subscriber, check)
    };
    let store_at_debug = || tracing::enabled!(target: "rpc_daemon::store", tracing::Level::DEBUG);
    let server_at_debug = || tracing::enabled!(target: "rpc_server::listen", tracing::Level::DEBUG);
    let other_at_debug = || tracing::enabled!(target: "hyper", tracing::Level::DEBUG);

    for level in ["info,rpc_server=debug", "rpc_server=debug,info"] {
        assert!(takes(level, store_at_debug) && takes(level, server_at_debug));
        assert!(!takes(level, other_at_debug));
    }
    assert!(!takes("debug,rpc_server=warn", store_at_debug));
    assert!(takes("info,rpc_server::store=debug", store_at_debug));
    assert!(
        takes("rpc_server=info,rpc_daemon=debug", store_at_debug),
        "its own goes before"
    );
}

#[test]
fn settings_of_the_log_that_others_keep_from_working_are_refused() {
    refused(
        "[limits]\nreply_bytes_max = 1000000",
        &[],
        "`limits.reply_bytes_max` is 1000000, but a page of the log service may have 1049600",
    );
    refused(
        "[log]\nretention_bytes = 1000000",
        &[],
        "`log.retention_bytes` is 1000000 and less than `log.segment_bytes` (67108864)",
    );

    assert!(
        load(
            "services = [\"test\"]\n[limits]\nreply_bytes_max = 1000000",
            &[]
        )
        .is_ok()
    );
    for segment in ["", "\nsegment_age_s = 0"] {
        refused(
            &format!("[log]\nretention_age_s = 3600{segment}"),
            &[],
            "`log.retention_age_s` is 3600, but the newest file, which is always kept",
        );
    }

    assert!(load("[log]\nretention_age_s = 3600\nsegment_age_s = 600", &[]).is_ok());
    assert!(load("[log]\nretention_bytes = 0", &[]).is_ok());
    assert!(
        load(
            "[log]\nretention_bytes = 8000000\nsegment_bytes = 1000000",
            &[]
        )
        .is_ok()
    );
}

#[test]
fn a_read_of_the_log_waits_less_than_its_call_may_take() {
    let wait_max = |handler_timeout_ms| {
        let timeouts = Timeouts {
            handler_timeout_ms,
            ..Timeouts::default()
        };
        LogSettings::default()
            .store_in(&timeouts)
            .wait_max
            .as_millis()
    };

    assert_eq!(wait_max(Timeouts::default().handler_timeout_ms), 25_000);
    assert_eq!(wait_max(6_000), 5_000);
    assert_eq!(wait_max(600_000), 25_000);
}

#[test]
fn there_are_as_many_threads_for_scans_as_cores_unless_the_number_is_set() {
    let scans_max = |scans_max| {
        LogSettings {
            scans_max,
            ..LogSettings::default()
        }
        .store()
        .scans_max
    };
    let cores = std::thread::available_parallelism().unwrap().get();

    assert_eq!(LogSettings::default().scans_max, 0);
    assert_eq!(scans_max(0), cores.clamp(2, 8));
    assert_eq!(scans_max(1), 1);
}
