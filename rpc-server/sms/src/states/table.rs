//! The table of transitions. Everything that changes the state of a message asks it, and it alone decides.

use super::{Event, State};

/// What an event does to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The state changes to this one.
    To(State),
    /// The event is true and tells nothing new: a receipt that comes late or twice, a response behind its receipt.
    Stays,
    /// The event cannot be: nothing may be changed for it.
    Refused,
}

use Event as E;
use State as S;

/// All transitions. What is in neither list is refused.
const TRANSITIONS: &[(State, Event, State)] = &[
    (S::Scheduled, E::Due, S::Queued),
    (S::Scheduled, E::Cancel, S::Cancelled),
    (S::Scheduled, E::Expire, S::Expired),
    (S::Scheduled, E::RefusedForGood, S::Failed),
    (S::Scheduled, E::EarlierDelivered, S::Delivered),
    (S::Queued, E::Claim, S::Sending),
    (S::Queued, E::Cancel, S::Cancelled),
    (S::Queued, E::Expire, S::Expired),
    // What was true at `send` is checked again at the claim: the number may have opted out.
    (S::Queued, E::RefusedForGood, S::Failed),
    (S::Queued, E::EarlierDelivered, S::Delivered),
    (S::Sending, E::Refused, S::Queued),
    (S::Sending, E::RefusedForGood, S::Failed),
    (S::Sending, E::Accepted, S::Sent),
    (S::Sending, E::NoAnswer, S::Unknown),
    // A receipt may overtake the response.
    (S::Sending, E::ReceiptSent, S::Sent),
    (S::Sending, E::ReceiptDelivered, S::Delivered),
    (S::Sending, E::ReceiptUndelivered, S::Undelivered),
    (S::Sent, E::ReceiptDelivered, S::Delivered),
    (S::Sent, E::ReceiptUndelivered, S::Undelivered),
    (S::Unknown, E::ReceiptSent, S::Sent),
    (S::Unknown, E::ReceiptDelivered, S::Delivered),
    (S::Unknown, E::ReceiptUndelivered, S::Undelivered),
    (S::Unknown, E::EarlierDelivered, S::Delivered),
    (S::Unknown, E::ResendMayDouble, S::Queued),
    (S::Undelivered, E::EarlierDelivered, S::Delivered),
    (S::Undelivered, E::ResendMayDouble, S::Queued),
    (S::Failed, E::Resend, S::Queued),
    (S::Failed, E::ResendMayDouble, S::Queued),
    (S::Expired, E::Resend, S::Queued),
    (S::Expired, E::ResendMayDouble, S::Queued),
    (S::Cancelled, E::Resend, S::Queued),
    (S::Cancelled, E::ResendMayDouble, S::Queued),
];

/// Events that are true in a state and change nothing: receipts never lower a rank, and the first final one holds.
const STAYS: &[(State, &[Event])] = &[
    (S::Sending, &[E::EarlierDelivered]),
    (
        S::Sent,
        &[
            E::Accepted,
            E::NoAnswer,
            E::ReceiptSent,
            E::EarlierDelivered,
        ],
    ),
    (
        S::Delivered,
        &[
            E::Accepted,
            E::Refused,
            E::RefusedForGood,
            E::NoAnswer,
            E::ReceiptSent,
            E::ReceiptDelivered,
            E::ReceiptUndelivered,
            E::EarlierDelivered,
        ],
    ),
    (
        S::Undelivered,
        &[
            E::Accepted,
            E::Refused,
            E::RefusedForGood,
            E::NoAnswer,
            E::ReceiptSent,
            E::ReceiptDelivered,
            E::ReceiptUndelivered,
        ],
    ),
    // Receipts of parts that were accepted before another one was refused.
    (
        S::Failed,
        &[
            E::ReceiptSent,
            E::ReceiptDelivered,
            E::ReceiptUndelivered,
            E::EarlierDelivered,
        ],
    ),
    (S::Expired, &[E::EarlierDelivered]),
    (S::Cancelled, &[E::EarlierDelivered]),
];

/// What an event does to a message in a state.
///
/// ```
/// use rpc_sms::states::{Event, State, Step, next};
///
/// assert_eq!(next(State::Queued, Event::Claim), Step::To(State::Sending));
/// assert_eq!(next(State::Delivered, Event::ReceiptSent), Step::Stays);
/// assert_eq!(next(State::Unknown, Event::Resend), Step::Refused);
/// ```
pub fn next(state: State, event: Event) -> Step {
    let found = TRANSITIONS
        .iter()
        .find(|(from, on, _)| (*from, *on) == (state, event));
    if let Some((_, _, to)) = found {
        return Step::To(*to);
    }

    let stays = STAYS
        .iter()
        .any(|(at, events)| *at == state && events.contains(&event));
    if stays { Step::Stays } else { Step::Refused }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_pair_of_state_and_event_stands_once_in_the_table() {
        let moves = TRANSITIONS.iter().map(|(from, on, _)| (*from, *on));
        let stays = STAYS
            .iter()
            .flat_map(|(at, events)| events.iter().map(move |event| (*at, *event)));

        let mut seen = BTreeSet::new();
        for pair in moves.chain(stays) {
            assert!(seen.insert(pair), "{pair:?} stands twice");
        }
    }

    #[test]
    fn only_a_new_attempt_leads_out_of_a_terminal_state() {
        for (from, on, to) in TRANSITIONS {
            let is_new_attempt = matches!(on, Event::Resend | Event::ResendMayDouble);
            if from.is_terminal() && !is_new_attempt {
                // An earlier attempt that arrived after all is better news than what was known.
                let expected = (
                    State::Undelivered,
                    Event::EarlierDelivered,
                    State::Delivered,
                );
                assert_eq!((*from, *on, *to), expected);
            }
        }
    }

    #[test]
    fn a_message_that_may_have_been_submitted_is_queued_only_by_a_word_that_allows_doubles() {
        for (from, on, to) in TRANSITIONS {
            let may_be_out = matches!(from, State::Unknown | State::Undelivered | State::Sent);
            if may_be_out && *to == State::Queued {
                assert_eq!(*on, Event::ResendMayDouble, "{from:?}");
            }
        }
        assert_eq!(
            next(State::Delivered, Event::ResendMayDouble),
            Step::Refused
        );
    }

    #[test]
    fn nothing_is_cancelled_or_expires_once_a_gateway_may_have_it() {
        for state in State::ALL.iter().copied() {
            let is_early = matches!(state, State::Scheduled | State::Queued);
            for event in [Event::Cancel, Event::Expire] {
                let moves = matches!(next(state, event), Step::To(_));
                assert_eq!(moves, is_early, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn each_state_is_reached_and_each_event_does_something() {
        for state in State::ALL.iter().copied() {
            let is_first = state == State::Scheduled;
            assert!(
                is_first || TRANSITIONS.iter().any(|(.., to)| *to == state),
                "{state:?}"
            );
        }
        for event in Event::ALL {
            assert!(
                TRANSITIONS.iter().any(|(_, on, _)| *on == event),
                "{event:?}"
            );
        }
    }
}
