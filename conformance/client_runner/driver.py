"""A client under test: a process that is told what to do on its standard input, and tells what its caller sees."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import deque
from typing import Any, Deque, Dict, List

from runner.connection import Failed

# What a driver may write on one line; more is a defect of the driver.
LINE_BYTES_MAX = 64 * 1024 * 1024


class DriverGone(Exception):
    """The driver did not start, or has ended though it was not told to."""


class Driver:
    """One process of the driver. Cases follow one another in it, each with clients of its own."""

    def __init__(self, command: List[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seen: Dict[str, Deque[Dict[str, Any]]] = {}
        self.ended = False
        self.problem = ""
        self.changed = threading.Condition()
        self.hello = self.read_hello()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read_hello(self) -> Dict[str, Any]:
        """The first line: the version of the driver protocol, and what the client can do."""
        assert self.process.stdout is not None  # a pipe was asked for
        line = self.process.stdout.readline(LINE_BYTES_MAX)
        try:
            hello = json.loads(line)
            if hello["driver"] == 1 and isinstance(hello["features"], list) and isinstance(hello["client"], str):
                return dict(hello)
        except (ValueError, KeyError, TypeError):
            pass
        self.stop()
        raise DriverGone(f"the driver's first line is {line[:200]!r}, and not {{\"driver\":1,\"client\":…,\"features\":[…]}}")

    def read(self) -> None:
        """Keeps what the driver tells until a case asks for it."""
        assert self.process.stdout is not None  # a pipe was asked for
        for line in self.process.stdout:
            with self.changed:
                try:
                    told = json.loads(line)
                    self.seen.setdefault(told.pop("as"), deque()).append(told)
                except (ValueError, KeyError, TypeError, AttributeError):
                    self.problem = f"the driver wrote {line[:200]!r}"
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def tell(self, verb: str, arguments: Dict[str, Any]) -> None:
        """Has the caller do something."""
        assert self.process.stdin is not None  # a pipe was asked for
        try:
            self.process.stdin.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise Failed("the driver has ended") from error

    def see(self, name: str, deadline: float) -> Dict[str, Any]:
        """The next thing that the caller sees of what was begun under this name."""
        with self.changed:
            while not self.seen.get(name):
                left = deadline - time.monotonic()
                if self.problem or self.ended:
                    raise Failed(self.problem or "the driver has ended")
                if left <= 0:
                    raise Failed(f"the caller sees nothing of {name} in time")
                self.changed.wait(left)
            return self.seen[name].popleft()

    def has_seen(self, name: str) -> bool:
        """Whether the caller has seen something of this name that no step has asked for."""
        with self.changed:
            return bool(self.seen.get(name))

    def left_over(self) -> str:
        """What the caller saw and no step has asked for."""
        with self.changed:
            left = [f"{name}: {json.dumps(told[0])}" for name, told in self.seen.items() if told]
            self.seen.clear()
            return "; ".join(left) or self.problem

    def stop(self) -> None:
        """Ends the process: by the end of its input, and by force where it does not take that."""
        assert self.process.stdin is not None and self.process.stdout is not None  # pipes were asked for
        try:
            self.process.stdin.close()
        except OSError:
            pass  # It has ended before it has read everything.
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if hasattr(self, "reader"):
            self.reader.join()
        self.process.stdout.close()
