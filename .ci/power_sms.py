"""The SMS service under losses of power: messages that were accepted, what became of them, and what the provider has got."""

import asyncio
import collections
import contextlib
import itertools
import json

from power_machine import Failure, soon

SEND, STATUS, WATCH, OPT_OUT = 1101, 1102, 1105, 1110
SENDERS = 12
# The file of the gateway of kind `file`. A line that was lost with the power was not submitted.
PROVIDER = "sms-out.ndjson"
INTERRUPTED = "the server ended while it was being sent"


def whole_lines(written):
    """The lines of a file without those of which a loss of power has left a piece."""
    for line in written.split(b"\n"):
        with contextlib.suppress(ValueError):
            yield json.loads(line)


class Sms:
    """What was sent to an outbox, and what it has told, over the lives of its daemons."""

    NAME = "the SMS outbox"
    SETTINGS = 'services = ["sms"]\n[[sms.gateways]]\nname = "file"\nkind = "file"\n'
    # SQLite writes a page in two pieces, and some pages a message.
    CHANGES_MAX = 1500

    def __init__(self, counts):
        self.doubtful = set()
        # Messages by their keys.
        self.acknowledged = {}
        self.statuses = {}
        self.opted_out = set()
        self.events = {}
        self.numbers = itertools.count(1)
        self.counts = counts

    # Checking

    async def check(self, client):
        """Compares an outbox with what is known of it."""
        await self._look(client)
        for number in self.opted_out:
            reply = await client.call(OPT_OUT, {"to": number, "action": "get"})
            if not reply["opted_out"]:
                raise Failure(f"the opt-out of {number} is lost: {reply}")
        last = max(self.events, default=0)
        if last > 0:
            async with soon("the events of earlier lives come again"):
                await self._watch(client, until=last)

    async def _look(self, client):
        """Reads the status of what was accepted."""
        ids = list(self.acknowledged.values())
        for some in (ids[start:start + 100] for start in range(0, len(ids), 100)):
            found = {one["id"]: one for one in (await client.call(STATUS, {"ids": some}))["messages"]}
            for message in some:
                if message not in found:
                    raise Failure(f"the message {message} was accepted and is lost")
                self._note_status(found[message])

    def _note_status(self, message):
        status, before = message["status"], self.statuses.get(message["id"])
        if before in ("sent", "unknown") and status != before:
            raise Failure(f"a message was {before}: {message}")
        is_explained = status in ("queued", "sending", "sent") or status == "unknown" and message["error"] == INTERRUPTED
        if not is_explained:
            raise Failure(f"a message has no reason to be so: {message}")
        self.statuses[message["id"]] = status

    async def _watch(self, client, until=None):
        """Follows what becomes of messages from the beginning; an event has one number in all lives."""
        seen = 0
        async with await client.stream(WATCH, {"after": 0}) as items:
            async for item in items:
                for event in item["events"]:
                    number, told = event["event"], json.dumps(event, sort_keys=True)
                    if self.events.setdefault(number, told) != told:
                        raise Failure(f"the event {number} was {self.events[number]} and is {told}")
                    if number != seen + 1:
                        raise Failure(f"behind the event {seen} comes {told}")
                    seen = number
                if until is not None and seen >= until:
                    return
        raise Failure(f"the events end at {seen}, though there were {until}")

    def check_folder(self, folder):
        """Looks at the lines that the gateway has written."""
        file = folder / "data" / PROVIDER
        lines = list(whole_lines(file.read_bytes())) if file.exists() else []
        times = collections.Counter(line["id"] for line in lines)
        if twice := [message for message, count in times.items() if count > 1]:
            raise Failure(f"submitted twice: {[line for line in lines if line['id'] in twice]}")
        for message, status in self.statuses.items():
            if status == "sent" and message not in times:
                raise Failure(f"the message {message} is `sent`, and its line is lost")
        strange = times.keys() - set(self.acknowledged.values())
        if strange and not self.doubtful:
            raise Failure(f"the provider has got {strange}, and no sender knows of them")

    # Sending

    def senders(self, client):
        """What sends until the power is lost: first again what is doubtful, and a few that are not."""
        again = iter([*self.doubtful, *list(self.acknowledged)[-8:]])
        yield from (self._send_one_by_one(client, again) for _ in range(SENDERS))
        yield self._opt_out(client)
        yield self._watch(client)

    async def _send_one_by_one(self, client, again):
        for number in again:
            await self._send(client, number)
        while True:
            await self._send(client, next(self.numbers))

    async def _send(self, client, number):
        known = self.acknowledged.get(number)
        if known is None:
            self.doubtful.add(number)
        params = {"to": "+8613800138000", "text": f"message {number} {'x' * (number % 7 * 20)}"}
        reply = await client.call(SEND, params, idempotency_key=f"k{number}")
        if known not in (None, reply["id"]) or known and not reply.get("duplicate"):
            raise Failure(f"the message {number} was accepted as {known}, and sent again as {reply}")
        self.counts["known again"] += bool(reply.get("duplicate"))
        self.counts["acknowledged"] += known is None
        self.doubtful.discard(number)
        self.acknowledged[number] = reply["id"]

    async def _opt_out(self, client):
        for place in itertools.count(len(self.opted_out)):
            number = f"+86138{place:08}"
            await client.call(OPT_OUT, {"to": number, "action": "add"})
            self.opted_out.add(number)
            await asyncio.sleep(0.05)

    async def settle(self, client):
        """What comes at the end of the last life, in which nothing goes wrong: all that was accepted has an end."""
        for number in list(self.doubtful):
            await self._send(client, number)
        async with soon("all messages have an end"):
            while not set(self.statuses.values()) <= {"sent", "unknown"} or len(self.statuses) < len(self.acknowledged):
                await self._look(client)
                await asyncio.sleep(0.05)
        if len(set(self.acknowledged.values())) < len(self.acknowledged):
            raise Failure("two messages have one id")
        await self.check(client)
        self.counts["unknown"] += sum(status == "unknown" for status in self.statuses.values())
