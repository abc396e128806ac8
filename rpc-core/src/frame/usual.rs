//! The lines that clients and servers usually write, taken apart at a glance.
//!
//! Fields in the usual order, plain integers, `params` or `data` last. Whatever else a line is, it is
//! left to the general readers, [`Request::decode`] and [`FromServer::decode`](super::FromServer):
//! these here never judge a line, and where they answer, the answer is the same.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error};

use super::ID_MAX;
use super::cmdid::CmdId;
use super::raw::RawJson;
use super::reply::{BadReply, FromServer};
use super::request::Request;
use super::scan::{DEPTH_MAX, Scanner};
use super::scratch::Scratch;

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
            params: Unverified {
                text: params,
                verdict: AtomicU8::new(Unverified::OPEN),
            },
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
        self.params.text.len()
    }

    /// Whether the line is what it looked like. Costs something only if nobody has read the params.
    pub fn is_sound(&self) -> bool {
        self.params.is_sound()
    }
}

/// What stands between the `id` of a request and its params.
#[derive(Debug, Clone, Copy)]
struct Head {
    cmdid: CmdId,
    timestamp: Option<i64>,
    timeout: Option<Duration>,
}

impl Head {
    fn read(glance: &mut Glance<'_>) -> Option<Self> {
        let cmdid = glance.integer_of(b"\"cmdid\":", u64::from(u32::MAX))?;
        let timestamp = glance.integer_of(b"\"timestamp\":", ID_MAX)?;
        let timeout_ms = glance.integer_of(b"\"timeout_ms\":", ID_MAX)?;
        glance.take(b"\"params\":").then_some(())?;

        Some(Self {
            cmdid: CmdId::new(u32::try_from(cmdid?).ok()?),
            timestamp: timestamp.and_then(|timestamp| i64::try_from(timestamp).ok()),
            timeout: timeout_ms.map(Duration::from_millis),
        })
    }
}

/// What stood between `id` and params in the line before: calls of one command with one time limit differ in
/// their ids and params only. For [`UsualRequest::read_after`].
#[derive(Debug, Clone)]
pub struct LastHead {
    text: [u8; Self::TEXT_BYTES],
    /// None before the first line.
    read: Option<(Head, u8)>,
}

impl Default for LastHead {
    fn default() -> Self {
        Self {
            text: [0; Self::TEXT_BYTES],
            read: None,
        }
    }
}

impl LastHead {
    /// Room for `"cmdid":4294967295,"timestamp":1732233600,"timeout_ms":86400000,"params":`, with spaces.
    const TEXT_BYTES: usize = 80;

    fn head_of(&mut self, glance: &mut Glance<'_>) -> Option<Head> {
        if let Some((head, length)) = self.read
            && let Some(rest) = glance.0.strip_prefix(&self.text[..length.into()])
        {
            glance.0 = rest;
            return Some(head);
        }

        let before = glance.0;
        let head = Head::read(glance)?;

        // That all of it has been looked at, and nothing behind it, is what makes equal text an equal head.
        let text = &before[..before.len() - glance.0.len()];
        if let (Some(kept), Ok(length)) =
            (self.text.get_mut(..text.len()), u8::try_from(text.len()))
        {
            kept.copy_from_slice(text);
            self.read = Some((head, length));
        }

        Some(head)
    }
}

/// Text that is one JSON value, or a sign that its line was not what it looked like.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    text: &'a str,
    /// Relaxed throughout: the line is read by one thread, and an atomic only lets a request that
    /// borrows this be sent like any other.
    verdict: AtomicU8,
}

impl<'a> Unverified<'a> {
    const OPEN: u8 = 0;
    const SOUND: u8 = 1;
    const BROKEN: u8 = 2;

    pub(super) fn is_sound(&self) -> bool {
        let mut verdict = self.verdict.load(Ordering::Relaxed);
        if verdict == Self::OPEN {
            let mut scanner = Scanner::new(self.text.as_bytes());
            let is_one_value = scanner.value(1).is_ok() && scanner.peek().is_none();
            verdict = if is_one_value {
                Self::SOUND
            } else {
                Self::BROKEN
            };
            self.verdict.store(verdict, Ordering::Relaxed);
        }

        verdict == Self::SOUND
    }

    pub(super) fn as_str(&self) -> &'a str {
        if self.is_sound() { self.text } else { "null" }
    }

    /// A type that takes the whole text has found it to be one JSON value.
    pub(super) fn decode<T: Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        let decoded = serde_json::from_str(self.text);
        if decoded.is_ok() && self.verdict.load(Ordering::Relaxed) == Self::OPEN {
            self.verdict.store(Self::SOUND, Ordering::Relaxed);
        }
        decoded
    }
}

/// The front of a line, of which more and more is known.
struct Glance<'a>(&'a [u8]);

impl Glance<'_> {
    /// Goes past `expected`, if it comes next. Inlined, as what follows: with the length known, this
    /// is one comparison or two.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a fifth of the glance")]
    fn take(&mut self, expected: &[u8]) -> bool {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// The integer behind `key` if that comes next, up to its comma. `None` where the value is not
    /// plain: more than 16 digits, a sign, a leading zero, anything above `max`.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see above")]
    #[allow(
        clippy::option_option,
        reason = "no such key is not the same as no such line"
    )]
    fn integer_of(&mut self, key: &[u8], max: u64) -> Option<Option<u64>> {
        if !self.take(key) {
            return Some(None);
        }

        // Python's `json` puts a space behind each colon and comma.
        self.take(b" ");

        let mut value = 0;
        let mut length = 0;

        // 17 digits fit, and are too many.
        for byte in self.0.iter().take(17) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value * 10 + u64::from(digit);
            length += 1;
        }

        let has_leading_zero = length > 1 && self.0[0] == b'0';
        self.0 = &self.0[length..];
        let is_plain =
            matches!(length, 1..=16) && !has_leading_zero && value <= max && self.take(b",");

        self.take(b" ");
        is_plain.then_some(Some(value))
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

/// A success that looks usual up to its data, which nobody has looked at yet.
///
/// As with [`UsualRequest`], whoever types the data checks the line.
#[derive(Debug)]
pub struct UsualReply<'a> {
    id: u64,
    data: &'a [u8],
}

impl<'a> UsualReply<'a> {
    /// Looks at a line, without its line break. `None` says nothing but that the line is not usual.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        let mut glance = Glance(line.strip_suffix(b"}")?);
        glance.take(b"{").then_some(())?;
        let id = glance.integer_of(b"\"id\":", ID_MAX)??;
        glance.take(b"\"code\":0,\"data\":").then_some(())?;
        Some(Self { id, data: glance.0 })
    }

    /// The call that it is for.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The data, to be taken elsewhere.
    pub fn data(&self) -> UnverifiedData {
        UnverifiedData(Scratch::of(self.data))
    }
}

/// The data of a [`UsualReply`], unless its line turns out to be something else.
///
/// ```
/// use rpc_core::frame::UsualReply;
///
/// let reply = UsualReply::read(br#"{"id":7,"code":0,"data":[1,2]}"#).unwrap();
/// assert_eq!(reply.data().decode::<Vec<u8>>().unwrap(), [1, 2]);
///
/// // An item of a stream, with its fields in another order than ours.
/// let item = UsualReply::read(br#"{"id":7,"code":0,"data":[1,2],"more":true}"#).unwrap();
/// assert!(item.data().decode::<Vec<u8>>().is_err());
/// assert!(item.data().settle().unwrap().1, "more");
/// ```
pub struct UnverifiedData(Scratch);

impl fmt::Debug for UnverifiedData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes().escape_ascii().fmt(f)
    }
}

impl UnverifiedData {
    /// Decodes into a typed value. Where that succeeds, the line was sound.
    ///
    /// # Errors
    /// The data do not fit, or the line is another one; [`settle`](Self::settle) tells.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(std::str::from_utf8(self.0.as_bytes()).map_err(Error::custom)?)
    }

    /// What the general reader makes of the line: its data, and whether there is `more`.
    ///
    /// # Errors
    /// The line is no reply.
    pub fn settle(self) -> Result<(Option<RawJson<'static>>, bool), BadReply> {
        let line = [b"{\"code\":0,\"data\":", self.0.as_bytes(), b"}"].concat();
        match FromServer::decode(&line)? {
            FromServer::Reply(reply) => Ok((reply.data.map(RawJson::into_owned), reply.more)),
            FromServer::Notice { .. } => unreachable!("the line has a code"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8]) -> bool {
        check_after(&mut LastHead::default(), line)
    }

    /// Whatever a glance makes of a line, the general reader must make of it too.
    fn check_after(last: &mut LastHead, line: &[u8]) -> bool {
        let Some(usual) = UsualRequest::read_after(last, line) else {
            return false;
        };

        // Typed first, as a handler would: an object of anything.
        let typed = usual
            .request()
            .params
            .decode::<serde_json::Map<String, serde_json::Value>>()
            .is_ok();

        if !usual.is_sound() {
            assert!(!typed, "{}", line.escape_ascii());
            return false;
        }

        let general =
            Request::decode(line).unwrap_or_else(|bad| panic!("{}: {bad}", line.escape_ascii()));
        let usual = usual.request();
        assert_eq!(
            (
                usual.id,
                usual.cmdid,
                usual.timestamp,
                usual.timeout,
                usual.params.as_str()
            ),
            (
                general.id,
                general.cmdid,
                general.timestamp,
                general.timeout,
                general.params.as_str()
            ),
            "{}",
            line.escape_ascii()
        );
        assert!(!general.oneway && general.credit.is_none() && general.meta.is_empty());
        true
    }

    #[test]
    fn lines_as_they_are_usually_written_are_taken() {
        for line in [
            r#"{"id":0,"cmdid":100,"params":{}}"#,
            r#"{"id":9007199254740991,"cmdid":4294967295,"timeout_ms":5000,"params":{"a":[1,{"b":"é\n"}]}}"#,
            r#"{"cmdid":1,"timestamp":1732233600,"params":{"a":1}}"#,
            r#"{"cmdid": 1, "timestamp": 1732233600, "params": {"a": 1}}"#,
            r#"{"id":1,"cmdid":5,"params": null }"#,
        ] {
            assert!(check(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn other_lines_are_left_to_the_general_reader() {
        for line in [
            r#"{"cmdid":100}"#,
            r#"{"cmdid":100,"params":{},"id":1}"#,
            r#"{"cmdid":100,"params":{},"params":{}}"#,
            r#"{"id":1,"id":1,"cmdid":100,"params":{}}"#,
            r#"{"id":01,"cmdid":100,"params":{}}"#,
            r#"{"id":9007199254740992,"cmdid":100,"params":{}}"#,
            r#"{"id":1.0,"cmdid":100,"params":{}}"#,
            r#"{"id":1,"cmdid":4294967296,"params":{}}"#,
            r#"{"id":1,"cmdid":-1,"params":{}}"#,
            r#"{"id":1,"params":{}}"#,
            r#"{"id":1,"cmdid":100,"params":}"#,
            r#"{"id":1,"cmdid":100,"params":{}"#,
            r#"{"id":1,"cmdid":100,"params":{}}}"#,
            r#"{"id":1,"cmdid":100,"params":{"a":}}"#,
            r#"{"id":1,"cmdid":100,"params":1}{"cmdid":100}"#,
            "{\"cmdid\":100,\"params\":\u{c}{}}",
            "{\"cmdid\":100,\"params\":{}\u{c}}",
            r#"{"id":1,"cmdid":100,"timeout_ms":12345678901234567,"params":{}}"#,
            "",
            "{",
            "}",
            "{}",
        ] {
            assert!(!check(line.as_bytes()), "{line}");
        }

        assert!(!check(b"{\"id\":1,\"cmdid\":100,\"params\":\"\xff\"}"));
    }

    #[test]
    fn nesting_is_bounded_without_a_look_at_it() {
        let nested = |depth: usize| {
            let params = ["[".repeat(depth), "]".repeat(depth)].concat();
            format!("{{\"cmdid\":100,\"params\":{params}}}")
        };

        assert!(check(nested(127).as_bytes()) && Request::decode(nested(127).as_bytes()).is_ok());
        assert!(!check(nested(128).as_bytes()) && Request::decode(nested(128).as_bytes()).is_err());
    }

    #[test]
    fn a_glance_agrees_with_the_general_reader_on_damaged_lines() {
        let whole = br#"{"id":71,"cmdid":100,"timeout_ms":50,"params":{"level":"info","n":[1,-2.5e3,true]}}"#;
        let alphabet = br#"{}[]",:\ 0179eidcmparst_-."#;
        let mut random = fastrand::Rng::with_seed(3);
        let mut last = LastHead::default();
        let mut taken = 0;

        for _ in 0..200_000 {
            let mut line = whole.to_vec();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(0..line.len());
                match random.u8(0..3) {
                    0 => line[at] = alphabet[random.usize(0..alphabet.len())],
                    1 => drop(line.remove(at)),
                    _ => line.insert(at, alphabet[random.usize(0..alphabet.len())]),
                }
            }

            let is_taken = check(&line);
            assert_eq!(
                check_after(&mut last, &line),
                is_taken,
                "{}",
                line.escape_ascii()
            );
            taken += u32::from(is_taken);
        }

        assert!(taken > 10_000, "{taken}");
    }

    #[test]
    fn what_the_line_before_had_is_not_taken_for_what_this_one_has() {
        let mut last = LastHead::default();
        let mut read = |line: &str| {
            let usual = UsualRequest::read_after(&mut last, line.as_bytes())?;
            let request = usual.request();
            Some((
                request.id,
                request.cmdid.number(),
                request.timestamp,
                request.timeout.map(|t| t.as_millis()),
            ))
        };

        let long = "\"cmdid\": 4294967295, \"timestamp\": 1732233600123, \"timeout_ms\": 86400000, \"params\": {}";
        for _ in 0..2 {
            assert_eq!(
                read(r#"{"id":1,"cmdid":7,"params":{}}"#),
                Some((Some(1), 7, None, None))
            );
            assert_eq!(
                read(r#"{"id":2,"cmdid":7,"params":{}}"#),
                Some((Some(2), 7, None, None))
            );
            assert_eq!(
                read(r#"{"cmdid":7,"params":{}}"#),
                Some((None, 7, None, None))
            );
            assert_eq!(
                read(r#"{"cmdid":8,"timestamp":5,"params":{}}"#),
                Some((None, 8, Some(5), None))
            );
            assert_eq!(
                read(r#"{"id":3,"cmdid":7,"timeout_ms":50,"params":{}}"#),
                Some((Some(3), 7, None, Some(50)))
            );
            assert_eq!(read(r#"{"id":3,"cmdid":7,"timeout_ms":50}"#), None);
            assert_eq!(
                read(&format!("{{{long}}}")),
                Some((None, u32::MAX, Some(1_732_233_600_123), Some(86_400_000)))
            );
        }
    }

    #[test]
    fn a_usual_reply_settles_to_what_the_general_reader_makes_of_its_line() {
        for (line, is_usual) in [
            (
                r#"{"id":7,"code":0,"data":{"accepted":true,"seq":17}}"#,
                true,
            ),
            (r#"{"id":7,"code":0,"data":null}"#, true),
            (r#"{"id":7,"code":0,"data":1,"more":true}"#, true),
            (r#"{"id":7,"code":0,"data":1,"data":2}"#, true),
            (r#"{"id":7,"code":0,"data":{]}"#, true),
            (r#"{"id":7,"code":0,"data":}"#, true),
            (r#"{"id":7,"code":0,"more":true,"data":1}"#, false),
            (r#"{"id":7,"code":0}"#, false),
            (r#"{"id":7,"code":5,"data":1}"#, false),
            (r#"{"code":0,"data":1}"#, false),
        ]
        .map(|(line, is_usual)| (line.as_bytes(), is_usual))
        .into_iter()
        .chain([
            (&b"{\"id\":7,\"code\":0,\"data\":\"\xff\"}"[..], true),
            (
                &b"{\"id\":7,\"code\":0,\"data\":{\"a\":\"\xc3\xa9\"},\"b\":\"\xc3\"}"[..],
                true,
            ),
        ]) {
            let usual = UsualReply::read(line);
            assert_eq!(usual.is_some(), is_usual, "{}", line.escape_ascii());
            let Some(usual) = usual else { continue };

            let typed = usual.data().decode::<serde_json::Value>();
            match (FromServer::decode(line), usual.data().settle()) {
                (Ok(FromServer::Reply(general)), Ok((data, more))) => {
                    assert_eq!(
                        (general.id, &general.data, general.more),
                        (Some(usual.id()), &data, more)
                    );
                    assert_eq!(typed.is_ok(), !more && !line.ends_with(b"2}"));
                }
                (Err(_), Err(_)) => assert!(typed.is_err(), "{}", line.escape_ascii()),
                (general, settled) => {
                    panic!("{}: {general:?} and {settled:?}", line.escape_ascii())
                }
            }
        }
    }
}
