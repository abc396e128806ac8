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
import queue
import sys
import time
from functools import partial
from typing import Dict, List, Optional

from client_runner.case import Case, load_cases, load_client_rows, self_check
from client_runner.case_run import CaseRun
from client_runner.driver import Driver, DriverGone
from runner.connection import Failed
from runner.report import Outcome, add_options, check_options, chosen, print_list, report, run_side_by_side
from runner.vector import UsageError


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


def parse_arguments(arguments: Optional[List[str]]) -> argparse.Namespace:
    """The command line; argparse exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "cases", "client")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the client's driver")
    options = parser.parse_args(arguments)
    if not options.command and not (options.list or options.self_check):
        parser.error("COMMAND is missing")
    check_options(parser, options)
    return options


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
            print_list(cases)
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
        runs = [partial(run_one, case, drivers, options.timeout) for case in cases]
        outcomes = run_side_by_side(runs, options)
    finally:
        drivers.stop()
    return report(outcomes, options)


if __name__ == "__main__":
    sys.exit(main())
