//! Items of streams in their usual form.

use std::fmt;

use serde::de::{DeserializeOwned, Error};

use super::line::Line;
use super::reply::settle;
use crate::frame::json::RawJson;
use crate::frame::json::buffers::Scratch;
use crate::frame::json::by_name;
use crate::frame::parse::BadReply;

/// An item of a stream that looks usual up to its data, which have not been read yet.
///
/// As with the [data of a reply](super::UnverifiedData), the typed decoding of the data checks the line.
#[derive(Debug)]
pub struct Item<'a> {
    id: u64,
    data: &'a [u8],
}

impl<'a> Item<'a> {
    /// Reads a line, without its line break. `None` means only that the line is not usual.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        match Line::read(line)? {
            Line::Item(it) => Some(it),
            Line::Reply(_) => None,
        }
    }

    pub(super) fn new(id: u64, data: &'a [u8]) -> Self {
        Self { id, data }
    }

    /// The call that it is for.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The item's data, to be taken elsewhere.
    pub fn data(&self) -> UnverifiedItem {
        UnverifiedItem(Scratch::of(self.data))
    }
}

/// The data of an [`Item`], unless its line turns out to be something else: then it is not a reply.
///
/// ```
/// use rpc_core::frame::fast;
///
/// let item = fast::Item::read(br#"{"id":7,"code":0,"more":true,"data":[1,2]}"#).unwrap();
/// assert_eq!(item.id(), 7);
/// assert_eq!(item.data().decode::<Vec<u8>>().unwrap(), [1, 2]);
/// assert_eq!(item.data().verify().unwrap().as_str(), "[1,2]");
///
/// let broken = fast::Item::read(br#"{"id":7,"code":0,"more":true,"data":[1,2],"data":3}"#).unwrap();
/// assert!(broken.data().decode::<Vec<u8>>().is_err());
/// assert!(broken.data().verify().is_err());
/// ```
pub struct UnverifiedItem(Scratch);

impl fmt::Debug for UnverifiedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes().escape_ascii().fmt(f)
    }
}

impl UnverifiedItem {
    /// Bytes of the data.
    #[allow(clippy::len_without_is_empty, reason = "no data is empty")]
    pub fn len(&self) -> usize {
        self.0.as_bytes().len()
    }

    /// Decodes into a typed value. Where that succeeds, the line was sound.
    ///
    /// # Errors
    /// The data do not fit, or the line is not what it looked like; [`verify`](Self::verify) tells which.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        by_name::decode(std::str::from_utf8(self.0.as_bytes()).map_err(Error::custom)?)
    }

    /// The data, once the line has been read to its end.
    ///
    /// # Errors
    /// The line is not a reply.
    pub fn verify(self) -> Result<RawJson<'static>, BadReply> {
        let data = match RawJson::verified(self.0) {
            Ok(data) => return Ok(data),
            Err(data) => data,
        };
        let settled = settle(
            b"{\"id\":0,\"code\":0,\"more\":true,\"data\":",
            data.as_bytes(),
        )?;
        Ok(settled.data.unwrap_or(RawJson::NULL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::message::FromServer;

    #[test]
    fn a_usual_item_is_what_the_general_reader_makes_of_its_line() {
        let deep = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!("{{\"id\":7,\"code\":0,\"more\":true,\"data\":{open}{close}}}")
        };
        for (line, is_usual) in [
            (r#"{"id":7,"code":0,"more":true,"data":{"n":1}}"#, true),
            (r#"{"id":7,"code":0,"more":true,"data":null}"#, true),
            (r#"{"id":7,"code":0,"more":true,"data":"a}"}"#, true),
            (
                r#"{"id":7,"code":0,"more":true,"data":1,"more":true}"#,
                true,
            ),
            (r#"{"id":7,"code":0,"more":true,"data":1,"data":2}"#, true),
            (r#"{"id":7,"code":0,"more":true,"data":1,"id":8}"#, true),
            (r#"{"id":7,"code":0,"more":true,"data":1,"new":2}"#, true),
            (r#"{"id":7,"code":0,"more":true,"data": 1}"#, true),
            (r#"{"id":7,"code":0,"more":true,"data":1 }"#, true),
            (r#"{"id":7,"code":0,"more":true,"data":{]}"#, true),
            (r#"{"id":7,"code":0,"more":true,"data":}"#, true),
            (r#"{"id":7,"code":0,"more":true}"#, false),
            (r#"{"id":7,"code":0,"data":1,"more":true}"#, false),
            (r#"{"id":7,"code":0,"data":1}"#, false),
            (r#"{"code":0,"more":true,"data":1}"#, false),
        ]
        .map(|(line, is_usual)| (line.as_bytes().to_vec(), is_usual))
        .into_iter()
        .chain([
            (deep(127).into_bytes(), true),
            (deep(128).into_bytes(), true),
            (
                b"{\"id\":7,\"code\":0,\"more\":true,\"data\":\"\xff\"}".to_vec(),
                true,
            ),
        ]) {
            let usual = Item::read(&line);
            assert_eq!(usual.is_some(), is_usual, "{}", line.escape_ascii());
            let Some(usual) = usual else { continue };

            let decoded = usual.data().decode::<serde_json::Value>();
            match (usual.data().verify(), FromServer::decode(&line)) {
                (Ok(data), Ok(FromServer::Reply(general))) => {
                    assert!(general.more && general.code.is_ok());
                    assert_eq!(general.id, Some(usual.id()));
                    assert_eq!(general.data, Some(data));
                }
                (Err(ours), Err(general)) => {
                    assert_eq!(ours.id.is_some(), general.id.is_some());
                    assert!(decoded.is_err(), "{}", line.escape_ascii());
                }
                (ours, general) => panic!("{}: {ours:?}, {general:?}", line.escape_ascii()),
            }
        }
    }
}
