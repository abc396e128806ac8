//! Log lines that peers can cause: each kind of them has its throttle, so that no peer can fill the log.
//!
//! `.ci/peer_log` checks that the rooms which deal with peers log in no other way.

mod throttle;

use tracing::Level;

use throttle::Audience;
pub use throttle::LogThrottle;

/// The target of the events for auditors.
pub(crate) const AUDIT: &str = "rpc_server::audit";

/// Lines a second of a kind that an operator should look at: enough to see what it is about.
const NOTICES: u32 = 10;

/// Where one line stands for a state of the whole server.
const STATES: u32 = 1;

/// For auditors: each refusal counts, and a flood of them is one event.
const REFUSALS: u32 = 100;

/// Those who come in count more.
const IDENTITIES: u32 = 1_000;

/// For those who look for a fault, at the level debug.
const DETAILS: u32 = 1_000;

/// One table of the kinds: name, level, readers, lines a second, and what their summary says that they are.
macro_rules! kinds {
    ($($(#[$only:meta])? $name:ident: $level:ident, $audience:ident, $rate:ident, $what:literal;)+) => {
        /// The throttles of a server, one for each kind of lines.
        #[derive(Debug)]
        pub(crate) struct PeerLog {
            $($(#[$only])? pub(crate) $name: LogThrottle,)+
        }

        impl Default for PeerLog {
            fn default() -> Self {
                Self {
                    $($(#[$only])? $name: LogThrottle::of($what, Level::$level, Audience::$audience, $rate),)+
                }
            }
        }
    };
}

kinds! {
    refusals: WARN, Operators, NOTICES, "connections that were refused";
    accept_failures: WARN, Operators, NOTICES, "connections that could not be accepted";
    without_descriptors: WARN, Operators, STATES, "new connections that were refused because no descriptors were left";
    tls_hellos: WARN, Operators, NOTICES, "TLS client hellos on a port without TLS";
    http_requests: WARN, Operators, NOTICES, "HTTP requests on an RPC port";
    proxy_headers: WARN, Operators, NOTICES, "headers of the PROXY protocol";
    bad_frame_closures: INFO, Operators, NOTICES, "connections that were closed after bad frames";
    slow_lines: INFO, Operators, NOTICES, "connections that were closed at `timeouts.frame_timeout_ms`";
    silent_connections: INFO, Operators, NOTICES, "connections that were closed at `accept.first_frame_timeout_ms`";
    write_stalls: INFO, Operators, NOTICES, "connections that were cut at `timeouts.write_stall_timeout_ms`";
    output_cuts: WARN, Operators, NOTICES, "connections that were cut at `limits.output_bytes_hard_max`";
    drain_cuts: INFO, Operators, NOTICES, "connections that were cut at `drain.timeout_ms`";
    throttled: INFO, Operators, NOTICES, "connections that are read from more slowly";
    floods: WARN, Operators, NOTICES, "connections that were closed at `throttle.timeout_ms`";
    memory_sheds: WARN, Operators, NOTICES, "connections whose calls were ended at `limits.memory_bytes_max`";
    oneway_failures: INFO, Operators, NOTICES, "oneway calls that failed";
    handler_timeouts: WARN, Operators, NOTICES, "handlers that were dropped at `timeouts.handler_timeout_ms`";
    service_health: WARN, Operators, NOTICES, "services that are serving again, or are not";
    #[cfg(feature = "http")]
    http_cuts: INFO, Operators, NOTICES, "HTTP connections that were cut";
    #[cfg(feature = "http")]
    http_names: WARN, Operators, NOTICES, "HTTP requests for a name that is not in `http_hosts`";
    #[cfg(feature = "http")]
    http_origins: WARN, Operators, NOTICES, "HTTP requests of pages that may not make them";
    #[cfg(feature = "admin")]
    page_names: WARN, Operators, NOTICES, "HTTP requests for a name that is not in `admin.hosts`";

    #[cfg(feature = "tls")]
    handshakes_refused: WARN, Auditors, REFUSALS, "TLS handshakes that were refused";
    #[cfg(feature = "tokens")]
    tokens_refused: WARN, Auditors, REFUSALS, "wrong tokens";
    #[cfg(feature = "tokens")]
    tokens_limited: WARN, Auditors, REFUSALS, "tokens that were not checked";
    commands_refused: WARN, Auditors, REFUSALS, "commands that were refused";
    unauthenticated: WARN, Auditors, REFUSALS, "connections that were not authenticated in time";
    identified: INFO, Auditors, IDENTITIES, "connections that were identified";

    connections: DEBUG, Operators, DETAILS, "connections that were opened or closed";
    bad_frames: DEBUG, Operators, DETAILS, "bad frames";
    retirements: DEBUG, Operators, DETAILS, "connections that retire";
    lost_peers: DEBUG, Operators, DETAILS, "peers that are gone";
    #[cfg(feature = "http")]
    http_details: DEBUG, Operators, DETAILS, "HTTP requests";
}
