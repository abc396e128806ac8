#!/usr/bin/env python3
"""Proves the client cases and their runner: they pass with a right client, and fail with each wrong one.

    python3 conformance/check_client_runner.py          # about half a minute on two cores
    python3 conformance/check_client_runner.py --all    # every case against every fault, and the cases that none fails

For each fault of wrong_client.py it runs the cases that must notice it, and demands that run_client.py exits with 1 and
names them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from client_runner.case import Case, load_cases, load_client_rows, self_check
from client_runner.request import IdsInFlight, parse_request
from runner.proof import PATIENCE, Problem, Report, check_faults, demand, prove, run
from wrong_client.faults import FAULTS

HERE = Path(__file__).resolve().parent


def run_cases(driver: List[str], *options: str) -> Report:
    """Runs run_client.py as its users do."""
    return run(str(HERE / "run_client.py"), *options, *driver)


def wrong_client(*arguments: str) -> List[str]:
    """The command of the small client's driver."""
    return [sys.executable, str(HERE / "wrong_client.py"), *arguments]


# ---------------------------------------------------------------------------------------------------------------------
# The runner by itself
# ---------------------------------------------------------------------------------------------------------------------


def check_request_lines() -> None:
    """The runner takes proper lines of a client and no others."""
    proper = [
        b'{"cmdid":0}\n',
        b'{"id":1,"cmdid":4294967295,"params":null,"timeout_ms":0,"credit":5,"oneway":false,"meta":{"a":"b"}}\n',
        b'{"params":{"a":1,"a":2},"cmdid":1,"timestamp":-5,"new":1}\r\n',
    ]
    improper = [
        b"{}\n",
        b"[]\n",
        b'{"cmdid":"0"}\n',
        b'{"cmdid":4294967296}\n',
        b'{"cmdid":0,"cmdid":0}\n',
        b'{"id":1.0,"cmdid":0}\n',
        b'{"id":9007199254740992,"cmdid":0}\n',
        b'{"id":"1","cmdid":0}\n',
        b'{"cmdid":0,"timeout_ms":null}\n',
        b'{"cmdid":0,"timeout_ms":-1}\n',
        b'{"cmdid":0,"oneway":1}\n',
        b'{"cmdid":0,"meta":{"a":1}}\n',
        b'{"cmdid":0,"params":NaN}\n',
        b'{"cmdid":0,"params":"\xff"}\n',
        b'{"cmdid":0}{"cmdid":0}\n',
        b'{"cmdid":0,"params":"' + b"x" * 1_048_576 + b'"}\n',
    ]
    for raw in proper + improper:
        try:
            parse_request(raw)
            taken = True
        except (ValueError, RecursionError):
            taken = False
        demand(taken == (raw in proper), f"{raw[:80]!r} is {'taken' if taken else 'refused'}")


def check_ids() -> None:
    """An id is in flight until its reply, items do not end it, and cancels of what is over are needless."""
    ids = IdsInFlight()
    ids.note_request({"id": 1, "cmdid": 100})
    ids.note_sent(b'{"id":1,"code":0,"data":1,"more":true}\n')
    try:
        ids.note_request({"id": 1, "cmdid": 100})
        raise Problem("an id that is in flight is taken")
    except ValueError:
        pass
    demand(not ids.is_needless({"cmdid": 4, "params": {"id": 1}}), "a cancel of a call in flight is needless")
    ids.note_sent(b'{"id":1,"code":0,')
    demand(ids.is_needless({"cmdid": 4, "params": {"id": 1}}), "a reply that breaks off does not end its call")
    ids.note_request({"id": 1, "cmdid": 100})


def check_self_check() -> None:
    """--self-check finds what can be wrong with cases."""
    cases, rows = load_cases(), load_client_rows()
    demand(not self_check(cases, rows), "the cases themselves are not as they must be")
    begin: Dict[str, Any] = {"call": {"as": "one", "cmdid": 100}}
    good_steps: List[Dict[str, Any]] = [begin, {"accept": "a"}, {"expect_request": {"cmdid": 100}}]

    def wrong(expected: str, **changes: Any) -> None:
        fields = {"file": "x", "name": "a-name", "row": rows[0]["id"], "steps": good_steps, **changes}
        problems = self_check([*cases, Case(**fields)], rows)
        demand(any(expected in problem for problem in problems), f"{changes}: {problems}")

    wrong("repeated", name=cases[0].name)
    wrong("kebab-case", name="Not A Name")
    wrong("no row", row="no.such.row")
    wrong("no client has", needs=["telepathy"])
    wrong("nothing is expected", steps=[begin])
    wrong("exactly one", steps=[{"sned": "\n"}])
    wrong("has no member", steps=[begin, {"accept": "a", "times": 2}, {"expect_closed": True}])
    wrong("no connection", steps=[begin, {"expect_request": {"cmdid": 100}}])
    wrong("no server", steps=[*good_steps, {"listen": "s2"}])
    wrong("nothing was begun", steps=[*good_steps, {"see": {"two": {"data": 1}}}])
    wrong("nothing sets", steps=[*good_steps, {"send": "${other}\n"}])
    wrong("no request is known", steps=[*good_steps, {"expect_request": {"params": {"id": {"$is": "other"}}}}])
    wrong("no such pattern", steps=[*good_steps, {"see": {"one": {"$nonsense": 1}}}])
    demand(any("at least" in problem for problem in self_check(cases[:100], rows)), "100 cases are enough")


def check_command_line() -> None:
    """The exit codes, and the options that choose cases."""
    demand(run_cases([]).exit_code == 2, "no command is no wrong usage")
    demand(run_cases(["true"], "--jobs", "0").exit_code == 2, "no jobs are no wrong usage")
    demand(run_cases(["/no/such/program"]).exit_code == 3, "a driver that is not there is started")
    demand(run_cases(["echo", "nonsense"]).exit_code == 3, "a driver that writes nonsense is started")
    demand(run_cases([], "--self-check").exit_code == 0, "--self-check fails")
    listed = run_cases([], "--list", "--file", "calls.json", "--only", "oneway").output
    demand(3 < len(listed.splitlines()) < 10, "--file and --only do not choose together")
    report = run_cases(wrong_client(), "--file", "endpoints", "--no-skip")
    demand(report.exit_code == 1 and not report.skipped, "--no-skip skips")
    demand(run_cases(wrong_client(), "--only", "no-such-case").exit_code == 1, "a run of nothing passes")
    quits = [sys.executable, "-c", 'print(\'{"driver":1,"client":"quits","features":[]}\', flush=True)']
    demand(run_cases(quits, "--only", "a-call-is-a-line").exit_code == 1, "a driver that quits passes")


# ---------------------------------------------------------------------------------------------------------------------
# The cases against clients
# ---------------------------------------------------------------------------------------------------------------------


def check_right_client() -> None:
    """All pass that the client has the features for."""
    report = run_cases(wrong_client(), PATIENCE)
    demand(report.exit_code == 0, f"a right client fails:\n{report.failures()}")
    demand(len(report.skipped) < 30, "most cases are skipped")


def check_wrong_client(fault: str, everything: bool) -> Tuple[float, Report]:
    """The cases that are about the fault fail, and run_client.py says so."""
    start = time.monotonic()
    expected = set(FAULTS[fault].cases)
    chosen = [] if everything else [f"--name={name}" for name in expected]
    report = run_cases(wrong_client("--wrong", fault), *chosen, "--timeout=2")
    demand(report.exit_code == 1, f"{fault}: run_client.py exits with {report.exit_code}: {report.output}")
    missed = expected - report.failed
    demand(not missed, f"{fault}: not noticed by {sorted(missed)}")
    return time.monotonic() - start, report


def check_wrong_clients(everything: bool) -> Iterator[str]:
    """All faults; yields a line about each."""
    unknown = {name for fault in FAULTS.values() for name in fault.cases} - {case.name for case in load_cases()}
    demand(not unknown, f"there are no cases {sorted(unknown)}")
    names = {case.name for case in load_cases()}
    yield from check_faults(FAULTS, lambda fault: check_wrong_client(fault, everything), names, "cases", everything)


def main() -> int:
    """Returns the exit code."""
    checks = (check_request_lines, check_ids, check_self_check, check_command_line, check_right_client)
    return prove(__doc__, "cases", checks, check_wrong_clients)


if __name__ == "__main__":
    sys.exit(main())
