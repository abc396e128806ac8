//! The parts of arrays and objects.

use std::mem;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};
use serde_json::Error;

use super::Value;
use crate::frame::json::escape::push_name;

/// Writes the parts of one that has any.
pub(super) struct Parts<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) has_any: bool,
    /// The text after them.
    pub(super) end: &'static [u8],
    /// The name of the struct whose one field, of the same name, is JSON already.
    pub(super) raw: Option<&'static str>,
}

impl Parts<'_> {
    fn next(&mut self) {
        if mem::replace(&mut self.has_any, true) {
            self.out.push(b',');
        }
    }

    /// Writes what comes after the parts.
    #[inline]
    fn finish(self) {
        match self.end {
            // As a rule; the copy of a slice is a call.
            [bracket] => self.out.push(*bracket),
            end => self.out.extend_from_slice(end),
        }
    }

    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.next();
        value.serialize(Value::new(self.out))
    }

    fn field(&mut self, key: &'static str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        if let Some(raw) = self.raw {
            if key != raw {
                // The tag of an enum, which JSON that is there already has no place for.
                return Err(Error::custom("expected value"));
            }

            return value.serialize(Value {
                out: self.out,
                is_raw: true,
            });
        }

        match mem::replace(&mut self.has_any, true) {
            true => self.out.extend_from_slice(b",\""),
            false => self.out.push(b'"'),
        }
        push_name(self.out, key);
        value.serialize(Value::new(self.out))
    }
}

macro_rules! parts {
    ($($trait:ident::$method:ident($($key:ident)?) as $part:ident)*) => {
        $(impl $trait for Parts<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $($key: &'static str,)? value: &T) -> Result<(), Error> {
                self.$part($($key,)? value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish();
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element() as element
    SerializeTuple::serialize_element() as element
    SerializeTupleStruct::serialize_field() as element
    SerializeTupleVariant::serialize_field() as element
    SerializeStruct::serialize_field(key) as field
    SerializeStructVariant::serialize_field(key) as field
}

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Error;

    /// What is written as a number or a boolean gets quotes; what is neither that nor a string is no key. So JSON
    /// that is there already can be one, which `serde_json` refuses.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.next();
        let begin = self.out.len();
        key.serialize(Value::new(self.out))?;

        match self.out.get(begin) {
            Some(b'"') => {}
            Some(b'-' | b'0'..=b'9' | b't' | b'f') => {
                self.out.insert(begin, b'"');
                self.out.push(b'"');
            }
            _ => return Err(Error::custom("key must be a string")),
        }

        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        value.serialize(Value::new(self.out))
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}
