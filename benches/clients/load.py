#!/usr/bin/env python3
"""One contender of Python: makes log calls for some seconds, and prints how many a second there were, and the processor time of
each in microseconds.

    python3 benches/clients/load.py rpc-asyncio --connect 127.0.0.1:9000 --seconds 2

`run.py` starts the servers and runs all contenders in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LOG = 10_000
IN_FLIGHT = 64
THREADS = 8
ENTRY = {
    "level": "info",
    "service": "order",
    "message": "user 4211 logged in from 10.1.2.3",
    "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
    "ts": 1_732_233_600_123,
}
WARM_UP_S = 0.3


def grpc_messages() -> tuple[Any, Any]:
    """The messages of the harness's gRPC server, as its .proto file would make them."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")
    field = descriptor_pb2.FieldDescriptorProto
    text, number, boolean = field.TYPE_STRING, field.TYPE_UINT64, field.TYPE_BOOL
    entry = (("level", text), ("service", text), ("message", text), ("trace", text), ("ts", number))
    for name, members in (("Entry", entry), ("Receipt", (("accepted", boolean), ("seq", number)))):
        message = file.message_type.add(name=name)
        for at, (member, kind) in enumerate(members, 1):
            message.field.add(name=member, number=at, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.{name}")) for name in ("Entry", "Receipt")
    )
    entry_class, receipt_class = made
    return entry_class, receipt_class


receipts = 0


def accepted(is_accepted: bool) -> None:
    """Counts a receipt, and ends the run where it is not as it must be."""
    global receipts
    receipts += 1
    if is_accepted is not True:
        raise SystemExit("a receipt is not accepted")


async def closed_loop(call: Callable[[], Awaitable[None]], seconds: float) -> float:
    """Calls a second of callers, each of which calls again as soon as it has its reply."""
    begin = time.perf_counter() + WARM_UP_S
    end = begin + seconds
    calls = 0

    async def caller() -> None:
        nonlocal calls
        while (now := time.perf_counter()) < end:
            await call()
            calls += now >= begin

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return calls / (time.perf_counter() - begin)


def threaded_loop(call: Callable[[], None], seconds: float) -> float:
    """The same with threads."""
    begin = time.perf_counter() + WARM_UP_S
    end = begin + seconds

    def caller(_: int) -> int:
        calls = 0
        while (now := time.perf_counter()) < end:
            call()
            calls += now >= begin
        return calls

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(caller, range(THREADS))) / (time.perf_counter() - begin)


async def rpc_asyncio(address: str, seconds: float) -> float:
    import rpc_client

    async with rpc_client.Client(address) as client:

        async def call() -> None:
            accepted((await client.call(LOG, ENTRY))["accepted"])

        return await closed_loop(call, seconds)


async def grpc_aio(address: str, seconds: float) -> float:
    import grpc.aio

    entry, receipt = grpc_messages()
    async with grpc.aio.insecure_channel(address) as channel:
        log = channel.unary_unary("/bench.Log/Log", entry.SerializeToString, receipt.FromString)

        async def call() -> None:
            accepted((await log(entry(**ENTRY))).accepted)

        return await closed_loop(call, seconds)


async def httpx(address: str, seconds: float) -> float:
    import httpx

    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def call() -> None:
            reply = await client.post(f"http://{address}/log", json=ENTRY)
            accepted(reply.json()["accepted"])

        return await closed_loop(call, seconds)


def rpc_blocking(address: str, seconds: float) -> float:
    import rpc_client

    with rpc_client.blocking.Client(address) as client:
        return threaded_loop(lambda: accepted(client.call(LOG, ENTRY)["accepted"]), seconds)


def grpc_blocking(address: str, seconds: float) -> float:
    import grpc

    entry, receipt = grpc_messages()
    with grpc.insecure_channel(address) as channel:
        log = channel.unary_unary("/bench.Log/Log", entry.SerializeToString, receipt.FromString)
        return threaded_loop(lambda: accepted(log(entry(**ENTRY)).accepted), seconds)


def main() -> None:
    """Reads the command line."""
    asynchronous = {"rpc-asyncio": rpc_asyncio, "grpc.aio": grpc_aio, "httpx": httpx}
    threads = {"rpc-blocking": rpc_blocking, "grpcio": grpc_blocking}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=[*asynchronous, *threads])
    parser.add_argument("--connect", required=True, metavar="HOST:PORT")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    cpu = time.process_time()
    if options.contender in threads:
        rate = threads[options.contender](options.connect, options.seconds)
    else:
        rate = asyncio.run(asynchronous[options.contender](options.connect, options.seconds))
    # Threads may lose a count to one another, one in many thousands.
    print(f"{rate:.0f} {(time.process_time() - cpu) / receipts * 1e6:.1f}")


if __name__ == "__main__":
    main()
