//! Values as JSON, byte for byte as `serde_json` writes them, on one line.
//!
//! `serde_json` looks at a string byte by byte for what must be escaped, which was an eighth of a small call of the
//! client and most of a large one; `escape` is why this is here. Floating-point numbers are left to `serde_json`.

use std::fmt::{self, Display, Write as _};
use std::mem;

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Error;

use super::escape::{push_escaped, push_string};
use super::raw::keep_on_one_line;

/// By these names of structs, `serde_json`'s own types say that their one field is JSON already.
const RAW: [&str; 2] = [
    "$serde_json::private::RawValue",
    "$serde_json::private::Number",
];

/// Appends a value.
pub(super) fn push_value(
    out: &mut Vec<u8>,
    value: &(impl Serialize + ?Sized),
) -> Result<(), Error> {
    value.serialize(Value::new(out))
}

pub(super) fn push_integer(out: &mut Vec<u8>, integer: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
}

/// Writes one value.
struct Value<'a> {
    out: &'a mut Vec<u8>,
    /// It is a string that is JSON already.
    is_raw: bool,
}

/// Writes the parts of one that has any.
struct Parts<'a> {
    out: &'a mut Vec<u8>,
    has_any: bool,
    /// What stands behind them.
    end: &'static [u8],
    /// The name of the struct whose one field, of the same name, is JSON already.
    raw: Option<&'static str>,
}

impl<'a> Value<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, is_raw: false }
    }

    fn parts(self, begin: &[u8], end: &'static [u8]) -> Parts<'a> {
        self.out.extend_from_slice(begin);
        Parts {
            out: self.out,
            has_any: false,
            end,
            raw: None,
        }
    }

    /// `{"variant":`
    fn begin_variant(&mut self, variant: &str) {
        self.out.push(b'{');
        push_string(self.out, variant);
        self.out.push(b':');
    }
}

macro_rules! integers {
    ($($method:ident: $type:ty)*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            push_integer(self.out, value);
            Ok(())
        })*
    };
}

impl<'a> Serializer for Value<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    integers! {
        serialize_i8: i8 serialize_i16: i16 serialize_i32: i32 serialize_i64: i64 serialize_i128: i128
        serialize_u8: u8 serialize_u16: u16 serialize_u32: u32 serialize_u64: u64 serialize_u128: u128
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        serde_json::to_writer(self.out, &value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        serde_json::to_writer(self.out, &value)
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        if self.is_raw {
            let begin = self.out.len();
            self.out.extend_from_slice(value.as_bytes());
            keep_on_one_line(&mut self.out[begin..]);
        } else {
            push_string(self.out, value);
        }
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.begin_variant(variant);
        value.serialize(Value::new(self.out))?;
        self.out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(self.parts(b"[", b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Error> {
        Ok(self.parts(b"[", b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Error> {
        Ok(self.parts(b"[", b"]"))
    }

    fn serialize_tuple_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Error> {
        self.begin_variant(variant);
        Ok(self.parts(b"[", b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'a>, Error> {
        Ok(self.parts(b"{", b"}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts<'a>, Error> {
        if RAW.contains(&name) {
            return Ok(Parts {
                raw: Some(name),
                ..self.parts(b"", b"")
            });
        }

        Ok(self.parts(b"{", b"}"))
    }

    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Error> {
        self.begin_variant(variant);
        Ok(self.parts(b"{", b"}}"))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.out.push(b'"');
        write!(Escaped(self.out), "{value}").map_err(Error::custom)?;
        self.out.push(b'"');
        Ok(())
    }
}

/// Takes the pieces of a string.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        push_escaped(self.0, piece);
        Ok(())
    }
}

impl Parts<'_> {
    fn next(&mut self) {
        if mem::replace(&mut self.has_any, true) {
            self.out.push(b',');
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

        self.next();
        push_string(self.out, key);
        self.out.push(b':');
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
                self.out.extend_from_slice(self.end);
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
        self.out.extend_from_slice(self.end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::value::RawValue;
    use serde_json::{Map, json};

    use super::*;

    fn ours(value: &(impl Serialize + ?Sized)) -> Result<String, Error> {
        let mut out = Vec::new();
        push_value(&mut out, value).map(|()| String::from_utf8(out).unwrap())
    }

    fn check(value: &(impl Serialize + ?Sized)) {
        match (ours(value), serde_json::to_string(value)) {
            (Ok(ours), Ok(its)) => assert_eq!(ours, its),
            (Err(ours), Err(its)) => assert_eq!(ours.to_string(), its.to_string()),
            (ours, its) => panic!("{ours:?}, and serde_json: {its:?}"),
        }
    }

    #[derive(Serialize)]
    enum Kind {
        Unit,
        Newtype(&'static str),
        Tuple(u8, Option<bool>),
        Struct { a: u8, b: Vec<Kind> },
    }

    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Raw(Box<RawValue>),
    }

    #[derive(Serialize)]
    struct Nothing;

    #[derive(Serialize)]
    struct Newtype<T>(T);

    #[derive(Serialize)]
    struct Pair(i8, char);

    #[derive(Serialize)]
    struct Fields {
        #[serde(rename = "with \"quotes\" and \n")]
        renamed: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        skipped: Option<u8>,
        #[serde(flatten)]
        flat: BTreeMap<&'static str, u8>,
        empty: [u8; 0],
    }

    struct Bytes;

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&[0, 7, 255])
        }
    }

    struct NoDisplay;

    impl Display for NoDisplay {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }

    struct Shown<T>(T);

    impl<T: Display> Serialize for Shown<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&self.0)
        }
    }

    #[test]
    fn every_kind_of_value_is_written_as_serde_json_writes_it() {
        check(&(i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN));
        check(&(u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX));
        check(&[
            0.0_f64,
            -0.0,
            1.0,
            0.1,
            1e300,
            -1e-7,
            123_456_789.125,
            f64::NAN,
            f64::INFINITY,
        ]);
        check(&[0.1_f32, 16_777_216.0, f32::MIN_POSITIVE, f32::NEG_INFINITY]);

        check(&(true, false, (), 'a', '"', '\u{1f600}', "", Bytes));
        check(&[None, Some(Some(1)), Some(None)]);

        check(&(
            Nothing,
            Newtype(Nothing),
            Newtype(Some("x")),
            Pair(-1, '\n'),
        ));
        check(&[
            Kind::Unit,
            Kind::Newtype("\t"),
            Kind::Tuple(1, None),
            Kind::Struct { a: 1, b: vec![] },
            Kind::Struct {
                a: 2,
                b: vec![Kind::Unit, Kind::Tuple(2, Some(true))],
            },
        ]);

        for flat in [BTreeMap::new(), BTreeMap::from([("x", 1), ("y\\", 2)])] {
            check(&Fields {
                renamed: 1,
                skipped: None,
                flat,
                empty: [],
            });
        }

        check(&(Shown("a \"b\"\u{1}"), format_args!("{}-{}", "\n", 1)));

        // `serde_json` panics.
        assert!(ours(&Shown(NoDisplay)).is_err());

        check(&json!({"a": [1, -2, 3.5, null, {"b": "c", "": {}}], "d\"": []}));
        check(&Vec::<u8>::new());
    }

    #[test]
    fn keys_are_strings_or_what_can_be_one() {
        fn map<K: Serialize>(key: K) -> impl Serialize {
            struct One<K>(K);

            impl<K: Serialize> Serialize for One<K> {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_map([("before", 1)].map(|(_, n)| (&self.0, n)))
                }
            }

            One(key)
        }

        check(&map("a\"\\"));
        check(&map('"'));
        check(&map(-1_i8));
        check(&map(u128::MAX));
        check(&map(1.5_f64));
        check(&map(-1e30_f32));
        check(&map(true));
        check(&map(Kind::Unit));
        check(&map(Newtype(7)));
        check(&map(Newtype("x")));
        check(&map(Some("x")));
        check(&map(Shown("\u{7f}")));

        for refused in [
            ours(&map(())),
            ours(&map(None::<u8>)),
            ours(&map([1])),
            ours(&map(Bytes)),
            ours(&map(Kind::Newtype("x"))),
            ours(&map(json!({}))),
            ours(&map(f64::NAN)),
            ours(&map(Nothing)),
        ] {
            assert_eq!(refused.unwrap_err().to_string(), "key must be a string");
        }
    }

    #[test]
    fn json_that_is_there_already_is_written_as_it_is_but_on_one_line() {
        let raw = |text: &str| RawValue::from_string(text.into()).unwrap();
        for text in ["1", "\"a\\n\"", "{\"b\": [1, 2]}", "1e400", "null"] {
            check(&raw(text));
            check(&(1, raw(text), Map::new()));
            check(&BTreeMap::from([("key", raw(text))]));
        }

        assert!(
            ours(&Tagged::Raw(raw("{}"))).is_err()
                && serde_json::to_string(&Tagged::Raw(raw("{}"))).is_err()
        );

        assert_eq!(ours(&[raw("{\n\"a\":\r\n1}")]).unwrap(), "[{ \"a\":  1}]");
    }

    #[test]
    fn random_values_are_written_as_serde_json_writes_them() {
        fn value(random: &mut fastrand::Rng, depth: u8) -> serde_json::Value {
            let text = |random: &mut fastrand::Rng| {
                (0..random.usize(..24))
                    .map(|_| random.char('\0'..='\u{ff}'))
                    .collect::<String>()
            };

            match random.u8(..if depth == 0 { 6 } else { 8 }) {
                0 => json!(null),
                1 => json!(random.bool()),
                2 => json!(random.i64(..)),
                3 => json!(f64::from_bits(random.u64(..))),
                4 | 5 => json!(text(random)),
                6 => (0..random.u8(..5))
                    .map(|_| value(random, depth - 1))
                    .collect(),
                _ => (0..random.u8(..5))
                    .map(|_| (text(random), value(random, depth - 1)))
                    .collect(),
            }
        }

        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            check(&value(&mut random, 4));
        }
    }
}
