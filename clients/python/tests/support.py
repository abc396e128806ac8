"""A daemon for the tests: the real program, on a free port."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType


class Daemon:
    """The daemon with the services test, log, sms and conformance, for as long as the `with` block lasts."""

    def __init__(self, config: str = "", listen: str | None = "127.0.0.1:0") -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name)
        self.config = config
        self.listen = listen
        self.address = ""

    def start(self) -> None:
        """Starts it, where it listened before if it did, and waits until it listens."""
        program = Path(os.environ["RPC_BIN"]) / "rpc-server"
        config = self.path / "config.toml"
        config.write_text(self.config)
        listen = [] if self.listen is None else ["--listen", self.listen]
        self.process = subprocess.Popen(
            [program, "--config", config, "--data-dir", self.path / "data", "--log-format", "json", *listen],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "RPC_SERVER_SERVICES": "test,log,sms,conformance"},
        )
        assert self.process.stderr is not None  # a pipe was asked for
        for line in self.process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if str(event.get("message")).startswith("listening on"):
                self.address = event["address"]
            if event.get("message") == "started":
                break
        else:
            raise RuntimeError("the daemon did not start")
        if self.listen is not None:
            self.listen = self.address

    def kill(self) -> None:
        """Ends it by force."""
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self.directory.cleanup()
