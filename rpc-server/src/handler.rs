//! Async functions as handlers: each argument is an extractor, the result turns into a reply.

use std::future::Future;

use futures::FutureExt;
use futures::future::{Either, ready};
use rpc_core::{IntoReply, Outcome, Request, Service, Status};

use crate::extract::FromRequest;

/// An async function of up to eight extractors that returns something that turns into a reply.
///
/// `S` is the router's state and `Args` the tuple of extractors; neither is written by hand.
///
/// ```
/// use rpc_core::Status;
/// use rpc_server::{Context, Params, Router};
///
/// async fn greet(context: Context, Params(name): Params<String>) -> Result<String, Status> {
///     tracing::debug!(cmdid = %context.cmdid(), "greeting");
///     Ok(format!("Hello {name}!"))
/// }
///
/// let router = Router::new().route(100, greet).unwrap();
/// # let _ = router;
/// ```
pub trait Handler<S, Args>: Send + Sync + 'static {
    /// Takes the arguments out of the request, and returns what runs the handler with them.
    fn call(&self, request: Request<'_>, state: &S) -> impl Future<Output = Outcome> + Send + 'static;
}

macro_rules! handlers {
    ($($argument:ident)*) => {
        impl<S, F, Fut, $($argument,)*> Handler<S, ($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoReply> + Send + 'static,
            $($argument: FromRequest<S>,)*
        {
            #[allow(non_snake_case, unused_variables)] // the macro's type names serve as names of values
            fn call(&self, request: Request<'_>, state: &S) -> impl Future<Output = Outcome> + Send + 'static {
                let start = || -> Result<Fut, Status> {
                    $(let $argument = $argument::from_request(&request, state)?;)*
                    if !request.params.is_sound() {
                        // The connection will not poll what comes of this line.
                        return Err(Status::invalid_argument("the params are no JSON"));
                    }
                    Ok(self($($argument),*))
                };
                match start() {
                    Ok(future) => Either::Left(future.map(IntoReply::into_outcome)),
                    Err(status) => Either::Right(ready(Err(status))),
                }
            }
        }
    };
}

handlers!();
handlers!(A);
handlers!(A B);
handlers!(A B C);
handlers!(A B C D);
handlers!(A B C D E);
handlers!(A B C D E G);
handlers!(A B C D E G H);
handlers!(A B C D E G H I);

/// A handler with its state, as a service.
pub(crate) struct HandlerService<H, S, Args> {
    handler: H,
    state: S,
    arguments: std::marker::PhantomData<fn(Args)>,
}

impl<H, S, Args> HandlerService<H, S, Args> {
    pub(crate) fn new(handler: H, state: S) -> Self {
        Self { handler, state, arguments: std::marker::PhantomData }
    }
}

impl<H, S, Args> Service for HandlerService<H, S, Args>
where
    H: Handler<S, Args>,
    S: Send + Sync + 'static,
    Args: 'static,
{
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        self.handler.call(request, &self.state)
    }
}
