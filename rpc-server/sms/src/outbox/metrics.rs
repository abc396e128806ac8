//! The metrics of the outbox, as Prometheus reads them. Labels are names of the settings and words of this crate: no
//! number, no text, and no word of a provider is among them.

use rpc_core::api::sms::GatewayState;
use rpc_core::metrics::prometheus::Text;
use rpc_server::blocking::Caller;

use super::tally::AttemptOutcome;
use super::{Lane, Outbox};
use crate::message::Class;
use crate::store::{QueueCounts, StoreError};

/// The states of gateways, each with its label.
const STATES: [(GatewayState, &str); 4] = [
    (GatewayState::Up, "up"),
    (GatewayState::Down, "down"),
    (GatewayState::Paused, "paused"),
    (GatewayState::Throttled, "throttled"),
];

impl Outbox {
    /// The metrics in the text format of Prometheus. It does not block: the age of the oldest message is as the last
    /// sweep has seen it.
    pub fn metrics(&self) -> String {
        let mut text = Text::default();
        self.write_sends(&mut text);
        self.write_queues(&mut text);
        self.write_gateways(&mut text);
        text.finish()
    }

    fn write_sends(&self, text: &mut Text) {
        text.family(
            "rpc_sms_accepted_total",
            "counter",
            "Messages that `sms.send` has accepted, by class.",
        );
        for class in Class::ALL.iter().copied() {
            text.sample(&[("class", class.as_str())], self.0.sends.accepted(class));
        }

        text.family(
            "rpc_sms_refused_total",
            "counter",
            "Calls of `sms.send` that were refused, by reason.",
        );
        for (reason, count) in self.0.sends.refused() {
            text.sample(&[("reason", reason)], count);
        }
    }

    fn write_queues(&self, text: &mut Text) {
        let counts = self.store().counts();
        text.family(
            "rpc_sms_messages",
            "gauge",
            "Messages that wait, are being sent, or whose outcome is unknown, by gateway and status.",
        );
        for lane in self.lanes() {
            let counts = counts.get(lane.name()).copied().unwrap_or_default();
            for (status, count) in by_status(counts) {
                text.sample(&[("gateway", lane.name()), ("status", status)], count);
            }
        }

        let now = self.now_ms();
        text.family(
            "rpc_sms_queue_oldest_seconds",
            "gauge",
            "Age of the oldest message that waits for a gateway; 0 if none does.",
        );
        for lane in self.lanes() {
            let age_ms = lane.tally.oldest().map_or(0, |at| now.saturating_sub(at));
            text.sample(&[("gateway", lane.name())], age_ms / 1000);
        }
    }

    fn write_gateways(&self, text: &mut Text) {
        text.family(
            "rpc_sms_gateway_state",
            "gauge",
            "1 for the state that a gateway is in, otherwise 0.",
        );
        for lane in self.lanes() {
            let now = lane.state().state;
            for (state, label) in STATES {
                let labels = [("gateway", lane.name()), ("state", label)];
                text.sample(&labels, u8::from(state == now));
            }
        }

        text.family(
            "rpc_sms_attempts_total",
            "counter",
            "Attempts that have ended, by gateway and outcome.",
        );
        for lane in self.lanes() {
            for outcome in AttemptOutcome::ALL {
                let labels = [("gateway", lane.name()), ("outcome", outcome.as_str())];
                text.sample(&labels, lane.tally.attempts(outcome));
            }
        }

        text.family(
            "rpc_sms_failures_total",
            "counter",
            "Messages that failed for good, by gateway and the reason of its rules.",
        );
        for lane in self.lanes() {
            for (reason, count) in lane.tally.failures() {
                text.sample(&[("gateway", lane.name()), ("reason", &reason)], count);
            }
        }

        text.family(
            "rpc_sms_segments_total",
            "counter",
            "Segments of the messages that a gateway has accepted.",
        );
        for lane in self.lanes() {
            text.sample(&[("gateway", lane.name())], lane.tally.segments());
        }
    }

    /// Looks for the oldest message that waits for each gateway. Nothing is read for a gateway that none waits for.
    pub(super) async fn note_oldest(&self) {
        let counts = self.store().counts();
        let waits = |lane: &Lane| counts.get(lane.name()).is_some_and(|one| one.queued > 0);
        for lane in self.lanes() {
            if !waits(lane) {
                lane.tally.set_oldest(None);
                continue;
            }

            let (outbox, name) = (self.clone(), lane.name().to_owned());
            let read = self.pool().run(Caller::default(), move |_| {
                outbox.store().reader().oldest_ready(&name)
            });
            let oldest: Option<Result<Option<u64>, StoreError>> = read.await.ok();
            // What cannot be read now is read a second later.
            if let Some(Ok(oldest)) = oldest {
                lane.tally.set_oldest(oldest);
            }
        }
    }
}

fn by_status(counts: QueueCounts) -> [(&'static str, u64); 4] {
    [
        ("scheduled", counts.scheduled),
        ("queued", counts.queued),
        ("sending", counts.sending),
        ("unknown", counts.unknown),
    ]
}
