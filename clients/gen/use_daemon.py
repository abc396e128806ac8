"""Calls every command of the daemon's services by the clients that `rpc gen python` writes: those of the log with their types,
the others with the least that they take.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import typing
from typing import Any

import daemon_client
import rpc_client
from daemon_client import Append, ConflictError, Level, LogBlockingClient, LogClient, StaleError
from rpc_client import Code, RpcError


async def log(client: rpc_client.Client) -> None:
    """Writes and reads, as a program would."""
    log = LogClient(client)
    level: Level = "warn"
    numbers = [(await log.append(level, "gen", f"entry {n}", fields={"n": n}))["seq"] for n in range(3)]
    assert numbers == [1, 2, 3]
    page = await log.read(after=1, level="warn", limit=10)
    assert [(it["seq"], it["message"], it.get("fields")) for it in page["entries"]] == [
        (2, "entry 1", {"n": 1}),
        (3, "entry 2", {"n": 2}),
    ]
    assert page["next"] == 3
    try:
        await log.read(after=page["next"] + 1000, log=page["log"])
        raise AssertionError("there is no such entry")
    except RpcError as error:
        assert error.code == Code.OUT_OF_RANGE and error.details["last"] == 3

    entries: list[Append] = [{"level": "info", "service": "gen", "message": f"in a batch {n}"} for n in range(2)]
    written = await log.append_batch("gen", 70, entries)
    assert (written["first"], written["last"], written.get("duplicate", False)) == (4, 5, False)
    again = await log.append_batch("gen", 70, entries)
    assert (again["first"], again["last"], again.get("duplicate", False)) == (4, 5, True)
    try:
        await log.append_batch("gen", 70, entries[:1])
        raise AssertionError("another batch has the number")
    except ConflictError as error:
        assert error.code == 1001
    for number in range(71, 140):
        await log.append_batch("gen", number, entries)
    try:
        await log.append_batch("gen", 1, entries)
        raise AssertionError("it is not remembered")
    except StaleError as error:
        last: int = error.details["last_batch"]
        assert last == 139


async def tail(client: rpc_client.Client) -> None:
    """Follows the log from its first entry."""
    log = LogClient(client)
    messages: list[str] = []
    async with await log.tail(after=0, service="gen") as items:
        async for item in items:
            messages += [it["message"] for it in item["entries"]]
            if len(messages) >= 3:
                break
    assert messages[:3] == ["entry 0", "entry 1", "entry 2"], messages


def log_from_a_thread(client: rpc_client.blocking.Client) -> None:
    """The same for threads."""
    log = LogBlockingClient(client)
    seq = log.append("info", "gen", "from a thread", trace="t1", idempotency_key="k1")["seq"]
    again = log.append("info", "gen", "from a thread", trace="t1", idempotency_key="k1")
    assert (again["seq"], again.get("duplicate")) == (seq, True)
    assert [it["message"] for it in log.read(service="gen", trace="t1")["entries"]] == ["from a thread"]


def least(hint: Any) -> Any:
    """A value of this type, with the members that must be there."""
    if typing.is_typeddict(hint):
        members = typing.get_type_hints(hint)
        return {name: least(members[name]) for name in hint.__required_keys__}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return arguments[0]
    if origin is list or origin is dict:
        return origin()
    if arguments:
        return least(arguments[0])
    return {int: 1, str: "a", float: 1.0, bool: True}.get(hint, {})


async def call_with_the_least(client: rpc_client.Client) -> int:
    """Every command of every service. What it answers is right, also where it is a failure."""
    called = 0
    classes = [it for name, it in vars(daemon_client).items() if name.endswith("Client") and "Blocking" not in name]
    for made in classes:
        if made.__module__ != daemon_client.__name__:
            continue
        for name, method in inspect.getmembers(made(client), inspect.iscoroutinefunction):
            hints = typing.get_type_hints(method, vars(daemon_client) | {"Stream": rpc_client.Stream})
            required = [it.name for it in inspect.signature(method).parameters.values() if it.default is it.empty]
            options = {"timeout": 5.0} if "timeout" in hints else {}
            try:
                data = await method(**{it: least(hints[it]) for it in required}, **options)
                if isinstance(data, rpc_client.Stream):
                    async with data:
                        pass
            except RpcError as error:
                assert error.answered, f"{made.__name__}.{name}: {error}"
            called += 1
    return called


async def with_asyncio(address: str) -> int:
    """All of it in one connection."""
    async with rpc_client.Client(address) as client:
        await log(client)
        await tail(client)
        return await call_with_the_least(client)


def main(address: str) -> None:
    """Calls them all."""
    called = asyncio.run(with_asyncio(address))
    with rpc_client.blocking.Client(address) as client:
        log_from_a_thread(client)
    print(f"{called} commands of the daemon were called from Python")


main(sys.argv[1])
