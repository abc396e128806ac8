//! The cut between replies: by line breaks, or where their objects end.

use rpc_core::codec::{LineDecoder, NoObject, ObjectDecoder, Step};
use rpc_core::frame::BadReply;
use rpc_core::printable::Printable;

use crate::config::Config;

/// So much of a reply that makes no sense is shown, in bytes.
const SHOWN_MAX: usize = 64;

pub(super) enum Replies {
    Lines(LineDecoder),
    /// With `pool.undelimited_replies`.
    Objects(ObjectDecoder),
}

impl Replies {
    pub(super) fn of(config: &Config) -> Self {
        let limit = config.limits.frame_bytes_max;
        match config.pool.undelimited_replies {
            false => Self::Lines(LineDecoder::new(limit)),
            true => Self::Objects(ObjectDecoder::new(limit)),
        }
    }

    /// What the bytes begin with. An error says why nothing can be found in them.
    #[inline]
    pub(super) fn step<'b>(&mut self, bytes: &'b [u8]) -> Result<Step<'b>, String> {
        match self {
            Self::Lines(lines) => Ok(lines.step(bytes)),
            Self::Objects(objects) => objects.step(bytes).map_err(|NoObject(_)| {
                let shown = shown(bytes);
                format!("a reply begins with `{shown}`, and must be a JSON object")
            }),
        }
    }

    /// What is wrong with a reply, with its beginning where it has no line that a trace of the network would show.
    pub(super) fn shown(&self, mut bad: BadReply, reply: &[u8]) -> BadReply {
        if let Self::Objects(_) = self {
            let message = &bad.message;
            bad.message = format!("{message}; it begins with `{}`", shown(reply));
        }
        bad
    }
}

/// The beginning of a reply, for an error.
fn shown(reply: &[u8]) -> String {
    let reply = reply.trim_ascii();
    let start = String::from_utf8_lossy(&reply[..reply.len().min(SHOWN_MAX)]);
    Printable(&start).to_string()
}
