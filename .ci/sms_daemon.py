"""The daemon with its SMS service, for the checks beside programs and libraries of providers."""

import collections
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEND, STATUS, WATCH, GATEWAYS = 1101, 1102, 1105, 1111
SECONDS_MAX = 60


def free_ports(count):
    """Ports that were free a moment ago: Kannel cannot choose its own."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(what, condition):
    """Waits until the condition holds; returns its value."""
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    sys.exit(f"FAIL {what}: not in {SECONDS_MAX} s")


def documented(heading, changes):
    """The settings that docs/sms.md shows below a heading, with other texts in place of some."""
    document = (ROOT / "docs/sms.md").read_text()
    shown = re.search(rf"### {heading}\n.*?```toml\n(.*?)```", document, re.S)[1]
    for there, here in changes.items():
        assert there in shown, f"docs/sms.md shows no {there} in the settings of {heading}"
        shown = shown.replace(there, here)
    return shown


class Daemon:
    """The daemon, with its data in `work`."""

    def __init__(self, program, work, settings, environment):
        file = work / "rpc-server.toml"
        file.write_text(settings)
        command = [program, "--listen", "127.0.0.1:0", "--config", file, "--data-dir", work / "data"]
        self.log = work / "rpc-server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, env=dict(os.environ, **environment))
        found = wait_for("the daemon listens", lambda: re.search(r"listening on 127\.0\.0\.1:(\d+)", self.log.read_text()))
        self.socket = socket.create_connection(("127.0.0.1", int(found[1])), timeout=SECONDS_MAX)
        self.lines = self.socket.makefile("r")

    def call(self, cmdid, *params):
        """Calls with each of the params at once; returns the data of the replies."""
        lines = [json.dumps({"cmdid": cmdid, "id": number, "params": one}) for number, one in enumerate(params, 1)]
        self.socket.sendall(("\n".join(lines) + "\n").encode())
        replies = [json.loads(self.lines.readline()) for _ in params]
        assert all(reply["code"] == 0 for reply in replies), replies
        return [reply["data"] for reply in sorted(replies, key=lambda reply: reply["id"])]

    def messages(self, ids):
        ids, found = list(ids), {}
        for start in range(0, len(ids), 100):
            messages = self.call(STATUS, {"ids": ids[start:start + 100]})[0]["messages"]
            found.update({message["id"]: message for message in messages})
        return found

    def statuses(self, ids):
        return collections.Counter(message["status"] for message in self.messages(ids).values())

    def until_all(self, what, ids, *statuses):
        wait_for(what, lambda: set(self.statuses(ids)) <= set(statuses))

    def unknown_ones(self, ids):
        """Waits until each message was sent or became unknown; the errors of those that became unknown."""
        open_ones, unknown = set(ids), {}
        with socket.create_connection(self.socket.getpeername(), timeout=SECONDS_MAX) as connection, connection.makefile("r") as lines:
            params = {"status": ["sent", "delivered", "unknown"], "after": 0}
            connection.sendall(json.dumps({"cmdid": WATCH, "id": 1, "params": params}).encode() + b"\n")
            while open_ones:
                for event in json.loads(lines.readline())["data"]["events"]:
                    open_ones.discard(event["id"])
                    if event["id"] in ids and event["to"] == "unknown":
                        unknown[event["id"]] = event["error"]
        return unknown

    def gateway(self):
        return self.call(GATEWAYS, {})[0]["gateways"][0]

    def end(self):
        self.lines.close()
        self.socket.close()
        self.process.terminate()
        self.process.wait()
