//! What an auditor wants to read: events with the target `rpc_server::audit`. Never a token, never params.

use std::fmt::{self, Write as _};

use rpc_core::{CmdId, Peer};

const TARGET: &str = "rpc_server::audit";

/// Text that somebody else has chosen, as it may stand in a log: what could begin a line of its own or
/// speak to a terminal is escaped.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                // Beside the control characters, those that turn the direction of the line around.
                c if c.is_control() || is_invisible(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }

        Ok(())
    }
}

/// Separators of lines, marks of direction, and the byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// How a peer came by its identity.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By {
    #[cfg(feature = "tls")]
    Certificate,
    Token,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "tls")]
            Self::Certificate => "certificate",
            Self::Token => "token",
        }
    }
}

pub(crate) fn identified(peer: &Peer, by: By) {
    let identity = Escaped(peer.identity().unwrap_or_default());
    tracing::info!(target: TARGET, peer = %Escaped(&peer.address), connection = peer.connection, %identity, by = by.name(), "identified");
}

#[cfg(feature = "tls")]
pub(crate) fn handshake_refused(peer: &str, reason: &str) {
    tracing::warn!(target: TARGET, peer = %Escaped(peer), reason = %Escaped(reason), "TLS handshake refused");
}

#[cfg(feature = "tls")]
pub(crate) fn token_refused(peer: &Peer) {
    tracing::warn!(target: TARGET, peer = %Escaped(&peer.address), connection = peer.connection, "wrong token");
}

#[cfg(feature = "tls")]
pub(crate) fn tokens_limited(peer: &Peer, limit: u32) {
    tracing::warn!(
        target: TARGET,
        peer = %Escaped(&peer.address),
        connection = peer.connection,
        limit,
        "token not looked at: `token_failures_per_address` wrong ones came from this address"
    );
}

pub(crate) fn command_refused(peer: &Peer, cmdid: CmdId) {
    let identity = peer.identity().map(Escaped).map(tracing::field::display);
    tracing::warn!(
        target: TARGET,
        peer = %Escaped(&peer.address),
        connection = peer.connection,
        identity,
        cmdid = cmdid.number(),
        "command refused; further ones of this connection are only counted"
    );
}

pub(crate) fn not_authenticated_in_time(peer: &Peer, limit_ms: u64) {
    tracing::warn!(
        target: TARGET,
        peer = %Escaped(&peer.address),
        connection = peer.connection,
        limit_ms,
        "closed: not authenticated within `authentication_timeout_ms`"
    );
}

/// What took effect when settings were read anew.
#[cfg(feature = "daemon")]
pub(crate) fn changed(what: &str) {
    tracing::info!(target: TARGET, "{}", Escaped(what));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_stays_on_its_line_and_away_from_the_terminal() {
        let text = "a\nb\r\u{1b}[31mred\u{7}\u{2028}\u{202e}\\n é 漢";
        let shown = Escaped(text).to_string();
        assert_eq!(
            shown,
            "a\\nb\\r\\u{1b}[31mred\\u{7}\\u{2028}\\u{202e}\\\\n é 漢"
        );
    }
}
