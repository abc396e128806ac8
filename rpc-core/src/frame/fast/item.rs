//! Items of streams in their usual form.

use super::cursor::Cursor;
use crate::frame::json::RawJson;
use crate::frame::json::scan::Scanner;
use crate::frame::message::ID_MAX;

/// An item of a stream, as servers usually write one. Unlike the [data of a reply](super::UnverifiedData) its data are
/// scanned: no caller may ask for their type.
///
/// ```
/// use rpc_core::frame::fast;
///
/// let item = fast::Item::read(br#"{"id":7,"code":0,"more":true,"data":[1,2]}"#).unwrap();
/// assert_eq!((item.id(), item.into_data().as_str()), (7, "[1,2]"));
/// assert!(fast::Item::read(br#"{"id":7,"code":0,"more":true,"data":[1,2],"data":3}"#).is_none());
/// ```
#[derive(Debug)]
pub struct Item<'a> {
    id: u64,
    data: RawJson<'a>,
}

impl<'a> Item<'a> {
    /// Reads a line, without its line break. `None` means only that the line is not usual.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(line.strip_suffix(b"}")?);
        cursor.take(b"{").then_some(())?;
        let id = cursor.integer_of(b"\"id\":", ID_MAX)??;
        cursor
            .take(b"\"code\":0,\"more\":true,\"data\":")
            .then_some(())?;

        let text = std::str::from_utf8(cursor.0).ok()?;
        let mut scanner = Scanner::new(text.as_bytes());
        // One level is the frame's own.
        let is_one_value = scanner.value(1).is_ok() && scanner.peek().is_none();
        is_one_value.then(|| Self {
            id,
            data: RawJson::checked(text),
        })
    }

    /// The call that it is for.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The item's data.
    pub fn into_data(self) -> RawJson<'a> {
        self.data
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
                false,
            ),
            (r#"{"id":7,"code":0,"more":true,"data":1,"data":2}"#, false),
            (r#"{"id":7,"code":0,"more":true,"data":1,"new":2}"#, false),
            (r#"{"id":7,"code":0,"more":true,"data": 1}"#, false),
            (r#"{"id":7,"code":0,"more":true,"data":1 }"#, false),
            (r#"{"id":7,"code":0,"more":true,"data":{]}"#, false),
            (r#"{"id":7,"code":0,"more":true,"data":}"#, false),
            (r#"{"id":7,"code":0,"more":true}"#, false),
            (r#"{"id":7,"code":0,"data":1,"more":true}"#, false),
            (r#"{"id":7,"code":0,"data":1}"#, false),
            (r#"{"code":0,"more":true,"data":1}"#, false),
        ]
        .map(|(line, is_usual)| (line.as_bytes().to_vec(), is_usual))
        .into_iter()
        .chain([
            (deep(127).into_bytes(), true),
            (deep(128).into_bytes(), false),
            (
                b"{\"id\":7,\"code\":0,\"more\":true,\"data\":\"\xff\"}".to_vec(),
                false,
            ),
        ]) {
            let usual = Item::read(&line);
            assert_eq!(usual.is_some(), is_usual, "{}", line.escape_ascii());
            let Some(usual) = usual else { continue };

            let Ok(FromServer::Reply(general)) = FromServer::decode(&line) else {
                panic!("{} is not a reply", line.escape_ascii());
            };
            assert!(general.more && general.code.is_ok());
            assert_eq!(general.id, Some(usual.id()));
            assert_eq!(general.data, Some(usual.into_data()));
        }
    }
}
