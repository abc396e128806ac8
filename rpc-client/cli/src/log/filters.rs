//! The entries that a reader asks for.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use rpc_core::api::log::{self as api, Level, Read, Tail};

use super::cursor::Cursor;
use super::fields::{Field, Fields, field};
use crate::call::refuse_repetition;
use crate::exit::Failure;

/// Which entries to look at.
#[derive(Args, Default, PartialEq)]
pub(super) struct Filters {
    /// Only entries of this level or a more severe one: trace, debug, info, warn, error or fatal
    #[arg(long)]
    level: Option<Level>,
    /// Only entries of exactly this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Only entries whose message contains this text
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// Only entries with this text in their message, service or trace, or in a text field
    #[arg(long, value_name = "TEXT")]
    anywhere: Option<String>,
    /// Only entries of this trace
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Only entries with this field: KEY=VALUE for a text or a number, KEY:=JSON for a number, true, false or null; may be given
    /// several times, with different keys
    #[arg(long = "field", value_name = "KEY=VALUE", value_parser = field)]
    fields: Vec<Field>,
    /// Only entries since this time: a duration before now, for example 10m or 2h, or a date and time, for example
    /// 2026-01-05T10:20:30Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    /// Only entries before this time, in the form of --since
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
}

/// A time in milliseconds since 1970: how long ago it was, or a date and time.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let time = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };

    let since_1970 = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let ms = since_1970.and_then(|time| u64::try_from(time.as_millis()).ok());
    ms.ok_or_else(|| {
        "it must be a duration before now, for example 10m or 2h, or a date and time since 1970, for example \
         2026-01-05T10:20:30Z"
            .into()
    })
}

impl Filters {
    /// The filters of a read.
    pub(super) fn read(&self) -> Read {
        Read {
            level: self.level,
            service: self.service.clone(),
            contains: self.contains.clone(),
            text: self.anywhere.clone(),
            trace: self.trace.clone(),
            fields: self.wanted_fields(),
            from: self.since,
            to: self.until,
            ..Read::default()
        }
    }

    /// The filters of a stream, which begins at the cursor.
    pub(super) fn tail(&self, cursor: &Cursor) -> Tail {
        let Read {
            level,
            service,
            contains,
            text,
            trace,
            fields,
            from,
            to,
            ..
        } = self.read();

        Tail {
            log: cursor.log.clone(),
            after: Some(cursor.after),
            last: None,
            level,
            service,
            contains,
            text,
            trace,
            fields,
            from,
            to,
        }
    }

    /// Refuses filters that cannot be asked for together.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let keys = self.fields.iter().map(|field| field.key.as_str());
        refuse_repetition("--field", keys)
    }

    /// The fields, whose names differ, as `check` has shown.
    fn wanted_fields(&self) -> Option<api::Fields> {
        if self.fields.is_empty() {
            return None;
        }
        api::Fields::of(&Fields(self.fields.clone())).ok()
    }
}
