use std::collections::BTreeMap;

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
    let serde_json::Value::Object(settings) = serde_json::to_value(Config::default()).unwrap()
    else {
        panic!("a config is an object");
    };
    for (name, default) in settings {
        let said = documented
            .get(name.as_str())
            .unwrap_or_else(|| panic!("docs/client.md lacks `{name}`"));
        assert_eq!(said.replace(',', ""), default.to_string(), "{name}");
    }
}
