//! The table under random orders of events: receipts first, twice and late, crashes anywhere, operators who resend.
//!
//! Runs 20,000 lives of a message; `SMS_STATE_RUNS=1000000` runs as many as that.

use super::{Event, State, Step, next};

/// What a life of a message must keep to, beside the table: the truth about its submissions.
struct Life {
    state: State,
    /// Submissions that the gateway took or may have taken, without a definite refusal.
    out: u32,
    /// Times that someone said that the message may arrive twice.
    may_double: u32,
    delivered_seen: bool,
}

/// The rank of a state, which receipts do not lower.
fn rank(state: State) -> u8 {
    match state {
        State::Scheduled | State::Queued => 0,
        State::Sending | State::Unknown => 1,
        State::Sent => 2,
        State::Undelivered | State::Failed | State::Expired | State::Cancelled => 3,
        State::Delivered => 4,
    }
}

impl Life {
    fn apply(&mut self, event: Event) -> Step {
        let before = self.state;
        let step = next(before, event);

        if let Step::To(to) = step {
            self.state = to;
        }

        let is_receipt = matches!(
            event,
            Event::ReceiptSent
                | Event::ReceiptDelivered
                | Event::ReceiptUndelivered
                | Event::EarlierDelivered
        );
        if is_receipt {
            assert!(
                rank(self.state) >= rank(before),
                "{before:?} was lowered to {:?} by {event:?}",
                self.state
            );
        }
        step
    }

    /// One attempt, from the claim to its end, with everything that may happen between.
    fn attempt(&mut self, random: &mut fastrand::Rng) {
        assert_eq!(self.apply(Event::Claim), Step::To(State::Sending));

        // What the gateway really does, which is not seen: it takes the message or not, and its answer arrives or not.
        let takes = random.bool();
        self.out += u32::from(takes);
        let outcome = match (takes, random.u8(..4)) {
            (_, 0) => Event::NoAnswer,
            (true, _) => Event::Accepted,
            (false, 1) => Event::RefusedForGood,
            (false, _) => Event::Refused,
        };

        let receipts = if takes { random.u8(..3) } else { 0 };
        for _ in 0..receipts {
            self.receipt(random);
        }

        // The process may end before the outcome is recorded: recovery finds `sending`.
        let crashes = random.u8(..8) == 0;
        let recorded = if crashes { Event::NoAnswer } else { outcome };
        let step = self.apply(recorded);
        assert_ne!(
            step,
            Step::Refused,
            "an outcome of an attempt is always taken"
        );

        for _ in 0..receipts {
            self.receipt(random);
        }
    }

    fn receipt(&mut self, random: &mut fastrand::Rng) {
        let event = match random.u8(..3) {
            0 => Event::ReceiptSent,
            1 => Event::ReceiptDelivered,
            _ => Event::ReceiptUndelivered,
        };
        let step = self.apply(event);
        assert_ne!(
            step,
            Step::Refused,
            "a receipt of an attempt is always taken"
        );
        self.delivered_seen |= step == Step::To(State::Delivered);
    }

    /// Something from outside: the clock, the sender, an operator, a late receipt.
    fn interfere(&mut self, random: &mut fastrand::Rng) {
        let before = self.state;
        let event = match random.u8(..6) {
            0 => Event::Due,
            1 => Event::Cancel,
            2 => Event::Expire,
            3 => Event::Resend,
            4 => Event::ResendMayDouble,
            _ if self.out > 0 => Event::EarlierDelivered,
            _ => Event::Due,
        };

        let step = self.apply(event);
        self.delivered_seen |= step == Step::To(State::Delivered);
        if event == Event::ResendMayDouble && matches!(step, Step::To(_)) {
            self.may_double += 1;
        }
        if step == Step::Refused {
            assert_eq!(self.state, before);
        }
    }
}

fn live(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut life = Life {
        state: if random.bool() {
            State::Scheduled
        } else {
            State::Queued
        },
        out: 0,
        may_double: 0,
        delivered_seen: false,
    };

    for _ in 0..random.u8(1..24) {
        if life.state == State::Queued && random.u8(..3) > 0 {
            life.attempt(&mut random);
        } else {
            life.interfere(&mut random);
        }

        assert_ne!(life.state, State::Sending, "an attempt ends");
        assert!(
            life.out <= 1 + life.may_double,
            "submitted {} times with {} allowances, seed {seed}",
            life.out,
            life.may_double
        );
        if life.delivered_seen {
            assert_eq!(
                life.state,
                State::Delivered,
                "what arrived stays so, seed {seed}"
            );
        }
    }
}

#[test]
fn a_message_is_submitted_at_most_once_unless_refused_or_allowed_in_whatever_order_things_happen() {
    let runs =
        std::env::var("SMS_STATE_RUNS").map_or(20_000, |runs| runs.parse().expect("a number"));
    for seed in 0..runs {
        live(seed);
    }
}
