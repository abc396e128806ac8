//! Answers of the commands that every server has, and the params of those that the connection itself carries out.
//!
//! `rpc_core::builtins` has the table of them. A new command is a row there, and an arm of [`answer`].

use rpc_core::builtins::{self, Builtin};
use rpc_core::{CmdId, Descriptor, Outcome, PROTOCOL_VERSION, Reply, Request, Status};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::extract::{FromRequest, Params};
use super::router::Routes;
use crate::access::Authorization;
use crate::instance::instance;
use crate::metrics::{CommandIndex, ConnectionStats, Report};
use crate::report::Reporter;

/// What a built-in command is counted as.
pub(crate) fn command(cmdid: CmdId) -> CommandIndex {
    match Builtin::of(cmdid) {
        // The first place belongs to all commands without one of their own.
        Some(builtin) => CommandIndex::at(1 + builtin.cmdid.number() as usize),
        None => CommandIndex::OTHER,
    }
}

/// What calls of a command are counted as.
pub(crate) fn command_of(routes: &Routes, cmdid: CmdId) -> CommandIndex {
    if cmdid.is_built_in() {
        command(cmdid)
    } else {
        routes.find(cmdid).command
    }
}

/// Answers a built-in command. Its params are taken as leniently as a person types them: absent or
/// `null` is `{}`.
pub(crate) fn answer(
    request: &Request<'_>,
    routes: &Routes,
    reporter: &Reporter,
    connection: ConnectionStats,
    authorization: &Authorization,
) -> Outcome {
    match request.cmdid {
        CmdId::PING => Ok(Reply::raw(request.params.clone().into_owned())),
        CmdId::DESCRIBE => describe(
            routes,
            reporter,
            params::<Which>(request)?.cmdid,
            authorization,
        ),
        CmdId::HEALTH => health(reporter, params::<Whose>(request)?.service.as_deref()),
        CmdId::STATS => {
            let listed = params::<HowMany>(request)?
                .connections
                .filter(|_| authorization.shows_others());
            stats(reporter, connection, listed)
        }
        other => Err(Status::unimplemented(format!(
            "no built-in command has cmdid {other}; 0-99 are the protocol's, services begin at 100"
        ))),
    }
}

/// The params of `cancel`. What is not understood names no call, and is ignored like an unknown id.
pub(crate) fn id_in(request: &Request<'_>) -> Option<u64> {
    #[derive(Deserialize)]
    struct Cancel {
        id: u64,
    }
    request.params.decode().ok().map(|Cancel { id }| id)
}

/// The params of `credit`: a stream, and the number of items that it may send.
#[derive(Deserialize)]
pub(crate) struct Credit {
    pub(crate) id: u64,
    pub(crate) n: u64,
}

/// The params of `credit`, taken as those of `cancel`.
pub(crate) fn credit_in(request: &Request<'_>) -> Option<Credit> {
    request.params.decode().ok()
}

fn params<T: DeserializeOwned + Default + Send + 'static>(
    request: &Request<'_>,
) -> Result<T, Status> {
    let Params(params): Params<Option<T>> = Params::from_request(request, &())?;
    Ok(params.unwrap_or_default())
}

#[derive(Default, Deserialize)]
struct Which {
    cmdid: Option<CmdId>,
}

#[derive(Default, Deserialize)]
struct Whose {
    service: Option<String>,
}

#[derive(Default, Deserialize)]
struct HowMany {
    connections: Option<usize>,
}

/// What `stats` lists of the connections at most, whatever it is asked for.
const CONNECTIONS_LISTED_MAX: usize = 100;

fn stats(reporter: &Reporter, connection: ConnectionStats, listed: Option<usize>) -> Outcome {
    #[derive(Serialize)]
    struct Stats {
        connection: ConnectionStats,
        #[serde(flatten)]
        report: Report,
    }

    let listed = listed.unwrap_or(0).min(CONNECTIONS_LISTED_MAX);
    Reply::new(&Stats {
        connection,
        report: reporter.report(listed),
    })
}

/// The commands that the caller may call.
fn describe(
    routes: &Routes,
    reporter: &Reporter,
    cmdid: Option<CmdId>,
    authorization: &Authorization,
) -> Outcome {
    #[derive(Serialize)]
    struct Description<'a> {
        protocol: u32,
        server: Name<'a>,
        instance: &'a str,
        commands: Vec<Descriptor>,
    }

    #[derive(Serialize)]
    struct Name<'a> {
        name: &'a str,
        version: &'a str,
    }

    let mut commands = builtins::descriptors();
    let granted = routes
        .descriptors()
        .into_iter()
        .filter(|command| authorization.allows(command.cmdid));
    commands.extend(granted.cloned());

    if let Some(cmdid) = cmdid {
        commands.retain(|command| command.cmdid == cmdid);
        if commands.is_empty() {
            return Err(Status::not_found(format!("no command has cmdid {cmdid}")));
        }
    }

    let name = Name {
        name: &reporter.name,
        version: &reporter.version,
    };
    Reply::new(&Description {
        protocol: PROTOCOL_VERSION,
        server: name,
        instance: instance(),
        commands,
    })
}

fn health(reporter: &Reporter, service: Option<&str>) -> Outcome {
    #[derive(Serialize)]
    struct Health<T> {
        status: T,
        instance: &'static str,
    }

    if let Some(service) = service.filter(|service| !reporter.has_service(service)) {
        return Err(Status::not_found(format!(
            "no service is named `{service}`"
        )));
    }

    Reply::new(&Health {
        status: reporter.health_status(service),
        instance: instance(),
    })
}
