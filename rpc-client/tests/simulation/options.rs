//! Options of a run.

use crate::ledger::Printing;

/// What to run.
pub(crate) struct Options {
    pub(crate) runs: Runs,
    pub(crate) threads: usize,
    pub(crate) printing: Printing,
}

pub(crate) enum Runs {
    One(u64),
    Many { first: u64, count: u64 },
}

/// Enough to meet each kind of fault in each kind of call.
const SEEDS: u64 = 30;

impl Options {
    /// Reads the command line. `None` where it filters for tests of other names, as
    /// `cargo test NAME` does for every test program.
    pub(crate) fn parse(
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<Option<Self>, String> {
        let (mut one, mut first, mut count, mut threads) = (None, 1, SEEDS, 2);
        let mut printing = Printing::Nothing;
        let mut names = Vec::new();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments
                    .next()
                    .ok_or_else(|| format!("{argument} wants a number"))?;
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{argument} wants a number, and got {value:?}"))
            };
            match argument.as_str() {
                "--seed" => one = Some(number()?),
                "--seeds" => count = number()?,
                "--first" => first = number()?,
                "--threads" => threads = usize::try_from(number()?.clamp(1, 64)).expect("64 fits"),
                "--trace" => printing = Printing::Events,
                // What every other test program takes.
                "--list" | "--ignored" => return Ok(None),
                "--quiet" | "-q" | "--exact" | "--nocapture" | "--no-capture"
                | "--include-ignored" => {}
                "--test-threads" => drop(number()?),
                flag if flag.starts_with("--test-threads=") => {}
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "unknown flag {flag}; there are --seed N, --seeds N, --first N, --threads N, --trace"
                    ));
                }
                name => names.push(name.to_owned()),
            }
        }
        if !names.is_empty()
            && !names
                .iter()
                .any(|name| "simulation".contains(name.as_str()))
        {
            return Ok(None);
        }
        let runs = one.map_or(Runs::Many { first, count }, Runs::One);
        Ok(Some(Self {
            runs,
            threads,
            printing,
        }))
    }
}
