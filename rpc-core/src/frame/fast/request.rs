use std::time::Duration;

use super::cursor::Glance;
use super::header_cache::{Head, LastHead};
use crate::frame::json::RawJson;
use crate::frame::json::scan::DEPTH_MAX;
use crate::frame::json::unverified::Unverified;
use crate::frame::message::{CmdId, ID_MAX, Request};

/// A request that looks usual up to its params, which nobody has looked at yet.
///
/// Params are read once, by the one who types them: that they fit the type says that they are JSON,
/// and with that the whole line. So a connection may hand [`request`](Self::request) to a service,
/// and must ask [`is_sound`](Self::is_sound) before it polls what comes back; where the line is not
/// sound, it drops that future and goes to [`Request::decode`] for the truth.
///
/// ```
/// use rpc_core::frame::UsualRequest;
///
/// let usual = UsualRequest::read(br#"{"id":7,"cmdid":100,"params":[1,2]}"#).unwrap();
/// assert_eq!(usual.request().params.decode::<Vec<u8>>().unwrap(), [1, 2]);
/// assert!(usual.is_sound());
///
/// // Params are not the last field: more than a glance is needed.
/// let other = UsualRequest::read(br#"{"id":7,"cmdid":100,"params":[1,2],"oneway":true}"#).unwrap();
/// assert!(!other.is_sound());
/// ```
#[derive(Debug)]
pub struct UsualRequest<'a> {
    id: Option<u64>,
    cmdid: CmdId,
    timestamp: Option<i64>,
    timeout: Option<Duration>,
    params: Unverified<'a>,
}

impl<'a> UsualRequest<'a> {
    /// Looks at a line, without its line break. `None` says nothing but that the line is not usual.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        Self::read_after(&mut LastHead::default(), line)
    }

    /// As [`read`](Self::read), for one line of many: faster where what stands before the params, the `id`
    /// apart, is what it was in the line before.
    ///
    /// ```
    /// use rpc_core::frame::{LastHead, UsualRequest};
    ///
    /// let mut last = LastHead::default();
    /// for line in ["{\"id\":1,\"cmdid\":100,\"params\":[]}", "{\"id\":2,\"cmdid\":100,\"params\":{}}"] {
    ///     let usual = UsualRequest::read_after(&mut last, line.as_bytes()).unwrap();
    ///     assert_eq!(usual.request().cmdid.number(), 100);
    /// }
    /// ```
    pub fn read_after(last: &mut LastHead, line: &'a [u8]) -> Option<Self> {
        let mut glance = Glance(line.strip_suffix(b"}")?);
        glance.take(b"{").then_some(())?;
        let id = glance.integer_of(b"\"id\":", ID_MAX)?;
        let Head {
            cmdid,
            timestamp,
            timeout,
        } = last.head_of(&mut glance)?;

        // What stands before them has been compared with ASCII.
        let params = std::str::from_utf8(trim(glance.0)).ok()?;

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
            params: Unverified::new(params),
        })
    }

    /// The request, if the line is what it looks like. Its params can be typed; as text they are
    /// checked first, and are `null` where they turn out to be no JSON.
    pub fn request(&self) -> Request<'_> {
        let mut request = Request::new(self.cmdid, RawJson::unverified(&self.params));
        request.id = self.id;
        request.timestamp = self.timestamp;
        request.timeout = self.timeout;
        request
    }

    /// The length of the params as text, which does not read them.
    pub fn params_bytes(&self) -> usize {
        self.params.text().len()
    }

    /// Whether the line is what it looked like. Costs something only if nobody has read the params.
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
