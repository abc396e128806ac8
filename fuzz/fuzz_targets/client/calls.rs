//! The calls of one run, and what they came to.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::StreamExt;
use rpc_client::{Client, Error};
use rpc_fuzz::polled::Polled;

use crate::server::Server;

/// The command of all calls.
pub(crate) const CMDID: u32 = 100;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Multiplexed,
    Ordered,
    Stream,
    Oneway,
}

pub(crate) struct Calls {
    client: Option<Client>,
    calls: Vec<Call>,
}

struct Call {
    kind: Kind,
    polled: Option<Polled<Result<(), Error>>>,
    /// What it was given and nobody has looked at.
    given: Rc<RefCell<Vec<u64>>>,
    last: u64,
}

impl Calls {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client: Some(client),
            calls: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self, kind: Kind, argument: u8) {
        let client = self.client.clone().expect("a run is not over yet");
        let given = Rc::new(RefCell::new(Vec::new()));
        let (n, gives) = (self.calls.len() as u64, Rc::clone(&given));
        let milliseconds = [20, 300, 1_500, 4_000][usize::from(argument & 3)];

        let polled = Polled::new(async move {
            let mut command = client
                .command(CMDID)
                .timeout(Duration::from_millis(milliseconds));
            if argument & 4 == 4 {
                command = command.idempotent();
            }

            match kind {
                Kind::Multiplexed => {
                    let value = command.call(&n).await?;
                    gives.borrow_mut().push(value);
                }
                Kind::Ordered => {
                    let value = command.ordered().call(&n).await?;
                    gives.borrow_mut().push(value);
                }
                Kind::Oneway => command.notify(&n).await?,
                Kind::Stream => {
                    let mut items = command.stream::<_, u64>(&n).await?;
                    while let Some(item) = items.next().await {
                        let value = item?;
                        gives.borrow_mut().push(value);
                    }
                }
            }

            Ok(())
        });

        self.calls.push(Call {
            kind,
            polled: Some(polled),
            given,
            last: 0,
        });
    }

    pub(crate) fn kind(&self, n: usize) -> Option<Kind> {
        self.calls.get(n).map(|call| call.kind)
    }

    pub(crate) fn turn(&mut self) {
        for call in &mut self.calls {
            let Some(polled) = &mut call.polled else {
                continue;
            };

            if let Some(outcome) = polled.turn() {
                if let Err(error) = outcome {
                    assert!(!error.to_string().is_empty());
                }
                call.polled = None;
            }
        }
    }

    /// What was given to a call was sent to it, in this order.
    pub(crate) fn check(&mut self, server: &Server) {
        for (n, call) in self.calls.iter_mut().enumerate() {
            for value in call.given.borrow_mut().drain(..) {
                server.check(n, value);
                if !server.is_raw() {
                    assert!(value > call.last, "items come in their order, and once");
                }
                call.last = value;
            }
        }
    }

    pub(crate) fn drop_one(&mut self, argument: u8) {
        let count = self.calls.len().max(1);
        if let Some(call) = self.calls.get_mut(usize::from(argument) % count) {
            call.polled = None;
        }
    }

    pub(crate) fn drop_all(&mut self) {
        self.calls.iter_mut().for_each(|call| call.polled = None);
    }

    pub(crate) fn are_over(&self) -> bool {
        self.calls.iter().all(|call| call.polled.is_none())
    }

    pub(crate) fn let_go(&mut self) {
        self.drop_all();
        self.client = None;
    }
}
