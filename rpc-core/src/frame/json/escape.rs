//! Strings as JSON, looked at in 16 bytes at a time for what must be escaped, and long ones in 256.

/// Number of bytes of a long text that are looked at together.
const BLOCK: usize = 256;

/// A long text is looked at and copied in pieces of this number of bytes, which stay in the processor's cache for the copy.
const PIECE: usize = 16 * BLOCK;

/// Appends a string, in quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    if text.len() >= BLOCK {
        push_long(out, text.as_bytes());
    } else if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        push_escaped(out, text.as_bytes());
    }
    out.push(b'"');
}

/// Appends a long text. From the first piece on that is not plain, it costs as much as a short one.
#[inline(never)]
fn push_long(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(PIECE));
        let (blocks, tail) = piece.as_chunks();
        if !(blocks.iter().all(is_plain_block) && is_plain(tail)) {
            return push_escaped(out, rest);
        }

        out.extend_from_slice(piece);
        rest = behind;
    }
}

/// Appends the name of a member up to its colon, behind the first of its quotes.
pub(crate) fn push_name(out: &mut Vec<u8>, name: &str) {
    if is_plain(name.as_bytes()) {
        out.extend_from_slice(name.as_bytes());
    } else {
        push_escaped(out, name.as_bytes());
    }
    out.extend_from_slice(b"\":");
}

/// Appends a piece of a string. It may end within a character, as all that must be escaped is a byte by itself.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_length(rest));
        out.extend_from_slice(plain);
        let Some((special, after)) = special.split_first() else {
            return;
        };

        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            control => {
                let digit = |four_bits: u8| b"0123456789abcdef"[usize::from(four_bits)];
                out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    digit(control >> 4),
                    digit(control & 15),
                ]);
            }
        }

        rest = after;
    }
}

fn must_be_escaped(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

/// Without a way out of the loop, so that it becomes a few instructions for all of a chunk.
fn is_plain_chunk(chunk: &[u8; 16]) -> bool {
    !chunk
        .iter()
        .fold(false, |any, byte| any | must_be_escaped(*byte))
}

/// As [`is_plain_chunk`], with fewer instructions for each 16 bytes, and a few more at the end of the block.
fn is_plain_block(block: &[u8; BLOCK]) -> bool {
    // What is less than a space, and a quotation mark, are at most a space with this bit changed.
    let mark = |byte: u8| byte ^ b'"' ^ b' ';
    let backslash = |byte: u8| byte ^ b'\\';

    let least = block.iter().fold((u8::MAX, u8::MAX), |least, byte| {
        (least.0.min(mark(*byte)), least.1.min(backslash(*byte)))
    });
    least.0 > b' ' && least.1 > 0
}

/// How many bytes there are before the first that must be escaped.
fn plain_length(bytes: &[u8]) -> usize {
    let chunks = bytes
        .as_chunks()
        .0
        .iter()
        .take_while(|chunk| is_plain_chunk(chunk))
        .count();

    let tail = bytes[chunks * 16..].iter();
    chunks * 16 + tail.take_while(|byte| !must_be_escaped(**byte)).count()
}

/// Whether nothing must be escaped. What is no whole chunk or word is looked at as a part of the last one, which
/// overlaps the one before.
// As a call of its own it would cost a third more.
#[expect(clippy::inline_always, reason = "it is most of what a name costs")]
#[inline(always)]
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk() {
        return bytes.as_chunks().0.iter().all(is_plain_chunk) && is_plain_chunk(last);
    }

    if let (Some(begin), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let [begin, end] = [begin, end].map(|word| u64::from_le_bytes(*word));
        return !(any_must_be_escaped(begin) || any_must_be_escaped(end));
    }

    if let (Some(begin), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let [begin, end] = [begin, end].map(|half| u64::from(u32::from_le_bytes(*half)));
        return !any_must_be_escaped(begin | end << 32);
    }

    !bytes.iter().any(|byte| must_be_escaped(*byte))
}

/// Of the eight bytes of a word.
fn any_must_be_escaped(word: u64) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);

    // The highest bit of a byte says that the byte is less than `n`, or follows such a one.
    let less_than = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    let is = |byte: u8| less_than(word ^ (ONES * u64::from(byte)), 1);

    (less_than(word, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        let mut out = Vec::new();
        push_string(&mut out, text);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            serde_json::to_string(text).unwrap()
        );
    }

    #[test]
    fn every_byte_of_a_long_string_is_looked_at() {
        for byte in 0..=0x7f_u8 {
            let block = [byte; BLOCK];
            assert_eq!(is_plain_block(&block), !must_be_escaped(byte), "{byte}");
        }

        for length in [BLOCK - 1, BLOCK, BLOCK + 9, PIECE, 2 * PIECE + BLOCK + 17] {
            // Its pieces and blocks end within characters.
            let plain = "é".repeat(length / 2) + &"x".repeat(length % 2);
            check(&plain);

            for at in (0..length / 2 * 2).step_by(2) {
                let mut text = plain.clone();
                text.replace_range(at..at + 2, ["\"x", "x\\", "\n\u{1f}"][at / 2 % 3]);
                check(&text);
            }
        }
    }

    #[test]
    fn every_string_is_escaped_as_serde_json_escapes_it() {
        for byte in 0..=0x7f_u8 {
            for length in [0, 1, 7, 15, 16, 17, 40] {
                for at in 0..=length {
                    let mut text = "é".repeat(length / 2 + 1).into_bytes();
                    text.truncate(length / 2 * 2);
                    text.resize(length, b'x');

                    // Not within a character.
                    let mut text = String::from_utf8(text).unwrap();
                    let at = (0..=at)
                        .rev()
                        .find(|at| text.is_char_boundary(*at))
                        .unwrap();

                    text.insert(at, char::from(byte));
                    check(&text);
                }
            }
        }

        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            let specials = [
                "\"",
                "\\",
                "\n",
                "\u{0}",
                "\u{1f}",
                " ",
                "a",
                "ü",
                "\u{2028}",
                "\u{10ffff}",
            ];

            let text: String = (0..random.usize(..70))
                .map(|_| {
                    if random.u8(..8) == 0 {
                        specials[random.usize(..specials.len())]
                    } else {
                        "b"
                    }
                })
                .collect();

            check(&text);
        }
    }
}
