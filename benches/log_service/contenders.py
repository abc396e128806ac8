"""The servers that keep the entries: each with its settings, its requests, and a way to read everything back."""

import json
import os
import pathlib
import re
import socket
import subprocess
import time

from load import SILENCE_S

SERVER_CORE = 0
BATCH = 64
# Emitted frames before a flush: three such groups are less than the 16 MiB that may wait for the disk.
FRAMES_A_FLUSH = 256
# The lane of connections that carry no load.
OWN_LANE = 99


class Server:
    """A program on its core, with a directory of its own."""

    def start(self, command, work):
        self.log = work / "log"
        with self.log.open("wb") as file:
            command = ["taskset", "-c", str(SERVER_CORE), *map(str, command)]
            self.process = subprocess.Popen(command, stdout=file, stderr=file, cwd=work, env=dict(os.environ, RPC_SERVER_LOG_LEVEL="info"))

    def wait_for(self, look, seconds=SILENCE_S):
        """Waits until `look` finds something."""
        until = time.monotonic() + seconds
        while not (found := look()):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.name} is not there yet: {self.log.read_text()}")
            time.sleep(0.02)
        return found

    def is_listening(self):
        try:
            socket.create_connection(self.address).close()
        except ConnectionRefusedError:
            return False
        return True

    def bytes_an_entry(self, count):
        """The bytes of all files, for each of `count` entries."""
        return sum(file.stat().st_size for file in self.data.rglob("*") if file.is_file()) / count

    def is_settled(self):
        """Whether its background work is done."""
        return True

    def processor_seconds(self):
        """Those of all its threads; the clock ticks of `stat` are too coarse for a short turn."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def end(self):
        self.process.terminate()
        self.process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Rpc(Server):
    """This project's daemon."""

    mark = b"\n"

    def __init__(self, name, program, settings=""):
        self.name, self.program, self.settings = name, program, settings

    def open(self, work):
        (work / "config.toml").write_text(f'log_level = "warn"\nservices = ["log"]\n\n[log]\n{self.settings}\n')
        self.data = work / "data"
        self.start([self.program, "--listen", "127.0.0.1:0", "--config", work / "config.toml", "--data-dir", self.data], work)
        found = self.wait_for(lambda: re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log.read_text()))
        self.address = ("127.0.0.1", int(found[1]))

    def connect(self, lane):
        return socket.create_connection(self.address)

    def requests(self, kind, entries, lane, lanes):
        """Those of one connection of several."""
        if kind == "append":
            return [b'{"id":%d,"cmdid":1001,"params":%b}\n' % (number, entry) for number, entry in enumerate(entries[lane::lanes])]

        frames = [b",".join(entries[at:at + BATCH]) for at in range(0, len(entries), BATCH)]
        if kind == "batch":
            return [b'{"id":%d,"cmdid":1003,"params":{"producer":"bench-%d","batch":%d,"entries":[%b]}}\n' % (number, lane, number + 1, frame)
                    for number, frame in enumerate(frames[lane::lanes])]

        emits = [b'{"cmdid":1004,"oneway":true,"params":{"entries":[%b]}}\n' % frame for frame in frames]
        return [b"".join(emits[at:at + FRAMES_A_FLUSH]) + b'{"cmdid":1005,"id":%d}\n' % at for at in range(0, len(emits), FRAMES_A_FLUSH)]

    def check(self, answers, count):
        assert answers.count(b'"code":0') == count, answers[:500]
        # Of a flush: what was emitted may not have been dropped.
        assert answers.count(b'"dropped":0') == answers.count(b'"dropped":'), answers[-500:]

    def call(self, lines, cmdid, params):
        lines.write(json.dumps({"cmdid": cmdid, "id": 1, "params": params}).encode() + b"\n")
        lines.flush()
        reply = lines.readline()
        assert b'"code":0' in reply, reply
        return reply

    def pages(self):
        with self.connect(OWN_LANE) as connection, connection.makefile("rwb") as lines:
            after, last = 0, None
            while last is None or after < last:
                page = self.call(lines, 1002, {"after": after, "limit": 1000})
                yield page
                data = json.loads(page)["data"]
                after, last = data["next"], data["last"]

    def is_settled(self):
        with self.connect(OWN_LANE) as connection, connection.makefile("rwb") as lines:
            stats = json.loads(self.call(lines, 1007, {}))["data"]
        return stats["compressed"] == stats["segments"] - 1

    def bytes_an_entry(self, count):
        """Where files are compressed, of the entries in these: the newest file never is."""
        compressed = [file for file in (self.data / "log").iterdir() if file.suffix in (".zst", ".idx")]
        if not compressed:
            return super().bytes_an_entry(count)
        # The name of the newest file is the number of its first entry.
        entries = int(next((self.data / "log").glob("*.ndjson")).stem) - 1
        return sum(file.stat().st_size for file in compressed) / entries


class Redis(Server):
    """Redis Streams: an entry is a message with one field."""

    mark = b"$"

    def __init__(self, name, appendfsync):
        self.name, self.appendfsync = name, appendfsync

    def open(self, work):
        self.data, self.address = work / "data", ("127.0.0.1", free_port())
        self.data.mkdir()
        # Without a rewrite of its file in the middle, and without snapshots.
        self.start(["redis-server", "--bind", "127.0.0.1", "--port", self.address[1], "--dir", self.data, "--save", "",
                    "--appendonly", "yes", "--appendfsync", self.appendfsync, "--auto-aof-rewrite-percentage", "0"], work)
        self.wait_for(self.is_listening)

    def connect(self, lane):
        return socket.create_connection(self.address)

    def requests(self, kind, entries, lane, lanes):
        return [b"*5\r\n$4\r\nXADD\r\n$3\r\nlog\r\n$1\r\n*\r\n$1\r\ne\r\n$%d\r\n%b\r\n" % (len(entry), entry) for entry in entries[lane::lanes]]

    def check(self, answers, count):
        assert answers.count(b"$") == count and b"ERR" not in answers, answers[:500]

    def pages(self):
        with self.connect(OWN_LANE) as connection:
            start = b"-"
            while True:
                connection.sendall(b"XRANGE log %b + COUNT 10000\r\nPING\r\n" % start)
                page = b""
                while not page.endswith(b"+PONG\r\n"):
                    page += connection.recv(1 << 20)
                yield page
                numbers = re.findall(rb"\r\n(\d+-\d+)\r\n", page)
                if not numbers:
                    return
                start = b"(" + numbers[-1]


class JetStream(Server):
    """NATS JetStream: a stream in files, each message with its acknowledgement."""

    mark = b"}"

    def __init__(self, name, program, settings="", compression="none"):
        self.name, self.program, self.settings, self.compression = name, program, settings, compression

    def open(self, work):
        self.data, self.address = work / "data", ("127.0.0.1", free_port())
        config = f'listen: "127.0.0.1:{self.address[1]}"\njetstream {{ store_dir: "{self.data}"\n{self.settings}\n}}\n'
        (work / "nats.conf").write_text(config)
        self.start([self.program, "-c", work / "nats.conf"], work)
        self.wait_for(self.is_listening)
        with self.connect(OWN_LANE) as connection:
            self.ask(connection, "STREAM.CREATE.LOG", {"name": "LOG", "subjects": ["log"], "storage": "file", "retention": "limits",
                                                       "compression": self.compression})

    def connect(self, lane):
        """A connection whose answers come to the subject `r.LANE`."""
        connection = socket.create_connection(self.address)
        connection.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\nSUB r.%d 1\r\nPING\r\n' % lane)
        read = b""
        while not read.endswith(b"PONG\r\n"):
            read += connection.recv(1 << 16)
        return connection

    def ask(self, connection, subject, params):
        """Asks the server's API over the connection of `OWN_LANE`; what it says."""
        payload = json.dumps(params).encode()
        connection.sendall(b"PUB $JS.API.%b r.%d %d\r\n%b\r\n" % (subject.encode(), OWN_LANE, len(payload), payload))
        answer = b""
        while not (head := re.search(rb"MSG \S+ 1 (?:\S+ )?(\d+)\r\n", answer)) or len(answer) < head.end() + int(head[1]) + 2:
            answer += connection.recv(1 << 16)
        assert b'"error":' not in answer, answer
        return answer[head.end():]

    def requests(self, kind, entries, lane, lanes):
        return [b"PUB log r.%d %d\r\n%b\r\n" % (lane, len(entry), entry) for entry in entries[lane::lanes]]

    def check(self, answers, count):
        assert answers.count(b'"seq":') == count and b'"error":' not in answers, answers[:500]

    def pages(self):
        with self.connect(OWN_LANE) as connection:
            config = {"name": "all", "ack_policy": "none", "deliver_policy": "all", "inactive_threshold": 300_000_000_000}
            made = self.ask(connection, "CONSUMER.CREATE.LOG.all", {"stream_name": "LOG", "config": config})
            left = int(re.search(rb'"num_pending":(\d+)', made)[1])

            while left:
                batch = min(left, 10_000)
                left -= batch
                asked = b'{"batch":%d}' % batch
                connection.sendall(b"PUB $JS.API.CONSUMER.MSG.NEXT.LOG.all r.%d %d\r\n%b\r\n" % (OWN_LANE, len(asked), asked))
                # A message has two lines, its head and the entry.
                page, lines = [], 0
                while lines < 2 * batch:
                    page.append(connection.recv(1 << 20))
                    lines += page[-1].count(b"\n")
                yield b"".join(page)


class Rsyslog(Server):
    """rsyslog by RELP, which acknowledges each message, into a file of its lines."""

    mark = b"\n"

    def __init__(self, name, queue, action):
        self.name, self.queue, self.action, self.count = name, queue, action, 0

    def open(self, work):
        self.data, self.address, self.count = work / "data", ("127.0.0.1", free_port()), 0
        self.data.mkdir()
        (work / "rsyslog.conf").write_text(
            f'global(workDirectory="{work}")\nmain_queue({self.queue})\nmodule(load="imrelp")\n'
            f'template(name="raw" type="string" string="%rawmsg%\\n")\n'
            f'input(type="imrelp" address="127.0.0.1" port="{self.address[1]}")\n'
            f'action(type="omfile" file="{self.data}/log" template="raw" {self.action})\n')
        self.start(["rsyslogd", "-n", "-f", work / "rsyslog.conf", "-i", work / "pid"], work)
        self.wait_for(self.is_listening)

    def connect(self, lane):
        connection = socket.create_connection(self.address)
        offer = b"relp_version=0\nrelp_software=bench\ncommands=syslog"
        connection.sendall(b"1 open %d %b\n" % (len(offer), offer))
        answer = b""
        while not (head := re.match(rb"1 rsp (\d+) ", answer)) or len(answer) < head.end() + int(head[1]) + 1:
            answer += connection.recv(1 << 16)
        assert answer[head.end():].startswith(b"200"), answer
        return connection

    def requests(self, kind, entries, lane, lanes):
        return [b"%d syslog %d %b\n" % (number + 2, len(entry), entry) for number, entry in enumerate(entries[lane::lanes])]

    def check(self, answers, count):
        assert answers.count(b" rsp 6 200 OK\n") == count, answers[:500]
        self.count += count

    def pages(self):
        """The file, once what waits in the queue is in it: there is no other way to read it."""
        lines, rest = 0, b""
        with (self.data / "log").open("rb") as file:
            while lines < self.count:
                page = rest + self.wait_for(lambda: file.read(1 << 24))
                page, rest = page[:page.rfind(b"\n") + 1], page[page.rfind(b"\n") + 1:]
                lines += page.count(b"\n")
                yield page
