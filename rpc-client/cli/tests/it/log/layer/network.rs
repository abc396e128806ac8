//! A network between a service and its daemon, which the test holds up and cuts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Passes on what both ends send to each other, unless it is held.
pub(super) struct Network {
    pub(super) address: String,
    links: Arc<Links>,
}

#[derive(Default)]
struct Links {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    holds_requests: bool,
    holds_answers: bool,
    /// Both ends of each connection.
    ends: Vec<TcpStream>,
}

#[derive(Clone, Copy)]
enum Direction {
    ToDaemon,
    ToService,
}

impl Network {
    /// A network to the daemon at this address.
    pub(super) fn to(daemon: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let links = Arc::new(Links::default());
        let (daemon, all) = (daemon.to_owned(), Arc::clone(&links));
        // It ends with the process.
        thread::spawn(move || {
            for near in listener.incoming() {
                all.join(near.unwrap(), &daemon);
            }
        });
        Self { address, links }
    }

    /// Holds up all that is sent, as a network does that drops each packet: the connections stay.
    pub(super) fn hold(&self) {
        self.links.set(|state| {
            state.holds_requests = true;
            state.holds_answers = true;
        });
    }

    /// Holds up what the daemon answers.
    pub(super) fn hold_answers(&self) {
        self.links.set(|state| state.holds_answers = true);
    }

    /// Loses the connections with all that is held up.
    pub(super) fn cut(&self) {
        self.links.set(|state| {
            for end in state.ends.drain(..) {
                // Its other end may have closed it.
                let _ = end.shutdown(Shutdown::Both);
            }
        });
    }

    pub(super) fn heal(&self) {
        self.links.set(|state| {
            state.holds_requests = false;
            state.holds_answers = false;
        });
    }
}

impl Links {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn join(self: &Arc<Self>, near: TcpStream, daemon: &str) {
        let Ok(far) = TcpStream::connect(daemon) else {
            return;
        };
        for (from, to, direction) in [
            (&near, &far, Direction::ToDaemon),
            (&far, &near, Direction::ToService),
        ] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let links = Arc::clone(self);
            thread::spawn(move || links.pass_on(from, to, direction));
        }
        self.set(|state| state.ends.extend([near, far]));
    }

    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            let is_held = |state: &mut State| match direction {
                Direction::ToDaemon => state.holds_requests,
                Direction::ToService => state.holds_answers,
            };
            drop(self.changed.wait_while(self.state.lock().unwrap(), is_held));
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        // Either end may be closed already.
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
