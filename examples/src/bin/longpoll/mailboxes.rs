//! Mailboxes: what came for each client, and the calls that wait for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpc_server::Status;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Messages that a mailbox keeps; older ones are gone.
const MESSAGES_MAX: usize = 100;

/// Mailboxes that there may be: a caller may name any number.
const MAILBOXES_MAX: usize = 100_000;

/// A message as it waits in Redis.
#[derive(Debug, Deserialize)]
pub(crate) struct Posted {
    to: u32,
    text: String,
    #[serde(default)]
    at: u64,
}

/// A message as a client gets it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Message {
    /// Its number among those of this client, from 1.
    pub(crate) seq: u64,
    /// When it was posted, in microseconds since 1970.
    pub(crate) at: u64,
    /// What it says.
    pub(crate) text: String,
}

/// The mailboxes of all clients. Clones are the same ones.
#[derive(Clone, Default)]
pub(crate) struct Mailboxes(Arc<Mutex<HashMap<u32, Arc<Mailbox>>>>);

/// What came for a client.
#[derive(Default)]
pub(crate) struct Mailbox {
    messages: Mutex<Messages>,
    changed: Notify,
}

#[derive(Default)]
struct Messages {
    newest: VecDeque<Message>,
    /// How many have come.
    count: u64,
}

impl Mailboxes {
    /// The mailbox of this client, which is made if it is missing.
    pub(crate) fn of(&self, to: u32) -> Result<Arc<Mailbox>, Status> {
        let mut mailboxes = locked(&self.0);
        if mailboxes.len() >= MAILBOXES_MAX && !mailboxes.contains_key(&to) {
            return Err(Status::resource_exhausted(format!(
                "there are {MAILBOXES_MAX} mailboxes, the maximum"
            )));
        }

        Ok(Arc::clone(mailboxes.entry(to).or_default()))
    }

    pub(crate) fn post(&self, posted: Posted) -> Result<(), Status> {
        let mailbox = self.of(posted.to)?;
        mailbox.post(posted);
        Ok(())
    }
}

impl Mailbox {
    fn post(&self, Posted { text, at, .. }: Posted) {
        let mut messages = locked(&self.messages);
        messages.count += 1;
        let seq = messages.count;
        if messages.newest.len() == MESSAGES_MAX {
            messages.newest.pop_front();
        }
        messages.newest.push_back(Message { seq, at, text });
        drop(messages);

        self.changed.notify_waiters();
    }

    /// The messages behind this number, once there are any.
    pub(crate) async fn behind(&self, after: u64) -> Vec<Message> {
        loop {
            // Before the look, so that what comes behind it is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();

            let found = self.now_behind(after);
            if !found.is_empty() {
                return found;
            }
            changed.await;
        }
    }

    fn now_behind(&self, after: u64) -> Vec<Message> {
        let messages = locked(&self.messages);
        // The numbers of a server that was started anew begin again.
        let after = if after > messages.count { 0 } else { after };
        let found = messages.newest.iter().filter(|message| message.seq > after);
        found.cloned().collect()
    }
}

/// Each step leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
