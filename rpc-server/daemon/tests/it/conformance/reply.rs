//! Lines of a server: whether they are what the protocol says of every line.
//!
//! Values stay raw JSON text, so that numbers past every double and lone surrogates, which
//! `serde_json::Value` cannot hold, are no obstacle to looking at the rest of a line.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order, repeated ones too.
#[derive(Debug)]
pub(super) struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// The last one of this name, as most readers of JSON take it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rfind(|(key, _)| key == name)
            .map(|(_, value)| value.get())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    fn has_repeated_name(&self) -> bool {
        self.names()
            .enumerate()
            .any(|(at, name)| self.names().take(at).any(|before| before == name))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// One line of a server.
pub(super) struct Line {
    pub(super) raw: Vec<u8>,
    pub(super) members: Members,
}

impl Line {
    /// Reads a line with its newline, and checks it against all that the protocol says of any.
    pub(super) fn parse(raw: Vec<u8>) -> Result<Self, String> {
        let text = std::str::from_utf8(&raw).map_err(|error| error.to_string())?;
        if !text.starts_with('{') || !text.ends_with("}\n") {
            return Err("it is not a JSON object that a newline ends".into());
        }
        let members = Members::parse(text)?;
        if members.has_repeated_name() {
            return Err("a field is repeated".into());
        }
        let line = Self { raw, members };
        if !line.is_notice() {
            check_reply(&line.members)?;
        }
        Ok(line)
    }

    pub(super) fn is_notice(&self) -> bool {
        self.members.get("event").is_some() && self.members.get("code").is_none()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.raw).expect("it was checked")
    }
}

fn check_reply(reply: &Members) -> Result<(), String> {
    let names: Vec<_> = reply.names().collect();
    let has_id_first = names.starts_with(&["id", "code"]);
    if !has_id_first && (names.first() != Some(&"code") || names.contains(&"id")) {
        return Err("id, then code, must come first".into());
    }
    for name in ["id", "code", "retry_after_ms"] {
        if reply
            .get(name)
            .is_some_and(|value| !value.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(format!("{name} must be an integer, 0 or more"));
        }
    }
    for name in ["more", "rejected"] {
        if reply.get(name).is_some_and(|value| value != "true") {
            return Err(format!("{name} can only be true"));
        }
    }
    let is_success = reply.get("code") == Some("0");
    let foreign: &[_] = if is_success {
        &["message", "details", "rejected", "retry_after_ms"]
    } else {
        &["data", "more"]
    };
    if let Some(name) = foreign.iter().find(|name| names.contains(name)) {
        return Err(format!("{name} does not belong there"));
    }
    if !is_success
        && !reply
            .get("message")
            .is_some_and(|text| text.starts_with('"') && text != "\"\"")
    {
        return Err("a failure must have a message".into());
    }
    if names.contains(&"more") && !names.contains(&"data") {
        return Err("an item must have data".into());
    }
    Ok(())
}

#[test]
fn proper_lines_are_taken_and_no_others() {
    for proper in [
        &b"{\"code\":0}\n"[..],
        b"{\"code\":0,\"data\":null}\n",
        b"{\"id\":7,\"code\":0,\"data\":{\"a\":1,\"a\":2},\"more\":true}\n",
        b"{\"id\":7,\"code\":3,\"message\":\"m\",\"details\":null,\"rejected\":true,\"retry_after_ms\":0}\n",
        b"{\"event\":\"goaway\",\"message\":\"m\"}\n",
        b"{\"code\":0,\"data\":1e400}\n",
        b"{\"code\":0,\"data\":\"\\ud800\"}\n",
    ] {
        assert_eq!(Line::parse(proper.to_vec()).err(), None, "{}", proper.escape_ascii());
    }
    for improper in [
        &b"{\"code\":0}"[..],
        b"{\"code\":0}\r\n",
        b" {\"code\":0}\n",
        b"{\"code\":0} \n",
        b"{\"code\":0}{\"code\":0}\n",
        b"[{\"code\":0}]\n",
        b"{}\n",
        b"{\"code\":0,}\n",
        b"{\"code\":0,\"code\":0}\n",
        b"{\"code\":0,\"data\":NaN}\n",
        b"{\"code\":0,\"data\":\"\xff\"}\n",
        b"{\"code\":0,\"data\":\"\t\"}\n",
        b"{\"data\":1,\"code\":0}\n",
        b"{\"code\":0,\"id\":7}\n",
        b"{\"id\":7,\"data\":1,\"code\":0}\n",
        b"{\"id\":7.0,\"code\":0}\n",
        b"{\"id\":\"7\",\"code\":0}\n",
        b"{\"id\":null,\"code\":0}\n",
        b"{\"code\":\"0\"}\n",
        b"{\"code\":-1,\"message\":\"m\"}\n",
        b"{\"code\":3}\n",
        b"{\"code\":3,\"message\":\"\"}\n",
        b"{\"code\":3,\"message\":5}\n",
        b"{\"code\":3,\"message\":\"m\",\"data\":1}\n",
        b"{\"code\":0,\"message\":\"m\"}\n",
        b"{\"code\":0,\"rejected\":true}\n",
        b"{\"code\":0,\"data\":1,\"more\":false}\n",
        b"{\"code\":0,\"more\":true}\n",
        b"{\"code\":8,\"message\":\"m\",\"rejected\":false}\n",
        b"{\"code\":8,\"message\":\"m\",\"retry_after_ms\":1.5}\n",
    ] {
        assert!(
            Line::parse(improper.to_vec()).is_err(),
            "{}",
            improper.escape_ascii()
        );
    }
}
