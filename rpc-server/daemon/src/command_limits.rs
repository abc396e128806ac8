//! Limits of single commands, which can be set anew while the daemon serves.

use std::collections::BTreeMap;

use rpc_core::CmdId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use rpc_server::layers::{ConcurrencyLimit, RateLimit};
use rpc_server::{RouteError, Router};

/// What one command may be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommandSettings {
    /// Number of the command.
    pub cmdid: u32,
    /// Maximum number of calls of the command that run at one time. Further ones are refused with code 8 and
    /// `rejected`. 0: no limit.
    pub in_flight_max: usize,
    /// Maximum number of calls of the command that begin in a second. Further ones are refused with code 8 and
    /// `rejected`. 0: no limit.
    pub requests_per_second: u32,
}

/// The limits of the commands that have any. Clones are the same limits.
#[derive(Debug, Clone, Default)]
pub struct CommandLimits(BTreeMap<u32, (ConcurrencyLimit, RateLimit)>);

impl CommandLimits {
    /// Puts the limits around the commands that they name.
    pub(super) fn apply(
        mut router: Router,
        settings: &[CommandSettings],
    ) -> Result<(Router, Self), RouteError> {
        let mut limits = BTreeMap::new();

        for command in settings {
            let concurrency = ConcurrencyLimit::new(command.in_flight_max);
            let rate = RateLimit::per_second(command.requests_per_second);
            let cmdid = CmdId::new(command.cmdid);

            // A call that finds no place must not use up the rate: places are the outer layer.
            router = router
                .layer_on(cmdid, rate.clone())?
                .layer_on(cmdid, concurrency.clone())?;
            limits.insert(command.cmdid, (concurrency, rate));
        }

        Ok((router, Self(limits)))
    }

    /// Puts other values into effect, at once; a command that is not named any more has no limit. Returns
    /// the commands that had none at the start, whose limits wait for a restart.
    pub fn set(&self, settings: &[CommandSettings]) -> Vec<u32> {
        for (cmdid, (concurrency, rate)) in &self.0 {
            let command = settings
                .iter()
                .find(|command| command.cmdid == *cmdid)
                .cloned()
                .unwrap_or_default();

            concurrency.set(command.in_flight_max);
            rate.set(command.requests_per_second);
        }

        let named = settings.iter().map(|command| command.cmdid);
        named.filter(|cmdid| !self.0.contains_key(cmdid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rpc_core::{RawJson, Request, Service, Status};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn limits_of_a_command_hold_and_can_be_set_anew() {
        async fn answer() -> Result<u64, Status> {
            Ok(7)
        }

        let router = Router::new()
            .route(1001, answer)
            .unwrap()
            .route(1002, answer)
            .unwrap();

        let settings = [CommandSettings {
            cmdid: 1001,
            in_flight_max: 5,
            requests_per_second: 2,
        }];
        let (router, limits) = CommandLimits::apply(router, &settings).unwrap();

        let done = async |cmdid: u32| {
            let mut done = 0;
            for _ in 0..10 {
                done += usize::from(
                    router
                        .call(Request::new(cmdid, RawJson::parse("{}").unwrap()))
                        .await
                        .is_ok(),
                );
            }
            done
        };

        assert_eq!((done(1001).await, done(1002).await), (2, 10));

        let other = CommandSettings {
            cmdid: 1002,
            requests_per_second: 1,
            ..CommandSettings::default()
        };
        assert_eq!(limits.set(&[other]), [1002]);
        assert_eq!((done(1001).await, done(1002).await), (10, 10));

        let unknown = [CommandSettings {
            cmdid: 77,
            ..CommandSettings::default()
        }];
        let error = CommandLimits::apply(Router::new(), &unknown).unwrap_err();
        assert!(error.to_string().contains("no command has cmdid 77"));
    }
}
