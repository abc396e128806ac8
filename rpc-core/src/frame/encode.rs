//! Frames out: each function appends one whole line to `out`, `id` and `code` first.

use std::time::Duration;

use super::json::RawJson;
use super::json::escape::push_string;
use super::json::write::{keep_on_one_line, push_integer};
use super::message::{CmdId, Request, ServerTiming};
use crate::status::Status;

/// Room for a request without its params and metadata, whatever its numbers are.
const REQUEST_BYTES: usize = 192;

/// A request, with `id` instead of its own.
pub fn encode_request(out: &mut Vec<u8>, id: Option<u64>, request: &Request<'_>) {
    // At once: a new connection's buffer would grow with every piece.
    out.reserve(REQUEST_BYTES + request.params.as_bytes().len());

    push_id(out, id);
    push_head(out, request.cmdid, request.timestamp, request.timeout);

    if request.oneway {
        out.extend_from_slice(b",\"oneway\":true");
    }
    if let Some(credit) = request.credit {
        out.extend_from_slice(b",\"credit\":");
        push_integer(out, credit);
    }
    if let Some(meta) = request.meta.as_raw() {
        out.extend_from_slice(b",\"meta\":");
        out.extend_from_slice(meta.as_bytes());
    }

    out.extend_from_slice(b",\"params\":");
    out.extend_from_slice(request.params.as_bytes());
    out.extend_from_slice(b"}\n");
}

/// Writes requests that have an id, a time limit and params, one after another: the text between the id and the params
/// is kept from one to the next, as it is the same for most of them.
///
/// ```
/// use std::time::Duration;
///
/// use rpc_core::RawJson;
/// use rpc_core::frame::RequestEncoder;
///
/// let (mut encoder, mut out) = (RequestEncoder::default(), Vec::new());
/// for id in [7, 8] {
///     encoder.encode(&mut out, id, 100.into(), Duration::from_secs(5), &RawJson::NULL);
/// }
/// assert!(out.ends_with(b"{\"id\":8,\"cmdid\":100,\"timeout_ms\":5000,\"params\":null}\n"));
/// ```
#[derive(Debug, Default)]
pub struct RequestEncoder {
    /// What `head` says; none before the first request.
    last: Option<(CmdId, Duration)>,
    head: Vec<u8>,
}

impl RequestEncoder {
    /// Appends what [`encode_request`] would.
    pub fn encode(
        &mut self,
        out: &mut Vec<u8>,
        id: u64,
        cmdid: CmdId,
        timeout: Duration,
        params: &RawJson<'_>,
    ) {
        if self.last != Some((cmdid, timeout)) {
            self.head.clear();
            push_head(&mut self.head, cmdid, None, Some(timeout));
            self.head.extend_from_slice(b",\"params\":");
            self.last = Some((cmdid, timeout));
        }

        let params = params.as_bytes();
        out.reserve(REQUEST_BYTES + params.len());
        push_id(out, Some(id));
        out.extend_from_slice(&self.head);
        out.extend_from_slice(params);
        out.extend_from_slice(b"}\n");
    }
}

/// The built-in command that gives the call `id` up.
pub fn encode_cancel(out: &mut Vec<u8>, id: u64) {
    built_in(out, CmdId::CANCEL, id);
    out.extend_from_slice(b"}}\n");
}

/// The built-in command that lets the stream `id` send `items` more.
pub fn encode_credit(out: &mut Vec<u8>, id: u64, items: u64) {
    built_in(out, CmdId::CREDIT, id);
    out.extend_from_slice(b",\"n\":");
    push_integer(out, items);
    out.extend_from_slice(b"}}\n");
}

fn built_in(out: &mut Vec<u8>, cmdid: CmdId, id: u64) {
    out.extend_from_slice(b"{\"cmdid\":");
    push_integer(out, cmdid.number());
    out.extend_from_slice(b",\"oneway\":true,\"params\":{\"id\":");
    push_integer(out, id);
}

/// A success; also the line that ends a stream, without `data`.
pub fn encode_reply(out: &mut Vec<u8>, id: Option<u64>, data: Option<&RawJson<'_>>) {
    push_success(out, id);
    if let Some(data) = data {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

/// One item of a stream that goes on.
pub fn encode_item(out: &mut Vec<u8>, id: Option<u64>, data: &RawJson<'_>) {
    push_success(out, id);
    out.extend_from_slice(b",\"more\":true,\"data\":");
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"}\n");
}

/// Items of a stream that goes on, one after another: the head of their lines is written once, and copied.
pub fn encode_items(out: &mut Vec<u8>, id: Option<u64>, items: &[RawJson<'_>]) {
    let head = out.len();
    push_success(out, id);
    out.extend_from_slice(b",\"more\":true,\"data\":");
    let head = head..out.len();

    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.extend_from_within(head.clone());
        }
        out.extend_from_slice(item.as_bytes());
        out.extend_from_slice(b"}\n");
    }

    if items.is_empty() {
        out.truncate(head.start);
    }
}

/// A failure.
pub fn encode_failure(out: &mut Vec<u8>, id: Option<u64>, status: &Status) {
    push_id(out, id);
    out.extend_from_slice(b"\"code\":");
    push_integer(out, status.code().number());

    // A failure always says something.
    let message = Some(status.message()).filter(|message| !message.is_empty());
    out.extend_from_slice(b",\"message\":");
    push_string(
        out,
        message
            .or(status.code().name())
            .unwrap_or("the service gave no message"),
    );

    if let Some(details) = status.details() {
        out.extend_from_slice(b",\"details\":");
        let start = out.len();
        out.extend_from_slice(details.get().as_bytes());
        keep_on_one_line(&mut out[start..]);
    }

    if status.is_rejected() {
        out.extend_from_slice(b",\"rejected\":true");
    }
    if let Some(after) = status.retry_after() {
        out.extend_from_slice(b",\"retry_after_ms\":");
        push_integer(out, u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    }

    out.extend_from_slice(b"}\n");
}

/// Adds the times of a call to its reply, the line that `out` ends with.
pub fn encode_timing(out: &mut Vec<u8>, timing: ServerTiming) {
    const END: &[u8] = b"}\n";

    debug_assert!(out.ends_with(END), "a whole line");
    out.truncate(out.len().saturating_sub(END.len()));
    out.extend_from_slice(b",\"timing\":{\"queue_us\":");
    push_integer(out, microseconds(timing.queue));
    out.extend_from_slice(b",\"run_us\":");
    push_integer(out, microseconds(timing.run));
    out.extend_from_slice(b"}}\n");
}

/// Whole microseconds: the sum of several of them is never above the time that they are parts of.
fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A notice to the client, as `goaway`.
pub fn encode_notice(out: &mut Vec<u8>, event: &str, message: &str) {
    out.extend_from_slice(b"{\"event\":");
    push_string(out, event);
    out.extend_from_slice(b",\"message\":");
    push_string(out, message);
    out.extend_from_slice(b"}\n");
}

fn push_success(out: &mut Vec<u8>, id: Option<u64>) {
    push_id(out, id);
    out.extend_from_slice(b"\"code\":0");
}

fn push_head(out: &mut Vec<u8>, cmdid: CmdId, timestamp: Option<i64>, timeout: Option<Duration>) {
    out.extend_from_slice(b"\"cmdid\":");
    push_integer(out, cmdid.number());

    if let Some(timestamp) = timestamp {
        out.extend_from_slice(b",\"timestamp\":");
        push_integer(out, timestamp);
    }
    if let Some(timeout) = timeout {
        out.extend_from_slice(b",\"timeout_ms\":");
        let seconds = timeout.as_secs().saturating_mul(1000);
        push_integer(out, seconds.saturating_add(timeout.subsec_millis().into()));
    }
}

/// The beginning of a line, up to where the next key goes.
fn push_id(out: &mut Vec<u8>, id: Option<u64>) {
    match id {
        Some(id) => {
            out.extend_from_slice(b"{\"id\":");
            push_integer(out, id);
            out.push(b',');
        }
        None => out.push(b'{'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn id_and_code_come_first_and_empty_fields_are_left_out() {
        let data = RawJson::serialize(&[1]).unwrap();
        assert_eq!(
            line(|out| encode_reply(out, Some(7), Some(&data))),
            "{\"id\":7,\"code\":0,\"data\":[1]}\n"
        );
        assert_eq!(line(|out| encode_reply(out, None, None)), "{\"code\":0}\n");
        assert_eq!(
            line(|out| encode_item(out, Some(1), &data)),
            "{\"id\":1,\"code\":0,\"more\":true,\"data\":[1]}\n"
        );

        let status = Status::resource_exhausted("a \"b\"\n")
            .with_rejected()
            .with_retry_after(Duration::from_millis(20));
        assert_eq!(
            line(|out| encode_failure(out, Some(1), &status)),
            "{\"id\":1,\"code\":8,\"message\":\"a \\\"b\\\"\\n\",\"rejected\":true,\"retry_after_ms\":20}\n"
        );

        assert_eq!(
            line(|out| encode_failure(out, None, &Status::not_found(""))),
            "{\"code\":5,\"message\":\"NOT_FOUND\"}\n"
        );
    }

    #[test]
    fn items_are_written_the_same_together_as_each_alone() {
        let items = [
            RawJson::NULL,
            RawJson::EMPTY_OBJECT,
            RawJson::parse("[1]").unwrap(),
        ];
        for id in [None, Some(0), Some((1 << 53) - 1)] {
            for count in 0..=items.len() {
                let each = line(|out| {
                    items[..count]
                        .iter()
                        .for_each(|item| encode_item(out, id, item));
                });
                assert_eq!(line(|out| encode_items(out, id, &items[..count])), each);
            }
        }
    }

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        let mut request = Request::new(1001, RawJson::parse(r#"{"a":"b"}"#).unwrap());
        request.timestamp = Some(-3);
        request.timeout = Some(Duration::from_secs(5));
        request.oneway = true;
        request.credit = Some(8);
        request.meta = crate::Meta::from_entries(&[("k".to_owned(), "v\n".to_owned())].into());

        let written = line(|out| encode_request(out, Some(9), &request));
        assert_eq!(written.matches('\n').count(), 1);
        let read = Request::decode(written.trim_end().as_bytes()).unwrap();

        assert_eq!(
            (read.id, read.cmdid, read.timestamp),
            (Some(9), request.cmdid, Some(-3))
        );
        assert_eq!(
            (read.timeout, read.oneway, read.credit),
            (request.timeout, true, Some(8))
        );
        assert_eq!(
            (read.params, read.meta.get("k").as_deref()),
            (request.params, Some("v\n"))
        );
    }

    #[test]
    fn requests_are_written_the_same_one_after_another_as_each_alone() {
        let mut encoder = RequestEncoder::default();
        let limits = [
            Duration::ZERO,
            Duration::from_micros(1_500),
            Duration::from_secs(5),
            Duration::MAX,
        ];
        let calls = [1, u32::MAX]
            .into_iter()
            .flat_map(|cmdid| limits.map(|limit| (cmdid, limit)));

        for (cmdid, timeout) in calls.flat_map(|call| [call; 2]) {
            let mut request = Request::new(cmdid, RawJson::parse("[1]").unwrap());
            request.timeout = Some(timeout);

            assert_eq!(
                line(|out| encoder.encode(out, 9, request.cmdid, timeout, &request.params)),
                line(|out| encode_request(out, Some(9), &request))
            );
        }
    }

    #[test]
    fn details_with_line_breaks_stay_on_one_line() {
        let details = serde_json::value::RawValue::from_string("{\n\"a\":\r\n1}".into()).unwrap();
        let status = Status::unknown("x").with_details(&details);
        assert_eq!(
            line(|out| encode_failure(out, None, &status))
                .matches(['\n', '\r'])
                .count(),
            1
        );
    }
}
