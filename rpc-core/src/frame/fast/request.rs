//! Requests of the usual form.

use std::time::Duration;

use super::cursor::Cursor;
use super::header_cache::{Header, HeaderCache};
use crate::frame::json::RawJson;
use crate::frame::json::scan::DEPTH_MAX;
use crate::frame::json::unverified::Unverified;
use crate::frame::message::{self, CmdId, ID_MAX};

/// A request that looks usual up to its params, which have not been read yet.
///
/// The params are read once, by the handler's decoding: if they fit the type, they are JSON, and so is
/// the whole line. A connection may hand [`request`](Self::request) to a service, and must ask
/// [`is_sound`](Self::is_sound) before it polls the future that comes back. If the line is not sound,
/// it drops that future and reads the line with [`Request::decode`](crate::Request::decode).
///
/// ```
/// use rpc_core::frame::fast;
///
/// let usual = fast::Request::read(br#"{"id":7,"cmdid":100,"params":[1,2]}"#).unwrap();
/// assert_eq!(usual.request().params.decode::<Vec<u8>>().unwrap(), [1, 2]);
/// assert!(usual.is_sound());
///
/// // Params are not the last field: a full scan is needed.
/// let other = fast::Request::read(br#"{"id":7,"cmdid":100,"params":[1,2],"oneway":true}"#).unwrap();
/// assert!(!other.is_sound());
/// ```
#[derive(Debug)]
pub struct Request<'a> {
    id: Option<u64>,
    cmdid: CmdId,
    timestamp: Option<i64>,
    timeout: Option<Duration>,
    oneway: bool,
    params: Unverified<'a>,
}

impl<'a> Request<'a> {
    /// Reads a line, without its line break. `None` means only that the line is not usual.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        Self::read_after(&mut HeaderCache::default(), line)
    }

    /// As [`read`](Self::read), for one line of many: faster if everything before the params, apart from
    /// the `id`, is the same as in the line before.
    ///
    /// ```
    /// use rpc_core::frame::fast::{HeaderCache, Request};
    ///
    /// let mut cache = HeaderCache::default();
    /// for line in ["{\"id\":1,\"cmdid\":100,\"params\":[]}", "{\"id\":2,\"cmdid\":100,\"params\":{}}"] {
    ///     let usual = Request::read_after(&mut cache, line.as_bytes()).unwrap();
    ///     assert_eq!(usual.request().cmdid.number(), 100);
    /// }
    /// ```
    pub fn read_after(cache: &mut HeaderCache, line: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(line.strip_suffix(b"}")?);
        cursor.take(b"{").then_some(())?;
        let id = cursor.integer_of(b"\"id\":", ID_MAX)?;
        let Header {
            cmdid,
            timestamp,
            timeout,
            oneway,
        } = cache.header_of(&mut cursor)?;

        // The bytes before them have been compared with ASCII.
        let params = std::str::from_utf8(trim(cursor.0)).ok()?;

        // What is nested too deep has as many brackets that open, and as many that close.
        if params.len() >= 2 * DEPTH_MAX as usize {
            let brackets = memchr::memchr2_iter(b'{', b'[', params.as_bytes());
            if brackets.take(DEPTH_MAX as usize).count() == DEPTH_MAX as usize {
                return None;
            }
        }

        Some(Self {
            id,
            cmdid,
            timestamp,
            timeout,
            oneway,
            params: Unverified::new(params),
        })
    }

    /// The request, if the line is what it looks like. Its params can be typed; as text they are
    /// checked first, and are `null` if they are not JSON.
    pub fn request(&self) -> message::Request<'_> {
        let mut request = message::Request::new(self.cmdid, RawJson::unverified(&self.params));
        request.id = self.id;
        request.timestamp = self.timestamp;
        request.timeout = self.timeout;
        request.oneway = self.oneway;
        request
    }

    /// The length of the params as text, which does not read them.
    pub fn params_bytes(&self) -> usize {
        self.params.text().len()
    }

    /// Whether the line is what it looked like. Costs a scan only if the params have not been decoded.
    pub fn is_sound(&self) -> bool {
        self.params.is_sound()
    }
}

/// Without JSON's white space at either end; `trim_ascii` would take a form feed away, which is an error.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..]
    | [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = text
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests;
