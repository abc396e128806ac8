#!/usr/bin/env python3
"""Speed of the SMS service: sms.py RPC_SERVER, a release build. It needs Debian's `postgresql` and two cores.

1. `send`, accepted and on disk, with 512 in flight on one connection, the server on one core and this program on the
   other; beside it, in turns, an outbox in PostgreSQL: one insert a transaction on 64 connections, by pgbench.
2. A gateway over HTTP that answers at once, with 64 connections.
3. A million queued messages: disk, memory, the time to accept them, the time of the queries that find what is due, and
   the time and memory of a start.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SERVER_CORE, CLIENT_CORE = 0, 1
IN_FLIGHT = 512
# The newest version that Debian has installed.
POSTGRES = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), default=None)
SEND, GATEWAYS, PAUSE = 1101, 1111, 1112

SETTINGS = """
log_level = "warn"
services = ["sms"]

[sms]
countries = ["*"]
queue_max = 2000000

[[sms.gateways]]
name = "one"
kind = "http"
in_flight_max = 64

[sms.gateways.http]
url = "http://127.0.0.1:{port}/"
json = {{ to = "{{to}}", text = "{{text}}", id = "{{id}}" }}

[sms.gateways.http.response]
rules = [{{ status = [200], class = "sent" }}]
"""

TABLE = """
CREATE TABLE outbox (
    id bigserial PRIMARY KEY, message_id text NOT NULL UNIQUE, recipient text NOT NULL, body text NOT NULL,
    state smallint NOT NULL DEFAULT 1, priority smallint NOT NULL DEFAULT 5, gateway text NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(), created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX outbox_ready ON outbox (gateway, priority DESC, id) WHERE state = 1;
"""
INSERT = """
\\set n random(1, 1000000000)
INSERT INTO outbox (message_id, recipient, body, gateway)
VALUES (gen_random_uuid()::text, '+8613800' || lpad((:n % 1000000)::text, 6, '0'), 'your parcel number ' || :n || ' is there', 'one');
"""


class Daemon:
    """The daemon on its core."""

    def __init__(self, program, work, port):
        (work / "config.toml").write_text(SETTINGS.format(port=port))
        command = ["taskset", "-c", str(SERVER_CORE), program, "--listen", "127.0.0.1:0", "--config", work / "config.toml",
                   "--data-dir", work / "data"]
        self.data = work / "data"
        log = work / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, stderr=file, env=dict(os.environ, RPC_SERVER_LOG_LEVEL="info"))
        while not (found := re.search(r"listening on 127\.0\.0\.1:(\d+)", log.read_text())):
            if self.process.poll() is not None:
                sys.exit(log.read_text())
            time.sleep(0.01)
        self.address = ("127.0.0.1", int(found[1]))

    def call(self, cmdid, params):
        with socket.create_connection(self.address) as connection, connection.makefile("r") as lines:
            connection.sendall(json.dumps({"cmdid": cmdid, "id": 1, "params": params}).encode() + b"\n")
            reply = json.loads(lines.readline())
            assert reply["code"] == 0, reply
            return reply["data"]

    def send(self, count, in_flight=IN_FLIGHT):
        """Sends messages, at most `in_flight` at a time on one connection; the seconds until all are on disk."""
        lines = [b'{"cmdid":%d,"id":%d,"params":{"to":"+86138001%05d","text":"your parcel number %d is there"}}\n'
                 % (SEND, number, number % 100_000, number) for number in range(count)]
        with socket.create_connection(self.address) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begun = time.perf_counter()
            connection.sendall(b"".join(lines[:in_flight]))
            sent, answered = min(in_flight, count), 0
            while answered < count:
                read = connection.recv(1 << 18)
                assert b'"code":0' in read or b"\n" not in read, read[:300]
                answered += read.count(b"\n")
                more = min(answered + in_flight, count)
                if more > sent:
                    connection.sendall(b"".join(lines[sent:more]))
                    sent = more
            return time.perf_counter() - begun

    def gateway(self):
        return self.call(GATEWAYS, {})["gateways"][0]

    def memory_mib(self, field="VmRSS"):
        """Memory of the process; its largest amount so far is `VmHWM`."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024

    def processor_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.terminate()
        self.process.wait()


class Provider(asyncio.Protocol):
    """Answers each request at once."""

    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head = self.rest[:end].lower()
            at = head.index(b"content-length:") + 15
            whole = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
            if len(self.rest) < whole:
                return
            self.rest = self.rest[whole:]
            self.transport.write(self.answer)


def provider():
    """Starts one in a thread; its port."""
    started, port = threading.Event(), []

    async def serve():
        server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, backlog=256)
        port.append(server.sockets[0].getsockname()[1])
        started.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    started.wait()
    return port[0]


class Postgres:
    """A cluster of its own on the server's core, with the settings that Debian gives it."""

    def __init__(self, work):
        self.data, self.user = work / "postgres", []
        self.data.mkdir()
        if os.geteuid() == 0:
            shutil.chown(self.data, "postgres")
            work.chmod(0o755)
            self.user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        self.run("initdb", "-D", self.data, "-A", "trust", "-U", "postgres")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        options = f"-p {self.port} -k {self.data} -c listen_addresses=127.0.0.1"
        self.run("pg_ctl", "-D", self.data, "-l", self.data / "log", "-w", "-o", options, "start", core=SERVER_CORE)
        (self.data / "insert.sql").write_text(INSERT)
        client = ["-h", "127.0.0.1", "-p", self.port, "-U", "postgres"]
        self.run("psql", *client, "-q", "-c", TABLE)
        self.client = client

    def run(self, program, *arguments, core=CLIENT_CORE):
        path = shutil.which(program) if program == "psql" else f"{POSTGRES}/{program}"
        command = [*self.user, "taskset", "-c", str(core), path, *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.data).stdout

    def inserts_per_second(self, seconds):
        printed = self.run("pgbench", *self.client, "-n", "-M", "prepared", "-c", 64, "-j", 1, "-T", seconds,
                           "-f", self.data / "insert.sql", "postgres")
        return float(re.search(r"tps = ([\d.]+)", printed)[1])

    def end(self):
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")


def sends_and_inserts(program, count, rounds):
    """Both in turns, so that they meet the same machine."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        daemon, postgres = Daemon(program, work, 1), Postgres(work)
        try:
            daemon.call(PAUSE, {"gateway": "one", "paused": True})
            daemon.send(2 * IN_FLIGHT)
            for _ in range(rounds):
                before = daemon.processor_seconds()
                seconds = daemon.send(count)
                used = daemon.processor_seconds() - before
                ours.append(count / seconds)
                theirs.append(postgres.inserts_per_second(max(2, round(seconds))))
                print(f"  {ours[-1]:8.0f} sends/s ({used / count * 1e6:.0f} µs of processor time each), {theirs[-1]:8.0f} inserts/s")
        finally:
            postgres.end()
            daemon.end()
    print(f"send: {statistics.median(ours):.0f}/s, PostgreSQL: {statistics.median(theirs):.0f}/s, "
          f"ratio {statistics.median(ours) / statistics.median(theirs):.1f}")


def submissions(program, count):
    port = provider()
    with tempfile.TemporaryDirectory() as work:
        daemon = Daemon(program, pathlib.Path(work), port)
        try:
            daemon.call(PAUSE, {"gateway": "one", "paused": True})
            daemon.send(count)
            before, begun = daemon.processor_seconds(), time.perf_counter()
            daemon.call(PAUSE, {"gateway": "one", "paused": False})
            while daemon.gateway()["accepted"] < count:
                time.sleep(0.05)
            seconds = time.perf_counter() - begun
            used = daemon.processor_seconds() - before
        finally:
            daemon.end()
    print(f"submissions: {count / seconds:.0f}/s ({used / count * 1e6:.0f} µs of processor time each)")


def time_of(connection, query, values):
    """The median time of a query in milliseconds."""
    times = []
    for _ in range(21):
        begun = time.perf_counter()
        connection.execute(query, values).fetchall()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def many(program, count):
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        daemon = Daemon(program, work, 1)
        try:
            daemon.call(PAUSE, {"gateway": "one", "paused": True})
            idle = daemon.memory_mib()
            seconds = daemon.send(count)
            memory, most = daemon.memory_mib(), daemon.memory_mib("VmHWM")
            disk = sum(file.stat().st_size for file in daemon.data.glob("sms.sqlite*")) / (1 << 20)
            begun = time.perf_counter()
            assert daemon.gateway()["queued"] == count
            told = (time.perf_counter() - begun) * 1000
            with contextlib.closing(sqlite3.connect(f"file:{daemon.data}/sms.sqlite?mode=ro", uri=True)) as connection:
                ready = time_of(connection, "SELECT seq FROM messages INDEXED BY messages_ready WHERE gateway = ? AND ready = 1 "
                                            "ORDER BY priority DESC, seq LIMIT 256", ["one"])
                due = time_of(connection, "SELECT seq FROM messages INDEXED BY messages_due WHERE next_at <= ? ORDER BY next_at LIMIT 1000",
                              [int(time.time() * 1000)])
        finally:
            daemon.end()

        begun = time.perf_counter()
        daemon = Daemon(program, work, 1)
        try:
            started = time.perf_counter() - begun
            assert daemon.gateway()["queued"] == count
            after_start = daemon.memory_mib("VmHWM")
        finally:
            daemon.end()
    print(f"{count} queued: {count / seconds:.0f}/s, {disk:.0f} MiB of disk, {memory:.0f} MiB of memory ({idle:.0f} before, at most "
          f"{most:.0f}), the next 256 of a gateway in {ready:.2f} ms, what is due in {due:.2f} ms, `gateways` answers in "
          f"{told:.1f} ms; a start takes {started:.1f} s and at most {after_start:.0f} MiB")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("program", type=pathlib.Path)
    options.add_argument("--sends", type=int, default=100_000, help="messages of a round")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--submissions", type=int, default=20_000)
    options.add_argument("--queued", type=int, default=1_000_000)
    options.add_argument("--only", choices=["send", "gateway", "queued"])
    given = options.parse_args()
    if POSTGRES is None and given.only in (None, "send"):
        sys.exit("PostgreSQL is missing: apt-get install postgresql")
    os.sched_setaffinity(0, {CLIENT_CORE})

    program = given.program.resolve()
    if given.only in (None, "send"):
        sends_and_inserts(program, given.sends, given.rounds)
    if given.only in (None, "gateway"):
        submissions(program, given.submissions)
    if given.only in (None, "queued"):
        many(program, given.queued)


main()
