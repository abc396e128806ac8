//! Any split of any bytes gives the lines that cutting at each `\n` gives, with the limit kept; and no
//! line makes a reader panic.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rpc_core::CmdId;
use rpc_core::codec::{LineDecoder, Step};
use rpc_core::frame::fast::{self, HeaderCache};
use rpc_core::frame::{FromServer, Request, id_of_part};
use rpc_fuzz::input::Input;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let limit = usize::from(input.byte() & 63);

    // Sizes of the pieces in turn: 1 to 16 bytes, two in a byte.
    let (sizes, wire) = (input.byte(), input.0);

    let mut decoder = LineDecoder::new(limit);
    let mut expected = Expected { rest: wire, limit };
    let mut last = HeaderCache::default();
    let (mut start, mut end, mut turn) = (0, 0, 0);

    while end < wire.len() {
        end = wire
            .len()
            .min(end + 1 + usize::from(sizes >> (turn % 2 * 4) & 15));
        turn += 1;

        loop {
            let shown = &wire[start..end];
            match decoder.step(shown) {
                Step::Line { line, consumed } => {
                    assert_eq!(expected.next(), Some(Line::Whole(line)));
                    start += consumed;
                    read(&mut last, line, sizes);
                }
                Step::TooLong {
                    start: part,
                    consumed,
                } => {
                    assert_eq!(part.len(), limit);
                    assert_eq!(expected.next(), Some(Line::TooLong(part)));
                    start += consumed;
                    let _ = id_of_part(part);
                }
                Step::Partial { consumed } => {
                    start += consumed;
                    break;
                }
            }
        }

        assert!(end - start <= limit + 1, "what is kept stays at the limit");
    }

    assert_eq!(expected.next(), None);
});

fn read(last: &mut HeaderCache, line: &[u8], side: u8) {
    if side & 1 == 0 {
        let general = Request::decode(line);
        let alone = fast::Request::read(line);
        assert!(!alone.as_ref().is_some_and(fast::Request::is_sound) || general.is_ok());

        // Whatever the lines before were.
        let after = fast::Request::read_after(last, line);
        assert_eq!(after.as_ref().map(parts), alone.as_ref().map(parts));
    } else {
        let general = FromServer::decode(line);
        let usual = fast::Reply::read(line).is_some_and(|usual| usual.data().settle().is_ok());
        assert!(!usual || general.is_ok());
    }
}

type Parts = (
    Option<u64>,
    CmdId,
    Option<i64>,
    Option<Duration>,
    bool,
    usize,
);

fn parts(usual: &fast::Request<'_>) -> Parts {
    let request = usual.request();
    (
        request.id,
        request.cmdid,
        request.timestamp,
        request.timeout,
        request.oneway,
        usual.params_bytes(),
    )
}

#[derive(Debug, PartialEq)]
enum Line<'a> {
    Whole(&'a [u8]),
    TooLong(&'a [u8]),
}

/// The plain reading of the rule, over all of the bytes at once.
struct Expected<'a> {
    rest: &'a [u8],
    limit: usize,
}

impl<'a> Iterator for Expected<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;

        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.limit {
            Some(Line::TooLong(&line[..self.limit]))
        } else {
            end.map(|_| Line::Whole(line))
        }
    }
}
