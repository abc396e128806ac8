//! A [`Status`] from the failure of a system call.

use std::io;

use super::Status;

/// The failure of a system call that a handler makes, for its `?`.
///
/// The caller is told the kind of the failure by a code and a sentence, never the error's own text, which
/// may name paths, addresses or worse; that is the [`source`](std::error::Error::source), for the log of this side.
///
/// | [`ErrorKind`](std::io::ErrorKind) | code |
/// | --- | --- |
/// | `NotFound` | 5 |
/// | `AlreadyExists` | 6 |
/// | `TimedOut` | 4 |
/// | `StorageFull`, `QuotaExceeded`, `FileTooLarge`, `OutOfMemory`, no file descriptors | 8 |
/// | `ConnectionRefused`, `ConnectionReset`, `ConnectionAborted`, `NotConnected`, `BrokenPipe`, `HostUnreachable`, `NetworkUnreachable`, `NetworkDown` | 14 |
/// | every other, `PermissionDenied` among them: it is the server that may not | 13 |
///
/// A time limit of `tokio::time::timeout` becomes an [`io::Error`] first:
/// `timeout(limit, work).await.map_err(io::Error::from)?`.
///
/// ```
/// use rpc_core::{Code, Status};
///
/// fn read(path: &str) -> Result<String, Status> {
///     Ok(std::fs::read_to_string(path)?)
/// }
///
/// let status = read("/etc/secret/none").unwrap_err();
/// assert_eq!(status.code(), Code::NOT_FOUND);
/// assert!(!status.message().contains("secret"));
/// ```
impl From<io::Error> for Status {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;

        /// What Unix systems say of a process and of a machine without file descriptors, which have no kind.
        const NO_DESCRIPTORS: [i32; 2] = [24, 23];

        let has_no_descriptor = error
            .raw_os_error()
            .is_some_and(|number| cfg!(unix) && NO_DESCRIPTORS.contains(&number));

        let status = match error.kind() {
            _ if has_no_descriptor => {
                Self::resource_exhausted("the server has no file descriptors left")
            }
            Kind::NotFound => {
                Self::not_found("a file or another resource that the command needs does not exist")
            }
            Kind::AlreadyExists => Self::already_exists(
                "the file or other resource that the command creates exists already",
            ),
            Kind::TimedOut => Self::deadline_exceeded("an operation of the command timed out"),
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                Self::resource_exhausted("the disk of the server is full")
            }
            Kind::OutOfMemory => Self::resource_exhausted("the server has no memory left"),
            Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::NotConnected
            | Kind::BrokenPipe
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown => {
                Self::unavailable("another service that the command needs cannot be reached")
            }
            _ => Self::internal("the system refused something that the command needs"),
        };
        status.with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::status::Code;

    #[test]
    fn an_io_error_tells_the_caller_its_kind_and_the_log_its_text() {
        let check = |error: io::Error, code: Code| {
            let text = error.to_string();
            let status = Status::from(error);
            assert_eq!(status.code(), code, "{text}");
            assert!(
                !status.message().is_empty() && !status.message().contains(&text),
                "{status}"
            );
            assert_eq!(status.source().unwrap().to_string(), text);
            assert!(!status.is_rejected(), "the handler has run");
        };

        let named = |kind| io::Error::new(kind, "/srv/secret");
        check(named(io::ErrorKind::NotFound), Code::NOT_FOUND);
        check(named(io::ErrorKind::AlreadyExists), Code::ALREADY_EXISTS);
        check(named(io::ErrorKind::TimedOut), Code::DEADLINE_EXCEEDED);
        check(named(io::ErrorKind::StorageFull), Code::RESOURCE_EXHAUSTED);
        check(named(io::ErrorKind::BrokenPipe), Code::UNAVAILABLE);
        check(named(io::ErrorKind::PermissionDenied), Code::INTERNAL);
        check(io::Error::other("/srv/secret"), Code::INTERNAL);
        #[cfg(unix)]
        check(io::Error::from_raw_os_error(24), Code::RESOURCE_EXHAUSTED);
    }
}
