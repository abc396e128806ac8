"""The entries that every contender gets, and the load: requests on some connections, a bounded number in flight."""

import random
import re
import selectors
import socket
import time

ENTRY_BYTES = 200
# Each entry has its number in its text, so that what is read back can be told apart.
NUMBER = re.compile(rb"entry (\d{8})")
# A server that does not answer for so long has failed.
SILENCE_S = 60

# Level, service and text of each kind of message. `#` becomes a number.
SHAPES = [
    ("info", "order", "order # was placed by user # and waits for its payment"),
    ("info", "order", "order # was paid with card # after 2 attempts"),
    ("info", "order", "user # has logged in from 10.1.2.3 by password, session #"),
    ("debug", "order", "cart # of user # has 3 articles, none was removed"),
    ("warn", "order", "payment of order # is late by # s, the user was reminded"),
    ("error", "order", "payment of order # was refused by the bank, code #"),
    ("info", "stock", "article # is reserved for order # until tomorrow"),
    ("debug", "stock", "shelf # was counted, # pieces as in the books"),
    ("warn", "stock", "article # is nearly sold out, # pieces are left"),
    ("info", "parcel", "parcel # was handed to the carrier, # g in one box"),
    ("info", "parcel", "parcel # was delivered at the door, order # is done"),
    ("error", "parcel", "label of parcel # cannot be printed: no paper in #"),
    ("debug", "cache", "miss of the key user:#, read from the database in # us"),
    ("debug", "cache", "hit of the key article:#, which is # s old"),
    ("warn", "cache", "# keys were evicted for # new ones, the cache is full"),
    ("info", "api", "GET /orders/# answered with 200 in # us"),
    ("info", "api", "POST /orders answered with 201 in # us, order #"),
    ("info", "api", "GET /articles/# answered with 304 in # us"),
    ("warn", "api", "GET /users/# answered with 404 in # us"),
    ("error", "api", "POST /payments/# answered with 502 in # us, tried again"),
]


def entries_of(count):
    """Entries as JSON, each of exactly `ENTRY_BYTES`: one of 20 shapes with numbers, a trace of its own, and an id in
    hexadecimal that fills what is left."""
    chance = random.Random(18)
    entries = []
    for number in range(count):
        level, service, text = SHAPES[chance.randrange(len(SHAPES))]
        while "#" in text:
            text = text.replace("#", str(chance.randrange(100_000)), 1)
        head = (f'{{"level":"{level}","service":"{service}","trace":"{chance.getrandbits(128):032x}",'
                f'"ts":{1_732_233_600_000 + number},"message":"entry {number:08}: {text} #')
        left = ENTRY_BYTES - len(head) - 2
        entries.append(f'{head}{chance.getrandbits(4 * left):0{left}x}"}}'.encode())

    assert all(len(entry) == ENTRY_BYTES for entry in entries)
    return entries


class Lane:
    """A connection with its requests, of which at most `in_flight` wait for their answer. An answer has `mark` once."""

    def __init__(self, connection, requests, in_flight, mark):
        self.connection, self.requests, self.in_flight, self.mark = connection, requests, in_flight, mark
        self.sent, self.answered, self.answers = 0, 0, []
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(SILENCE_S)

    def send(self, up_to):
        """Sends what may be in flight now, of the first `up_to` requests."""
        more = min(self.answered + self.in_flight, up_to, len(self.requests))
        if more > self.sent:
            self.connection.sendall(b"".join(self.requests[self.sent:more]))
            self.sent = more

    def receive(self):
        read = self.connection.recv(1 << 20)
        if not read:
            raise ConnectionError(f"the server has closed the connection after {self.answered} answers: {self.answers[-1:]}")
        self.answers.append(read)
        self.answered += read.count(self.mark)


def drive(lanes, seconds, requests_each):
    """Keeps the lanes full until the seconds are over or each has sent its first `requests_each`, and waits for all answers;
    the seconds that it took."""
    with selectors.DefaultSelector() as selector:
        begun = time.perf_counter()
        end = begun + seconds
        for lane in lanes:
            selector.register(lane.connection, selectors.EVENT_READ, lane)
            lane.send(requests_each)

        while selector.get_map():
            ready = selector.select(SILENCE_S)
            if not ready:
                raise TimeoutError(f"no answer for {SILENCE_S} s")
            for lane in (key.data for key, _ in ready):
                lane.receive()
                if time.perf_counter() < end:
                    lane.send(requests_each)
                if lane.answered == lane.sent:
                    selector.unregister(lane.connection)

        return time.perf_counter() - begun


def check_read_back(pages, lanes, entries_each, count):
    """Every entry of the requests that the lanes have sent is in the pages once, and no other; the number of them."""
    wanted = bytearray(count)
    for at, lane in enumerate(lanes):
        for request in range(at, at + lane.sent * len(lanes), len(lanes)):
            wanted[request * entries_each:(request + 1) * entries_each] = b"\1" * entries_each

    seen = bytearray(count)
    for page in pages:
        for number in map(int, NUMBER.findall(page)):
            seen[number] += 1
    if seen != wanted:
        wrong = [number for number in range(count) if seen[number] != wanted[number]]
        raise AssertionError(f"{len(wrong)} entries are not there as often as they were acknowledged, the first: {wrong[0]}")
    return sum(seen)
