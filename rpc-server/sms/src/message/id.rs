//! Ids of messages: 48 bits of milliseconds and 80 random bits, written in Crockford's base 32.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Crockford's digits: without I, L, O and U, which are taken for others when people read them aloud.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of an id. Each holds five bits, and the first one only three.
const LENGTH: usize = 26;

/// Bits behind the time.
const RANDOM_BITS: u32 = 80;

/// The id of a message. Its text has 26 characters, and sorts by the time at which the message was accepted.
///
/// ```
/// use rpc_sms::message::MessageId;
///
/// let id = MessageId::new(1_767_225_600_000, 0x1234);
/// assert_eq!(id.to_string(), "01KDVDNA0000000000000004HM");
/// assert_eq!(id.to_string().parse(), Ok(id));
/// assert_eq!(id.created_ms(), 1_767_225_600_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u128);

impl MessageId {
    /// An id of a time in milliseconds since 1970, of which the lower 48 bits count, and of 80 random bits.
    pub fn new(created_ms: u64, random: u128) -> Self {
        let random = random & ((1 << RANDOM_BITS) - 1);
        Self(u128::from(created_ms) << RANDOM_BITS | random)
    }

    /// The time at which the message was accepted, in milliseconds since 1970.
    pub fn created_ms(self) -> u64 {
        u64::try_from(self.0 >> RANDOM_BITS).expect("48 bits are left")
    }

    /// The id behind this one.
    #[must_use]
    pub fn successor(self) -> Self {
        // The last id of all is 8,900 years away.
        Self(self.0.wrapping_add(1))
    }

    /// The id as 16 bytes, which sort as the id does.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id that these bytes are.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; LENGTH];
        let mut rest = self.0;

        for place in text.iter_mut().rev() {
            *place = DIGITS[(rest & 31) as usize];
            rest >>= 5;
        }

        f.pad(std::str::from_utf8(&text).expect("the digits are ASCII"))
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    /// Reads an id. Lower case is taken, too; the letters I, L and O are not taken for digits.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != LENGTH {
            return Err(IdError::Length(text.len()));
        }

        let mut value: u128 = 0;
        for character in text.bytes() {
            let upper = character.to_ascii_uppercase();
            let digit = DIGITS.iter().position(|digit| *digit == upper);
            let digit = digit.ok_or(IdError::Character)?;

            // The first character of 128 bits is at most 7.
            value = value.checked_mul(32).ok_or(IdError::Character)? | digit as u128;
        }

        Ok(Self(value))
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A message and one of its attempts: what `{id}` of a gateway's request stands for, `ID`, or `ID-2` from the second on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptId {
    /// The message.
    pub id: MessageId,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl FromStr for AttemptId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let Some((id, attempt)) = text.split_once('-') else {
            let id = text.parse()?;
            return Ok(Self { id, attempt: 1 });
        };
        Ok(Self {
            id: id.parse()?,
            attempt: attempt.parse().map_err(|_| IdError::Attempt)?,
        })
    }
}

/// A text that is not the id of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdError {
    /// It has this many bytes.
    Length(usize),
    /// It has a character that is not one of Crockford's base 32, or the first one is above 7.
    Character,
    /// Behind its `-` is not the number of an attempt.
    Attempt,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(
                f,
                "a message id has {LENGTH} characters, and this one has {bytes}; copy the `id` that `send` answered"
            ),
            Self::Character => f.write_str(
                "a message id has the characters 0-9 and A-Z without I, L, O and U, and begins with 0 to 7; copy the `id` \
                 that `send` answered",
            ),
            Self::Attempt => f.write_str("behind `-` there must be the number of an attempt"),
        }
    }
}

impl Error for IdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_sorts_by_its_time_and_is_read_back_as_it_was_written() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut last = String::new();

        for step in 0..2_000_u64 {
            let id = MessageId::new(step * 1_000_003, random.u128(..));
            let text = id.to_string();

            assert_eq!(text.len(), 26);
            assert_eq!(text.parse(), Ok(id));
            assert_eq!(text.to_lowercase().parse(), Ok(id));
            assert_eq!(MessageId::from_bytes(id.to_bytes()), id);
            assert_eq!(id.created_ms(), step * 1_000_003);
            assert!(text > last, "{text} after {last}");
            last = text;
        }
    }

    #[test]
    fn the_largest_id_is_read_and_what_is_larger_is_refused() {
        let largest = MessageId::from_bytes([255; 16]);
        assert_eq!(largest.to_string(), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert_eq!("7ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse(), Ok(largest));

        let refused = |text: &str| text.parse::<MessageId>().unwrap_err();
        assert_eq!(refused("80000000000000000000000000"), IdError::Character);
        assert_eq!(refused("0000000000000000000000000I"), IdError::Character);
        assert_eq!(refused("000000000000000000000000é"), IdError::Character);
        assert_eq!(refused(""), IdError::Length(0));
        assert_eq!(refused("0"), IdError::Length(1));
    }

    #[test]
    fn the_attempt_of_an_id_follows_a_hyphen() {
        let id = MessageId::new(1, 2);
        let read = |text: String| text.parse::<AttemptId>();
        assert_eq!(read(id.to_string()), Ok(AttemptId { id, attempt: 1 }));
        let second = AttemptId { id, attempt: 2 };
        assert_eq!(read(format!("{id}-2")), Ok(second));
        assert_eq!(read(format!("{id}-x")), Err(IdError::Attempt));
        assert_eq!(read("x-2".into()), Err(IdError::Length(1)));
    }

    #[test]
    fn an_id_in_json_is_a_text() {
        let id = MessageId::new(1, 2);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<MessageId>(&json).unwrap(), id);

        let error = serde_json::from_str::<MessageId>("\"x\"").unwrap_err();
        assert!(error.to_string().contains("26 characters"), "{error}");
    }
}
