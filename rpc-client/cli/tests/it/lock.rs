//! `rpc lock`, and the lock file of this project's own services.

use std::path::Path;

use serde_json::Value;

use crate::support::Server;

#[test]
fn a_server_is_as_its_lock_file_says_and_a_change_is_told() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cmdids.lock");
    let file = file.to_str().unwrap();

    let missing = server.rpc(&["lock", "--check", "--file", file]);
    assert_eq!(missing.exit, 2);
    assert!(
        missing
            .stderr
            .contains("`rpc lock --update` writes the lock file"),
        "{missing:?}"
    );

    let written = server.rpc(&["lock", "--update", "--file", file]).data();
    assert!(written.ends_with("commands\n"), "{written}");
    let checked = server.rpc(&["lock", "--check", "--file", file]).data();
    assert!(checked.ends_with("commands are as they were released\n"));

    // A later version, as a file: one command is gone, another one wants more.
    let described = server.rpc(&["describe", "--json"]).data();
    let mut described: Value = serde_json::from_str(&described).unwrap();
    let commands = described["commands"].as_array_mut().unwrap();
    commands.retain(|command| command["cmdid"] != 1002);
    let append = commands.iter_mut().find(|it| it["cmdid"] == 1001).unwrap();
    append["params"]["required"]
        .as_array_mut()
        .unwrap()
        .push("trace".into());
    let later = dir.path().join("later.json");
    std::fs::write(&later, described.to_string()).unwrap();

    let later = later.to_str().unwrap();
    let differs = server.rpc(&["lock", "--check", "--file", file, "--descriptors", later]);
    let expected = format!(
        "1001 log.append: old clients cannot call it: `params.trace`: the server requires it, but old clients may \
         leave it out\n\
         1002 log.read: the command is missing, and old clients may call it\n\
         rpc: 2 differences from {file}\n"
    );
    differs.assert(1, "", &expected);
}

/// `RENEW=1 cargo test -p rpc-cli --test it released` renews the file.
#[test]
fn the_daemons_services_are_as_they_were_released() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cmdids.lock");
    let file = file.to_str().unwrap();
    let server = Server::start();

    let arguments = if std::env::var_os("RENEW").is_some() {
        ["lock", "--update", "--file", file]
    } else {
        ["lock", "--check", "--file", file]
    };
    server.rpc(&arguments).data();
}
