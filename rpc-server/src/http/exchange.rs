//! The requests and responses of one connection, by hyper; then its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::Handover;
use super::answer::answer;
use super::desk::{Between, Desk};
use super::watch::{Waiting, Watched};
use crate::config::Config;
use crate::linger;
use crate::metrics::{LimitCounters, add};

/// A request has about ten; a browser sends about twenty.
const HEADERS_MAX: usize = 100;
/// Longest head of a request where calls are made, in bytes. A longer one is answered with 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How a connection ended.
enum End {
    /// By itself, or by its peer.
    Served(Result<(), hyper::Error>),
    /// The peer did not go on in time.
    Cut(&'static str),
    /// The server drains.
    Drained,
}

/// Answers the requests of a connection: all that it makes where calls are on, otherwise one.
pub(crate) async fn serve<IO>(handover: Handover<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Handover {
        io,
        read,
        peer,
        policy,
        http,
        connection_metrics,
        open,
    } = handover;

    let traffic = match policy.http_calls {
        true => Traffic::Calls,
        false => Traffic::Page,
    };
    let config = &http.reporter.config;
    let desk = Arc::new(Desk::new(&http, &policy, &peer, open, connection_metrics));

    let at_desk = Arc::clone(&desk);
    let answers = service_fn(move |request| {
        Box::pin(answer(Arc::clone(&at_desk), request)).map(Ok::<_, Infallible>)
    });
    let mut connection = http1::Builder::new()
        .keep_alive(traffic == Traffic::Calls)
        // A caller that has gone away ends its call; a health check may end its side and read on.
        .half_close(traffic == Traffic::Page)
        .max_headers(HEADERS_MAX)
        .max_buf_size(head_bytes_max(&http, traffic))
        // The limits are kept here.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(Watched::new(read, io, &desk.watch)), answers);

    let mut whole = pin!(whole_exchange(&http, traffic));

    // A drain does not wait for a peer that is slow to ask.
    let mut drained = pin!(async {
        http.reporter.stop.draining().await;
        tokio::time::sleep(config.timeouts.linger_timeout()).await;
    });

    let (mut is_ending, mut alarm) = (false, Alarm::default());
    let end = poll_fn(|cx| {
        loop {
            // To its shutdown: before that, what is written may not be on its way.
            if let Poll::Ready(ended) = connection.poll_unpin(cx) {
                return Poll::Ready(End::Served(ended));
            }

            if is_ending || desk.poll_between(cx) == Between::GoesOn {
                break;
            }
            is_ending = true;
            Pin::new(&mut connection).graceful_shutdown();
        }

        if whole.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Cut(
                "an HTTP request was not done within `admin.timeout_ms`",
            ));
        }
        if !desk.has_session() && drained.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Drained);
        }
        let late = alarm.poll(cx, desk.watch.waiting(), config);
        late.map(|waiting| End::Cut(count_late(waiting, &http.reporter.metrics.limits)))
    })
    .await;

    // The calls of a connection that is over are cut.
    desk.end_session();
    match end {
        End::Served(ended) => {
            // What is no HTTP was answered, too, before that became an error.
            let io = connection.into_parts().io.into_inner().into_inner();
            linger::close(io, config.timeouts.linger_timeout()).await;
            if let Err(error) = ended {
                let log = &http.reporter.log.http_details;
                log.write(|| tracing::debug!(%peer, %error, "an HTTP request was not answered"));
            }
        }
        End::Cut(reason) => {
            let log = &http.reporter.log.http_cuts;
            log.write(|| tracing::info!(%peer, "cut: {reason}"));
        }
        End::Drained => {}
    }
}

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Traffic {
    /// A page, once.
    Page,
    /// Calls and pages, one after another.
    Calls,
}

/// Longest head of a request.
fn head_bytes_max(http: &super::Http, traffic: Traffic) -> usize {
    #[cfg(feature = "admin")]
    if let (Some(pages), Traffic::Page) = (&http.pages, traffic) {
        return pages.header_bytes_max();
    }

    let _ = (http, traffic);
    HEAD_BYTES_MAX
}

/// Ready when one exchange has taken too long, where there is only one.
async fn whole_exchange(http: &super::Http, traffic: Traffic) {
    #[cfg(feature = "admin")]
    if let (Some(pages), Traffic::Page) = (&http.pages, traffic) {
        return tokio::time::sleep(pages.timeout()).await;
    }

    let _ = (http, traffic);
    std::future::pending::<()>().await;
}

/// The time limit of what a connection waits for.
#[derive(Default)]
struct Alarm(Option<(Waiting, Pin<Box<Sleep>>)>);

impl Alarm {
    /// Ready when the peer has not gone on in time, with what was waited for.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        waiting: Option<Waiting>,
        config: &Config,
    ) -> Poll<Waiting> {
        let Some(waiting) = waiting else {
            self.0 = None;
            return Poll::Pending;
        };

        if self.0.as_ref().is_none_or(|(since, _)| *since != waiting) {
            let limit: Duration = match waiting {
                Waiting::Head => config.timeouts.frame_timeout(),
                Waiting::Write(_) => config.timeouts.write_stall_timeout(),
            };
            self.0 = Some((waiting, Box::pin(tokio::time::sleep(limit))));
        }

        let Some((_, sleep)) = &mut self.0 else {
            return Poll::Pending;
        };
        sleep.as_mut().poll(cx).map(|()| waiting)
    }
}

/// Counts a peer that has not gone on in time. Returns the reason for which it is cut.
fn count_late(waiting: Waiting, limits: &LimitCounters) -> &'static str {
    match waiting {
        Waiting::Head => {
            add(&limits.frame_timeouts, 1);
            "the head of an HTTP request did not end within `timeouts.frame_timeout_ms`"
        }
        Waiting::Write(_) => {
            add(&limits.write_stalls, 1);
            "the peer took no bytes for `timeouts.write_stall_timeout_ms`"
        }
    }
}
