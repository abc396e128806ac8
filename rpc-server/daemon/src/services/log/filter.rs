//! The filters of `read` and `tail`: checked, and as the store takes them.

use std::sync::Arc;

use rpc_core::Status;
use rpc_core::api::log::{
    CONTAINS_BYTES_MAX, FIELDS_BYTES_MAX, Fields, Level, SERVICE_BYTES_MAX, TEXT_BYTES_MAX,
    TRACE_BYTES_MAX,
};
use serde_json::value::RawValue;

use crate::store::{Filter, Rest, WantedField};

/// The filters as they were sent.
pub(super) struct Wanted {
    pub(super) level: Option<Level>,
    pub(super) service: Option<String>,
    pub(super) contains: Option<String>,
    pub(super) text: Option<String>,
    pub(super) trace: Option<String>,
    pub(super) fields: Option<Fields>,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
}

impl Wanted {
    /// The filter of the store.
    pub(super) fn filter(self) -> Result<Arc<Filter>, Status> {
        check_length("contains", self.contains.as_deref(), CONTAINS_BYTES_MAX)?;
        check_length("service", self.service.as_deref(), SERVICE_BYTES_MAX)?;
        check_length("text", self.text.as_deref(), TEXT_BYTES_MAX)?;
        check_length("trace", self.trace.as_deref(), TRACE_BYTES_MAX)?;

        if let (Some(from), Some(to)) = (self.from, self.to)
            && from >= to
        {
            return Err(Status::invalid_argument(format!(
                "`params.to` is {to} and must be above `params.from`, which is {from}"
            )));
        }

        Ok(Arc::new(Filter {
            level: self.level,
            service: self.service,
            contains: self.contains,
            rest: Rest {
                text: self.text,
                trace: self.trace,
                fields: wanted_fields(self.fields.as_ref())?,
                from: self.from,
                to: self.to,
            },
        }))
    }
}

/// The fields that a reader wants, each with a value that can be compared.
fn wanted_fields(fields: Option<&Fields>) -> Result<Vec<WantedField>, Status> {
    let Some(fields) = fields else {
        return Ok(Vec::new());
    };
    check_length("fields", Some(fields.as_str()), FIELDS_BYTES_MAX)?;

    let wanted = |(name, value): (String, &RawValue)| {
        WantedField::new(name.clone(), value).ok_or_else(|| {
            Status::invalid_argument(format!(
                "`params.fields.{name}` is an array or an object and must be a text, a number, true, false or null"
            ))
        })
    };
    fields.iter().map(wanted).collect()
}

/// Refuses a text that is longer than it may be.
pub(super) fn check_length(name: &str, text: Option<&str>, bytes_max: usize) -> Result<(), Status> {
    let bytes = text.map_or(0, str::len);
    if bytes <= bytes_max {
        return Ok(());
    }

    Err(Status::invalid_argument(format!(
        "`params.{name}` has {bytes} bytes and may have at most {bytes_max}; shorten it"
    )))
}
