"""Chromium without a window, spoken to in its protocol for developers."""

import base64
import itertools
import json
import os
import subprocess
import sys
import time

SCREEN_HEIGHT = 800
SAYINGS = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Refused(Exception):
    """Chromium does not do what it is asked to."""


class Browser:
    """Chromium, spoken to in its protocol for developers, over two pipes."""

    def __init__(self, profile):
        command = [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
        ]
        child_reads, self.writes = os.pipe()
        self.reads, child_writes = os.pipe()

        # Chromium reads from 3 and writes to 4; both ends are moved out of the way first.
        moved = f'exec 3<&{child_reads} 4>&{child_writes}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", moved, "bash", *command], pass_fds=(child_reads, child_writes),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(child_reads)
        os.close(child_writes)
        self.numbers = itertools.count(1)
        self.rest = b""
        # What pages wrote to their consoles, and rules of their policies that they broke.
        self.said = []

    def call(self, method, session=None, **params):
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.writes, json.dumps(message).encode() + b"\0")
        while True:
            reply = json.loads(self.message())
            if reply.get("method") in SAYINGS:
                self.said.append(reply["params"])
            if reply.get("id") == number:
                if "error" in reply:
                    raise Refused(f"{method}: {reply['error']}")
                return reply["result"]

    def message(self):
        while b"\0" not in self.rest:
            read = os.read(self.reads, 1 << 20)
            if not read:
                sys.exit("FAIL chromium has ended")
            self.rest += read
        message, self.rest = self.rest.split(b"\0", 1)
        return message

    def page(self, url, width, scheme, has_scripts=True):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Emulation.setDeviceMetricsOverride", session, width=width, height=SCREEN_HEIGHT, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", session, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setScriptExecutionDisabled", session, value=not has_scripts)
        self.call("Runtime.enable", session)
        self.call("Log.enable", session)
        self.call("Page.navigate", session, url=url)
        return session

    def evaluate(self, session, expression):
        """The value of an expression in the page; a promise is waited for."""
        result = self.call(
            "Runtime.evaluate", session, expression=expression, returnByValue=True, awaitPromise=True, userGesture=True,
        )
        if "exceptionDetails" in result:
            raise Refused(result["exceptionDetails"].get("exception", {}).get("description", result["exceptionDetails"]["text"]))
        return result["result"].get("value")

    def picture(self, session, file):
        # A page in the background is painted when it pleases.
        self.call("Page.bringToFront", session)
        taken = self.call("Page.captureScreenshot", session, format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(taken["data"]))


def wait_until(is_so, end):
    """Whether it has become so by that time."""
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True
