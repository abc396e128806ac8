"""Readers of the log: 100 that follow it while entries come, and one that begins in the middle of what is there."""

import datetime
import json
import os
import pathlib
import re
import selectors
import statistics
import tempfile
import time
import typing

from contenders import BATCH, OWN_LANE, JetStream, Redis, Rpc
from load import NUMBER, SILENCE_S, Lane, drive

READERS = 100
ENTRIES_PER_SECOND = 10_000
# A text has this sign once.
ENTRY_MARK = b"#"
SEEKS = 11
# Until the first entry of a read by time, at most.
FOUND_MS = 20
# Until all files are compressed, at most.
SETTLED_S = 900


class Followed(typing.NamedTuple):
    """What came to all readers and was appended, a second."""

    deliveries: float
    appends: float


class Found(typing.NamedTuple):
    """The median time until the first entry is there, when the files are not in memory and when they are."""

    cold_ms: float
    warm_ms: float


class Follower:
    """A connection to which the server sends what comes."""

    def __init__(self, connection):
        self.connection, self.pages, self.entries = connection, [], 0

    def receive(self):
        read = self.connection.recv(1 << 20)
        if not read:
            raise ConnectionError(f"the server has closed a reader's connection after {self.entries} entries")
        self.pages.append(read)
        self.entries += read.count(ENTRY_MARK)


class RedisFollower(Follower):
    """One that asks for more after each answer: `XREAD` is not a stream."""

    def __init__(self, connection):
        super().__init__(connection)
        self.answer = b""
        self.ask(b"0")

    def ask(self, after):
        self.connection.sendall(b"XREAD BLOCK 0 STREAMS log %b\r\n" % after)

    def receive(self):
        super().receive()
        self.answer += self.pages[-1]
        # Five lines, and eight for each entry.
        head = re.match(rb"\*1\r\n\*2\r\n\$3\r\nlog\r\n\*(\d+)\r\n", self.answer)
        if head and self.answer.count(b"\n") == 5 + 8 * int(head[1]):
            self.ask(re.findall(rb"\r\n(\d+-\d+)\r\n", self.answer)[-1])
            self.answer = b""


def follower(contender, lane):
    """A reader from the first entry on."""
    connection = contender.connect(lane)
    if isinstance(contender, Redis):
        return RedisFollower(connection)
    if isinstance(contender, Rpc):
        connection.sendall(b'{"cmdid":1006,"id":1,"params":{"after":0}}\n')
    if isinstance(contender, JetStream):
        config = {"name": f"c{lane}", "deliver_subject": f"r.{lane}", "ack_policy": "none", "deliver_policy": "all"}
        with contender.connect(OWN_LANE) as own:
            contender.ask(own, f"CONSUMER.CREATE.LOG.c{lane}", {"stream_name": "LOG", "config": config})
    return Follower(connection)


def follow(contender, kind, entries, seconds, where):
    """Appends groups of entries when they are due, until the seconds are over, while all readers follow; each must have
    every entry once, in order."""
    groups = int(ENTRIES_PER_SECOND * seconds / BATCH)
    total = groups * BATCH
    with tempfile.TemporaryDirectory(dir=where) as work:
        try:
            contender.open(pathlib.Path(work))
            readers = [follower(contender, lane) for lane in range(1, READERS + 1)]
            requests = contender.requests(kind, entries[:total], 0, 1)
            writer = Lane(contender.connect(0), requests, len(requests), contender.mark)
            followed = deliver(readers, writer, total)
            contender.check(b"".join(writer.answers), len(requests))
        finally:
            contender.end()

    wanted = [b"%08d" % number for number in range(total)]
    for reader in readers:
        reader.connection.close()
        assert NUMBER.findall(b"".join(reader.pages)) == wanted, "a reader has lost entries, or has some twice"
    writer.connection.close()
    return followed


def deliver(readers, writer, total):
    """Sends the writer's requests in `BATCH` entries at a time when these are due, until all readers have all."""
    each = len(writer.requests) * BATCH // total
    appended = 0
    with selectors.DefaultSelector() as selector:
        for peer in [writer, *readers]:
            selector.register(peer.connection, selectors.EVENT_READ, peer)
        left = len(readers)

        begun = heard = time.perf_counter()
        while left or not appended:
            due = int((time.perf_counter() - begun) * ENTRIES_PER_SECOND / BATCH) + 1
            writer.send(due * each)
            next_due = begun + due * BATCH / ENTRIES_PER_SECOND - time.perf_counter()
            ready = selector.select(max(next_due, 0) if writer.sent < len(writer.requests) else SILENCE_S)
            now = time.perf_counter()
            heard = now if ready else heard
            if now - heard > SILENCE_S / 2:
                raise TimeoutError(f"{left} readers have not got all entries")
            for peer in (key.data for key, _ in ready):
                peer.receive()
                if peer is writer:
                    appended = time.perf_counter() - begun if writer.answered == len(writer.requests) else 0
                elif peer.entries == total:
                    left -= 1
                    selector.unregister(peer.connection)
        return Followed(len(readers) * total / (time.perf_counter() - begun), total / appended)


def forget(directory):
    """Drops the files from the page cache."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_since(contender, since_ms):
    """Milliseconds until the first entry since that time is there; the answer with it."""
    if isinstance(contender, Rpc):
        with contender.connect(OWN_LANE) as connection, connection.makefile("rwb") as lines:
            begun = time.perf_counter()
            page = contender.call(lines, 1002, {"from": since_ms, "limit": 1})
            took = (time.perf_counter() - begun) * 1000
        assert json.loads(page)["data"]["entries"][0]["ts"] >= since_ms, page
        return took

    since = datetime.datetime.fromtimestamp(since_ms / 1000, datetime.timezone.utc).isoformat()
    with contender.connect(OWN_LANE) as connection:
        name = f"s{time.monotonic_ns()}"
        config = {"name": name, "ack_policy": "none", "deliver_policy": "by_start_time", "opt_start_time": since}
        begun = time.perf_counter()
        contender.ask(connection, f"CONSUMER.CREATE.LOG.{name}", {"stream_name": "LOG", "config": config})
        contender.ask(connection, f"CONSUMER.MSG.NEXT.LOG.{name}", {"batch": 1})
        return (time.perf_counter() - begun) * 1000


def seek(contender, kind, entries, size, where):
    """Fills the log with `size` bytes of entries, which have the time of their receipt, and reads one by the time of the
    middle."""
    timeless = [re.sub(rb'"ts":\d+,', b"", entry) for entry in entries]
    with tempfile.TemporaryDirectory(dir=where) as work:
        try:
            contender.open(pathlib.Path(work))
            requests = contender.requests(kind, timeless, 0, 1)
            # At least twice, so that there is a middle between two fillings.
            half = max(1, round(size / sum(map(len, timeless)) / 2))
            middle = None
            for _ in range(2):
                lane = Lane(contender.connect(0), requests * half, 3 if kind == "emit" else BATCH * BATCH, contender.mark)
                drive([lane], float("inf"), float("inf"))
                lane.connection.close()
                middle = middle or int(time.time() * 1000)
            contender.wait_for(contender.is_settled, SETTLED_S)

            cold, warm = [], []
            for _ in range(SEEKS):
                forget(contender.data)
                cold.append(first_since(contender, middle))
                warm.append(first_since(contender, middle))
            return Found(statistics.median(cold), statistics.median(warm))
        finally:
            contender.end()


def is_followed(program, nats, entries, seconds, where):
    """Prints what comes to the readers; whether the daemon's get all of it in time and its appends keep their rate."""
    print(f"\n| {READERS} readers follow {ENTRIES_PER_SECOND:,} entries a second | deliveries a second | appended a second |\n| --- | ---: | ---: |")
    kinds = [(Rpc("rpc, tail", program), "batch"), (Redis("Redis, XREAD", "everysec"), "append"), (JetStream("JetStream, push", nats), "append")]
    seen = []
    for contender, kind in kinds:
        seen.append(follow(contender, kind, entries, seconds, where))
        print(f"| {contender.name} | {seen[-1].deliveries:,.0f} | {seen[-1].appends:,.0f} |", flush=True)

    # What comes at the end has to be delivered too, so that all of it is not possible.
    reached = seen[0].deliveries >= 0.95 * READERS * ENTRIES_PER_SECOND and seen[0].appends >= 0.9 * ENTRIES_PER_SECOND
    print(f"\ntail: none lost; {seen[0].deliveries:,.0f} deliveries/s (aim {READERS * ENTRIES_PER_SECOND:,}, less 5 % for the end), appends at "
          f"{seen[0].appends / ENTRIES_PER_SECOND:.2f} of their rate (aim 0.9): {'reached' if reached else 'MISSED'}")
    return reached


def is_found(program, nats, entries, size, where):
    """Prints how long the first entry of a read by time takes; whether the daemon's is there soon enough."""
    print(f"\n| the first entry by time, in the middle of {size / 1e6:,.0f} MB | cold, ms | warm, ms |\n| --- | ---: | ---: |")
    seen = []
    for contender, kind in [(Rpc("rpc, read", program), "emit"), (JetStream("JetStream, consumer by time", nats), "append")]:
        seen.append(seek(contender, kind, entries, size, where))
        print(f"| {contender.name} | {seen[-1].cold_ms:.1f} | {seen[-1].warm_ms:.1f} |", flush=True)

    reached = max(seen[0]) <= FOUND_MS
    print(f"\nread by time: {seen[0].cold_ms:.1f} ms (aim {FOUND_MS}): {'reached' if reached else 'MISSED'}")
    return reached
