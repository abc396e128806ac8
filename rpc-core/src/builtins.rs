//! The built-in commands, from one table.

use serde_json::{Value, json};

use crate::frame::{CmdId, ID_MAX};
use crate::{Descriptor, Kind};

/// The only table of built-in commands: the constants of [`CmdId`], and everything that [`Builtin`] knows, come from
/// here. A new command is a new row, by which it is counted, described and permitted; its work is written in
/// `rpc-server`. The table is append-only: a released number never changes, and a new command gets the next one.
///
/// A row has doc, constant, name, number, kind and callers, then the JSON Schemas of params and data, if there are any.
///
/// Source: docs/protocol.md, "Built-in commands".
macro_rules! builtins {
    ($(
        $(#[doc = $doc:literal])+
        $constant:ident $name:ident = $number:literal, $kind:ident, $callers:ident
        $(, params: $params:expr)? $(, data: $data:expr)?;
    )+) => {
        impl CmdId {
            $($(#[doc = $doc])+ pub const $constant: Self = Self::new($number);)+
        }

        /// All built-in commands, each at the place of its number.
        pub const TABLE: &[Builtin] = &[$(Builtin {
            cmdid: CmdId::$constant,
            name: stringify!($name),
            doc: concat!($($doc),+).trim_ascii(),
            kind: Kind::$kind,
            callers: Callers::$callers,
            with_schemas: |descriptor| descriptor
                $(.params_schema($params))?
                $(.data_schema($data))?,
        },)+];
    };
}

builtins! {
    /// Replies with its params.
    PING ping = 0, Unary, Anyone, params: json!(true), data: json!(true);

    /// Describes the server and its commands.
    DESCRIBE describe = 1, Unary, Authenticated, params: object(json!({ "cmdid": number() }));

    /// Tells whether the server, or one of its services, accepts calls.
    HEALTH health = 2, Unary, Authenticated,
        params: object(json!({ "service": { "type": "string" } })),
        data: object(json!({
            "status": { "enum": ["serving", "not_serving", "draining"] },
            "instance": { "type": "string" },
        }));

    /// Reports counters of the server, of its commands and of this connection; on request also of the
    /// `connections` with the most requests.
    STATS stats = 3, Unary, Authenticated, params: object(json!({ "connections": number() }));

    /// Cancels the call with this id, which then ends with code 1. Unknown ids are ignored.
    CANCEL cancel = 4, Oneway, Authenticated, params: object(json!({ "id": id() }));

    /// Permits a stream to send `n` more items.
    CREDIT credit = 5, Oneway, Authenticated, params: object(json!({ "id": id(), "n": number() }));

    /// Authenticates the connection with a token. A server without tokens replies with code 12.
    AUTHENTICATE authenticate = 6, Unary, Anyone,
        params: object(json!({ "token": { "type": "string" } })),
        data: object(json!({
            "identity": { "type": "string" },
            "instance": { "type": "string" },
        }));
}

const _: () = {
    let mut place = 0;
    while place < TABLE.len() {
        let number = TABLE[place].cmdid.number();
        assert!(
            number as usize == place,
            "a row is at the place of its number"
        );
        assert!(number < CmdId::FIRST_OF_SERVICES.number());
        place += 1;
    }
};

/// A built-in command: a row of the table.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Builtin {
    /// The number.
    pub cmdid: CmdId,
    /// The name within the service `rpc`.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// How the command replies. The connection itself carries out a command that is [`Kind::Oneway`]: it never has a
    /// reply, with `oneway` or without, and never waits for a place among the calls in flight.
    pub kind: Kind,
    /// The peers that may call the command if the server requires authentication. No built-in command needs a grant.
    pub callers: Callers,
    with_schemas: fn(Descriptor) -> Descriptor,
}

/// The peers that may call a built-in command of a server that requires authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Every peer, also before it has authenticated.
    Anyone,
    /// Peers that have authenticated.
    Authenticated,
}

impl Builtin {
    /// The built-in command with this number. `None` for the number of a service's command, and for an unused number
    /// below 100.
    ///
    /// ```
    /// use rpc_core::builtins::{Builtin, Callers};
    /// use rpc_core::{CmdId, Kind};
    ///
    /// let ping = Builtin::of(CmdId::PING).unwrap();
    /// assert_eq!((ping.name, ping.kind, ping.callers), ("ping", Kind::Unary, Callers::Anyone));
    /// assert!(Builtin::of(CmdId::new(99)).is_none());
    /// ```
    #[inline]
    pub fn of(cmdid: CmdId) -> Option<&'static Self> {
        TABLE.get(cmdid.number() as usize)
    }

    /// The description of the command for `describe`. All built-in commands are idempotent.
    pub fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::new("rpc", self.name)
            .doc(self.doc)
            .kind(self.kind)
            .idempotent();
        descriptor.cmdid = self.cmdid;
        (self.with_schemas)(descriptor)
    }
}

impl CmdId {
    /// Whether the connection itself carries out the command and never replies: `cancel` and `credit`.
    #[inline]
    pub fn is_control(self) -> bool {
        Builtin::of(self).is_some_and(|builtin| builtin.kind == Kind::Oneway)
    }
}

/// Descriptors of all built-in commands, in numerical order.
pub fn descriptors() -> Vec<Descriptor> {
    TABLE.iter().map(Builtin::descriptor).collect()
}

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

fn id() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": ID_MAX })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_callers_are_those_of_the_protocol() {
        use Callers::{Anyone, Authenticated};

        let rows = TABLE
            .iter()
            .map(|row| (row.cmdid.number(), row.name, row.callers));
        let expected = [
            (0, "ping", Anyone),
            (1, "describe", Authenticated),
            (2, "health", Authenticated),
            (3, "stats", Authenticated),
            (4, "cancel", Authenticated),
            (5, "credit", Authenticated),
            (6, "authenticate", Anyone),
        ];
        assert_eq!(rows.collect::<Vec<_>>(), expected);

        let controls = TABLE.iter().filter(|row| row.cmdid.is_control());
        assert!(controls.map(|row| row.name).eq(["cancel", "credit"]));
        assert!(!CmdId::FIRST_OF_SERVICES.is_control());
    }

    #[test]
    fn a_row_is_described_with_its_sentence_and_its_schemas() {
        let [_, _, _, stats, cancel, ..] = &descriptors()[..] else {
            panic!("{:?}", descriptors());
        };

        assert_eq!((stats.name(), stats.idempotent), ("rpc.stats".into(), true));
        assert_eq!(
            stats.doc,
            "Reports counters of the server, of its commands and of this connection; on request also of the \
             `connections` with the most requests."
        );
        assert_eq!(
            (
                cancel.kind,
                &cancel.data,
                &cancel.params.as_ref().unwrap()["properties"]["id"]["maximum"]
            ),
            (Kind::Oneway, &None, &json!(9_007_199_254_740_991_u64))
        );
    }
}
