#!/usr/bin/env python3
"""Proves the vectors and their runner: they pass against a right server, and fail against each wrong one.

    python3 conformance/check_runner.py          # about 70 s on two cores
    python3 conformance/check_runner.py --all    # every vector against every fault: some minutes

For each fault of wrong_server.py it runs the files of the vectors that must notice it, and demands that run.py exits
with 1 and names those vectors. Nothing here waits by the clock: a server says on its first line where it listens.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from runner import reply
from runner.proof import PATIENCE, Report, check_faults, demand, prove, run
from runner.vector import Vector, load_rows, load_vectors, self_check
from wrong.faults import FAULTS

HERE = Path(__file__).resolve().parent
# What the servers know that want one.
TOKEN = "a token of check_runner.py"

# The vectors that must fail, for each fault. Others may fail as well: a fault seldom comes alone.
EXPECTED: Dict[str, List[str]] = {
    "always-says-goaway": ["a-peer-without-ids-is-sent-no-notice-of-a-breach"],
    "answers-bad-lines-after-a-breach": ["bad-lines-after-a-breach-are-dropped"],
    "answers-cancel": ["cancel-ends-a-call-with-code-1", "cancel-of-an-unknown-id-is-ignored"],
    "answers-heartbeats": ["an-empty-line-is-ignored", "an-empty-line-with-a-carriage-return-is-ignored"],
    "answers-late-twice": ["a-call-past-its-timeout-has-one-reply"],
    "answers-oneway": ["a-oneway-call-has-no-reply", "a-oneway-call-that-fails-has-no-reply"],
    "answers-other-params": ["a-key-with-other-params-is-code-6"],
    "answers-tls": ["a-tls-hello-is-closed-without-a-reply"],
    "bad-lines-lose-their-id": ["a-broken-line-is-answered-with-the-id-before-the-break"],
    "closes-after-fifteen": ["fifteen-bad-lines-in-a-row-do-not-close-the-connection"],
    "closes-all-after-a-reset": ["a-reset-with-calls-in-flight-leaves-other-connections-alone"],
    "closes-at-half-close": ["calls-that-still-run-are-answered-behind-the-end-of-the-stream"],
    "closes-idle": ["a-connection-that-never-speaks-is-kept", "a-connection-between-two-lines-is-kept"],
    "closes-on-bad-id": ["an-id-of-a-string-is-refused-and-the-connection-goes-on"],
    "closes-on-bad-line": ["a-line-of-a-word-is-refused", "the-line-behind-a-bad-one-is-clean"],
    "closes-on-unknown-cmdid": ["the-unknown-cmdid-99-is-named"],
    "closes-over-limit": ["a-line-over-the-limit-behind-a-good-one-is-skipped", "calls-beside-a-line-over-the-limit-are-answered"],
    "code-last": ["id-stands-first-and-code-second", "ping-echoes-its-params"],
    "counts-all-bad-lines": ["a-good-line-begins-the-count-again"],
    "data-of-nothing": ["data-is-left-out-where-there-is-nothing", "an-empty-stream-is-a-line-without-data"],
    "delays-multiplexed": ["an-ordered-call-never-delays-a-multiplexed-one", "multiplexed-calls-run-side-by-side"],
    "depth-127": ["128-levels-of-nesting-are-taken"],
    "drip-renews-timeout": ["a-frame-that-drips-is-refused-at-the-same-time"],
    "drops-details": ["details-may-be-an-object"],
    "drops-null-data": ["data-of-null-is-data"],
    "drops-rejected": ["rejected-is-true-where-the-call-was-not-run", "retry-after-ms-is-passed-on"],
    "end-carries-data": ["a-stream-is-items-and-a-line-without-data"],
    "ends-lines-with-crlf": ["a-ping-is-answered-with-one-line"],
    "executes-broken-lines": ["a-line-that-breaks-behind-its-params-is-not-executed"],
    "executes-http-body": ["a-post-of-a-browser-is-refused-and-its-body-is-not-executed"],
    "executes-late-calls": ["a-timeout-of-zero-is-past-already"],
    "executes-part-line": ["a-part-line-that-is-whole-json-is-not-executed"],
    "float-ids": ["an-id-of-a-float-is-refused-and-the-connection-goes-on", "a-line-with-a-wrong-id-is-not-executed"],
    "forgets-its-age": ["a-repetition-that-is-older-than-the-server-is-code-9"],
    "forgets-id-in-flight": ["an-id-that-is-still-in-flight-closes-the-connection"],
    "forgives-first-line": ["a-bad-first-line-closes-the-connection", "a-line-behind-a-bad-first-line-is-not-executed"],
    "forgives-over-limit": ["a-line-over-the-limit-counts-among-the-sixteen-bad-ones"],
    "forgives-wrong-types": ["a-timeout-ms-of-a-string-is-refused", "meta-of-an-array-is-refused"],
    "grants-credit-twice": ["credit-lets-a-stream-go-on"],
    "guesses-params": ["a-missing-param-is-named", "a-param-of-the-wrong-type-is-named"],
    "ignores-cancel": ["cancel-ends-a-call-with-code-1"],
    "ignores-credit": ["a-stream-without-credit-waits", "a-stream-sends-as-many-items-as-it-has-credit"],
    "ignores-reply-limit": ["a-reply-over-the-limit-is-replaced"],
    "ignores-timeouts": ["a-call-past-its-timeout-ends-with-code-4"],
    "keeps-ids": ["an-id-is-free-after-its-reply", "an-id-is-free-after-a-panic"],
    "keeps-no-failure": ["a-failure-that-may-have-run-is-kept"],
    "keeps-what-did-not-run": ["a-failure-that-did-not-run-is-not-kept"],
    "keeps-part-frames": ["a-frame-that-is-not-ended-in-time-is-refused"],
    "lax-commas": ["a-line-with-a-comma-behind-the-last-member-is-refused"],
    "lax-json": ["a-line-with-nan-is-refused", "a-line-with-a-number-with-a-leading-zero-is-refused"],
    "lax-strings": ["a-line-with-a-raw-tab-in-a-string-is-refused", "a-line-with-an-unknown-escape-is-refused"],
    "lax-utf8": ["invalid-utf8-in-an-unknown-field-is-refused", "a-line-with-invalid-utf8-is-not-executed"],
    "limit-off-by-one": ["a-line-of-exactly-the-limit-is-taken"],
    "never-counts-bad-lines": ["sixteen-bad-lines-in-a-row-close-the-connection"],
    "no-depth-limit": ["129-levels-of-nesting-are-refused"],
    "no-line-limit": ["a-line-one-byte-over-the-limit-is-refused", "a-line-that-never-ends-is-refused-at-the-limit"],
    "no-limit-of-streams": ["a-call-that-finds-all-places-taken-by-streams-is-rejected"],
    "null-is-absent": ["a-credit-of-null-is-refused"],
    "python-integers": ["a-cmdid-as-a-string-of-an-underscore-between-digits-is-refused"],
    "raw-keys": ["escapes-in-the-names-of-fields-are-resolved"],
    "reader-waits-for-writer": ["multiplexed-calls-run-side-by-side"],
    "reads-nested-id": ["an-id-inside-params-is-not-the-id-of-a-broken-line"],
    "recodes-numbers": ["a-number-past-every-double-is-echoed-as-it-came"],
    "refuses-crlf": ["an-empty-line-with-a-carriage-return-is-ignored"],
    "refuses-unknown-fields": ["unknown-fields-are-ignored"],
    "rejects-over-limit": ["a-line-one-byte-over-the-limit-is-refused"],
    "replaces-surrogates": ["a-lone-high-surrogate-is-echoed-as-it-came"],
    "resets-over-http": ["a-post-with-a-long-body-is-refused-without-a-reset"],
    "resets-over-limit": ["a-line-far-over-the-limit-is-refused-and-read-to-its-end"],
    "runs-beside-itself": ["a-repetition-of-a-call-that-runs-waits-for-its-result"],
    "runs-calls-after-a-breach": ["a-call-that-arrives-after-a-breach-is-rejected"],
    "runs-repetitions": ["a-repeated-call-is-answered-and-not-run-again"],
    "says-no-goaway-at-a-breach": ["a-call-that-arrives-after-a-breach-is-rejected"],
    "segments-are-lines": ["a-line-in-two-segments-is-one-line"],
    "shows-panics": ["a-panic-has-code-13-and-keeps-its-secret"],
    "shuffles-ordered": ["ordered-calls-are-answered-in-their-order", "ordered-calls-run-one-after-another"],
    "stops-at-a-breach": ["a-call-that-arrives-after-a-breach-is-rejected"],
    "strict-integers": ["cmdid-and-timestamp-as-strings-of-digits", "cmdid-and-timestamp-as-floats-are-truncated"],
    "swaps-error-order": ["a-bad-line-without-an-id-is-answered-in-the-order-of-the-ordered-calls"],
    "takes-bom": ["a-byte-order-mark-before-a-later-line-is-refused"],
    "takes-long-keys": ["a-key-of-more-than-128-bytes-is-code-3"],
    "takes-positional-params": ["params-by-position-are-refused", "params-of-a-service-by-position-are-refused"],
    "takes-repeated-fields": ["a-repeated-cmdid-is-refused", "a-repeated-id-is-refused-without-an-id"],
    "takes-two-objects": ["two-objects-on-a-line-are-refused", "neither-of-two-objects-on-a-line-is-executed"],
    "tells-no-times": ["a-call-that-asks-is-told-how-long-it-ran", "a-failure-tells-its-times"],
    "tells-times-unasked": ["a-call-that-does-not-ask-is-told-no-times"],
    "timestamps-are-deadlines": ["an-old-timestamp-is-no-deadline"],
    "waits-behind-the-end": ["a-stream-that-waits-for-credit-ends-with-the-client-s-stream"],
    "waits-without-an-id": ["an-ordered-stream-that-has-used-its-credit-up-ends"],
    "wraps-cmdid": ["a-cmdid-past-the-largest-is-refused"],
    "bears-floods": ["a-flood-of-empty-lines-is-ended-with-code-8"],
    "authenticates-as-another": [
        "authenticate-health-and-describe-name-the-same-instance",
        "authenticate-names-the-same-instance-on-every-connection",
    ],
    "serves-strangers": ["health-before-authentication-is-refused", "authentication-holds-for-its-connection-alone"],
    "shows-wrong-tokens": ["a-wrong-token-is-code-16-and-another-try-may-follow"],
    "changes-its-name": ["health-and-describe-name-the-same-instance", "every-connection-is-told-the-same-instance"],
    "compares-values": ["params-are-the-same-where-their-bytes-are"],
    "cursors-stay": ["a-cursor-moves-on-though-nothing-passes-the-filters"],
    "levels-are-exact": ["a-level-takes-that-level-and-graver-ones"],
    "refuses-what-could-wait": ["calls-past-the-places-of-a-connection-wait-and-are-all-answered"],
    "takes-empty-keys": ["a-key-of-no-bytes-is-code-3"],
    "takes-long-filters": ["a-part-of-more-than-1024-bytes-is-refused", "a-trace-of-more-than-256-bytes-is-refused"],
    "appends-repetitions": ["an-append-with-the-key-of-another-is-answered-with-its-number-and-not-written"],
    "forgets-batches": ["a-batch-below-those-that-are-remembered-is-code-1000"],
    "takes-other-batches": ["other-entries-under-the-number-of-a-batch-are-code-1001"],
    "writes-batches-again": ["a-batch-that-is-sent-again-is-a-duplicate-and-is-not-written"],
    "writes-batches-in-part": ["a-batch-with-a-wrong-entry-is-not-written-at-all"],
}


class Server:
    """A wrong_server.py of its own, on a free port or a Unix socket, for as long as the `with` block lasts."""

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments

    def __enter__(self) -> str:
        command = [sys.executable, str(HERE / "wrong_server.py"), *self.arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None  # a pipe was asked for
        line = self.process.stdout.readline()
        demand(line.startswith("listening on "), f"the server did not start: {line!r}")
        return line.split()[-1]

    def __exit__(self, *_: Any) -> None:
        self.process.kill()
        self.process.communicate()


def run_vectors(*arguments: str) -> Report:
    """Runs run.py as its users do."""
    return run(str(HERE / "run.py"), *arguments)


# ---------------------------------------------------------------------------------------------------------------------
# The runner by itself
# ---------------------------------------------------------------------------------------------------------------------


def check_patterns() -> None:
    """Each kind of pattern fits only what it should."""
    cases: List[Tuple[Any, str, bool]] = [
        ({"a": 1}, '{"a":1}', True),
        ({"a": 1}, '{"a":1.0}', True),
        ({"a": 1}, '{"a":1,"b":2}', False),
        ({"a": 1, "b": 2}, '{"a":1}', False),
        ({"a": 1}, '{"a":true}', False),
        ({"a": True}, '{"a":1}', False),
        ({"a": 0}, '{"a":false}', False),
        ({"a": None}, '{"a":null}', True),
        ({"a": None}, '{"a":0}', False),
        ({"a": "x"}, '{"a":"X"}', False),
        ([1, 2], "[1,2]", True),
        ([1, 2], "[2,1]", False),
        ([1], "[1,1]", False),
        ({"$any": True}, "null", True),
        ({"$type": "integer"}, "5", True),
        ({"$type": "integer"}, "5.0", False),
        ({"$type": "integer"}, "true", False),
        ({"$type": "number"}, "5", True),
        ({"$type": "object"}, "{}", True),
        ({"$type": "object"}, "[]", False),
        ({"$contains": "CMDID"}, '"the cmdid is"', True),
        ({"$contains": "cmdid"}, '"the command is"', False),
        ({"$contains": "5"}, "5", False),
        ({"$regex": "^a+$"}, '"aaa"', True),
        ({"$regex": "^a+$"}, '"aab"', False),
        ({"$includes": {"a": 1}}, '{"a":1,"b":2}', True),
        ({"$includes": {"a": 1}}, '{"b":2}', False),
        ({"$one_of": [1, 2]}, "2", True),
        ({"$one_of": [1, 2]}, "3", False),
        ({"$each": {"$type": "string"}}, '["a","b"]', True),
        ({"$each": {"$type": "string"}}, '["a",5]', False),
        ({"$has": [2, 1]}, "[1,2,3]", True),
        ({"$has": [4]}, "[1,2,3]", False),
        ({"$length": 3}, '"äöü"', True),
        ({"$length": 3}, "[1,2]", False),
        ({"$between": [1, 3]}, "3", True),
        ({"$between": [1, 3]}, "4", False),
        ({"$n": True}, "7", True),
        ({"$n": True}, "8", False),
        ("${run}!", '"token!"', True),
        ("${run}!", '"${run}!"', False),
    ]
    context = reply.Context()
    context.values["run"] = "token"
    context.n = 7
    for pattern, text, fits in cases:
        reason = reply.mismatch(pattern, reply.DECODER.decode(text), context)
        demand((reason is None) == fits, f"{pattern} against {text}: {reason}")


def check_reply_lines() -> None:
    """The runner takes proper lines of a server and no others."""
    proper = [
        b'{"code":0}\n',
        b'{"code":0,"data":null}\n',
        b'{"id":7,"code":0,"data":{"a":1,"a":2},"more":true}\n',
        b'{"id":7,"code":3,"message":"m","details":null,"rejected":true,"retry_after_ms":0}\n',
        b'{"event":"goaway","message":"m"}\n',
        b'{"code":0,"data":1e400}\n',
        b'{"code":0,"data":"\\ud800"}\n',
    ]
    improper = [
        b'{"code":0}',
        b'{"code":0}\r\n',
        b' {"code":0}\n',
        b'{"code":0} \n',
        b'{"code":0}{"code":0}\n',
        b'[{"code":0}]\n',
        b"{}\n",
        b'{"code":0,}\n',
        b'{"code":0,"code":0}\n',
        b'{"code":0,"data":NaN}\n',
        b'{"code":0,"data":"\xff"}\n',
        b'{"code":0,"data":"\t"}\n',
        b'{"data":1,"code":0}\n',
        b'{"code":0,"id":7}\n',
        b'{"id":7,"data":1,"code":0}\n',
        b'{"id":7.0,"code":0}\n',
        b'{"id":"7","code":0}\n',
        b'{"id":null,"code":0}\n',
        b'{"code":"0"}\n',
        b'{"code":-1,"message":"m"}\n',
        b'{"code":3}\n',
        b'{"code":3,"message":""}\n',
        b'{"code":3,"message":5}\n',
        b'{"code":3,"message":"m","data":1}\n',
        b'{"code":0,"message":"m"}\n',
        b'{"code":0,"rejected":true}\n',
        b'{"code":0,"data":1,"more":false}\n',
        b'{"code":0,"more":true}\n',
        b'{"code":8,"message":"m","rejected":false}\n',
        b'{"code":8,"message":"m","retry_after_ms":1.5}\n',
        b'{"code":0,"data":' + b"[" * 100_000 + b"\n",
    ]
    for raw in proper + improper:
        try:
            reply.parse_reply(raw)
            taken = True
        except (ValueError, RecursionError):
            taken = False
        demand(taken == (raw in proper), f"{raw[:80]!r} is {'taken' if taken else 'refused'}")


def check_self_check() -> None:
    """--self-check finds what can be wrong with vectors."""
    vectors, rows = load_vectors(), load_rows()
    demand(not self_check(vectors, rows), "the vectors themselves are not as they must be")
    good_steps: List[Dict[str, Any]] = [{"send": "\n"}, {"expect_open": True}]

    def wrong(expected: str, **changes: Any) -> None:
        fields = {"file": "x", "name": "a-name", "row": rows[0]["id"], "steps": good_steps, **changes}
        problems = self_check([*vectors, Vector(**fields)], rows)
        demand(any(expected in problem for problem in problems), f"{changes}: {problems}")

    wrong("repeated", name=vectors[0].name)
    wrong("kebab-case", name="Not A Name")
    wrong("no row", row="no.such.row")
    wrong("not_here", row=next(row["id"] for row in rows if "not_here" in row))
    wrong("nothing is expected", steps=[{"send": "\n"}])
    wrong("exactly one", steps=[{"sned": "\n"}])
    wrong("exactly one", steps=[{"send": "\n", "expect_open": True}])
    wrong("has no member", steps=[{"expect_open": True, "times": 2}])
    wrong("is not open", steps=[{"expect_open": True, "on": "b"}])
    wrong("is closed already", steps=[{"expect_closed": True}, {"expect_open": True}])
    wrong("marked slow", steps=[{"pause_ms": 5}, {"expect_open": True}])
    wrong("no such pattern", steps=[{"expect": {"$nonsense": 1}}])
    wrong("no such type", steps=[{"expect": {"a": {"$type": "int"}}}])
    wrong("nothing sets", steps=[{"send": "${one}\n"}, {"expect_open": True}])
    wrong("not every language", steps=[{"expect": {"a": 2**60}}])
    wrong("not every language", steps=[{"expect": {"a": "\ud800"}}])
    demand(any("at least" in problem for problem in self_check(vectors[:100], rows)), "100 vectors are enough")
    fewer = [vector for vector in vectors if vector.row != rows[0]["id"]]
    demand(any("no vector shows" in problem for problem in self_check(fewer, rows)), "a row may be without vectors")


def check_command_line() -> None:
    """The exit codes, and the options that choose vectors."""
    demand(run_vectors().exit_code == 2, "no target is no wrong usage")
    demand(run_vectors("nonsense").exit_code == 2, "a target without a port is no wrong usage")
    demand(run_vectors("127.0.0.1:1", "--jobs", "0").exit_code == 2, "no jobs are no wrong usage")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{listener.getsockname()[1]}"  # bound, but not listening: it refuses connections
        demand(run_vectors(target).exit_code == 3, "a server that is not there is reached")
    demand(run_vectors("--self-check").exit_code == 0, "--self-check fails")
    listed = run_vectors("--list", "--file", "framing.json", "--only", "heartbeat").output
    demand(listed == "", "--only chooses what does not contain its text")
    listed = run_vectors("--list", "--file", "framing.json", "--only", "byte-by-byte").output
    demand(3 < len(listed.splitlines()) < 10, "--file and --only do not choose together")
    with Server("--built-in-only") as target:
        report = run_vectors(target, PATIENCE, "--file", "builtins")
        demand(report.exit_code == 0 and bool(report.skipped), f"vectors without their commands: {report.output}")
        demand("server has no command 10001" in report.output, "a skip does not name the command")
        report = run_vectors(target, PATIENCE, "--file", "builtins", "--no-skip")
        demand(report.exit_code == 1 and not report.skipped, "--no-skip skips")
        demand(run_vectors(target, "--only", "no-such-vector").exit_code == 1, "a run of nothing passes")


# ---------------------------------------------------------------------------------------------------------------------
# The vectors against servers
# ---------------------------------------------------------------------------------------------------------------------


def check_right_server() -> None:
    """All pass; and again against the same living server; and over a Unix socket."""
    with Server() as target, tempfile.TemporaryDirectory() as directory:
        report_file = os.path.join(directory, "report.json")
        report = run_vectors(target, PATIENCE, "--json", report_file)
        demand(report.exit_code == 0, f"a right server fails:\n{report.failures()}")
        # It takes no calls over HTTP, wants no token, and has all else.
        not_for_it = {vector.name for vector in load_vectors() if vector.file == "http-calls" or vector.token}
        demand(report.skipped <= not_for_it, f"a right server skips {sorted(report.skipped - not_for_it)}")
        outcomes = json.loads(Path(report_file).read_text(encoding="utf-8"))
        demand({entry["name"] for entry in outcomes} == report.passed | report.skipped, "--json has other vectors than the report")
        again = run_vectors(target, PATIENCE, "--no-slow")
        demand(again.exit_code == 0, f"a right server fails the second time:\n{again.failures()}")
    with Server("--token", TOKEN) as target:
        report = run_vectors(target, PATIENCE, "--no-skip", "--file", "authentication", "--token", TOKEN)
        demand(report.exit_code == 0, f"a right server that wants a token fails:\n{report.failures()}")
        report = run_vectors(target, PATIENCE, "--token", TOKEN)
        demand(report.exit_code == 0 and bool(report.skipped), "--token runs vectors for other servers")
    with tempfile.TemporaryDirectory() as directory, Server("--unix", os.path.join(directory, "socket")) as target:
        report = run_vectors(target, PATIENCE, "--no-skip", "--file", "framing", "--file", "closing")
        demand(report.exit_code == 0, f"a right server fails on a Unix socket:\n{report.failures()}")


def check_wrong_server(fault: str, everything: bool) -> Tuple[float, Report]:
    """The vectors that are about the fault fail, and run.py says so."""
    start = time.monotonic()
    vectors = {vector.name: vector for vector in load_vectors()}
    expected = [vectors[name] for name in EXPECTED[fault]]
    arguments: List[str] = [] if everything else [f"--file={vector.file}" for vector in expected]
    if any(vector.slow for vector in expected):
        arguments += [f"--row={vector.row}" for vector in expected]
    else:
        arguments.append("--no-slow")
    if fault == "closes-all-after-a-reset":
        # A reset of one vector would close the connections of those that run beside it, and end them too early.
        arguments.append("--jobs=1")
    # All of them are for a server that wants a token, or none of them is.
    token = ["--token", TOKEN] if expected[0].token else []
    with Server("--wrong", fault, *token) as target:
        report = run_vectors(target, *arguments, *token, "--timeout=3")
    missed = {vector.name for vector in expected} - report.failed
    demand(report.exit_code == 1, f"{fault}: run.py exits with {report.exit_code}")
    demand(not missed, f"{fault}: not noticed by {sorted(missed)}")
    return time.monotonic() - start, report


def check_wrong_servers(everything: bool) -> Iterator[str]:
    """All faults, those first that wait for a time limit; yields a line about each."""
    demand(set(EXPECTED) == set(FAULTS), "the faults of wrong_server.py are not those that are expected")
    slow = {vector.name for vector in load_vectors() if vector.slow}
    faults = sorted(EXPECTED, key=lambda fault: not slow & set(EXPECTED[fault]))
    names = {vector.name for vector in load_vectors()}
    yield from check_faults(faults, lambda fault: check_wrong_server(fault, everything), names, "vectors", everything)


def main() -> int:
    """Returns the exit code."""
    checks = (check_patterns, check_reply_lines, check_self_check, check_command_line, check_right_server)
    return prove(__doc__, "vectors", checks, check_wrong_servers)


if __name__ == "__main__":
    sys.exit(main())
