//! The daemon's own log, and what peers can make of it.

use std::time::Instant;

use crate::daemon::{Peer, Running};
use crate::daemon_life::Place;

const CAUSES: u64 = 10_000;

/// One kind of lines: what each of them has, what their summary says, and how many there were.
struct Kind {
    text: &'static str,
    what: &'static str,
    written: u64,
    left_out: u64,
}

impl Kind {
    fn new(text: &'static str, what: &'static str) -> Self {
        Self {
            text,
            what,
            written: 0,
            left_out: 0,
        }
    }

    fn count(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once("further lines were left out: ") {
            let (what, count) = rest.split_once(" left_out=").expect("it has a count");
            if what == self.what {
                self.left_out += count.trim_end().parse::<u64>().unwrap();
            }
        } else if line.contains(self.text) {
            self.written += 1;
        }
    }

    fn is_complete(&self) -> bool {
        self.written + self.left_out >= CAUSES
    }
}

/// Reads the log until all causes of each kind are lines or counted.
fn read(daemon: &mut Running, kinds: &mut [Kind]) {
    while !kinds.iter().all(Kind::is_complete) {
        let line = daemon.log_line("");
        for kind in &mut *kinds {
            kind.count(&line);
        }
    }
}

#[test]
fn calls_of_test_and_panics_of_handlers_are_some_lines_and_a_count() {
    let place = Place::new();
    let mut daemon = place.start("listen = [\"127.0.0.1:0\"]", &[]);
    let mut peer = Peer::connect(&daemon.address());

    let begun = Instant::now();
    for _ in 0..CAUSES / 100 {
        // They are answered in their order: the last reply is that of the last call.
        peer.send(&["{\"cmdid\":10000,\"params\":\"shown\"}"; 100].join("\n"));
        peer.send(&["{\"cmdid\":10002}"; 100].join("\n"));
        for _ in 0..200 {
            peer.line();
        }
    }

    let mut kinds = [
        Kind::new("\\\"shown\\\"", "calls of `test`"),
        Kind::new("panicked at ", "panics"),
        Kind::new("a handler panicked", "handlers that panicked"),
    ];
    read(&mut daemon, &mut kinds);

    let seconds = begun.elapsed().as_secs() + 2;
    for Kind {
        text,
        written,
        left_out,
        ..
    } in &kinds
    {
        assert_eq!(written + left_out, CAUSES, "{text}: {left_out} left out");
        assert!(
            (1..=100 * seconds).contains(written),
            "{text}: {written} lines in {seconds} s"
        );
    }
}
