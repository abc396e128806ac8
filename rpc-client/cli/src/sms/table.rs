//! Tables and records out of JSON, for people.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use serde_json::value::RawValue;

/// A column of a table: a field of the objects that are its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) field: &'static str,
    pub(super) head: &'static str,
}

/// Widest cell, in characters. Longer ones are cut, so that a row stays one.
const CELL_WIDTH_MAX: usize = 48;

/// The columns of messages.
pub(super) const MESSAGES: [Column; 8] = [
    column("id", "ID"),
    column("status", "STATUS"),
    column("to", "TO"),
    column("class", "CLASS"),
    column("gateway", "GATEWAY"),
    column("attempt", "ATTEMPT"),
    column("updated_at", "UPDATED"),
    column("error", "ERROR"),
];

/// The columns of gateways.
pub(super) const GATEWAYS: [Column; 10] = [
    column("name", "NAME"),
    column("kind", "KIND"),
    column("state", "STATE"),
    column("queued", "QUEUED"),
    column("oldest_ms", "OLDEST"),
    column("sending", "SENDING"),
    column("unknown", "UNKNOWN"),
    column("accepted", "ACCEPTED"),
    column("errors", "ERRORS"),
    column("last_error", "LAST ERROR"),
];

const fn column(field: &'static str, head: &'static str) -> Column {
    Column { field, head }
}

/// The lines of a table. Without rows it is its head alone.
pub(super) fn table(columns: &[Column], rows: &[Box<RawValue>]) -> Vec<String> {
    let heads = columns.iter().map(|column| column.head.to_owned());
    let mut lines: Vec<Vec<String>> = vec![heads.collect()];
    for row in rows {
        let row: Value = serde_json::from_str(row.get()).unwrap_or_default();
        let cells = columns
            .iter()
            .map(|column| cut(&cell(column.field, &row[column.field])));
        lines.push(cells.collect());
    }

    let widths: Vec<usize> = (0..columns.len())
        .map(|place| {
            let widths = lines.iter().map(|cells| cells[place].chars().count());
            widths.max().unwrap_or(0)
        })
        .collect();
    let aligned = lines.iter().map(|cells| {
        let cells = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    aligned.collect()
}

/// The lines of an object: a field each.
pub(super) fn record(json: &str) -> Vec<String> {
    let fields: Value = serde_json::from_str(json).unwrap_or_default();
    let Some(fields) = fields.as_object() else {
        return vec![json.to_owned()];
    };

    let width = fields.keys().map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0);
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}", cell(name, value)));
    lines.collect()
}

/// A value for people: times as dates, ages in units, a missing one as nothing.
pub(super) fn cell(field: &str, value: &Value) -> String {
    let is_time = field.ends_with("_at") || matches!(field, "at" | "since");
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if is_time => number.as_u64().map_or_else(String::new, date),
        Value::Number(number) if field.ends_with("_ms") => {
            let age = number.as_u64().map(Duration::from_millis);
            age.map_or_else(String::new, |age| {
                humantime::format_duration(age).to_string()
            })
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| cell(field, item)).collect();
            items.join("; ")
        }
        other => other.to_string(),
    }
}

/// Milliseconds since 1970 as a date and time, or as they are where that has no date.
fn date(ms: u64) -> String {
    /// The end of the year 9999.
    const MS_MAX: u64 = 253_402_300_799_999;

    match ms {
        0..=MS_MAX => {
            let time = UNIX_EPOCH + Duration::from_millis(ms);
            humantime::format_rfc3339_seconds(time).to_string()
        }
        _ => ms.to_string(),
    }
}

fn cut(cell: &str) -> String {
    match cell.char_indices().nth(CELL_WIDTH_MAX) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(json: &str) -> Vec<Box<RawValue>> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_table_has_aligned_columns_dates_ages_and_no_long_cells() {
        let gateways = rows(
            r#"[{"name":"one","kind":"http","state":"up","queued":12,"oldest_ms":61000,"sending":0,"unknown":1,
                 "accepted":7,"errors":0},
                {"name":"another","state":"down","last_error":"0123456789012345678901234567890123456789012345678"}]"#,
        );
        assert_eq!(
            table(&GATEWAYS, &gateways),
            [
                "NAME     KIND  STATE  QUEUED  OLDEST  SENDING  UNKNOWN  ACCEPTED  ERRORS  LAST ERROR",
                "one      http  up     12      1m 1s   0        1        7         0",
                "another        down                                                       \
                 012345678901234567890123456789012345678901234567…",
            ]
        );

        let messages = rows(r#"[{"id":"01","status":"sent","updated_at":1764489600000}]"#);
        let lines = table(&MESSAGES, &messages);
        assert!(lines[1].contains("2025-11-30T08:00:00Z"), "{lines:?}");
        assert_eq!(table(&MESSAGES, &[]).len(), 1);
    }

    #[test]
    fn a_record_has_a_line_for_each_field() {
        assert_eq!(
            record(r#"{"opted_out":true,"since":0,"reasons":["a","b"],"n":null}"#),
            [
                "n          ",
                "opted_out  true",
                "reasons    a; b",
                "since      1970-01-01T00:00:00Z",
            ]
        );
        assert_eq!(record("17"), ["17"]);
        assert_eq!(
            record(r#"{"at":18446744073709551615}"#),
            ["at  18446744073709551615"]
        );
    }
}
