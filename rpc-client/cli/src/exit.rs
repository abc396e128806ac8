//! Exit codes and error messages of the command line.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use rpc_client::discover::InvalidTarget;
use rpc_client::{Code, Error, Status};
use rpc_core::printable::PrintableJson;

use crate::output::{complain, printable};

/// The server answered an error; also what has no code of its own, such as a full disk.
const ANSWERED: u8 = 1;
/// As clap exits for a wrong flag.
pub(crate) const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
pub(crate) const DEADLINE: u8 = 4;

/// Why a subcommand did not do what it was asked to.
pub(crate) enum Failure {
    /// A call failed.
    Call(Error),
    /// Some of many calls failed, each of which was reported.
    Lines { message: String, exit: u8 },
    /// Something that was given on the command line, or on standard input, is not what it should be.
    Usage { message: String, hint: String },
    /// This side's files failed.
    Io(String),
    /// The server's answer was no error, and no success either; all is said.
    Answered,
    /// The reader of standard output has closed it.
    NobodyReads,
}

impl Failure {
    pub(crate) fn io(doing: &str, error: &io::Error) -> Self {
        Self::Io(format!("{doing}: {error}"))
    }

    pub(crate) fn stdin(error: &io::Error) -> Self {
        Self::io("cannot read standard input", error)
    }

    pub(crate) fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::io("cannot write to standard output", error),
        }
    }

    /// Says it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Call(error) => report_call(error),
            Self::Lines { message, exit } => {
                complain(&format!("rpc: {message}"));
                ExitCode::from(*exit)
            }
            Self::Usage { message, hint } => {
                complain(&format!("rpc: {message}"));
                complain(&format!("hint: {hint}"));
                ExitCode::from(USAGE)
            }
            Self::Io(message) => {
                complain(&format!("rpc: {message}"));
                ExitCode::from(ANSWERED)
            }
            Self::Answered => ExitCode::from(ANSWERED),
            Self::NobodyReads => ExitCode::SUCCESS,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

fn report_call(error: &Error) -> ExitCode {
    complain(&format!("rpc: {}", describe(error)));
    if let Some(details) = error.status().and_then(Status::details) {
        complain(&format!("details: {}", PrintableJson(details.get())));
    }
    if let Some(hint) = hint(error) {
        complain(&format!("hint: {hint}"));
    }
    ExitCode::from(exit_code(error))
}

/// Address, code and what happened, in one line.
pub(crate) fn describe(error: &Error) -> String {
    if let Some(invalid) = error
        .source()
        .and_then(|source| source.downcast_ref::<InvalidTarget>())
    {
        let address = error.address();
        return printable(&if address.is_empty() || address.contains(':') {
            invalid.to_string()
        } else {
            format!("`--addr` = \"{address}\": missing port; write HOST:PORT")
        });
    }

    if is_no_address(error) {
        let why = error.source().map(ToString::to_string).unwrap_or_default();
        return printable(&format!("`{}` is not an address: {why}", error.address()));
    }

    printable(&error.to_string())
}

pub(crate) fn exit_code(error: &Error) -> u8 {
    if is_no_address(error) {
        USAGE
    } else if error.is_deadline() {
        DEADLINE
    } else if error.status().is_some() || is_nonsense(error) {
        ANSWERED
    } else {
        UNREACHABLE
    }
}

/// Whether the address was refused before anything was tried.
pub(crate) fn is_no_address(error: &Error) -> bool {
    let Some(source) = error.source().filter(|_| error.is_unreachable()) else {
        return false;
    };

    let is_invalid_input = |cause: &io::Error| cause.kind() == io::ErrorKind::InvalidInput;
    source.is::<InvalidTarget>() || source.downcast_ref().is_some_and(is_invalid_input)
}

/// Whether there was a reply, and it is not what was asked for.
fn is_nonsense(error: &Error) -> bool {
    error.status().is_none() && error.code() == Code::INTERNAL
}

/// What to do about it.
fn hint(error: &Error) -> Option<String> {
    if let Some(status) = error.status() {
        return hint_for_status(status);
    }

    let hint = if error.code() == Code::UNAUTHENTICATED {
        return hint_for_code(Code::UNAUTHENTICATED);
    } else if is_no_address(error) {
        "name the server with --addr HOST:PORT, --addr unix:PATH or RPC_ADDR"
    } else if let Some(hint) = hint_for_tls(error) {
        hint
    } else if error.is_unreachable() && error.connection().is_none() {
        "is the daemon running there? start it with `rpc-server`, or name another address with --addr or RPC_ADDR"
    } else if error.is_unreachable() {
        "nothing was executed: try again"
    } else if error.is_deadline() && error.was_sent() {
        "it may have run: check before you send it again; --timeout allows more time"
    } else if error.is_deadline() {
        "nothing was sent: is the address right? If so, allow more time with --timeout"
    } else if is_nonsense(error) {
        "call a command that streams with `rpc call --stream`, or by its name"
    } else {
        "it may have run: check before you send it again. Is it a server of this protocol? Its log may say why the connection ended"
    };

    Some(hint.to_owned())
}

/// Where the server is there, and TLS with it fails, or cannot begin.
fn hint_for_tls(error: &Error) -> Option<&'static str> {
    let cause: &io::Error = error.source()?.downcast_ref()?;
    // An error of the system's own has no other one in it.
    cause.get_ref().filter(|_| error.is_unreachable())?;

    match cause.kind() {
        io::ErrorKind::InvalidData => Some(
            "the server answers, but TLS with it fails: --ca FILE names the authorities to trust, and --server-name \
             NAME the name to expect in its certificate",
        ),
        io::ErrorKind::PermissionDenied => {
            Some("the server requires an identity: give --cert FILE and --key FILE")
        }
        io::ErrorKind::UnexpectedEof => {
            Some("without --tls the server is called without encryption")
        }
        io::ErrorKind::Other => Some("nothing was sent: correct what is named here, and try again"),
        _ => None,
    }
}

fn hint_for_status(status: &Status) -> Option<String> {
    if let Some(after) = status.retry_after() {
        return Some(format!("try again in {} ms", after.as_millis()));
    }
    if status.is_rejected() {
        return Some("it did not run: try again".to_owned());
    }
    hint_for_code(status.code())
}

fn hint_for_code(code: Code) -> Option<String> {
    let hint = match code {
        Code::INVALID_ARGUMENT => "`rpc describe NAME` shows what a command takes",
        Code::DEADLINE_EXCEEDED => {
            "the server gave up at its own limit or at --timeout: it may have run in part; allow more time with \
             --timeout"
        }
        Code::RESOURCE_EXHAUSTED => {
            "a limit of the server is reached: send less, or try again later"
        }
        Code::NOT_FOUND => "check what was asked for; `rpc describe` lists services and commands",
        Code::PERMISSION_DENIED => "ask the server's operator for a grant",
        Code::FAILED_PRECONDITION => "first do what the message asks for",
        Code::ABORTED => "repeat the whole operation",
        Code::UNIMPLEMENTED => "`rpc describe` lists all commands",
        Code::INTERNAL => "the cause is in the server's log",
        Code::UNAVAILABLE => "try again later",
        Code::UNAUTHENTICATED => {
            "the server requires authentication: give --token-file FILE, or --cert FILE and --key FILE"
        }
        code if code.number() >= Code::FIRST_OF_SERVICES => {
            return Some(format!(
                "{code} is a code of the service: its documentation says what to do"
            ));
        }
        code => return code.meaning().map(str::to_owned),
    };

    Some(hint.to_owned())
}
