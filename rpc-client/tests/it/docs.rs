use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rpc_client::Config;

/// What docs/client.md says of each setting.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let document = include_str!("../../../docs/client.md");
    let settings = document
        .split("\n## Settings\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.strip_suffix('`')?, cells.next()?))
    };
    settings.lines().filter_map(row).collect()
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let documented = documented();
    let config = serde_json::to_value(Config::default()).unwrap();
    for (group, settings) in config.as_object().unwrap() {
        // TLS is a group that there need not be.
        for (name, default) in settings.as_object().into_iter().flatten() {
            let path = format!("{group}.{name}");
            let said = documented
                .get(path.as_str())
                .unwrap_or_else(|| panic!("docs/client.md lacks `{path}`"));
            assert_eq!(said.replace(',', ""), default.to_string(), "{path}");
        }
    }
}

/// The files of the library, with their text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

/// The lines of documentation and attributes right above a line.
fn above<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let belongs = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
    lines.iter().rev().take_while(belongs).copied().collect()
}

#[test]
fn every_public_async_function_says_what_becomes_of_it_when_it_is_dropped() {
    let mut checked = 0;
    for (path, text) in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            if line.starts_with("pub async fn") {
                let documented = above(&lines[..at]).contains(&"/// # Cancel safety");
                assert!(documented, "{}:{}: {line}", path.display(), at + 1);
                checked += 1;
            }
        }
    }
    assert!(checked > 15, "{checked}");
}
