//! The line of a request, as it came.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::HeldBytes;

/// The line of a request as it came, without its line break: what a handler signs, archives or
/// passes on byte by byte. Clones share the bytes, which count with the connection that they came
/// over (`limits.connection_bytes_max`) until the last clone is dropped.
///
/// ```
/// use rpc_core::Request;
///
/// let line = br#"{ "cmdid": 100, "params": [1, 2] }"#;
/// let mut request = Request::decode(line).unwrap();
/// request.scope.set_line(line);
///
/// assert_eq!(request.scope.line(), Some(&line[..]));
/// assert_eq!(request.scope.raw_line().as_deref(), Some(&line[..]));
/// ```
#[derive(Clone)]
pub struct RawLine(Arc<Kept>);

struct Kept {
    bytes: Box<[u8]>,
    _held: Option<HeldBytes>,
}

impl RawLine {
    /// A line of these bytes, which count with no connection.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self::held(bytes, None)
    }

    pub(super) fn held(bytes: impl Into<Box<[u8]>>, held: Option<HeldBytes>) -> Self {
        Self(Arc::new(Kept {
            bytes: bytes.into(),
            _held: held,
        }))
    }

    /// The bytes, without the line break. They are UTF-8, as all JSON is.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Deref for RawLine {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for RawLine {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Tells the length alone: a line holds the params.
impl fmt::Debug for RawLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawLine")
            .field("bytes", &self.0.bytes.len())
            .finish()
    }
}
