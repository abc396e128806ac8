"""The driver of this client for `conformance/run_client.py`; conformance/README.md describes what it reads and tells.

python3 conformance/run_client.py python3 clients/python/tests/driver.py
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import rpc_client
from rpc_client import RpcError, Settings

FEATURES = ["authenticate", "cancel", "dedup", "endpoints", "idempotent", "liveness", "ordered", "resume", "retry", "streams", "timing"]


def tell(name: str, told: dict[str, Any]) -> None:
    """What the caller sees of what was begun under this name."""
    print(json.dumps({"as": name, **told}), flush=True)


def described(error: RpcError) -> dict[str, Any]:
    """A failure, as the driver protocol tells it."""
    told = {name: getattr(error, name) for name in ("code", "answered", "sent", "rejected", "may_have_run", "attempts")}
    if error.answered:
        told |= {"message": error.message, "details": error.details, "retry_after_ms": error.retry_after_ms}
    return {**{name: value for name, value in told.items() if value is not None}, "text": str(error)}


def told_of(timing: rpc_client.Timing | None) -> dict[str, Any]:
    """Where the time went, for a call that has asked and was told."""
    if timing is None or timing.run_us is None:
        return {}
    return {"timing": {"queue_us": timing.queue_us, "run_us": timing.run_us}}


def settings(ask: dict[str, Any]) -> Settings:
    """Those of a client that is opened."""
    given: dict[str, Any] = {}
    for name, value in ask["settings"].items():
        given[name] = tuple(value) if isinstance(value, list) else value
    return Settings(**given)


class Driver:
    """Does what each line says."""

    def __init__(self) -> None:
        self.clients: dict[str, rpc_client.Client] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.wanted: dict[str, asyncio.Queue[int]] = {}

    async def obey(self, ask: dict[str, Any]) -> None:
        """One line."""
        verb, name = ask["verb"], ask["as"]
        if verb == "open":
            self.clients[name] = rpc_client.Client(ask["target"], settings(ask))
            tell(name, {"done": True})
        elif verb == "close":
            await self.give_up(list(self.tasks))
            await self.clients.pop(name).close()
            tell(name, {"done": True})
        elif verb == "cancel":
            await self.give_up([name])
            tell(name, {"cancelled": True})
        elif verb == "next":
            self.wanted[name].put_nowait(ask["n"])
        else:
            self.wanted[name] = asyncio.Queue()
            self.tasks[name] = asyncio.create_task(self.begin(ask))

    async def give_up(self, names: list[str]) -> None:
        """Cancels what was begun under these names, as a caller does."""
        tasks = [self.tasks.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def begin(self, ask: dict[str, Any]) -> None:
        """What takes its time."""
        verb, name = ask["verb"], ask["as"]
        client = self.clients[name if verb in ("connect", "flush") else ask.get("client", "client")]
        timeout = ask["timeout_ms"] / 1000 if "timeout_ms" in ask else None
        timing = rpc_client.Timing(ask.get("meta")) if ask.get("timing") else None
        options = {option: ask[option] for option in ("meta", "ordered") if option in ask}
        if timing is not None:
            options["meta"] = timing
        try:
            if verb == "call":
                more = {option: ask[option] for option in ("idempotent", "idempotency_key", "dedup") if option in ask}
                data = await client.call(ask["cmdid"], ask["params"], timeout=timeout, **options, **more)
                tell(name, {"data": data} | told_of(timing))
            elif verb == "stream":
                await self.stream(client, ask, timeout, timing)
            else:
                if verb == "notify":
                    await client.notify(ask["cmdid"], ask["params"], **options)
                else:
                    await (client.connect() if verb == "connect" else client.flush())
                tell(name, {"done": True})
        except RpcError as error:
            tell(name, {"error": described(error)} | told_of(timing))

    async def stream(
        self, client: rpc_client.Client, ask: dict[str, Any], timeout: float | None, timing: rpc_client.Timing | None
    ) -> None:
        """Reads as many items as it is asked for, until the stream is over."""
        name = ask["as"]
        resumable = [(member["cursor"], member["param"]) for member in ask.get("resumable", [])]
        meta = timing if timing is not None else ask.get("meta")
        async with await client.stream(ask["cmdid"], ask["params"], timeout=timeout, meta=meta, resumable=resumable) as items:
            while True:
                for _ in range(await self.wanted[name].get()):
                    try:
                        tell(name, {"item": await anext(items)})
                    except StopAsyncIteration:
                        return tell(name, {"end": True} | told_of(timing))


async def main() -> None:
    """Reads lines to the end of the input."""
    print(json.dumps({"driver": 1, "client": "rpc_client (Python, asyncio)", "features": FEATURES}), flush=True)
    driver = Driver()
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        await driver.obey(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main())
