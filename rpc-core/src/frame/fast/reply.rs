//! Replies of the usual form.

use std::fmt;

use serde::de::{DeserializeOwned, Error};

use super::line::Line;
use crate::frame::json::RawJson;
use crate::frame::json::buffers::Scratch;
use crate::frame::json::by_name;
use crate::frame::message::{FromServer, ServerTiming};
use crate::frame::parse::BadReply;

/// A success that looks usual up to its data, which have not been read yet.
///
/// As with [`Request`](super::Request), the typed decoding of the data checks the line.
#[derive(Debug)]
pub struct Reply<'a> {
    id: u64,
    data: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads a line, without its line break. `None` means only that the line is not usual.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        match Line::read(line)? {
            Line::Reply(it) => Some(it),
            Line::Item(_) => None,
        }
    }

    pub(super) fn new(id: u64, data: &'a [u8]) -> Self {
        Self { id, data }
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

/// The data of a [`Reply`], unless its line turns out to be something else.
///
/// ```
/// use rpc_core::frame::fast;
///
/// let reply = fast::Reply::read(br#"{"id":7,"code":0,"data":[1,2]}"#).unwrap();
/// assert_eq!(reply.data().decode::<Vec<u8>>().unwrap(), [1, 2]);
///
/// // An item of a stream, with its fields in another order than ours.
/// let item = fast::Reply::read(br#"{"id":7,"code":0,"data":[1,2],"more":true}"#).unwrap();
/// assert!(item.data().decode::<Vec<u8>>().is_err());
/// assert!(item.data().settle().unwrap().more);
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
    /// The data do not fit, or the line is not what it looked like; [`settle`](Self::settle) tells which.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        by_name::decode(std::str::from_utf8(self.0.as_bytes()).map_err(Error::custom)?)
    }

    /// What the general reader makes of the line.
    ///
    /// # Errors
    /// The line is not a reply.
    pub fn settle(self) -> Result<Settled, BadReply> {
        settle(b"{\"id\":0,\"code\":0,\"data\":", self.0.as_bytes())
    }
}

/// What the general reader makes of a line with this head, up to its data. It has an `id`, as the line had one: another
/// one behind the data is a repetition.
pub(super) fn settle(head: &[u8], data: &[u8]) -> Result<Settled, BadReply> {
    let line = [head, data, b"}"].concat();
    match FromServer::decode(&line)? {
        FromServer::Reply(reply) => Ok(Settled {
            data: reply.data.map(RawJson::into_owned),
            more: reply.more,
            timing: reply.timing,
        }),
        FromServer::Notice { .. } => unreachable!("the line has a code"),
    }
}

/// A success whose line has been read whole.
#[derive(Debug)]
pub struct Settled {
    /// The result, or one item of a stream.
    pub data: Option<RawJson<'static>>,
    /// Whether this is an item and the call goes on.
    pub more: bool,
    /// Where the time went, where the server tells it.
    pub timing: Option<ServerTiming>,
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (
                r#"{"id":7,"code":0,"data":1,"timing":{"queue_us":1,"run_us":2}}"#,
                true,
            ),
            (r#"{"id":7,"code":0,"data":1,"code":8}"#, true),
            (r#"{"id":7,"code":0,"data":1,"id":8}"#, true),
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
            let usual = Reply::read(line);
            assert_eq!(usual.is_some(), is_usual, "{}", line.escape_ascii());
            let Some(usual) = usual else { continue };

            let typed = usual.data().decode::<serde_json::Value>();
            match (FromServer::decode(line), usual.data().settle()) {
                (Ok(FromServer::Reply(general)), Ok(settled)) => {
                    let Settled { data, more, timing } = settled;
                    assert_eq!(
                        (general.id, &general.data, general.more, general.timing),
                        (Some(usual.id()), &data, more, timing)
                    );
                    assert_eq!(typed.is_ok(), !more && timing.is_none());
                }
                (Err(_), Err(_)) => assert!(typed.is_err(), "{}", line.escape_ascii()),
                (general, settled) => {
                    panic!("{}: {general:?} and {settled:?}", line.escape_ascii())
                }
            }
        }
    }
}
