//! The meaning of an answer that speaks of each part of a message.

use super::RuleClass;

/// The place of the part that decides what becomes of the whole message: the first of unknown outcome, else the first that
/// was refused, the graver refusals before the others, else the first. `None` without parts.
///
/// ```
/// use rpc_sms::outcome::{RuleClass, deciding};
///
/// let classes = [RuleClass::Sent, RuleClass::Throttled, RuleClass::Permanent];
/// assert_eq!(deciding(classes), Some(2));
/// ```
pub fn deciding(classes: impl IntoIterator<Item = RuleClass>) -> Option<usize> {
    let ranked = classes.into_iter().map(rank).enumerate();
    ranked.min_by_key(|(_, rank)| *rank).map(|(place, _)| place)
}

/// Lower ones decide. A message is tried again only where none of its parts was refused for good.
fn rank(class: RuleClass) -> u8 {
    match class {
        RuleClass::Unknown => 0,
        RuleClass::Permanent => 1,
        RuleClass::GatewayDown => 2,
        RuleClass::Throttled => 3,
        RuleClass::Temporary => 4,
        RuleClass::Sent => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubtful_part_decides_before_a_refused_one_and_that_before_those_that_were_accepted() {
        use RuleClass::{GatewayDown, Permanent, Sent, Temporary, Throttled, Unknown};

        let check = |classes: &[RuleClass], place| {
            assert_eq!(deciding(classes.iter().copied()), place, "{classes:?}");
        };
        check(&[], None);
        check(&[Sent, Sent], Some(0));
        check(&[Sent, Temporary], Some(1));
        check(&[Temporary, Throttled, Temporary], Some(1));
        check(&[Throttled, GatewayDown], Some(1));
        check(&[GatewayDown, Permanent, Permanent], Some(1));
        check(&[Permanent, Sent, Unknown], Some(2));
    }
}
