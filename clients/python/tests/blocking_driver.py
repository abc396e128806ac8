"""The driver of the client for threads, each call in a thread of its own; see driver.py. A call in a thread cannot be given up.

python3 conformance/run_client.py python3 clients/python/tests/blocking_driver.py
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from typing import Any

from driver import FEATURES, described, settings, told_of
from rpc_client import RpcError, Timing, blocking


class Driver:
    """Does what each line says."""

    def __init__(self) -> None:
        self.clients: dict[str, blocking.Client] = {}
        self.wanted: dict[str, queue.SimpleQueue[int]] = {}
        self.lock = threading.Lock()
        # What is told of a client that was closed is of no interest.
        self.case = 0

    def tell(self, case: int, name: str, told: dict[str, Any]) -> None:
        """What the caller sees of what was begun under this name."""
        with self.lock:
            if case == self.case:
                print(json.dumps({"as": name, **told}), flush=True)

    def obey(self, ask: dict[str, Any]) -> None:
        """One line."""
        verb, name = ask["verb"], ask["as"]
        if verb == "open":
            self.clients[name] = blocking.Client(ask["target"], settings(ask))
            self.tell(self.case, name, {"done": True})
        elif verb == "close":
            with self.lock:
                self.case += 1
            self.clients.pop(name).close()
            self.tell(self.case, name, {"done": True})
        elif verb == "next":
            self.wanted[name].put(ask["n"])
        else:
            self.wanted[name] = queue.SimpleQueue()
            began = threading.Event()
            threading.Thread(target=self.begin, args=(ask, self.case, began), daemon=True).start()
            # So that calls are made in their order; only the next call waits.
            began.wait()

    def begin(self, ask: dict[str, Any], case: int, began: threading.Event) -> None:
        """What takes its time."""
        verb, name = ask["verb"], ask["as"]
        client = self.clients[name if verb in ("connect", "flush") else ask.get("client", "client")]
        timeout = ask["timeout_ms"] / 1000 if "timeout_ms" in ask else None
        timing = Timing(ask.get("meta")) if ask.get("timing") else None
        meta = timing if timing is not None else ask.get("meta")
        options = {"ordered": ask["ordered"]} if "ordered" in ask else {}
        began.set()
        try:
            if verb == "call":
                more = {option: ask[option] for option in ("idempotent", "idempotency_key", "dedup") if option in ask}
                data = client.call(ask["cmdid"], ask["params"], timeout=timeout, meta=meta, **options, **more)
                self.tell(case, name, {"data": data} | told_of(timing))
            elif verb == "stream":
                resumable = [(member["cursor"], member["param"]) for member in ask.get("resumable", [])]
                with client.stream(ask["cmdid"], ask["params"], timeout=timeout, meta=meta, resumable=resumable) as items:
                    while True:
                        for _ in range(self.wanted[name].get()):
                            try:
                                self.tell(case, name, {"item": next(items)})
                            except StopIteration:
                                return self.tell(case, name, {"end": True} | told_of(timing))
            else:
                if verb == "notify":
                    client.notify(ask["cmdid"], ask["params"], meta=meta, **options)
                else:
                    (client.connect if verb == "connect" else client.flush)()
                self.tell(case, name, {"done": True})
        except RpcError as error:
            self.tell(case, name, {"error": described(error)} | told_of(timing))


def main() -> None:
    """Reads lines to the end of the input."""
    features = [feature for feature in FEATURES if feature != "cancel"]
    print(json.dumps({"driver": 1, "client": "rpc_client (Python, threads)", "features": features}), flush=True)
    driver = Driver()
    for line in sys.stdin:
        driver.obey(json.loads(line))


if __name__ == "__main__":
    main()
