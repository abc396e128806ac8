//! TLS and tokens on the command line.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rpc_daemon::DaemonConfig;
use rpc_daemon::listeners::ListenerSettings;
use rpc_server::Tokens;

use crate::support::{Server, rpc_at};

const TOKEN: &str = "token-of-orders-0123456789abcdef";

/// A daemon that speaks TLS and wants a token; its files are in `dir`.
fn start(dir: &Path) -> Server {
    use std::os::unix::fs::PermissionsExt;

    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["rpc.test".into()])
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
        (
            "tokens",
            format!("orders {}\n", Tokens::hash(TOKEN).unwrap()),
        ),
        ("token", format!("{TOKEN}\n")),
        ("wrong", "nobody-s-token-0123456789abcdef\n".into()),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    std::fs::set_permissions(
        dir.join("server.key"),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let listener = ListenerSettings {
        address: "127.0.0.1:0".into(),
        certificate_file: Some(dir.join("server.pem")),
        key_file: Some(dir.join("server.key")),
        require_authentication: true,
        ..ListenerSettings::default()
    };
    let mut config = DaemonConfig {
        listen: Vec::new(),
        listeners: vec![listener],
        tokens_file: dir.join("tokens"),
        data_dir: dir.join("data"),
        ..DaemonConfig::default()
    };
    config.token_failures.delay_ms = 1;
    Server::with(config, None)
}

#[test]
fn flags_say_whom_to_trust_and_who_calls_and_each_refusal_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (ca, token, wrong) = (file("ca.pem"), file("token"), file("wrong"));
    let trust = ["--ca", &ca, "--server-name", "rpc.test"];
    let rpc = |arguments: &[&str]| {
        rpc_at(
            &server.address,
            &[arguments, &["call", "10000"]].concat(),
            "",
        )
    };
    let with_token = [&trust[..], &["--token-file", &token]].concat();
    assert_eq!(rpc(&with_token).exit, 0, "{:?}", rpc(&with_token));

    let check = |arguments: &[&str], exit: i32, says: &[&str]| {
        let ran = rpc(arguments);
        assert_eq!(
            (ran.exit, ran.stdout.as_str()),
            (exit, ""),
            "{arguments:?}: {}",
            ran.stderr
        );
        for part in says {
            assert!(ran.stderr.contains(part), "{arguments:?}: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("nobody-s-token"), "{}", ran.stderr);
    };
    let hint = "hint: the server requires authentication: give --token-file FILE, or --cert FILE and --key FILE";
    check(&trust, 1, &["code 16 UNAUTHENTICATED", hint]);
    let with_wrong = [&trust[..], &["--token-file", &wrong]].concat();
    check(
        &with_wrong,
        3,
        &["the server refuses this client's token: code 16", hint],
    );
    check(
        &["--tls"],
        3,
        &[
            "is not from an authority that this system knows",
            "hint: the server answers, but TLS with it fails: --ca FILE names the authorities to trust",
        ],
    );
    check(&["--ca", &ca], 3, &["is not for `127.0.0.1`, but for"]);
    check(&[], 3, &["the server speaks TLS on this port"]);
    check(
        &["--ca", &ca, "--cert", &ca],
        3,
        &[
            "`certificate_file` and `key_file` belong together",
            "hint: nothing was sent: correct what is named here",
        ],
    );
}
