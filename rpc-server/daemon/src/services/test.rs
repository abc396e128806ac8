//! `test`: tornado-TCP's own command, for the first call anybody makes.

use rpc_core::api::test::TEST;
use rpc_core::{Descriptor, RawJson};

use rpc_server::Context;
use rpc_server::{Route, RouteError, Router};

/// How much of the params is logged: enough to recognise them by.
const LOGGED_CHARS_MAX: usize = 1024;

pub(crate) fn router() -> Result<Router, RouteError> {
    let descriptor = Descriptor::new("test", "test")
        .doc("Logs its params and answers code 0 without data.")
        .idempotent()
        .params_schema(serde_json::json!(true));
    Router::new().route(TEST, Route::new(test).describe(descriptor))
}

/// The one command whose params are logged, since that is all that it is for. Debug formatting
/// escapes what could break a line of the log.
async fn test(context: Context, params: RawJson<'static>) {
    let shown: String = params.as_str().chars().take(LOGGED_CHARS_MAX).collect();
    tracing::info!(peer = context.peer().map(tracing::field::display), params = ?shown, "test");
}
