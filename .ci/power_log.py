"""The log service under losses of power: what is sent to it, and what has to be there."""

import asyncio
import collections
import itertools
import random
import time

from power_machine import Failure
from rpc_client import RpcError

APPEND, READ, BATCH, EMIT, FLUSH, STATS = 1001, 1002, 1003, 1004, 1005, 1007
PRODUCERS = ["p", "q"]
BATCH_ENTRIES = 3
KEYED = 3
FAILED_PRECONDITION, INTERNAL = 9, 13


def entry(message):
    """An entry of any length; that of a message is always the same."""
    filler = "x" * random.Random(message).randint(0, 700)
    return {"level": "info", "service": "power", "message": message, "fields": {"filler": filler}}


class Log:
    """What was sent, acknowledged and read of a log, over the lives of its daemons."""

    NAME = "the log"
    SETTINGS = 'services = ["log"]\n[log]\nsegment_bytes = 8000\n'
    # Changes of a disk between two losses of power, at most.
    CHANGES_MAX = 500

    def __init__(self, counts):
        self.identity = None
        # Entries by their numbers: what was acknowledged, and what was read.
        self.entries = {}
        # Messages and batches that were sent and not acknowledged: when, and in which log.
        self.doubtful = {}
        # Those that were acknowledged: the number of the first entry.
        self.acknowledged = {}
        self.emitted = set()
        self.numbers = collections.defaultdict(lambda: itertools.count(1))
        self.counts = counts

    # Checking

    async def check(self, client):
        """Compares a log with what is known of it."""
        found, page = {}, {"next": 0, "last": 1}
        while page["next"] < page["last"]:
            page = await client.call(READ, {"after": page["next"], "limit": 1000})
            for one in page["entries"]:
                if found and one["seq"] <= max(found):
                    raise Failure(f"the number {one['seq']} comes twice, or late")
                found[one["seq"]] = one["message"]
        if self.entries and page["log"] != self.identity:
            raise Failure(f"the log has entries and became another one: {self.identity}, {page['log']}")
        self.identity = page["log"]

        for number, message in self.entries.items():
            if found.get(number) != message:
                raise Failure(f"{number} is {message!r}, and {found.get(number)!r} was found")
        self._check_once(found)
        stats = await client.call(STATS)
        if stats["damaged"] != 0:
            raise Failure(f"lines are damaged: {stats}")
        self.counts["entries read"] += len(found) - len(self.entries)
        self.entries = found

    def _check_once(self, found):
        numbers = {}
        for number, message in found.items():
            if numbers.setdefault(message, number) != number:
                raise Failure(f"{message!r} is there twice: {numbers[message]} and {number}")
        for message in self.emitted - numbers.keys():
            raise Failure(f"{message!r} is lost")
        for what, number in self.acknowledged.items():
            message = f"{what}.1" if what.split(".")[0] in PRODUCERS else what
            if numbers.get(message) != number:
                raise Failure(f"{message!r} was acknowledged as {number}, and found as {numbers.get(message)}")

        batches = collections.defaultdict(list)
        for message, number in numbers.items():
            sender, *rest = message.split(".")
            if sender in PRODUCERS:
                batches[sender, rest[0]].append((int(rest[1]), number))
        for batch, entries in batches.items():
            first = min(entries)[1]
            if sorted(entries) != [(place, first + place - 1) for place in range(1, BATCH_ENTRIES + 1)]:
                raise Failure(f"the batch {batch} is there in part, or torn apart: {entries}")

    # Sending

    def senders(self, client):
        """What sends until the power is lost: first again what is doubtful, and a few that are not."""
        again = collections.defaultdict(list)
        for what in [*self.doubtful, *list(self.acknowledged)[-8:]]:
            again[what.split(".")[0]].append(what)
        keyed = iter([*again["key"]])
        yield from (self._send_one_by_one(client, "key", keyed) for _ in range(KEYED))
        yield from (self._send_one_by_one(client, producer, iter(again[producer])) for producer in PRODUCERS)
        yield self._emit(client)

    async def send_doubtful(self, client):
        """Sends again what is doubtful."""
        for what in list(self.doubtful):
            await self._send(client, what)

    async def _send_one_by_one(self, client, sender, again):
        for what in again:
            await self._send(client, what)
        while True:
            await self._send(client, f"{sender}.{next(self.numbers[sender])}")

    async def _send(self, client, what):
        """Sends a message with a key, or a batch."""
        known, is_doubtful = self.acknowledged.get(what), what in self.doubtful
        if known is None:
            sent_at, log = self.doubtful.setdefault(what, (time.monotonic(), self.identity))
        sender, number = what.split(".")
        try:
            if sender in PRODUCERS:
                entries = [entry(f"{what}.{place}") for place in range(1, BATCH_ENTRIES + 1)]
                reply = await client.call(BATCH, {"producer": sender, "batch": int(number), "entries": entries})
                first, messages = reply["first"], [one["message"] for one in entries]
            else:
                age = {"idempotency-age-ms": str(int((time.monotonic() - sent_at) * 1000) + 1)} if is_doubtful else {}
                reply = await client.call(APPEND, entry(what), idempotency_key=what, meta=age)
                first, messages = reply["seq"], [what]
        except RpcError as error:
            if error.code != FAILED_PRECONDITION or known or log == self.identity:
                raise
            # The log is a new one, which cannot know.
            del self.doubtful[what]
            return self.counts.update(["refused"])

        if known and (first, reply.get("duplicate")) != (known, True):
            raise Failure(f"{what!r} was acknowledged as {known}, and sent again as {reply}")
        self.counts["known again"] += bool(reply.get("duplicate"))
        if not known:
            del self.doubtful[what]
            self.counts["acknowledged"] += 1
        self.acknowledged[what] = first
        for place, message in enumerate(messages):
            self._note(first + place, message)

    async def _emit(self, client):
        sent = []
        while True:
            messages = [f"emit.{next(self.numbers['emit'])}" for _ in range(3)]
            sent += messages
            await client.notify(EMIT, {"entries": [entry(message) for message in messages]})
            reply = await client.call(FLUSH)
            if (reply["emitted"], reply["dropped"]) != (len(sent), 0):
                # As of other calls that fail, a disk without power is the only good reason.
                raise RpcError(INTERNAL, f"{len(sent)} entries were emitted, and flushed were {reply}")
            self.emitted.update(messages)
            self.counts["acknowledged"] += 1
            await asyncio.sleep(0)

    def _note(self, number, message):
        if self.entries.setdefault(number, message) != message:
            raise Failure(f"{number} was given to {self.entries[number]!r} and to {message!r}")

    async def settle(self, client):
        """What comes at the end of the last life, in which nothing goes wrong."""
        await self.send_doubtful(client)
        await self.check(client)

    def check_folder(self, _folder):
        """What the disk has kept is for the next daemon to judge."""
