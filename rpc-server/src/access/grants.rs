//! Grants: the commands that each identity may call.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Which identity may call which commands. Once a server has any, what is not granted is refused with code
/// 7, before the params are looked at. The built-in commands need no grant; `describe` shows a caller
/// what it may call.
///
/// ```
/// use rpc_server::Grants;
///
/// let grants = Grants::new()
///     .grant("order-service", ["1001", "2000-2099"])?
///     .grant("operator", ["*"])?
///     // Everybody, those without an identity among them.
///     .grant("*", ["10000"])?;
/// # let _ = grants;
/// # Ok::<(), rpc_server::GrantError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    by_identity: HashMap<Arc<str>, Arc<CommandSet>>,
    everybody: Arc<CommandSet>,
}

/// Commands as ranges in their order, with gaps between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandSet(Vec<(u32, u32)>);

impl Grants {
    /// Nothing is granted to anybody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Grants commands to an identity, beside what it has: each is a cmdid (`"1001"`), a range with both its
    /// ends (`"2000-2099"`), or `"*"` for all. The identity `"*"` is everybody, with an identity or without.
    ///
    /// # Errors
    /// What is neither a cmdid nor a range of them.
    pub fn grant<C: AsRef<str>>(
        mut self,
        identity: &str,
        commands: impl IntoIterator<Item = C>,
    ) -> Result<Self, GrantError> {
        let mut ranges = Vec::new();
        for command in commands {
            ranges.push(parse(command.as_ref())?);
        }

        if identity == EVERYBODY {
            Arc::make_mut(&mut self.everybody).add(&ranges);
            for own in self.by_identity.values_mut() {
                Arc::make_mut(own).add(&ranges);
            }
        } else {
            let everybody = &self.everybody;
            let own = self
                .by_identity
                .entry(identity.into())
                .or_insert_with(|| Arc::clone(everybody));
            Arc::make_mut(own).add(&ranges);
        }

        Ok(self)
    }

    pub(crate) fn of(&self, identity: Option<&str>) -> Arc<CommandSet> {
        let own = identity.and_then(|identity| self.by_identity.get(identity));
        Arc::clone(own.unwrap_or(&self.everybody))
    }
}

const EVERYBODY: &str = "*";

impl CommandSet {
    /// The commands of these texts, each as [`Grants::grant`] takes it.
    #[cfg(feature = "loggers")]
    pub(crate) fn of(commands: &[String]) -> Result<Self, GrantError> {
        let ranges: Result<Vec<_>, _> = commands.iter().map(|command| parse(command)).collect();
        let mut set = Self::default();
        set.add(&ranges?);
        Ok(set)
    }

    /// The lowest command that both have.
    #[cfg(feature = "loggers")]
    pub(crate) fn common_with(&self, other: &Self) -> Option<u32> {
        let pairs = self
            .0
            .iter()
            .flat_map(|own| other.0.iter().map(move |others| (own, others)));
        let common = pairs.map(|(own, others)| (own.0.max(others.0), own.1.min(others.1)));
        common
            .filter(|(first, last)| first <= last)
            .map(|(first, _)| first)
            .min()
    }

    pub(crate) fn has(&self, cmdid: u32) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= cmdid);
        after.checked_sub(1).is_some_and(|at| cmdid <= self.0[at].1)
    }

    fn add(&mut self, ranges: &[(u32, u32)]) {
        self.0.extend(ranges);
        self.0.sort_unstable();
        self.0.dedup_by(|next, range| {
            let touch = next.0 <= range.1.saturating_add(1);
            if touch {
                range.1 = range.1.max(next.1);
            }
            touch
        });
    }
}

fn parse(text: &str) -> Result<(u32, u32), GrantError> {
    let wrong = || GrantError(text.to_owned());
    let cmdid = |text: &str| text.trim().parse().map_err(|_| wrong());

    if text.trim() == "*" {
        return Ok((0, u32::MAX));
    }

    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (cmdid(first)?, cmdid(last)?),
        None => (cmdid(text)?, cmdid(text)?),
    };

    if first > last {
        Err(wrong())
    } else {
        Ok((first, last))
    }
}

/// A grant of what is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantError(String);

impl GrantError {
    /// The text that is neither a cmdid nor a range of them.
    pub fn value(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} must be a cmdid like \"1001\", a range like \"2000-2099\", or \"*\"",
            self.0
        )
    }
}

impl std::error::Error for GrantError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(commands: &[&str], granted: &[u32], refused: &[u32]) {
        let grants = Grants::new().grant("a", commands).unwrap();
        let set = grants.of(Some("a"));

        for cmdid in granted {
            assert!(set.has(*cmdid), "{commands:?}: {cmdid}");
        }
        for cmdid in refused {
            assert!(!set.has(*cmdid), "{commands:?}: {cmdid}");
        }
    }

    #[test]
    fn ranges_have_both_their_ends_and_join_where_they_touch() {
        check(&[], &[], &[0, 100, u32::MAX]);
        check(&["1001"], &[1001], &[1000, 1002]);
        check(
            &["2000-2099", "1001"],
            &[1001, 2000, 2050, 2099],
            &[1999, 2100, 1002],
        );
        check(&["5-9", "1-20", "21"], &[1, 9, 20, 21], &[0, 22]);
        check(&["1-9", "3"], &[9], &[10]);
        check(&["*"], &[0, u32::MAX], &[]);
        check(&["4294967295", "0-4294967294"], &[0, u32::MAX], &[]);
    }

    #[test]
    fn what_all_may_each_identity_may_in_any_order_of_the_grants() {
        let before = Grants::new()
            .grant("*", ["7"])
            .unwrap()
            .grant("a", ["8"])
            .unwrap();
        let after = Grants::new()
            .grant("a", ["8"])
            .unwrap()
            .grant("*", ["7"])
            .unwrap();

        for grants in [before, after] {
            let (own, other, anonymous) =
                (grants.of(Some("a")), grants.of(Some("b")), grants.of(None));

            assert!(own.has(7) && own.has(8));
            assert!(other.has(7) && !other.has(8) && anonymous.has(7) && !anonymous.has(8));
        }
    }

    #[test]
    fn what_is_no_command_is_refused_by_name() {
        for wrong in ["", "x", "9-3", "1-", "-1", "4294967296", "1,2"] {
            let error = Grants::new().grant("a", [wrong]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{wrong:?} must be a cmdid")),
                "{error}"
            );
        }
    }
}
