//! Number of times each limit took effect.

use serde::Serialize;

use super::get;
use crate::sync::AtomicU64;

/// One table for the counters, what is shown of them, and the text that explains each.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters, each exact.
        #[derive(Debug, Default)]
        pub(crate) struct LimitCounters {
            $(pub(crate) $name: AtomicU64,)+
        }

        impl LimitCounters {
            pub(crate) fn snapshot(&self) -> LimitStats {
                LimitStats { $($name: get(&self.$name),)+ }
            }
        }

        /// Number of times each limit of [`Config`](crate::Config) took effect since the server started; the `limits`
        /// of `stats`.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct LimitStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl LimitStats {
            /// Each figure with its name and what it counts.
            pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name),)+]
            }
        }
    };
}

limits! {
    /// Connections turned away at `limits.connections_max`.
    connections_over_max,
    /// Connections turned away at `limits.connections_per_address`.
    connections_over_address_max,
    /// Connections turned away because the process had no descriptor left for them.
    connections_without_descriptor,
    /// Connections over a limit that were served only a page or built-in commands.
    connections_at_reserve,
    /// Connections to `admin.listen` that were closed for newer ones.
    page_connections_over_max,
    /// Connections closed without a word at `accept.refusals_max`.
    refusals_unsaid,
    /// Attempts to accept a connection that failed.
    accept_failures,
    /// Listeners that cannot accept now for want of descriptors or memory.
    accept_degraded,
    /// Connections closed at `accept.first_frame_timeout_ms`.
    first_frame_timeouts,
    /// Connections closed at `timeouts.frame_timeout_ms`.
    frame_timeouts,
    /// Connections asked to go away at `timeouts.idle_timeout_ms`.
    idle_timeouts,
    /// Lines over `limits.frame_bytes_max`, which were skipped.
    frames_too_long,
    /// Connections closed at `throttle.bad_frames_in_a_row_max`, or at a bad first line.
    bad_frame_closures,
    /// Times that a connection was not read from at `admission.in_flight_per_connection` or
    /// `limits.connection_bytes_max`.
    in_flight_pauses,
    /// Times that a connection was not read from at `limits.output_bytes_soft_max`.
    output_pauses,
    /// Connections cut at `limits.output_bytes_hard_max`.
    output_cuts,
    /// Connections cut at `timeouts.write_stall_timeout_ms`.
    write_stalls,
    /// Times that a connection was not read from at `throttle.frames_per_second`.
    cheap_frame_pauses,
    /// Connections closed at `throttle.timeout_ms`.
    cheap_frame_closures,
    /// Times that a connection was not read from at `limits.memory_bytes_max`.
    memory_pauses,
    /// Calls ended at `limits.memory_bytes_max`.
    memory_sheds,
    /// Calls not run because of `admission.in_flight_max`, `admission.in_flight_per_peer` or `admission.adaptive`.
    calls_shed,
    /// Calls that a handler, or a layer around it, rejected without running them.
    calls_rejected,
    /// Calls not run because their time was up before they could start.
    calls_expired,
    /// Calls ended at `timeouts.handler_timeout_ms`.
    handler_timeouts,
    /// Calls whose handler panicked.
    handler_panics,
    /// Replies refused at `limits.reply_bytes_max`.
    replies_too_long,
    /// Calls that may be in flight now: `admission.in_flight_max`, or less where `admission.adaptive` says so.
    in_flight_limit,
    /// Most bytes that connections have held together, which `limits.memory_bytes_max` bounds.
    memory_bytes_peak,
}
