//! Entries that are sent without an answer, and counts of those that were written or dropped.

use serde::{Deserialize, Serialize};

use super::{Append, Fields, Level};

/// Entries to write without waiting for the disk.
///
/// JSON: `{"entries":[…]}`. A single entry may also be given by the members of [`Append`], without `entries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members")]
pub struct Emit {
    /// The entries: at least 1, at most 10,000.
    pub entries: Vec<Append>,
}

/// Entries to write without waiting for the disk: `entries`, or the members of a single entry.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Members {
    /// The entries: at least 1, at most 10,000. If `entries` is missing, the other members are those of a single entry.
    #[serde(default)]
    entries: Option<Vec<Append>>,
    /// Severity of the event.
    #[serde(default)]
    level: Option<Level>,
    /// Name of the service that writes the entry, for example `"order"`.
    #[serde(default)]
    service: Option<String>,
    /// What happened, as a text.
    #[serde(default)]
    message: Option<String>,
    /// Time of the event, in milliseconds since 1970. If it is missing, the log uses the time of receipt.
    #[serde(default, deserialize_with = "super::entry::possible_time")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<u64>"))]
    ts: Option<u64>,
    /// Id of the trace that the event belongs to.
    #[serde(default)]
    trace: Option<String>,
    /// Further data, as an object. The log stores it unchanged.
    #[serde(default)]
    fields: Option<Fields>,
}

impl TryFrom<Members> for Emit {
    type Error = String;

    fn try_from(members: Members) -> Result<Self, String> {
        let Members {
            entries,
            level,
            service,
            message,
            ts,
            trace,
            fields,
        } = members;

        let has_others = level.is_some()
            || service.is_some()
            || message.is_some()
            || ts.is_some()
            || trace.is_some()
            || fields.is_some();
        match entries {
            Some(_) if has_others => Err(
                "`params` has `entries` and members of a single entry; give only one of them"
                    .into(),
            ),
            Some(entries) => Ok(Self { entries }),
            None => {
                let missing = |name| {
                    format!("`{name}` is missing; give the members of an entry, or `entries`")
                };
                let entry = Append {
                    level: level.ok_or_else(|| missing("level"))?,
                    service: service.ok_or_else(|| missing("service"))?,
                    message: message.ok_or_else(|| missing("message"))?,
                    ts,
                    trace,
                    fields,
                };
                let entries = vec![entry];
                Ok(Self { entries })
            }
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Emit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Emit".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Members::json_schema(generator)
    }
}

/// Counts of the entries that a connection has emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Flushed {
    /// Number of the last entry that was written to the log.
    pub seq: u64,
    /// Number of entries that this connection has emitted since it was opened, and that are on disk.
    pub emitted: u64,
    /// Number of entries that this connection has emitted, and that were dropped because their service was over its
    /// budget, because too many bytes waited for the disk, or because the disk failed.
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_or_several_are_taken_and_what_is_neither_is_refused() {
        let entry = r#"{"level":"info","service":"s","message":"m","fields":{"a":1.50}}"#;
        let one: Emit = serde_json::from_str(entry).unwrap();
        let several: Emit = serde_json::from_str(&format!(r#"{{"entries":[{entry}]}}"#)).unwrap();
        assert_eq!(one, several);
        let fields = one.entries[0].fields.as_ref().unwrap();
        assert_eq!(fields.as_str(), r#"{"a":1.50}"#);

        for (wrong, reason) in [
            (r#"{"level":"info","service":"s"}"#, "`message` is missing"),
            (r#"{"entries":[],"level":"info"}"#, "give only one of them"),
            (r#"{"entry":1}"#, "unknown field"),
            (
                r#"{"level":"info","service":"s","message":"m","ts":1700000000000000}"#,
                "microseconds",
            ),
        ] {
            let error = serde_json::from_str::<Emit>(wrong).unwrap_err();
            assert!(error.to_string().contains(reason), "{wrong}: {error}");
        }
    }
}
