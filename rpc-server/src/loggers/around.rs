//! The layer around a command that has a logger: a span, by which what the handler logs is known.

use std::future::Future;

use futures::{FutureExt, stream};
use rpc_core::frame::ItemStream;
use rpc_core::printable::Printable;
use rpc_core::{Body, BoxService, Outcome, Reply, Request, Service};
use tracing::{Instrument, Span};

use super::{Loggers, SPAN_TARGET};

/// A command that has a logger, or has had one.
pub(super) struct Around {
    pub(super) inner: BoxService,
    pub(super) loggers: Loggers,
}

impl Service for Around {
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        let span = self.span_of(&request);
        let call = span.in_scope(|| self.inner.call(request));
        let later = span.clone();

        call.instrument(span)
            .map(|outcome| outcome.map(|reply| with_items_in(reply, later)))
    }
}

impl Around {
    fn span_of(&self, request: &Request<'_>) -> Span {
        let Some(logger) = self.loggers.of(request.cmdid.number()) else {
            return Span::none();
        };

        let peer = request.scope.peer();
        // Of the highest level, so that each level of the logger has it.
        tracing::error_span!(
            target: SPAN_TARGET,
            "command",
            logger = logger.name(),
            cmdid = request.cmdid.number(),
            id = request.id,
            peer = peer.map(|peer| tracing::field::display(Printable(&peer.address))),
        )
    }
}

/// The items of a stream are made after the call has returned, and belong to it.
fn with_items_in(reply: Reply, span: Span) -> Reply {
    match reply.into_body() {
        Body::Stream(mut items) if !span.is_none() => {
            let in_span = stream::poll_fn(move |cx| span.in_scope(|| items.as_mut().poll_next(cx)));
            let items: ItemStream = Box::pin(in_span);
            Body::Stream(items).into()
        }
        body => body.into(),
    }
}
