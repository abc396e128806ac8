//! The built-in commands, from one table.

use crate::frame::CmdId;
use crate::{Descriptor, Kind};

/// The one table of built-in commands: the constants of [`CmdId`], the names, and the sentences of `describe` all come
/// from here. Append-only: a released number never changes.
///
/// Source: docs/protocol.md, "Built-in commands".
macro_rules! builtins {
    ($($(#[doc = $doc:literal])+ $constant:ident $name:ident = $number:literal, $kind:ident;)+) => {
        impl CmdId {
            $($(#[doc = $doc])+ pub const $constant: Self = Self::new($number);)+
        }

        /// How many there are. Their numbers are 0 to `COUNT - 1`.
        pub const COUNT: usize = [$($number),+].len();

        /// Descriptors of all built-in commands, in numerical order, without schemas.
        pub fn descriptors() -> Vec<Descriptor> {
            vec![$({
                let doc = concat!($($doc),+).trim_ascii();
                let mut descriptor = Descriptor::new("rpc", stringify!($name))
                    .doc(doc)
                    .kind(Kind::$kind)
                    .idempotent();
                descriptor.cmdid = CmdId::$constant;
                descriptor
            },)+]
        }
    };
}

builtins! {
    /// Answers its params.
    PING ping = 0, Unary;
    /// Says what the server and its commands are.
    DESCRIBE describe = 1, Unary;
    /// Says whether the server, or one service, takes calls.
    HEALTH health = 2, Unary;
    /// Counters of the server, of its commands and of this connection; and of the `connections` that
    /// have carried the most requests, where so many are asked for.
    STATS stats = 3, Unary;
    /// Ends a call with code 1; unknown ids are ignored.
    CANCEL cancel = 4, Oneway;
    /// Lets a stream send n more items.
    CREDIT credit = 5, Oneway;
    /// Presents a token; code 12 where none is wanted.
    AUTHENTICATE authenticate = 6, Unary;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_the_protocol() {
        let named: Vec<_> = descriptors()
            .into_iter()
            .map(|command| (command.cmdid.number(), command.method.to_string()))
            .collect();

        let expected = [
            "ping",
            "describe",
            "health",
            "stats",
            "cancel",
            "credit",
            "authenticate",
        ];
        let expected: Vec<_> = (0..).zip(expected.map(str::to_owned)).collect();
        assert_eq!(named, expected);
        assert_eq!(named.len(), COUNT);
        assert!(
            descriptors()
                .iter()
                .all(|command| command.cmdid.is_built_in())
        );
    }
}
