#!/usr/bin/env python3
"""A small client of the wire protocol: right as it stands, wrong on request.

It exists to prove the client cases and their runner. Without `--wrong` every case that it has the features for must
pass; with `--wrong NAME` it commits one deliberate fault, and the cases that are about that rule must fail. It
favours being short over being good: it is no client to use.

    python3 conformance/run_client.py python3 conformance/wrong_client.py --wrong answers-in-order
    python3 conformance/wrong_client.py --list
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any, Dict, Optional

from wrong_client.client import Client
from wrong_client.connection import Failure
from wrong_client.faults import FAULTS

FEATURES = ["authenticate", "cancel", "dedup", "idempotent", "ordered", "resume", "retry", "streams", "timing"]


def tell(name: str, told: Dict[str, Any]) -> None:
    """What the caller sees of what was begun under this name."""
    print(json.dumps({"as": name, **told}), flush=True)


def timing_of(ask: Dict[str, Any]) -> Dict[str, Any]:
    """Where the time of what was begun by this line went, where that was asked for and told."""
    times: Dict[str, Any] = ask.get("times", {})
    return times


class Driver:
    """Does what each line says."""

    def __init__(self, wrong: Optional[str]) -> None:
        self.wrong = wrong
        self.clients: Dict[str, Client] = {}
        self.tasks: Dict[str, "asyncio.Task[None]"] = {}
        self.wanted: Dict[str, "asyncio.Queue[int]"] = {}

    async def obey(self, ask: Dict[str, Any]) -> None:
        """One line."""
        verb, name = ask["verb"], ask["as"]
        if verb == "open":
            self.clients[name] = Client(self.wrong, ask["target"], ask["settings"])
            tell(name, {"done": True})
        elif verb == "close":
            for task in self.tasks.values():
                task.cancel()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            self.tasks.clear()
            await self.clients.pop(name).close()
            tell(name, {"done": True})
        elif verb == "cancel":
            self.tasks[name].cancel()
            await asyncio.gather(self.tasks[name], return_exceptions=True)
            tell(name, {"cancelled": True})
        elif verb == "next":
            self.wanted[name].put_nowait(ask["n"])
        else:
            if verb == "stream":
                self.wanted[name] = asyncio.Queue()
            self.tasks[name] = asyncio.create_task(self.begin(ask))

    async def begin(self, ask: Dict[str, Any]) -> None:
        """What takes its time."""
        verb, name = ask["verb"], ask["as"]
        if ask.get("timing"):
            ask["times"] = {}
        client = self.clients[name if verb in ("connect", "flush") else ask.get("client", "client")]
        try:
            if verb == "call":
                tell(name, {"data": await client.call(ask), **timing_of(ask)})
            elif verb == "notify":
                await client.notify(ask)
                tell(name, {"done": True})
            elif verb == "stream":
                await client.stream(ask, self.wanted[name], lambda told: tell(name, told))
            else:
                await (client.connected() if verb == "connect" else client.flush())
                tell(name, {"done": True})
        except Failure as failure:
            tell(name, {"error": {"attempts": 1, **failure.told, "text": str(failure)}, **timing_of(ask)})


async def drive(wrong: Optional[str]) -> None:
    """Reads lines to the end of the input."""
    print(json.dumps({"driver": 1, "client": f"wrong_client.py ({wrong or 'right'})", "features": FEATURES}), flush=True)
    driver = Driver(wrong)
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        await driver.obey(json.loads(line))


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", metavar="NAME", choices=sorted(FAULTS), help="the deliberate fault; see --list")
    parser.add_argument("--list", action="store_true", help="list the faults and exit")
    arguments = parser.parse_args()
    if arguments.list:
        for name, fault in FAULTS.items():
            print(f"{name:28} {fault.what}")
        return 0
    asyncio.run(drive(arguments.wrong))
    return 0


if __name__ == "__main__":
    sys.exit(main())
