//! `test`: tornado-TCP's own command, for the first call anybody makes.

use rpc_core::api::test::TEST;
use rpc_core::{Descriptor, RawJson};

use rpc_server::{Context, LogThrottle, Route, RouteError, Router, State};

/// Calls that are logged, a second: the others are counted.
const LOGGED_PER_SECOND: u32 = 100;

/// How much of the params is logged: enough to recognise them by.
const LOGGED_CHARS_MAX: usize = 1024;

pub(crate) fn router() -> Result<Router<LogThrottle>, RouteError> {
    let descriptor = Descriptor::new("test", "test")
        .doc("Logs its params and answers code 0 without data.")
        .idempotent()
        .params_schema(serde_json::json!(true));

    let calls = LogThrottle::new("calls of `test`", tracing::Level::INFO, LOGGED_PER_SECOND);
    Router::with_state(calls).route(TEST, Route::new(test).describe(descriptor))
}

/// The one command whose params are logged, since that is all that it is for. Debug formatting
/// escapes what could break a line of the log.
async fn test(State(calls): State<LogThrottle>, context: Context, params: RawJson<'static>) {
    calls.write(|| {
        let shown: String = params.as_str().chars().take(LOGGED_CHARS_MAX).collect();
        tracing::info!(peer = context.peer().map(tracing::field::display), params = ?shown, "test");
    });
}
