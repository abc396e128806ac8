//! Items of streams: what is sent of those that are ready.

use std::task::{Context, Poll};

use rpc_core::Reply;
use rpc_core::frame::encode_items;
use tokio::io::{AsyncRead, AsyncWrite};

use super::session::Session;
use super::stream::StreamStep;

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    /// Whether items of streams may be sent now.
    #[inline]
    pub(super) fn may_send_items(&self) -> bool {
        self.output.waiting() < self.stream_output_max() && self.may_go_on()
    }

    /// Sends the items of streams that are ready, while the peer keeps up.
    #[inline]
    pub(super) fn send_items(&mut self, cx: &mut Context<'_>) {
        self.look_at_room_ahead();
        while self.may_send_items() {
            let Poll::Ready(Some((terms, step))) = self.in_flight.poll_stream(cx) else {
                if self.in_flight.wake_for_room() {
                    continue;
                }
                return;
            };

            let output = self.output.len();
            let end = match step {
                StreamStep::Begun => {
                    encode_beginning(self.output.buffer(), terms.place.id());
                    continue;
                }
                StreamStep::Looked(time) => {
                    self.clock.spend(time, &self.host.crowd);
                    continue;
                }
                StreamStep::Items { items, bytes, time } => {
                    self.clock.spend(time, &self.host.crowd);
                    if let Err(refusal) = self.afford(bytes) {
                        self.end_stream(&terms, refusal);
                        continue;
                    }

                    self.output.make_room_for(bytes);
                    encode_items(self.output.buffer(), terms.place.id(), &items);

                    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
                    self.throttle.note_items(count);
                    continue;
                }
                StreamStep::End(end) => end,
            };

            self.vacate(&terms);
            self.end(&terms, end.map(|()| Reply::empty()));
            self.count_step(output, terms.line_bytes as usize);
            self.continue_ordered(cx);
        }
    }
}

/// Writes the line of a stream that has begun and has no item yet: `more` without `data`.
fn encode_beginning(out: &mut Vec<u8>, id: Option<u64>) {
    let item = match id {
        Some(id) => format!("{{\"id\":{id},\"code\":0,\"more\":true}}\n"),
        None => "{\"code\":0,\"more\":true}\n".to_owned(),
    };
    out.extend_from_slice(item.as_bytes());
}
