//! Compares two schemas: whether one takes all that the other one allows.

use std::collections::HashSet;

use serde_json::Value;

use super::Schema;
use super::check::{Misfit, listed};

/// The part of a call that two schemas describe: one says what its sender may send, the other one what its receiver
/// accepts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// Sent by old clients, accepted by the server.
    Params,
    /// Sent by the server, accepted by old clients.
    Data,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Params => "params",
            Self::Data => "data",
        }
    }

    /// The receiver accepts only other values than these.
    fn differs(self, sent: &str, accepted: &str) -> String {
        match self {
            Self::Params => {
                format!("old clients may send {sent}, but the server accepts only {accepted}")
            }
            Self::Data => {
                format!("the server may send {sent}, but old clients accept only {accepted}")
            }
        }
    }

    fn is_refused(self, sent: &str) -> String {
        match self {
            Self::Params => format!("old clients may send {sent}, but the server refuses it"),
            Self::Data => format!("the server may send {sent}, but old clients refuse it"),
        }
    }

    fn is_required(self) -> String {
        match self {
            Self::Params => "the server requires it, but old clients may leave it out",
            Self::Data => "old clients require it, but the server may leave it out",
        }
        .to_owned()
    }

    fn is_unknown(self) -> String {
        match self {
            Self::Params => "old clients may send it, but the server refuses unknown fields",
            Self::Data => "the server may send it, but old clients refuse unknown fields",
        }
        .to_owned()
    }

    /// A limit of the receiver that is narrower than that of the sender.
    fn is_narrower(self, keyword: &str, accepted: &str, sent: &str) -> String {
        let (before, now) = match self {
            Self::Params => (sent, accepted),
            Self::Data => (accepted, sent),
        };
        format!("`{keyword}` was {before}, and is {now} now")
    }
}

/// A comparison of two schemas.
#[derive(Clone)]
struct Comparison {
    part: Part,
    /// Pairs that are being compared: a schema may refer to itself.
    under: HashSet<(*const Value, *const Value)>,
}

impl Schema<'_> {
    /// Checks that this schema, the receiver's, accepts each value that `other`, the sender's, allows, as far as their
    /// keywords say. A misfit names the field.
    pub(crate) fn covers(self, other: Schema<'_>, part: Part) -> Result<(), Misfit> {
        let mut comparison = Comparison {
            part,
            under: HashSet::new(),
        };
        self.resolved()
            .covers_at(other.resolved(), part.name(), &mut comparison)
    }

    fn covers_at(
        self,
        other: Schema<'_>,
        field: &str,
        comparison: &mut Comparison,
    ) -> Result<(), Misfit> {
        let takes_all = self.node == &Value::Bool(true)
            || self.node.as_object().is_some_and(serde_json::Map::is_empty);
        if takes_all || !comparison.under.insert((self.node, other.node)) {
            return Ok(());
        }

        let part = comparison.part;
        let misfit = |reason: String| {
            Err(Misfit {
                field: field.to_owned(),
                reason,
            })
        };

        if let Some(values) = other.values() {
            let refused = values
                .into_iter()
                .find(|value| self.check(value, field).is_err());
            return match refused {
                Some(value) => misfit(part.is_refused(&listed(&[value]))),
                None => Ok(()),
            };
        }
        if let Some(alternatives) = other.alternatives() {
            for alternative in alternatives {
                self.covers_at(alternative, field, comparison)?;
            }
            return Ok(());
        }
        if let Some(values) = self.values() {
            return misfit(part.differs(&other.in_words(), &listed(&values)));
        }
        if let Some(alternatives) = self.alternatives() {
            let is_covered = alternatives
                .into_iter()
                .any(|it| it.covers_at(other, field, &mut comparison.clone()).is_ok());
            return if is_covered {
                Ok(())
            } else {
                misfit(part.differs(&other.in_words(), &self.in_words()))
            };
        }

        self.covers_types(other, field, part)?;
        self.covers_limits(other, field, part)?;
        self.covers_fields(other, field, comparison)?;
        match (self.get("items"), other.get("items")) {
            (Some(own), Some(others)) => {
                let field = format!("{field}[]");
                self.at(own).covers_at(other.at(others), &field, comparison)
            }
            _ => Ok(()),
        }
    }

    fn covers_types(self, other: Schema<'_>, field: &str, part: Part) -> Result<(), Misfit> {
        let (own, others) = (self.types(), other.types());
        let is_taken =
            |name: &&str| own.contains(name) || *name == "integer" && own.contains(&"number");

        if own.is_empty() || !others.is_empty() && others.iter().all(is_taken) {
            return Ok(());
        }
        let reason = if others.contains(&"null") && !own.contains(&"null") {
            part.is_refused("null")
        } else {
            part.differs(&other.in_words(), &self.in_words())
        };
        Err(Misfit {
            field: field.to_owned(),
            reason,
        })
    }

    fn covers_limits(self, other: Schema<'_>, field: &str, part: Part) -> Result<(), Misfit> {
        let least = ["minimum", "minLength", "minItems"];
        let most = ["maximum", "maxLength", "maxItems"];

        let is_narrower = |keyword: &str, own: f64| match other.limit(keyword) {
            None => true,
            Some(others) if keyword.starts_with("min") => own > others,
            Some(others) => own < others,
        };
        for keyword in least.into_iter().chain(most) {
            if let Some(own) = self.limit(keyword)
                && is_narrower(keyword, own)
            {
                let others = other
                    .get(keyword)
                    .map_or("none".to_owned(), Value::to_string);
                return Err(Misfit {
                    field: field.to_owned(),
                    reason: part.is_narrower(keyword, &own.to_string(), &others),
                });
            }
        }
        Ok(())
    }

    fn covers_fields(
        self,
        other: Schema<'_>,
        field: &str,
        comparison: &mut Comparison,
    ) -> Result<(), Misfit> {
        let at = |name: &str| format!("{field}.{name}");
        let required = self.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !other.is_required(name) {
                return Err(Misfit {
                    field: at(name),
                    reason: comparison.part.is_required(),
                });
            }
        }

        let own = self.properties();
        for (name, node) in other.properties().into_iter().flatten() {
            let others = other.at(node);
            if let Some(node) = own.and_then(|own| own.get(name)) {
                self.at(node).covers_at(others, &at(name), comparison)?;
                continue;
            }
            match self.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    return Err(Misfit {
                        field: at(name),
                        reason: comparison.part.is_unknown(),
                    });
                }
                Some(node) => self.at(node).covers_at(others, &at(name), comparison)?,
                None => {}
            }
        }
        Ok(())
    }
}
