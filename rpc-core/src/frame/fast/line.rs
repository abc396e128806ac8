//! Lines from a server in their usual form.

use super::cursor::Cursor;
use super::item::Item;
use super::reply::Reply;
use crate::frame::message::ID_MAX;

/// A line that looks usual up to its data.
///
/// ```
/// use rpc_core::frame::fast::Line;
///
/// let line = Line::read(br#"{"id":7,"code":0,"data":[1,2]}"#);
/// assert!(matches!(line, Some(Line::Reply(reply)) if reply.id() == 7));
/// let line = Line::read(br#"{"id":7,"code":0,"more":true,"data":[1,2]}"#);
/// assert!(matches!(line, Some(Line::Item(item)) if item.id() == 7));
/// assert!(Line::read(br#"{"id":7,"code":0}"#).is_none());
/// ```
#[derive(Debug)]
pub enum Line<'a> {
    /// A success.
    Reply(Reply<'a>),
    /// An item of a stream.
    Item(Item<'a>),
}

impl<'a> Line<'a> {
    /// Reads a line, without its line break. `None` means only that the line is not usual.
    #[inline]
    pub fn read(line: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor(line.strip_suffix(b"}")?);
        cursor.take(b"{").then_some(())?;
        let id = cursor.integer_of(b"\"id\":", ID_MAX)??;
        cursor.take(b"\"code\":0,").then_some(())?;

        if cursor.take(b"\"data\":") {
            return Some(Self::Reply(Reply::new(id, cursor.0)));
        }
        let is_item = cursor.take(b"\"more\":true,\"data\":");
        is_item.then(|| Self::Item(Item::new(id, cursor.0)))
    }
}
