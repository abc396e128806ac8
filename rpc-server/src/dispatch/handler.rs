//! Functions as handlers: each argument is an extractor, the result turns into a reply.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{Either, ready};
use rpc_core::{IntoReply, Outcome, Request, Service, Status};

use super::extract::FromRequest;
use crate::blocking::{Caller, RouteThreads};

/// A function of up to eight extractors.
///
/// `Args` is the tuple of the extractors, and never written by hand. For a command it is an async
/// function whose result is an [`IntoReply`]; a plain function that blocks is one for
/// [`Route::blocking`](crate::Route::blocking).
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a function of at most eight extractors that can be called again and again",
    note = "write `async fn name(arguments) -> Result<T, Status>`, with at most eight arguments: `Params<T>`, \
            `State<S>`, `Context` or another extractor each",
    note = "a closure must be `Fn + Send + Sync + 'static`: let it own what it uses (`move`), and clone that for each \
            call"
)]
pub trait Handler<Args>: Send + Sync + 'static {
    /// What the function returns: a future, unless it blocks.
    type Returned;

    /// Calls the function.
    fn apply(&self, arguments: Args) -> Self::Returned;
}

/// The arguments of a handler: a tuple of extractors.
#[diagnostic::on_unimplemented(
    message = "the arguments `{Self}` cannot be taken out of a request",
    note = "write at most eight arguments, each an extractor: `Params<T>`, `State<S>`, `Context`"
)]
pub trait Arguments<S>: Sized {
    /// Whether one of them takes the line of the request.
    const TAKE_LINE: bool;

    /// Takes each argument out of the request, in their order.
    ///
    /// # Errors
    /// That of the first extractor that the request does not fit.
    fn from_request(request: &Request<'_>, state: &S) -> Result<Self, Status>;
}

/// What an async handler returns.
#[diagnostic::on_unimplemented(
    message = "the handler is not async: it returns `{Self}`, not a future",
    label = "not an async function",
    note = "write `async fn`; a function that blocks its thread is added as `Route::blocking(function)`"
)]
pub trait HandlerFuture: Future<Output = Self::Result> {
    /// What the handler comes to.
    type Result;
}

#[diagnostic::do_not_recommend]
impl<F: Future> HandlerFuture for F {
    type Result = F::Output;
}

/// The future of a handler, which may go on in another thread.
#[diagnostic::on_unimplemented(
    message = "the handler holds a value across an `.await` that cannot be sent to another thread",
    label = "the future of this handler is not `Send`",
    note = "the guard of a lock must go before the `.await`: use it in a block of its own, as `let next = {{ let mut \
            count = lock.lock().unwrap(); *count += 1; *count }};`, or use `tokio::sync::Mutex`",
    note = "instead of `Rc` and `RefCell` write `Arc` and `Mutex`",
    note = "to see which value it is, write `fn is_send(_: impl Send) {{}}`, and call `is_send(handler(arguments))`"
)]
pub trait SendFuture: Send {}

#[diagnostic::do_not_recommend]
impl<F: Send> SendFuture for F {}

/// An async function as a handler.
pub struct Async<F>(pub(crate) F);

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

/// A handler of a route, with where it runs.
pub trait RouteHandler<S, Args>: Send + Sync + 'static {
    /// Whether it takes the line of the request.
    const TAKES_LINE: bool;

    /// Takes the arguments out of the request, and returns what runs the handler with them.
    fn serve(
        &self,
        request: Request<'_>,
        state: &S,
    ) -> impl Future<Output = Outcome> + Send + 'static;
}

impl<S, Args, F> RouteHandler<S, Args> for Async<F>
where
    F: Handler<Args>,
    Args: Arguments<S>,
    F::Returned: HandlerFuture<Result: IntoReply> + SendFuture + 'static,
{
    const TAKES_LINE: bool = Args::TAKE_LINE;

    fn serve(
        &self,
        request: Request<'_>,
        state: &S,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        match arguments(&request, state) {
            Ok(arguments) => Either::Left(self.0.apply(arguments).map(IntoReply::into_outcome)),
            Err(status) => Either::Right(ready(Err(status))),
        }
    }
}

impl<S, Args, F> RouteHandler<S, Args> for Blocking<F>
where
    F: Handler<Args>,
    Args: Arguments<S> + Send + 'static,
    F::Returned: IntoReply,
{
    const TAKES_LINE: bool = Args::TAKE_LINE;

    fn serve(
        &self,
        request: Request<'_>,
        state: &S,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        match arguments(&request, state) {
            Ok(arguments) => {
                let function = Arc::clone(&self.function);
                let run = move || function.apply(arguments).into_outcome();
                Either::Left(self.threads.run(Caller::of(&request), run))
            }
            Err(status) => Either::Right(ready(Err(status))),
        }
    }
}

fn arguments<S, Args: Arguments<S>>(request: &Request<'_>, state: &S) -> Result<Args, Status> {
    let arguments = Args::from_request(request, state)?;
    check(request)?;
    Ok(arguments)
}

/// Ends a call whose params are not JSON: the connection will not poll its future.
pub(super) fn check(request: &Request<'_>) -> Result<(), Status> {
    if request.params.is_sound() {
        Ok(())
    } else {
        Err(Status::invalid_argument("`params` is not valid JSON"))
    }
}

macro_rules! handlers {
    ($($argument:ident)*) => {
        #[diagnostic::do_not_recommend]
        impl<F, R, $($argument,)*> Handler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + Send + Sync + 'static,
        {
            type Returned = R;

            #[allow(non_snake_case)] // the macro's type names serve as names of values
            fn apply(&self, ($($argument,)*): ($($argument,)*)) -> R {
                self($($argument),*)
            }
        }

        impl<S, $($argument: FromRequest<S>,)*> Arguments<S> for ($($argument,)*) {
            const TAKE_LINE: bool = false $(|| $argument::TAKES_LINE)*;

            #[allow(unused_variables)] // without arguments
            fn from_request(request: &Request<'_>, state: &S) -> Result<Self, Status> {
                Ok(($($argument::from_request(request, state)?,)*))
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
        Self {
            handler,
            state,
            arguments: std::marker::PhantomData,
        }
    }
}

impl<H, S, Args> Service for HandlerService<H, S, Args>
where
    H: RouteHandler<S, Args>,
    S: Send + Sync + 'static,
    Args: 'static,
{
    fn call(&self, request: Request<'_>) -> impl Future<Output = Outcome> + Send + 'static {
        self.handler.serve(request, &self.state)
    }
}
