//! Decides when a batch has failed for good, of which no single answer says so.

use rpc_core::Code;

/// Answers of one code after which a batch is given up.
const ANSWERS_MAX: u32 = 5;

/// The same answers to one batch. They count if the log has taken another batch between them: otherwise it may be unable
/// to take any, as with a full disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doubt {
    code: Option<Code>,
    answers: u32,
    /// Batches that the log had taken in all when the last answer came.
    taken: u64,
}

impl Doubt {
    /// Notes another answer; returns whether the batch is given up.
    pub(super) fn is_settled_by(&mut self, code: Code, taken: u64) -> bool {
        let is_another = self.code != Some(code);
        if is_another {
            self.answers = 1;
        } else if taken > self.taken {
            self.answers += 1;
        }

        self.code = Some(code);
        self.taken = taken;
        self.answers >= ANSWERS_MAX
    }

    /// Whether an answer was noted.
    pub(super) fn is_there(&self) -> bool {
        self.code.is_some()
    }

    /// Whether another answer would say nothing new: since the last one, the log has taken no other batch.
    pub(super) fn awaits_others(&self, taken: u64) -> bool {
        self.is_there() && taken == self.taken
    }

    /// A failure that is not of the batch: what was counted were not the same answers in a row.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_answer_counts_when_another_batch_was_taken_in_between() {
        let mut doubt = Doubt::default();
        for _ in 0..100 {
            assert!(!doubt.is_settled_by(Code::RESOURCE_EXHAUSTED, 7));
        }
        assert!(doubt.awaits_others(7) && !doubt.awaits_others(8));

        let settled = (8..100).find(|taken| doubt.is_settled_by(Code::RESOURCE_EXHAUSTED, *taken));
        assert_eq!(settled, Some(11), "the fifth answer that counts");
    }

    #[test]
    fn another_answer_or_a_failure_of_the_network_begins_the_count_anew() {
        let mut doubt = Doubt::default();
        for taken in 0..100 {
            let code = match taken % 4 {
                0 => Code::UNKNOWN,
                _ => Code::INTERNAL,
            };
            assert!(!doubt.is_settled_by(code, taken));
        }
        for taken in 100..200 {
            assert!(!doubt.is_settled_by(Code::INTERNAL, taken));
            doubt.forget();
        }
    }
}
