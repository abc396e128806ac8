//! Attributes of a method, as values.

use crate::descriptor::{Descriptor, ErrorDescriptor, Kind, RetryCategory};
use crate::frame::CmdId;
use crate::resume::Resume;

/// One method of a typed service, as its `#[rpc(…)]` describes it.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// The service that it belongs to.
    pub service: &'static str,
    /// Its name within the service.
    pub name: &'static str,
    /// The path of the trait's method in Rust, for error messages.
    pub path: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
    /// Its number.
    pub cmdid: CmdId,
    /// How it answers.
    pub kind: Kind,
    /// Whether a call that may have run may be sent again.
    pub retry: RetryCategory,
    /// Of a stream that can go on behind any of its items: the members of its cursor.
    pub resumable: &'static [Resume],
    /// How long a call may take where its caller says nothing.
    pub timeout: TimeLimit,
    /// What to use instead, where it should not be used any more.
    pub deprecated: Option<&'static str>,
}

/// How long a call may take where its caller says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// As long as the client gives any call.
    OfClient,
    /// This number of milliseconds.
    Millis(u64),
    /// Any time.
    None,
}

impl Method {
    /// What `describe` tells of it, but for its schemas.
    pub fn descriptor(&self, errors: Vec<ErrorDescriptor>) -> Descriptor {
        let mut descriptor = Descriptor::new(self.service, self.name)
            .doc(self.doc)
            .kind(self.kind)
            .retry(self.retry)
            .resumable(self.resumable.iter().cloned());

        descriptor.cmdid = self.cmdid;
        descriptor.timeout_ms = match self.timeout {
            TimeLimit::Millis(limit) => Some(limit),
            TimeLimit::OfClient | TimeLimit::None => None,
        };
        descriptor.no_timeout = self.timeout == TimeLimit::None;
        descriptor.deprecated = self.deprecated.map(Into::into);
        descriptor.errors = errors;

        descriptor
    }
}
