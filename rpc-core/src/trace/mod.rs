//! The trace that a call belongs to, as it travels in `meta`: W3C Trace Context.

#[cfg(feature = "otel")]
pub mod otel;

use std::fmt;
use std::str::FromStr;

use crate::frame::Meta;
use crate::scope::Parent;

/// The metadata that says which trace a call belongs to, and which span made it.
pub const TRACEPARENT: &str = "traceparent";

/// The metadata that tracing systems pass along with it; it is not read here.
pub const TRACESTATE: &str = "tracestate";

/// The trace that a call belongs to, with all that travels of it.
///
/// ```
/// use rpc_core::Meta;
/// use rpc_core::trace::{TraceContext, TraceParent};
///
/// // A trace that begins here, as metadata of a call.
/// let trace = TraceContext::new(TraceParent::root().sampled());
/// let meta = trace.written_to(&Meta::default());
/// assert_eq!(meta.entries()["traceparent"], trace.parent.to_string());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceContext {
    /// The trace, and the span that makes the call.
    pub parent: TraceParent,
    /// What tracing systems pass along.
    pub state: Option<String>,
}

impl TraceContext {
    /// A trace of which nothing but this travels.
    pub fn new(parent: TraceParent) -> Self {
        Self {
            parent,
            state: None,
        }
    }

    /// The trace of a call, where it has a sound one.
    pub fn of(call: &impl Parent) -> Option<Self> {
        let parent = TraceParent::of(call)?;
        Some(Self {
            parent,
            state: call.meta(TRACESTATE).filter(|state| !state.is_empty()),
        })
    }

    /// The metadata of a call in this trace: what `meta` has, but for another trace.
    pub fn written_to(&self, meta: &Meta<'_>) -> Meta<'static> {
        let (parent, state) = (
            self.parent.to_string(),
            self.state.as_deref().unwrap_or_default(),
        );
        meta.with([(TRACEPARENT, parent.as_str()), (TRACESTATE, state)])
    }
}

/// The value of `traceparent`: the trace, the span that makes the call, and whether it is sampled
/// (<https://www.w3.org/TR/trace-context/>).
///
/// ```
/// use rpc_core::trace::TraceParent;
///
/// let caller: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// assert!(caller.is_sampled());
/// let own = caller.child();
/// assert_eq!(own.trace_id(), caller.trace_id());
/// assert_ne!(own.span_id(), caller.span_id());
/// # Ok::<(), rpc_core::trace::BadTraceParent>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceParent {
    const SAMPLED: u8 = 1;

    /// Of these ids, neither of which may be 0; `flags` are those of the format, the lowest bit for sampled.
    pub fn new(trace_id: u128, span_id: u64, flags: u8) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// That of a call, where it has a sound one.
    pub fn of(call: &impl Parent) -> Option<Self> {
        call.meta(TRACEPARENT)?.parse().ok()
    }

    /// A trace that begins here, with random ids. It is not recorded; see [`sampled`](Self::sampled).
    pub fn root() -> Self {
        Self {
            trace_id: fastrand::u128(1..),
            span_id: fastrand::u64(1..),
            flags: 0,
        }
    }

    /// The same, of a trace that is recorded.
    #[must_use]
    pub fn sampled(self) -> Self {
        Self {
            flags: self.flags | Self::SAMPLED,
            ..self
        }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            span_id: fastrand::u64(1..),
            ..*self
        }
    }

    /// The trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The span that makes the call.
    pub fn span_id(&self) -> u64 {
        self.span_id
    }

    /// The flags as they travel.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }
}

/// As it travels, in version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            flags,
        } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        let bytes = text.as_bytes();
        let dashes_stand = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));

        // A version that is to come may have more behind a further dash, 00 has not.
        let end_is_right = match bytes.len() {
            55 => true,
            56.. => bytes[55] == b'-' && &bytes[..2] != b"00",
            _ => false,
        };
        if !dashes_stand || !end_is_right {
            return Err(BadTraceParent);
        }

        let hex = |range: std::ops::Range<usize>| {
            let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let digits = text
                .get(range)
                .filter(|digits| digits.as_bytes().iter().all(is_hex));
            u128::from_str_radix(digits.ok_or(BadTraceParent)?, 16).map_err(|_| BadTraceParent)
        };

        let (version, flags) = (hex(0..2)?, hex(53..55)?);
        let span_id = u64::try_from(hex(36..52)?).map_err(|_| BadTraceParent)?;
        let flags = u8::try_from(flags).map_err(|_| BadTraceParent)?;

        // Of a version that is to come, only this flag is known.
        let flags = if version == 0 {
            flags
        } else {
            flags & Self::SAMPLED
        };

        Self::new(hex(3..35)?, span_id, flags)
            .filter(|_| version != 0xff)
            .ok_or(BadTraceParent)
    }
}

/// A text that is no `traceparent`. The standard wants it ignored: the call begins a trace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadTraceParent;

impl fmt::Display for BadTraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a `traceparent`: it must be 00-TRACE-SPAN-FLAGS with 32, 16 and 2 lower-case hexadecimal digits, and \
             no id may be 0",
        )
    }
}

impl std::error::Error for BadTraceParent {}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_the_same() {
        let read: TraceParent = TEXT.parse().unwrap();
        assert_eq!(read.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((read.span_id(), read.flags()), (0x00f0_67aa_0ba9_02b7, 1));
        assert_eq!(read.to_string(), TEXT);

        let root = TraceParent::root();
        assert_eq!(root.to_string().parse(), Ok(root));
        assert!(!root.is_sampled() && root.child().trace_id() == root.trace_id());
    }

    #[test]
    fn a_version_that_is_to_come_is_read_as_far_as_it_is_known() {
        let later: TraceParent = TEXT.replace("00-4b", "cc-4b").parse().unwrap();
        assert_eq!(later.to_string(), TEXT);

        let longer: TraceParent = format!(
            "{}-what-the-future-will-be-like",
            TEXT.replace("00-4b", "01-4b")
        )
        .parse()
        .unwrap();
        assert_eq!(longer.to_string(), TEXT);

        let flags: TraceParent = TEXT
            .replace("00-4b", "cc-4b")
            .replace("b7-01", "b7-ff")
            .parse()
            .unwrap();
        assert_eq!(flags.flags(), 1);
    }

    #[test]
    fn whatever_else_is_refused() {
        let wrong = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ];

        for text in wrong {
            assert_eq!(text.parse::<TraceParent>(), Err(BadTraceParent), "{text}");
        }
    }
}
