//! Facts about a process that Linux knows.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time that the threads of a process have used, to the nanosecond.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task")).context("no such process")? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };

        let nanoseconds = text
            .split(' ')
            .next()
            .unwrap_or_default()
            .parse()
            .context("schedstat")?;
        total += Duration::from_nanos(nanoseconds);
    }

    Ok(total)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(process: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{process}/status")).context("no such process")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;

    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// A process and those that it has started, at any depth.
pub(crate) fn family(process: u32) -> Result<Vec<u32>> {
    let mut all = vec![process];
    let mut next = 0;
    while let Some(parent) = all.get(next) {
        for thread in fs::read_dir(format!("/proc/{parent}/task")).context("no such process")? {
            // A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(thread?.path().join("children")) else {
                continue;
            };

            for child in text.split_whitespace() {
                all.push(child.parse().context("children")?);
            }
        }

        next += 1;
    }

    Ok(all)
}
