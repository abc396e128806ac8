#!/usr/bin/env python3
"""Runs the conformance vectors against a server and reports each.

    python3 conformance/run.py HOST:PORT
    python3 conformance/run.py unix:PATH

Nothing but the standard library of Python 3.9 is needed. README.md describes the vectors and what a runner has to do.

Exit codes: 0 all that ran have passed, and at least one ran; 1 one has failed, or none ran; 2 wrong usage, or vectors
that are no vectors; 3 the server can't be reached.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import List, Optional, Set

from runner.connection import Connection, Failed, Target
from runner.report import Outcome, add_options, check_options, chosen, print_list, report, run_side_by_side
from runner.vector import UsageError, Vector, load_rows, load_vectors, self_check
from runner.vector_run import VectorRun


# The least time for the list of commands: without it, vectors are skipped that a server which is only slow can pass.
DESCRIBE_S_MIN = 30.0


def commands_of(target: Target, timeout: float) -> Set[int]:
    """The commands that the server says it has; none where it does not answer as it should.

    Raises `OSError` where it can't be reached.
    """
    connection = Connection(target, timeout)
    try:
        connection.send(b'{"id":1,"cmdid":1}\n')
        _, reply = connection.next_message()
        return {command["cmdid"] for command in reply["data"]["commands"]}
    except (Failed, KeyError, TypeError) as error:
        print(f"note: describe did not list the server's commands: {error}")
        return set()
    finally:
        connection.close()


def takes_http_calls(target: Target, timeout: float) -> bool:
    """Whether the server takes calls over HTTP."""
    connection = Connection(target, timeout)
    try:
        connection.send(
            b"POST /0 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
        )
        return connection.to_end().startswith(b"HTTP/1.1 200")
    except Failed:
        return False
    finally:
        connection.close()


def run_one(vector: Vector, target: Target, options: argparse.Namespace, skip: Optional[str]) -> Outcome:
    """Runs one vector, or tells why it was not run."""
    if skip is not None:
        return Outcome(vector, "skip", skip, 0.0)
    start = time.monotonic()
    try:
        VectorRun(vector, target, options.timeout, options.token).run()
    except Failed as failed:
        return Outcome(vector, "FAIL", str(failed), time.monotonic() - start)
    except Exception as error:  # a defect of the runner must show as a failure, not end the run
        return Outcome(vector, "FAIL", f"the runner has failed: {error!r}", time.monotonic() - start)
    return Outcome(vector, "ok", "", time.monotonic() - start)


def why_skip(vector: Vector, commands: Set[int], takes_http: bool, options: argparse.Namespace) -> Optional[str]:
    """Why a vector can't be run here, or None where it can."""
    if vector.http_calls and not takes_http:
        return "server takes no calls over HTTP"
    for cmdid in vector.needs:
        if cmdid not in commands:
            return f"server has no command {cmdid}"
    if vector.token != (options.token is not None):
        return "no --token was given" if vector.token else "the server wants authentication, as --token says"
    return "slow, and --no-slow was given" if vector.slow and options.no_slow else None


def run_all(vectors: List[Vector], target: Target, options: argparse.Namespace) -> List[Outcome]:
    """Runs the vectors side by side, the slow ones first: most of their time is waiting."""
    # One that wants authentication does not tell them before that.
    commands = set() if options.token is not None else commands_of(target, max(options.timeout, DESCRIBE_S_MIN))
    takes_http = any(vector.http_calls for vector in vectors) and takes_http_calls(target, options.timeout)
    runs = []
    for vector in sorted(vectors, key=lambda vector: not vector.slow):
        skip = why_skip(vector, commands, takes_http, options)
        runs.append(partial(run_one, vector, target, options, skip))
    return run_side_by_side(runs, options)


def parse_arguments(arguments: Optional[List[str]]) -> argparse.Namespace:
    """The command line; argparse exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", metavar="HOST:PORT", help="the server, or unix:PATH")
    add_options(parser, "vectors", "server")
    parser.add_argument("--token", metavar="TOKEN", help="run those for a server that wants authentication, which knows this token")
    parser.add_argument("--no-slow", action="store_true", help="skip those that wait for a time limit of the server")
    options = parser.parse_args(arguments)
    if options.target is None and not (options.list or options.self_check):
        parser.error("HOST:PORT is missing")
    check_options(parser, options)
    return options


def report_self_check(vectors: List[Vector]) -> int:
    """Prints what is wrong with the vectors, or that nothing is."""
    rows = load_rows()
    problems = self_check(vectors, rows)
    for problem in problems:
        print(problem)
    if problems:
        return 1
    not_here = sum("not_here" in row for row in rows)
    print(f"{len(vectors)} vectors show {len(rows) - not_here} rows; {not_here} rows can't be shown here")
    return 0


def main(arguments: Optional[List[str]] = None) -> int:
    """Returns the exit code."""
    options = parse_arguments(arguments)
    try:
        vectors = load_vectors()
        if options.self_check:
            return report_self_check(vectors)
        vectors = chosen(vectors, options)
        if options.list:
            print_list(vectors)
            return 0
        target = Target.parse(options.target)
    except UsageError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    try:
        outcomes = run_all(vectors, target, options)
    except OSError as error:
        print(f"run.py: {options.target} can't be reached: {error}", file=sys.stderr)
        return 3
    return report(outcomes, options)


if __name__ == "__main__":
    sys.exit(main())
