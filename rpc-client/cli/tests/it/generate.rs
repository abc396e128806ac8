//! `rpc gen`: the same client from a server, from a file, and into a file.

use crate::support::Server;

#[test]
fn a_client_is_written_from_a_server_or_from_what_it_described() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let descriptors = dir.path().join("commands.json");
    let described = server.rpc(&["describe", "--json"]).data();
    std::fs::write(&descriptors, described).unwrap();
    let descriptors = descriptors.to_str().unwrap();

    for (language, class) in [
        ("python", "class LogClient:"),
        ("typescript", "export class LogClient {"),
    ] {
        let written = server.rpc(&["gen", language, "--services", "log"]).data();
        assert!(
            written.contains(class) && !written.contains("TestClient"),
            "{written}"
        );

        let out = dir.path().join(language);
        let options = [
            "--services",
            "log",
            "--descriptors",
            descriptors,
            "--out",
            out.to_str().unwrap(),
        ];
        let arguments: Vec<_> = ["gen", language].into_iter().chain(options).collect();
        server.rpc(&arguments).assert(0, "", "");
        assert_eq!(std::fs::read_to_string(out).unwrap(), written);
    }

    let unknown = server.rpc(&["gen", "python", "--services", "mail"]);
    assert_eq!(unknown.exit, 2);
    let said = "rpc: `--services`: the server has no service `mail`\nhint: it has log, sms, test";
    assert!(unknown.stderr.starts_with(said), "{unknown:?}");

    let wrong = server.rpc(&[
        "gen",
        "python",
        "--descriptors",
        dir.path().to_str().unwrap(),
    ]);
    assert_eq!(wrong.exit, 2);
    assert!(wrong.stderr.contains("`rpc describe --json`"), "{wrong:?}");
}
