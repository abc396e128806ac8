"""What the two runners have in common: their options, and the report of what has passed."""

from __future__ import annotations

import argparse
import concurrent.futures
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, List, Protocol, Sequence, TypeVar


class Entry(Protocol):
    """A vector, or a client case."""

    file: str
    name: str
    row: str


E = TypeVar("E", bound=Entry)


@dataclass
class Outcome:
    """How one entry went."""

    entry: Entry
    verdict: str
    why: str
    seconds: float

    def __str__(self) -> str:
        if self.verdict == "ok":
            return f"ok   {self.entry.name}"
        return f"{self.verdict} {self.entry.name}: {self.why}"


def add_options(parser: argparse.ArgumentParser, what: str, against: str) -> None:
    """The options that both runners take; `what` is what they run, `against` is what they run it against."""
    parser.add_argument("--only", metavar="TEXT", help=f"run the {what} whose name contains TEXT")
    parser.add_argument("--name", metavar="NAME", action="append", help="run the one of this name; repeatable")
    parser.add_argument("--row", metavar="ID", action="append", help="run those that show this row; repeatable")
    parser.add_argument("--file", metavar="NAME", action="append", help="run those of NAME.json; repeatable")
    parser.add_argument("--list", action="store_true", help=f"list the {what} and exit")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS", help="for each thing expected (5)")
    parser.add_argument("--jobs", type=int, default=8, metavar="N", help=f"how many {what} run side by side (8)")
    parser.add_argument("--json", metavar="FILE", help="write the outcomes to FILE as well")
    parser.add_argument("--no-skip", action="store_true", help="count what is skipped as failed")
    parser.add_argument("--self-check", action="store_true", help=f"check the {what} themselves, without a {against}")


def check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends with 2 where a number makes no sense."""
    if options.timeout <= 0 or options.jobs < 1:
        parser.error("--timeout and --jobs must be positive")


def chosen(entries: Iterable[E], options: argparse.Namespace) -> List[E]:
    """The entries that the command line asks for."""
    files = [Path(name).stem for name in options.file or ()]
    return [
        entry
        for entry in entries
        if (not options.only or options.only in entry.name)
        and (not options.name or entry.name in options.name)
        and (not files or entry.file in files)
        and (not options.row or entry.row in options.row)
    ]


def print_list(entries: Iterable[Entry]) -> None:
    """A line for each, with its file and its row."""
    for entry in entries:
        print(f"{entry.file:20} {entry.row:28} {entry.name}")


def run_side_by_side(runs: Iterable[Callable[[], Outcome]], options: argparse.Namespace) -> List[Outcome]:
    """Runs them in this order, as many at a time as there are jobs, and prints each outcome."""
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run) for run in runs]):
            outcome = future.result()
            if options.no_skip and outcome.verdict == "skip":
                outcome.verdict = "FAIL"
            outcomes.append(outcome)
            print(outcome, flush=True)
    return outcomes


def report(outcomes: Sequence[Outcome], options: argparse.Namespace) -> int:
    """Prints the counts, writes what `--json` asks for, and returns the exit code."""
    if options.json:
        lines = [
            {"name": o.entry.name, "row": o.entry.row, "verdict": o.verdict, "why": o.why, "seconds": o.seconds}
            for o in outcomes
        ]
        Path(options.json).write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    passed, failed, skipped = (sum(o.verdict == verdict for o in outcomes) for verdict in ("ok", "FAIL", "skip"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed and not failed else 1
