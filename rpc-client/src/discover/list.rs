//! Lists of endpoints as text: the content of a file or of a key.

use serde::Deserialize;

use super::{Address, Error, fixed};

/// An endpoint in JSON: its address, or an object with more.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Full(FullEntry),
}

#[derive(Deserialize)]
struct FullEntry {
    /// `Addr` is what etcd's own naming for gRPC writes.
    #[serde(alias = "Addr")]
    address: String,
    #[serde(default)]
    priority: u16,
    #[serde(default = "one")]
    weight: u16,
}

fn one() -> u16 {
    1
}

/// A JSON array, or one address a line, with empty lines and `#` comments; one bad entry spoils all of
/// it, since the rest may be half of something too.
pub(super) fn parse(text: &str) -> Result<Vec<Address>, Error> {
    if text.trim_start().starts_with('[') && !text.trim_start().starts_with("[:") {
        let entries: Vec<Entry> = serde_json::from_str(text)
            .map_err(|error| format!("it is not a JSON array of addresses: {error}"))?;
        return entries.into_iter().map(address).collect();
    }

    let mut addresses = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            let line =
                fixed::check(line).map_err(|error| format!("line {}: {error}", number + 1))?;
            addresses.push(Address::from(line));
        }
    }

    Ok(addresses)
}

/// One endpoint: an address, or a JSON object with `address` (or `Addr`), `priority` and `weight`.
#[cfg(any(feature = "etcd", test))]
pub(super) fn parse_one(text: &str) -> Result<Address, Error> {
    let text = text.trim();
    if !text.starts_with('{') {
        return Ok(fixed::check(text)?.into());
    }

    address(
        serde_json::from_str(text)
            .map_err(|error| format!("it is not an address in JSON: {error}"))?,
    )
}

fn address(entry: Entry) -> Result<Address, Error> {
    Ok(match entry {
        Entry::Text(text) => fixed::check(&text)?.into(),
        Entry::Full(FullEntry {
            address,
            priority,
            weight,
        }) => Address {
            priority,
            weight,
            ..Address::from(fixed::check(&address)?)
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighted(text: &str, priority: u16, weight: u16) -> Address {
        Address {
            priority,
            weight,
            ..Address::from(text)
        }
    }

    #[test]
    fn lines_and_json_say_the_same() {
        let check =
            |text: &str, expected: &[Address]| assert_eq!(parse(text).unwrap(), expected, "{text}");

        check("", &[]);
        check("# none\n\n", &[]);
        check(
            "a:1 # first\n  [::1]:2\r\nunix:/x",
            &["a:1".into(), "[::1]:2".into(), "unix:/x".into()],
        );
        check("[::1]:2\n", &["[::1]:2".into()]);
        check(
            " [\"a:1\",\n \"[::1]:2\"]",
            &["a:1".into(), "[::1]:2".into()],
        );
        check(
            r#"["a:1", {"address": "b:2", "weight": 5, "priority": 1}, {"Addr": "c:3", "Op": 0}]"#,
            &["a:1".into(), weighted("b:2", 1, 5), "c:3".into()],
        );
    }

    #[test]
    fn one_bad_entry_spoils_the_list_and_is_named() {
        let check = |text: &str, words: &str| {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        };

        check("a:1\nb:2\nc", "line 3: `c` is not an address");
        check("[\"a:1\", \"b", "not a JSON array of addresses: EOF");
        check("[\"a:1\", \"b\"]", "`b` is not an address");
        check("[\"a:1\", 5]", "not a JSON array of addresses");
    }

    #[test]
    fn one_endpoint_is_an_address_or_an_object() {
        assert_eq!(parse_one(" a:1\n").unwrap(), "a:1".into());
        assert_eq!(
            parse_one(r#"{"address":"a:1","weight":2}"#).unwrap(),
            weighted("a:1", 0, 2)
        );

        assert!(
            parse_one("a")
                .unwrap_err()
                .to_string()
                .contains("`a` is not an address")
        );
        assert!(
            parse_one("{}")
                .unwrap_err()
                .to_string()
                .contains("not an address in JSON")
        );
    }
}
