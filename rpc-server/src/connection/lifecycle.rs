//! The life of a connection: its phases, and what is known of its peer.

/// What a draining server says with `goaway`.
pub(super) const SHUTTING_DOWN: &str = "the server is shutting down; connect to another server";

/// What it says with `goaway` to a connection that is past its age or its number of requests.
pub(super) const SERVED_LONG_ENOUGH: &str =
    "this connection has reached its maximum age or number of requests; open a new one";

/// What it says to one whose peer has broken the protocol.
pub(super) const BREACHED: &str = "a peer of this connection has broken the protocol, and the server ends the connection; open a new one for further calls";

/// What it says to one that has had nothing to do.
pub(super) const IDLE: &str = "the connection was idle for `timeouts.idle_timeout_ms`; connect again when there is \
    something to call";

/// What it says to the one that has rested longest, where there are as many connections as there may be.
pub(super) const MAKES_ROOM: &str = "the server has reached its maximum number of connections, and this one was idle \
    longest; connect again when there is something to call";

/// The phases, each before those that may follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Reading requests.
    Open,
    /// The connection has served long enough, and has said so: requests that still come are answered.
    Retiring,
    /// The server drains: requests that still come are rejected.
    Draining,
    /// The peer broke the protocol while calls were in flight: requests that still come are rejected, so that those
    /// who share the connection know what became of theirs.
    Breached,
    /// No more requests: the peer ended its side, or broke the protocol. What was accepted is
    /// answered.
    Finishing,
    /// Everything is written and the peer knows it; it gets time to read it.
    Lingering,
    /// Over at once: what cannot be answered or was cut.
    Closed,
}

impl Phase {
    pub(super) fn takes_requests(self) -> bool {
        matches!(
            self,
            Self::Open | Self::Retiring | Self::Draining | Self::Breached
        )
    }
}

/// The phase of a connection, and what its peer has done so far.
pub(super) struct Lifecycle {
    phase: Phase,
    spoken: Spoken,
    /// Whether the peer has ended its side of the stream.
    has_peer_ended: bool,
    /// Whether it was asked to go for another connection's sake.
    makes_room: bool,
    bad_in_a_row: u32,
    /// What it had done when it began to do nothing.
    idle_since_work: u64,
}

/// What a peer has said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    /// No good line: one bad line ends the connection.
    Nothing,
    /// Good lines, none of them with an id.
    WithoutIds,
    WithIds,
}

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Open,
            spoken: Spoken::Nothing,
            has_peer_ended: false,
            makes_room: false,
            bad_in_a_row: 0,
            idle_since_work: 0,
        }
    }

    #[inline]
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Enters a phase. None is gone back to, and what was cut stays cut, whatever the line at hand leads to: returns
    /// whether it was entered.
    pub(super) fn enter(&mut self, phase: Phase) -> bool {
        let is_further = self.phase != Phase::Closed && self.phase <= phase;
        if is_further {
            self.phase = phase;
        }

        is_further
    }

    pub(super) fn has_spoken(&self) -> bool {
        self.spoken != Spoken::Nothing
    }

    pub(super) fn has_used_id(&self) -> bool {
        self.spoken == Spoken::WithIds
    }

    pub(super) fn has_peer_ended(&self) -> bool {
        self.has_peer_ended
    }

    pub(super) fn peer_has_ended(&mut self) {
        self.has_peer_ended = true;
    }

    pub(super) fn makes_room(&self) -> bool {
        self.makes_room
    }

    pub(super) fn note_that_it_makes_room(&mut self) {
        self.makes_room = true;
    }

    #[inline]
    pub(super) fn note_good_line(&mut self) {
        if self.spoken == Spoken::Nothing {
            self.spoken = Spoken::WithoutIds;
        }
        self.bad_in_a_row = 0;
    }

    /// Counts a bad line. Returns how many there are in a row where that ends the connection.
    pub(super) fn note_bad_line(&mut self, in_a_row_max: u32) -> Option<u32> {
        self.bad_in_a_row += 1;
        let ends = !self.has_spoken() || self.bad_in_a_row >= in_a_row_max;
        ends.then_some(self.bad_in_a_row)
    }

    /// Notes that the peer uses ids.
    #[inline]
    pub(super) fn note_id(&mut self) -> FirstId {
        if std::mem::replace(&mut self.spoken, Spoken::WithIds) == Spoken::WithIds {
            return FirstId::WasBefore;
        }

        match self.phase {
            Phase::Draining => FirstId::IsToHear(SHUTTING_DOWN),
            Phase::Retiring => FirstId::IsToHear(SERVED_LONG_ENOUGH),
            Phase::Breached => FirstId::IsToHear(BREACHED),
            Phase::Open | Phase::Finishing | Phase::Lingering | Phase::Closed => FirstId::WasBefore,
        }
    }

    /// Notes how much the connection has done. Returns whether it has done nothing since the last time.
    pub(super) fn note_work(&mut self, work: u64) -> bool {
        std::mem::replace(&mut self.idle_since_work, work) == work
    }
}

/// Whether a peer is to be told now that the connection is to end. One that had not used any id was not: a client
/// without ids would take that for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstId {
    WasBefore,
    IsToHear(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_first_good_line_one_bad_line_ends_the_connection() {
        let mut life = Lifecycle::new();
        assert_eq!(life.note_bad_line(16), Some(1));
    }

    #[test]
    fn after_it_only_a_row_of_bad_lines_does() {
        let mut life = Lifecycle::new();
        life.note_good_line();
        assert_eq!((life.note_bad_line(3), life.note_bad_line(3)), (None, None));

        life.note_good_line();
        assert_eq!((life.note_bad_line(3), life.note_bad_line(3)), (None, None));
        assert_eq!(life.note_bad_line(3), Some(3));
    }

    #[test]
    fn the_first_id_on_the_way_out_hears_why_once() {
        let mut life = Lifecycle::new();
        life.enter(Phase::Draining);
        assert_eq!(life.note_id(), FirstId::IsToHear(SHUTTING_DOWN));
        assert_eq!(life.note_id(), FirstId::WasBefore);
    }

    #[test]
    fn a_peer_that_was_told_goodbye_is_not_told_again() {
        let mut life = Lifecycle::new();
        assert!(life.enter(Phase::Draining) && life.enter(Phase::Draining));
        assert!(life.enter(Phase::Lingering));
        assert!(!life.enter(Phase::Finishing));
        assert_eq!(life.phase(), Phase::Lingering);
    }

    #[test]
    fn what_was_cut_stays_cut() {
        let mut life = Lifecycle::new();
        assert!(life.enter(Phase::Closed));
        assert!(!life.enter(Phase::Finishing));
        assert_eq!(life.phase(), Phase::Closed);
    }
}
