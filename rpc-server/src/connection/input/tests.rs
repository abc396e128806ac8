//! Long lines, and the thread's buffer for them.

use super::*;

const ENOUGH: ReadLimits = ReadLimits {
    line_bytes_max: 1024 * 1024,
    read_bytes_max: usize::MAX,
};

fn line() -> Vec<u8> {
    let mut line: Vec<u8> = (0..300_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
    line.push(b'\n');
    line
}

/// Reads once, and keeps what was read as a connection does.
async fn read(input: &mut Input, rest: &mut &[u8], limits: ReadLimits) -> Filled {
    let mut thread_buffer = vec![0; SCRATCH_BYTES];
    let read = std::future::poll_fn(|cx| input.poll_read(rest, cx, &mut thread_buffer, limits));
    let read = read.await.unwrap();
    if let Filled::Scratch(length) = read.filled {
        input.keep(&thread_buffer[..length], None);
    }
    read.filled
}

/// Reads a line to its end and executes it. Returns whether parts of it had to be put together.
async fn read_line(input: &mut Input, limits: ReadLimits) -> bool {
    let line = line();
    let (mut rest, mut was_in_pieces) = (&line[..], false);
    while read(input, &mut rest, limits).await != Filled::Own {
        was_in_pieces |= input.pieces.is_some();
    }

    assert_eq!(input.bytes(), line);
    input.consume(line.len(), None);
    input.release();
    assert_eq!(input.held_bytes(), 0);
    was_in_pieces
}

#[tokio::test]
async fn a_long_line_is_read_into_the_buffer_that_the_last_one_has_left() {
    assert!(read_line(&mut Input::default(), ENOUGH).await);
    assert!(!read_line(&mut Input::default(), ENOUGH).await);

    // Its room counts, and there may be less.
    let limits = ReadLimits {
        read_bytes_max: 1_000_000,
        ..ENOUGH
    };
    assert!(read_line(&mut Input::default(), limits).await);
}

#[tokio::test]
async fn while_one_connection_has_the_buffer_the_lines_of_others_come_in_pieces() {
    let (line, mut first) = (line(), Input::default());
    read_line(&mut first, ENOUGH).await;
    let mut rest = &line[..200_000];
    while !rest.is_empty() {
        read(&mut first, &mut rest, ENOUGH).await;
    }
    assert!(first.is_long() && first.pieces.is_none());

    let mut second = Input::default();
    assert!(read_line(&mut second, ENOUGH).await);

    let mut rest = &line[200_000..];
    while read(&mut first, &mut rest, ENOUGH).await != Filled::Own {}
    assert_eq!(first.bytes(), line);
}

#[tokio::test]
async fn room_is_given_back_for_want_of_memory_and_with_a_short_rest() {
    let line = line();
    read_line(&mut Input::default(), ENOUGH).await;
    let mut input = Input::default();
    let mut rest = &line[..200_000];
    while !rest.is_empty() {
        read(&mut input, &mut rest, ENOUGH).await;
    }
    assert!(input.held_bytes() > 300_000);

    input.give_back_room();
    assert_eq!(input.held_bytes(), 200_000);
    let limits = ReadLimits {
        read_bytes_max: 1_000_000,
        ..ENOUGH
    };
    let end = [&line[200_000..], b"the next"].concat();
    let mut rest = &end[..];
    while read(&mut input, &mut rest, limits).await != Filled::Own {}
    assert_eq!(input.bytes()[..line.len()], line);

    input.consume(line.len(), None);
    assert_eq!(input.bytes(), b"the next");
    assert_eq!(input.held_bytes(), 8);
}

#[tokio::test]
async fn a_line_without_its_end_is_not_put_together_at_the_end_of_the_stream() {
    let (line, mut input) = (line(), Input::default());
    let mut rest = &line[..200_000];
    while !rest.is_empty() {
        read(&mut input, &mut rest, ENOUGH).await;
    }
    let begun = input.bytes().len();
    assert!(begun < 200_000, "it is in pieces");

    assert_eq!(read(&mut input, &mut rest, ENOUGH).await, Filled::Part);
    assert_eq!(input.bytes().len(), begun);
    assert_eq!(input.len(), 200_000);
}

#[tokio::test]
async fn the_buffer_stays_with_the_thread_also_for_lines_as_long_as_they_may_be() {
    let mut longest = vec![b'a'; ENOUGH.line_bytes_max];
    longest.push(b'\n');
    for was_in_pieces in [true, false] {
        let (mut input, mut rest) = (Input::default(), &longest[..]);
        let mut is_in_pieces = false;
        while read(&mut input, &mut rest, ENOUGH).await != Filled::Own {
            is_in_pieces |= input.pieces.is_some();
        }
        assert_eq!(is_in_pieces, was_in_pieces);
        input.consume(longest.len(), None);
        input.release();
    }
}
