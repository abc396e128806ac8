//! Helpers of tests: a text that is sent, and what becomes of its message.

use rpc_core::api::sms::Send;

use super::Outbox;
use crate::message::MessageId;
use crate::states::State;
use crate::store::{Message, Viewer};

impl Outbox {
    /// Accepts a text to a number in China, which has no sender.
    pub(crate) async fn accept(&self, text: &str) -> MessageId {
        let (send, now) = (Send::new("+8613800138000", text), self.now_ms());
        let plan = self.planner().plan(&send, self.lanes(), now).unwrap();
        assert_eq!(plan.problems, []);

        let message = self.planner().message(&plan, send, String::new(), now);
        let store = self.store();
        let accepted = store.run(move |store| store.accept(&message, now)).await;
        accepted.unwrap().id
    }

    pub(crate) fn message(&self, id: MessageId) -> Message {
        let found = self.store().reader().messages(&[id], &Viewer::All);
        found.unwrap().remove(0)
    }

    /// Waits until a message has a state.
    pub(crate) async fn until(&self, id: MessageId, state: State) -> Message {
        let mut events = self.store().last_event();
        loop {
            events.borrow_and_update();
            let message = self.message(id);
            if message.state == state {
                return message;
            }
            events.changed().await.unwrap();
        }
    }
}
