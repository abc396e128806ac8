//! Back-pressure of a connection: what a line may have to wait for, and what there is.

/// What a line may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackPressure {
    /// Waiting replies below the soft limit.
    Output,
    /// That, and a place among the calls in flight.
    Calls,
    /// That, or where only streams are in flight a place in the order of the calls without id.
    Order,
    /// The thread's time, which others come first for.
    Yield,
}

/// What a connection has room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headroom {
    pub(super) in_output: bool,
    pub(super) for_result: bool,
    pub(super) for_items: bool,
}

impl Headroom {
    /// What there was room for at both times.
    #[inline]
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            in_output: self.in_output && other.in_output,
            for_result: self.for_result && other.for_result,
            for_items: self.for_items && other.for_items,
        }
    }

    /// Whether there is room now for what had to wait. Nothing wakes what was held back for want of it.
    #[inline]
    pub(super) fn is_more_than(self, before: Self) -> bool {
        !before.in_output && self.in_output
            || !before.for_result && self.for_result
            || !before.for_items && self.for_items
    }
}
