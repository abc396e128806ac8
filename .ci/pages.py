"""The daemon and its pages in a headless Chromium, for the checks of the pages."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

from chromium import Refused, wait_until

ROOT = pathlib.Path(__file__).resolve().parent.parent
AUTHENTICATE = 6
SECONDS_MAX = 60


def programs():
    """The directory of the programs; Chromium is installed where it is missing."""
    if shutil.which("chromium") is None:
        as_root = [] if os.geteuid() == 0 else ["sudo"]
        subprocess.run([*as_root, "apt-get", "update", "-qq"], check=True)
        subprocess.run([*as_root, "apt-get", "install", "-y", "-qq", "chromium"], check=True, stdout=subprocess.DEVNULL)
    built = subprocess.run([ROOT / ".ci/programs"], check=True, text=True, stdout=subprocess.PIPE)
    return pathlib.Path(built.stdout.strip())


def hash_of(programs, token):
    command = [programs / "rpc-server", "--hash-token"]
    return subprocess.run(command, input=token + "\n", text=True, capture_output=True, check=True).stdout.strip()


class Daemon:
    """The daemon, with its data in `data`."""

    def __init__(self, programs, data, listen="127.0.0.1:0", settings=None, services="log"):
        self.programs, self.data = programs, data
        command = [programs / "rpc-server", "--listen", listen, "--data-dir", data]
        if settings:
            command += ["--config", settings]
        environment = dict(os.environ, RPC_SERVER_LOG_LEVEL="info", RPC_SERVER_SERVICES=services)
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                self.address = found[1]
                break
        else:
            sys.exit("FAIL the daemon does not start")

    def call(self, cmdid, params, token=None):
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port))) as connection, connection.makefile("rw") as lines:
            calls = [(cmdid, params)]
            if token:
                calls.insert(0, (AUTHENTICATE, {"token": token}))
            for number, (command, given) in enumerate(calls, 1):
                lines.write(json.dumps({"id": number, "cmdid": command, "params": given}) + "\n")
                lines.flush()
                reply = json.loads(lines.readline())
                if reply["code"] != 0:
                    sys.exit(f"FAIL {reply}")
            return reply["data"]

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()


class Page:
    """A page of the daemon in the browser."""

    def __init__(self, browser, url, width=1280, scheme="light"):
        self.browser = browser
        self.session = browser.page(url, width, scheme)

    def value(self, expression):
        return self.browser.evaluate(self.session, expression)

    def must(self, what, expression):
        """Waits until the expression is true, and says what it is for."""
        if not wait_until(lambda: self.is_true(expression), time.monotonic() + SECONDS_MAX):
            shown = self.value("document.body.innerText.slice(0, 1500)")
            sys.exit(f"FAIL {what}: {expression}\n{shown}")
        print(f"ok   {what}")

    def is_true(self, expression):
        try:
            return self.value(expression) is True
        except Refused:
            # What it looks at is not there yet.
            return False
