//! Functions as handlers: each argument is an extractor, the result turns into a reply.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{Either, ready};
use rpc_core::{IntoReply, Outcome, Request, Service, Status};

use super::extract::FromRequest;
use crate::blocking::{Caller, RouteThreads};

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
    fn call(
        &self,
        request: Request<'_>,
        state: &S,
    ) -> impl Future<Output = Outcome> + Send + 'static;
}

/// A function that blocks, and the threads that it runs in: [`Route::blocking`](crate::Route::blocking).
pub struct Blocking<F> {
    function: Arc<F>,
    pub(crate) threads: Arc<RouteThreads>,
}

impl<F> Blocking<F> {
    pub(crate) fn new(function: F, threads_max: usize) -> Self {
        Self {
            function: Arc::new(function),
            threads: RouteThreads::new(threads_max),
        }
    }
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
                    check(&request)?;
                    Ok(self($($argument),*))
                };

                match start() {
                    Ok(future) => Either::Left(future.map(IntoReply::into_outcome)),
                    Err(status) => Either::Right(ready(Err(status))),
                }
            }
        }

        impl<S, F, R, $($argument,)*> Handler<S, ($($argument,)*)> for Blocking<F>
        where
            F: Fn($($argument),*) -> R + Send + Sync + 'static,
            R: IntoReply,
            $($argument: FromRequest<S>,)*
        {
            #[allow(non_snake_case, unused_variables)]
            fn call(&self, request: Request<'_>, state: &S) -> impl Future<Output = Outcome> + Send + 'static {
                let start = || -> Result<_, Status> {
                    $(let $argument = $argument::from_request(&request, state)?;)*
                    check(&request)?;
                    let function = Arc::clone(&self.function);
                    Ok(self.threads.run(Caller::of(&request), move || function($($argument),*).into_outcome()))
                };

                match start() {
                    Ok(future) => Either::Left(future),
                    Err(status) => Either::Right(ready(Err(status))),
                }
            }
        }
    };
}

/// The connection will not poll what comes of params that are none: they end here.
pub(super) fn check(request: &Request<'_>) -> Result<(), Status> {
    if request.params.is_sound() {
        Ok(())
    } else {
        Err(Status::invalid_argument("the params are no JSON"))
    }
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
        Self {
            handler,
            state,
            arguments: std::marker::PhantomData,
        }
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
