#!/usr/bin/env python3
"""Runs the client cases against a client and reports each.

    python3 conformance/run_client.py COMMAND [ARGUMENT ...]

COMMAND is the client's driver, as README.md describes it: a program that does what the lines of its standard input say,
and tells on its standard output what a caller sees. Nothing but the standard library of Python 3.9 is needed.

Exit codes: 0 all that ran have passed, and at least one ran; 1 one has failed, or none ran; 2 wrong usage, or cases
that are no cases; 3 the driver can't be started.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import queue
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional

from client_runner.case import Case, load_cases, load_client_rows, self_check
from client_runner.case_run import CaseRun
from client_runner.driver import Driver, DriverGone
from runner.connection import Failed
from runner.vector import UsageError


@dataclass
class Outcome:
    """How one case went."""

    case: Case
    verdict: str
    why: str
    seconds: float

    def __str__(self) -> str:
        if self.verdict == "ok":
            return f"ok   {self.case.name}"
        return f"{self.verdict} {self.case.name}: {self.why}"


class Drivers:
    """Processes of the driver. Cases that run side by side have one each; one that has failed a case is ended."""

    def __init__(self, command: List[str]) -> None:
        self.command = command
        self.free: "queue.SimpleQueue[Driver]" = queue.SimpleQueue()

    def take(self) -> Driver:
        """One that is free, or another one."""
        try:
            return self.free.get_nowait()
        except queue.Empty:
            return Driver(self.command)

    def stop(self) -> None:
        """Ends all that are free."""
        while not self.free.empty():
            self.free.get().stop()


def run_one(case: Case, drivers: Drivers, timeout: float) -> Outcome:
    """Runs one case."""
    start = time.monotonic()

    def outcome(verdict: str, why: str) -> Outcome:
        return Outcome(case, verdict, why, time.monotonic() - start)

    try:
        driver = drivers.take()
    except (DriverGone, OSError) as error:
        return outcome("FAIL", str(error))
    lacks = set(case.needs) - set(driver.hello["features"])
    if lacks:
        drivers.free.put(driver)
        return outcome("skip", f"the client has not {' nor '.join(sorted(lacks))}")
    try:
        CaseRun(case, driver, timeout).run()
    except Failed as failed:
        driver.stop()
        return outcome("FAIL", str(failed))
    except Exception as error:  # a defect of the runner must show as a failure, not end the run
        driver.stop()
        return outcome("FAIL", f"the runner has failed: {error!r}")
    drivers.free.put(driver)
    return outcome("ok", "")


def run_all(cases: List[Case], drivers: Drivers, options: argparse.Namespace) -> List[Outcome]:
    """Runs the cases side by side."""
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs) as pool:
        futures = [pool.submit(run_one, case, drivers, options.timeout) for case in cases]
        for future in concurrent.futures.as_completed(futures):
            outcome = future.result()
            if options.no_skip and outcome.verdict == "skip":
                outcome.verdict = "FAIL"
            outcomes.append(outcome)
            print(outcome, flush=True)
    return outcomes


def parse_arguments(arguments: Optional[List[str]]) -> argparse.Namespace:
    """The command line; argparse exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="TEXT", help="run the cases whose name contains TEXT")
    parser.add_argument("--name", metavar="NAME", action="append", help="run the case of this name; repeatable")
    parser.add_argument("--row", metavar="ID", action="append", help="run those that show this row; repeatable")
    parser.add_argument("--file", metavar="NAME", action="append", help="run those of NAME.json; repeatable")
    parser.add_argument("--list", action="store_true", help="list the cases and exit")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="for each thing expected (5)")
    parser.add_argument("--jobs", type=int, default=8, metavar="N", help="how many cases run side by side (8)")
    parser.add_argument("--json", metavar="FILE", help="write the outcomes to FILE as well")
    parser.add_argument("--no-skip", action="store_true", help="count a skipped case as failed")
    parser.add_argument("--self-check", action="store_true", help="check the cases themselves, without a client")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the client's driver")
    options = parser.parse_args(arguments)
    if not options.command and not (options.list or options.self_check):
        parser.error("COMMAND is missing")
    if options.timeout <= 0 or options.jobs < 1:
        parser.error("--timeout and --jobs must be positive")
    return options


def chosen(cases: List[Case], options: argparse.Namespace) -> List[Case]:
    """The cases that the command line asks for."""
    files = [Path(name).stem for name in options.file or ()]
    return [
        case
        for case in cases
        if (not options.only or options.only in case.name)
        and (not options.name or case.name in options.name)
        and (not files or case.file in files)
        and (not options.row or case.row in options.row)
    ]


def report_self_check(cases: List[Case], rows: List[Dict[str, str]]) -> int:
    """Prints what is wrong with the cases, or that nothing is."""
    problems = self_check(cases, rows)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{len(cases)} cases show {len(rows)} rows")
    return 1 if problems else 0


def main(arguments: Optional[List[str]] = None) -> int:
    """Returns the exit code."""
    options = parse_arguments(arguments)
    try:
        cases = load_cases()
        if options.self_check:
            return report_self_check(cases, load_client_rows())
        cases = chosen(cases, options)
        if options.list:
            for case in cases:
                print(f"{case.file:16} {case.row:24} {case.name}")
            return 0
    except UsageError as error:
        print(f"run_client.py: {error}", file=sys.stderr)
        return 2
    drivers = Drivers(options.command)
    try:
        first = drivers.take()
    except (DriverGone, OSError) as error:
        print(f"run_client.py: the driver can't be started: {error}", file=sys.stderr)
        return 3
    print(f"client: {first.hello['client']}", flush=True)
    drivers.free.put(first)
    try:
        outcomes = run_all(cases, drivers, options)
    finally:
        drivers.stop()
    if options.json:
        report = [
            {"name": o.case.name, "row": o.case.row, "verdict": o.verdict, "why": o.why, "seconds": o.seconds}
            for o in outcomes
        ]
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    passed, failed, skipped = (sum(o.verdict == verdict for o in outcomes) for verdict in ("ok", "FAIL", "skip"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
