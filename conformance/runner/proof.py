"""What the two proofs have in common: they run a runner as its users do, and demand what it has to say."""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import subprocess
import sys
import time
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Set, Tuple


# The time of a server or client that is right, on a machine that is busy with other things. None of it is waited for
# where it is not needed.
PATIENCE = "--timeout=60"


class Problem(Exception):
    """Something is not as it must be."""


def demand(condition: bool, what: str) -> None:
    """Raises `Problem` where the condition does not hold; `assert` would be silent under -O."""
    if not condition:
        raise Problem(what)


class Report(NamedTuple):
    """What a run of a runner has said."""

    exit_code: int
    passed: Set[str]
    failed: Set[str]
    skipped: Set[str]
    output: str

    def failures(self) -> str:
        """The lines that are about failures, or all of them."""
        return "\n".join(line for line in self.output.splitlines() if line.startswith("FAIL")) or self.output


def run(script: str, *arguments: str) -> Report:
    """Runs a runner, and reads its report from its output."""
    done = subprocess.run(
        [sys.executable, script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    verdicts: Dict[str, Set[str]] = {"ok": set(), "FAIL": set(), "skip": set()}
    for line in done.stdout.splitlines():
        verdict, _, rest = line.partition(" ")
        if verdict in verdicts:
            verdicts[verdict].add(rest.strip().split(":")[0])
    report = Report(done.returncode, verdicts["ok"], verdicts["FAIL"], verdicts["skip"], done.stdout)
    if done.returncode in (0, 1) and not {"--list", "--self-check"} & set(arguments):
        counts = f"{len(report.passed)} passed, {len(report.failed)} failed, {len(report.skipped)} skipped"
        demand(done.stdout.splitlines()[-1] == counts, f"the last line is not {counts!r}: {done.stdout[-200:]}")
    return report


def check_faults(
    faults: Iterable[str],
    check: Callable[[str], Tuple[float, Report]],
    names: Set[str],
    what: str,
    everything: bool,
) -> Iterator[str]:
    """Checks all faults side by side, in this order; yields a line about each, and where everything was
    run, what none of them fails."""
    never_failed = set(names)
    with concurrent.futures.ThreadPoolExecutor(max_workers=(os.cpu_count() or 1) + 2) as pool:
        futures = {pool.submit(check, fault): fault for fault in faults}
        for future in concurrent.futures.as_completed(futures):
            seconds, report = future.result()
            never_failed -= report.failed
            count = len(report.failed | report.passed)
            yield f"wrong {futures[future]}: {len(report.failed)} failed of {count}, {seconds:.1f} s"
    if everything:
        yield f"no fault fails {len(never_failed)} {what}: {' '.join(sorted(never_failed))}"


def prove(doc: str, what: str, checks: Iterable[Callable[[], None]], faults: Callable[[bool], Iterator[str]]) -> int:
    """The program: all checks, then all faults. Returns 0 where everything is as it must be, and 1 at the first thing that
    is not."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help=f"run all {what} against every fault, and name those that none fails")
    everything: bool = parser.parse_args().all
    start = time.monotonic()
    problems: List[Problem] = []
    try:
        for check in checks:
            check()
            print(f"ok   {check.__name__}: {check.__doc__}", flush=True)
        for line in faults(everything):
            print(f"ok   {line}", flush=True)
    except Problem as found:
        problems.append(found)
        print(f"FAIL {found}")
    print(f"{time.monotonic() - start:.0f} s")
    return 1 if problems else 0
