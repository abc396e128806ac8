//! A message as a gateway gets it, for the tests of gateways.

use crate::message::{Class, MessageId};
use crate::number::Number;
use crate::store::{Claimed, Content};
use crate::text::Layout;

/// The first attempt of a message with this text.
pub(super) fn message(text: &str) -> Claimed {
    Claimed {
        id: MessageId::new(1_764_489_600_000, 7),
        attempt: 1,
        tries: 1,
        to: Number::parse("+8613800138000", None).unwrap(),
        content: Content::Text(text.into()),
        sender: None,
        class: Class::Transactional,
        layout: Layout::of(text),
        expires_at: None,
    }
}
