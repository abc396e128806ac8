//! `test`: tornado-TCP's own command, for the first call that a newcomer makes.

use rpc_server::{Context, LogThrottle, RawJson, RouteError, Router, Status, service};

/// Calls that are logged, a second: the others are counted.
const LOGGED_PER_SECOND: u32 = 100;

/// How much of the params is logged: enough to recognise them by.
const LOGGED_CHARS_MAX: usize = 1024;

/// tornado-TCP's service.
#[service(schema)]
pub(crate) trait Test {
    /// Logs its params, and replies with code 0 and no data.
    #[rpc(cmdid = 10000, idempotent)]
    async fn test(&self, context: Context, params: RawJson<'static>) -> Result<(), Status>;
}

/// The one service whose params are logged, since that is all that it is for.
struct Logger {
    calls: LogThrottle,
}

impl Test for Logger {
    async fn test(&self, context: Context, params: RawJson<'static>) -> Result<(), Status> {
        self.calls.write(|| {
            let shown: String = params.as_str().chars().take(LOGGED_CHARS_MAX).collect();
            // Debug formatting escapes what could break a line of the log.
            tracing::info!(peer = context.peer().map(tracing::field::display), params = ?shown, "test");
        });
        Ok(())
    }
}

pub(crate) fn router() -> Result<Router, RouteError> {
    let calls = LogThrottle::new("calls of `test`", tracing::Level::INFO, LOGGED_PER_SECOND);
    Router::new().serve(TestServer(Logger { calls }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_number_is_the_one_that_clients_know() {
        assert_eq!(TestService::TEST, rpc_core::api::test::TEST);
    }
}
