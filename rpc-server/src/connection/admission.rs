//! Admission of a request: what a connection does with it, decided from what is known, with no side effect.

use rpc_core::Request;

use super::lifecycle::Phase;
use crate::access::Authorization;

/// What is known of the connection and the server when a request comes.
pub(super) struct View<'a> {
    pub(super) authorization: &'a Authorization,
    pub(super) phase: Phase,
    /// A call with the request's `id` is in flight.
    pub(super) has_id_in_flight: bool,
    /// No ordered call is in flight.
    pub(super) is_order_free: bool,
    /// No further call may start: the server is full, or this connection is and cannot wait.
    pub(super) is_full: bool,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It starts now.
    Start,
    /// It starts when the ordered calls before it are answered.
    Wait,
    /// It ends another call, or lets a stream go on, and has no reply.
    Control,
    /// The connection ends: two calls in flight cannot have one `id`.
    EndForId,
    /// The caller may not call this command.
    Refuse,
    /// The connection ends: answered with code 14 and `rejected`.
    Reject,
    /// There is no room: answered with code 8 and `rejected`.
    Shed,
}

impl Decision {
    /// Whether the request asks for work, be it done or not: a connection that retires waits for what may follow it.
    pub(super) fn is_work(self) -> bool {
        !matches!(self, Self::Control | Self::EndForId | Self::Refuse)
    }
}

/// Decides what happens to a request. The order of the checks is that of docs/protocol.md: a connection that breaks
/// the protocol ends whatever its rights are, and what a caller may not do does not depend on the load.
#[inline]
pub(super) fn decide(request: &Request<'_>, view: &View<'_>) -> Decision {
    if view.has_id_in_flight {
        return Decision::EndForId;
    }

    if !view.authorization.allows(request.cmdid) {
        return Decision::Refuse;
    }

    if request.cmdid.is_control() {
        return Decision::Control;
    }

    if !request.cmdid.is_built_in() {
        if matches!(view.phase, Phase::Draining | Phase::Breached) {
            return Decision::Reject;
        }
        if view.is_full {
            return Decision::Shed;
        }
    }

    if request.id.is_none() && !view.is_order_free {
        return Decision::Wait;
    }

    Decision::Start
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &[u8] = br#"{"id":1,"cmdid":100}"#;
    const ORDERED: &[u8] = br#"{"cmdid":100}"#;
    const PING: &[u8] = br#"{"id":1,"cmdid":0}"#;
    const CANCEL: &[u8] = br#"{"cmdid":4,"params":{"id":1}}"#;

    #[track_caller]
    fn check(line: &[u8], change: impl FnOnce(&mut View<'_>), expected: Decision) {
        let mut view = View {
            authorization: &Authorization::Open,
            phase: Phase::Open,
            has_id_in_flight: false,
            is_order_free: true,
            is_full: false,
        };
        change(&mut view);
        let request = Request::decode(line).unwrap();

        assert_eq!(decide(&request, &view), expected);
    }

    #[test]
    fn a_request_starts_where_nothing_is_against_it() {
        for line in [CALL, ORDERED, PING] {
            check(line, |_| (), Decision::Start);
            check(line, |view| view.phase = Phase::Retiring, Decision::Start);
        }
    }

    #[test]
    fn only_an_ordered_call_waits_for_the_order() {
        let busy = |view: &mut View<'_>| view.is_order_free = false;
        check(ORDERED, busy, Decision::Wait);
        check(CALL, busy, Decision::Start);
        check(CANCEL, busy, Decision::Control);
    }

    #[test]
    fn built_in_commands_are_answered_by_a_full_and_by_a_draining_server() {
        let full = |view: &mut View<'_>| view.is_full = true;
        let draining = |view: &mut View<'_>| view.phase = Phase::Draining;

        check(CALL, full, Decision::Shed);
        check(CALL, draining, Decision::Reject);
        for line in [PING, CANCEL] {
            let expected = match line {
                CANCEL => Decision::Control,
                _ => Decision::Start,
            };
            check(line, full, expected);
            check(line, draining, expected);
        }
    }

    #[test]
    fn a_call_on_a_connection_that_ends_is_rejected() {
        for phase in [Phase::Draining, Phase::Breached] {
            check(CALL, |view| view.phase = phase, Decision::Reject);
            check(ORDERED, |view| view.phase = phase, Decision::Reject);
        }
    }

    #[test]
    fn rights_come_before_load_and_the_protocol_before_rights() {
        let closed = |view: &mut View<'_>| {
            view.authorization = &Authorization::Closed;
            view.is_full = true;
            view.phase = Phase::Draining;
        };
        check(CALL, closed, Decision::Refuse);
        check(CANCEL, closed, Decision::Refuse);
        check(PING, closed, Decision::Start);

        let twice = |view: &mut View<'_>| {
            view.authorization = &Authorization::Closed;
            view.has_id_in_flight = true;
        };
        check(CALL, twice, Decision::EndForId);
        check(PING, twice, Decision::EndForId);
    }
}
