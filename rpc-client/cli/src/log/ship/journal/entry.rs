//! Entries of the journal as entries of the log.

use std::collections::BTreeMap;

use rpc_core::api::log::{Append, Fields, Level, SERVICE_BYTES_MAX, TS_MAX};
use serde_json::{Map, Value};

use super::field::Texts;
use super::state::Place;

/// Maximum length of a message in bytes; journald itself splits longer lines of programs. The rest is left out.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Maximum length in bytes of one value among the fields, and of the names and values of all.
const VALUE_BYTES_MAX: usize = 4 << 10;
const FIELDS_BYTES_MAX: usize = 16 << 10;

/// What the journal itself says of an entry, and the names of that in the log: those of messages of syslog, where these have
/// it. A command line is not among them: it may have secrets.
const TRUSTED: [(&str, &str); 11] = [
    ("_HOSTNAME", "host"),
    ("_PID", "procid"),
    ("_SYSTEMD_UNIT", "unit"),
    ("_SYSTEMD_USER_UNIT", "user_unit"),
    ("_COMM", "comm"),
    ("_EXE", "exe"),
    ("_UID", "uid"),
    ("_TRANSPORT", "transport"),
    ("_BOOT_ID", "boot_id"),
    ("_KERNEL_DEVICE", "kernel_device"),
    ("_KERNEL_SUBSYSTEM", "kernel_subsystem"),
];

/// What is elsewhere in the entry, or comes from syslog and is said better by the journal.
const LEFT_OUT: [&str; 7] = [
    "MESSAGE",
    "PRIORITY",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_FACILITY",
    "SYSLOG_PID",
    "SYSLOG_RAW",
    "SYSLOG_TIMESTAMP",
];

/// The names of syslog's facilities, by their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clockd", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// The service of an entry that names none.
const SERVICE: &str = "journal";

/// An entry for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// As the log takes it.
    pub(super) json: String,
    /// Which one it is in the journal.
    pub(super) place: Place,
}

impl Entry {
    /// Reads a line of `journalctl --output=json`; `None` if it is not an entry.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let fields: BTreeMap<String, Texts> = serde_json::from_slice(line).ok()?;
        let fields = Journaled(fields);
        let cursor = fields.first("__CURSOR")?.to_owned();
        let ts = fields.ms("__REALTIME_TIMESTAMP")?;

        let mut room = Room::default();
        let append = Append {
            ts: Some(ts),
            fields: fields.others(&mut room),
            ..Append::new(fields.level(), fields.service(), fields.message(&mut room))
        };
        let append = match room.is_exceeded {
            true => with_truncated(append),
            false => append,
        };
        Some(Self {
            json: serde_json::to_string(&append).expect("texts and numbers have a JSON form"),
            place: Place { cursor, ts },
        })
    }
}

/// The fields of an entry, by their names in the journal.
struct Journaled(BTreeMap<String, Texts>);

/// The bytes that the fields of an entry may still have.
struct Room {
    bytes: usize,
    /// Whether something was cut, or left out.
    is_exceeded: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            bytes: FIELDS_BYTES_MAX,
            is_exceeded: false,
        }
    }
}

impl Room {
    /// As much of a text as `most` bytes and the room allow.
    fn cut<'t>(&mut self, text: &'t str, most: usize) -> &'t str {
        let cut = cut(text, most);
        self.is_exceeded |= cut.len() < text.len();
        cut
    }

    /// A field's value, if there is room for it.
    fn take(&mut self, name: &str, texts: &Texts) -> Option<Value> {
        let values: Vec<&str> = texts
            .iter()
            .map(|text| self.cut(text, VALUE_BYTES_MAX))
            .collect();
        let bytes = name.len() + values.iter().map(|value| value.len() + 1).sum::<usize>();
        let left = self.bytes.checked_sub(bytes);
        self.is_exceeded |= left.is_none();
        self.bytes = left?;

        match values[..] {
            [] => None,
            [value] => Some(value.into()),
            _ => Some(values.into()),
        }
    }
}

impl Journaled {
    fn first(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name)?.iter().next();
        text.filter(|text| !text.is_empty())
    }

    /// A time in microseconds as milliseconds.
    fn ms(&self, name: &str) -> Option<u64> {
        let us: u64 = self.first(name)?.parse().ok()?;
        Some((us / 1_000).min(TS_MAX))
    }

    fn level(&self) -> Level {
        let severity = self.first("PRIORITY").and_then(|text| text.parse().ok());
        severity.and_then(Level::of_severity).unwrap_or(Level::Info)
    }

    fn service(&self) -> String {
        let names = ["SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT", "_COMM"];
        let name = names.iter().find_map(|name| self.first(name));
        cut(name.unwrap_or(SERVICE), SERVICE_BYTES_MAX).to_owned()
    }

    /// The message; several are the lines of one.
    fn message(&self, room: &mut Room) -> String {
        let texts = self.0.get("MESSAGE").into_iter().flat_map(Texts::iter);
        let message = texts.collect::<Vec<_>>().join("\n");
        room.cut(&message, MESSAGE_BYTES_MAX).to_owned()
    }

    /// What an entry has besides: first what the journal says of it, then what its program does.
    fn others(&self, room: &mut Room) -> Option<Fields> {
        let mut others = Map::new();
        let mut add = |name: &str, texts: &Texts| {
            if let Some(value) = room.take(name, texts) {
                others.insert(name.to_owned(), value);
            }
        };

        for (name, ours) in TRUSTED {
            if let Some(texts) = self.0.get(name) {
                add(ours, texts);
            }
        }
        let facility: Option<usize> = self.first("SYSLOG_FACILITY").and_then(|it| it.parse().ok());
        if let Some(name) = facility.and_then(|facility| FACILITIES.get(facility)) {
            add("facility", &Texts::of(name));
        }

        let is_taken = |name: &str| {
            ["facility", "truncated"].contains(&name)
                || TRUSTED.iter().any(|(_, ours)| *ours == name)
        };
        for (name, texts) in &self.0 {
            if name.starts_with('_') || LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            let lower = name.to_ascii_lowercase();
            // Of two of one name the journal's own has it in small letters: systemd says UNIT of a unit that it starts.
            let name = if is_taken(&lower) { name } else { &lower };
            add(name, texts);
        }
        (!others.is_empty())
            .then(|| Fields::of(&others).ok())
            .flatten()
    }
}

/// As much of a text as `most` bytes allow.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Says that a part of the entry is not there.
fn with_truncated(append: Append) -> Append {
    let fields = append.fields.as_ref();
    let mut fields: Map<String, Value> = fields
        .and_then(|fields| fields.decode().ok())
        .unwrap_or_default();
    fields.insert("truncated".into(), true.into());
    Append {
        fields: Fields::of(&fields).ok(),
        ..append
    }
}

#[cfg(test)]
mod tests;
