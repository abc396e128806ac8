//! Requests out of lines, with what is wrong with a bad line.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::object::{Member, scan_object};
use super::values::{integer, is_object_of_strings, lenient_integer, shown};
use crate::frame::json::RawJson;
use crate::frame::json::scan::SyntaxError;
use crate::frame::message::{CmdId, ID_MAX, Meta, Request};
use crate::scope::Scope;

impl<'a> Request<'a> {
    /// Reads one line, without its line break. Everything but `params` and `meta` is decoded; the
    /// whole line is checked, so that a request that is returned can be executed.
    ///
    /// # Errors
    /// What is wrong with the frame, with its `id` where that could be read: before the point at
    /// which the line breaks off, or anywhere in a line that is whole JSON.
    pub fn decode(line: &'a [u8]) -> Result<Self, BadFrame> {
        let mut fields = Fields::default();
        let scanned = fields.scan(line);

        let bad = |fields: &Fields, kind, message: String| {
            Err(BadFrame {
                id: fields.id.filter(|_| !fields.id_repeated),
                kind,
                message,
            })
        };

        // UTF-8 first: the scanner looks at structure only, and a person is helped more by the
        // reason than by its consequence.
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                let at = error.valid_up_to();

                // The line breaks there, like one that ends there.
                fields = Fields::default();
                let _ = fields.scan(&line[..at]);

                return bad(
                    &fields,
                    BadFrameKind::Malformed,
                    format!("invalid UTF-8 at byte {at} of the line"),
                );
            }
        };

        if let Err(SyntaxError { what, at }) = scanned {
            return bad(
                &fields,
                BadFrameKind::Malformed,
                format!("not a JSON frame: {what}, at byte {at} of the line"),
            );
        }

        if let Some(message) = fields.wrong.take() {
            return bad(&fields, BadFrameKind::Malformed, message);
        }

        let part = |range: Range<usize>| RawJson::checked(&text[range]);
        let meta = match fields.meta.take().map(part).map(meta_of).transpose() {
            Ok(meta) => meta.unwrap_or_default(),
            Err(message) => return bad(&fields, BadFrameKind::Malformed, message.into()),
        };

        let Some(cmdid) = fields.cmdid else {
            let message = "`cmdid` is missing: a request is an object with at least {\"cmdid\":N}";
            return bad(&fields, BadFrameKind::Malformed, message.into());
        };

        // Last: only a line without another fault is let off.
        if let Some(message) = fields.wrong_id.take() {
            return bad(&fields, BadFrameKind::Id, message);
        }

        Ok(Self {
            id: fields.id,
            cmdid,
            timestamp: fields.timestamp,
            params: fields.params.map_or(RawJson::EMPTY_OBJECT, part),
            timeout: fields.timeout_ms.map(Duration::from_millis),
            oneway: fields.oneway,
            credit: fields.credit,
            meta,
            scope: Scope::default(),
        })
    }
}

/// A line that is not a request, or not a whole one. Nothing of it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrame {
    /// The call's id, where it could be read.
    pub id: Option<u64>,
    /// What sort of fault it is.
    pub kind: BadFrameKind,
    /// What was wrong and what would be right, for the peer.
    pub message: String,
}

/// How a connection takes a bad frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFrameKind {
    /// No JSON object, invalid UTF-8, nested too deep, a field that is missing, repeated or of the
    /// wrong type: counts among the bad lines in a row.
    Malformed,
    /// A sound frame whose `id` is not an integer from 0 to 2^53-1: answered, and the connection goes on.
    Id,
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BadFrame {}

/// The `id` of a line that is not whole: of the beginning of one that is over the limit, or of
/// what came before the peer ended the stream.
pub fn id_of_part(part: &[u8]) -> Option<u64> {
    let mut fields = Fields::default();

    // That the part breaks off is why we are here.
    let _ = fields.scan(part);
    fields.id.filter(|_| !fields.id_repeated)
}

const KNOWN: [&str; 8] = [
    "id",
    "cmdid",
    "timestamp",
    "params",
    "timeout_ms",
    "oneway",
    "credit",
    "meta",
];

/// What a scan has found so far. A wrong field does not end it: the `id` may stand further on.
#[derive(Default)]
struct Fields {
    /// Bit n is set once `KNOWN[n]` was there.
    seen: u8,
    id: Option<u64>,
    id_repeated: bool,
    cmdid: Option<CmdId>,
    timestamp: Option<i64>,
    params: Option<Range<usize>>,
    timeout_ms: Option<u64>,
    oneway: bool,
    credit: Option<u64>,
    meta: Option<Range<usize>>,
    wrong: Option<String>,
    wrong_id: Option<String>,
}

impl Fields {
    fn scan(&mut self, line: &[u8]) -> Result<(), SyntaxError> {
        scan_object(line, |member| self.take(member))
    }

    fn take(&mut self, Member { name, value, range }: Member<'_>) {
        let Some(index) = KNOWN.iter().position(|known| known.as_bytes() == &*name) else {
            return;
        };

        let bit = 1 << index;
        if self.seen & bit != 0 {
            self.id_repeated |= index == 0;
            self.wrong(KNOWN[index], "appears twice; send it once", None);
            return;
        }

        self.seen |= bit;
        match index {
            0 => {
                if let Some(id) = integer(value).filter(|id| *id <= ID_MAX) {
                    self.id = Some(id);
                } else {
                    let shown = shown(value);
                    self.wrong_id = Some(format!(
                        "`id` must be an integer from 0 to 2^53-1, and is {shown}"
                    ));
                }
            }
            1 => match lenient_integer(value).and_then(|n| u32::try_from(n).ok()) {
                Some(number) => self.cmdid = Some(CmdId::new(number)),
                None => self.wrong("cmdid", "must be an integer from 0 to 2^32-1", Some(value)),
            },
            2 => match lenient_integer(value).and_then(|n| i64::try_from(n).ok()) {
                Some(seconds) => self.timestamp = Some(seconds),
                None => self.wrong(
                    "timestamp",
                    "must be an integer, in Unix seconds",
                    Some(value),
                ),
            },
            3 => self.params = Some(range),
            4 => match integer(value) {
                Some(milliseconds) => self.timeout_ms = Some(milliseconds),
                None => {
                    self.wrong(
                        "timeout_ms",
                        "must be a non-negative integer, in milliseconds",
                        Some(value),
                    );
                }
            },
            5 => match value {
                b"true" => self.oneway = true,
                b"false" => {}
                _ => self.wrong("oneway", "must be true or false", Some(value)),
            },
            6 => match integer(value) {
                Some(items) => self.credit = Some(items),
                None => self.wrong(
                    "credit",
                    "must be a non-negative integer, in items",
                    Some(value),
                ),
            },
            _ => match is_object_of_strings(value) {
                true => self.meta = Some(range),
                false => self.wrong(
                    "meta",
                    "must be an object whose values are all strings",
                    Some(value),
                ),
            },
        }
    }

    /// Keeps the first fault only; one is enough to mend.
    fn wrong(&mut self, field: &str, rule: &str, value: Option<&[u8]>) {
        if self.wrong.is_none() {
            let mut message = format!("`{field}` {rule}");
            if let Some(value) = value {
                message = message + ", and is " + &shown(value);
            }
            self.wrong = Some(message);
        }
    }
}

/// The metadata, whose JSON is checked already. A lone surrogate is valid JSON, and no string that could be handed on.
fn meta_of(meta: RawJson<'_>) -> Result<Meta<'_>, &'static str> {
    let is_text = || meta.decode::<BTreeMap<String, String>>().is_ok();
    if meta.as_str().contains("\\u") && !is_text() {
        return Err("`meta` holds a string that is not Unicode text");
    }

    Ok(Meta::checked(meta))
}

#[cfg(test)]
mod tests;
