"""Resumable streams of a server that does what a test says, on a loop whose time a test can set forward."""

from __future__ import annotations

import asyncio
import json
import unittest
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from rpc_client import Client, Code, RpcError, Settings

TAIL = 1006
RESUMABLE = [("n", "after")]
# As quick as tests want it.
QUICK = Settings(
    fail_fast_after_ms=200, reconnect_base_ms=1, reconnect_cap_ms=1, retry_base_ms=1, retry_cap_ms=1, ping_interval_ms=0
)

# Nothing is called again before a test is over.
SLOW = Settings(reconnect_base_ms=600_000, reconnect_cap_ms=600_000, retry_base_ms=600_000, retry_cap_ms=600_000)

# Answers a request on its connection, which is closed behind it.
Answer = Callable[[dict[str, Any], asyncio.StreamWriter], Awaitable[None]]


class Streams(unittest.IsolatedAsyncioTestCase):
    async def serve(self, answer: Answer, settings: Settings = QUICK) -> Client:
        """A client of a server that answers one request of each connection."""

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = await reader.readline()
            if line:
                await answer(json.loads(line), writer)
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        self.addCleanup(server.close)
        host, port = server.sockets[0].getsockname()
        client = Client(f"{host}:{port}", settings)
        self.addAsyncCleanup(client.close)
        return client

    async def watch(self, open_s: float, lost: int) -> list[Any]:
        """Reads a stream that is lost so often before its one item, each time after it was open for so long."""
        loop, calls = asyncio.get_running_loop(), 0
        real, ahead = loop.time, 0.0
        loop.slow_callback_duration = 60
        loop.time = lambda: real() + ahead  # type: ignore[method-assign]

        async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
            nonlocal calls, ahead
            calls += 1
            if calls <= lost:
                ahead += open_s
                return
            for more in (',"data":{"n":7},"more":true', ""):
                writer.write(f'{{"id":{request["id"]},"code":0{more}}}\n'.encode())
            await writer.drain()

        client = await self.serve(answer)
        async with await client.stream(TAIL, {}, resumable=RESUMABLE) as stream:
            return [item async for item in stream]

    async def test_a_stream_without_an_item_outlives_any_number_of_calls_that_were_open_for_long(self) -> None:
        self.assertEqual(await self.watch(31, 60), [{"n": 7}])

    async def test_a_stream_that_is_lost_again_and_again_soon_fails(self) -> None:
        with self.assertRaises(RpcError) as caught:
            await self.watch(1, 60)
        self.assertEqual(caught.exception.code, Code.UNAVAILABLE)

    async def failure(self, client: Client) -> RpcError:
        """How a stream fails, which must not wait for a call that goes on."""
        async with asyncio.timeout(60):
            with self.assertRaises(RpcError) as caught:
                async with await client.stream(TAIL, {}, resumable=RESUMABLE) as stream:
                    async for _ in stream:
                        pass
        return caught.exception

    async def test_a_stream_fails_when_its_client_is_closed(self) -> None:
        calls, is_lost_twice = 0, asyncio.Event()

        async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                is_lost_twice.set()

        client = await self.serve(answer, SLOW)
        failing = asyncio.create_task(self.failure(client))
        await is_lost_twice.wait()
        await client.close()
        self.assertIn("the client was closed", str(await failing))
        self.assertEqual(calls, 2)

    async def ends_when_closed(self, client: Client, may_close: Callable[[], bool]) -> None:
        """Closes a stream whose reader waits in another task, once it is lost and this is so: the reader is at the end."""
        stream = await client.stream(TAIL, {}, resumable=RESUMABLE)

        async def read() -> list[Any]:
            return [item async for item in stream]

        reading = asyncio.create_task(read())
        async with asyncio.timeout(60):
            while not (stream.call.is_over and may_close()):
                await asyncio.sleep(0)
            # It has a few turns of the loop to begin its wait.
            for _ in range(20):
                await asyncio.sleep(0)
            self.assertFalse(reading.done())
            await stream.aclose()
            self.assertEqual(await reading, [])

    async def test_a_stream_that_waits_for_its_next_call_ends_when_it_is_closed(self) -> None:
        calls = 0

        async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            calls += 1

        client = await self.serve(answer, SLOW)
        await self.ends_when_closed(client, lambda: calls == 2)
        self.assertEqual(calls, 2)

    async def test_a_stream_that_waits_for_a_connection_ends_when_it_is_closed(self) -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            server.close()
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        client = Client(f"{host}:{port}", replace(SLOW, call_timeout_ms=600_000, fail_fast_after_ms=600_000))
        self.addAsyncCleanup(client.close)
        await self.ends_when_closed(client, lambda: not server.is_serving())

    async def test_a_reader_that_is_cancelled_while_its_stream_waits_is_cancelled(self) -> None:
        calls = 0

        async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
            nonlocal calls
            calls += 1

        client = await self.serve(answer, SLOW)
        stream = await client.stream(TAIL, {}, resumable=RESUMABLE)

        async def read() -> Any:
            return await anext(stream)

        reading = asyncio.create_task(read())
        while not (stream.call.is_over and calls == 2):
            await asyncio.sleep(0)
        reading.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await reading
        await stream.aclose()

    async def test_a_stream_of_a_closed_client_fails_at_once(self) -> None:
        client = Client("127.0.0.1:1", SLOW)
        await client.close()
        self.assertIn("the client was closed", str(await self.failure(client)))

    async def test_a_stream_at_what_is_not_an_address_fails_at_once(self) -> None:
        for address in ("nonsense", ":80", "a:0", "a:65536", "a:http", "unix:"):
            client = Client(address, SLOW)
            self.addAsyncCleanup(client.close)
            self.assertIn(f"`{address}` is not an address: write HOST:PORT", str(await self.failure(client)))

    async def test_a_wrong_address_among_others_hides_no_server(self) -> None:
        async def answer(request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
            writer.write(f'{{"id":{request["id"]},"code":0,"data":7}}\n'.encode())

        there = await self.serve(answer)
        client = Client(f"127.0.0.1:1,nonsense,{there.target}", QUICK)
        self.addAsyncCleanup(client.close)
        async with await client.stream(TAIL, {}, resumable=RESUMABLE) as stream:
            self.assertEqual([item async for item in stream], [7])

        away = Client("127.0.0.1:1,nonsense", QUICK)
        self.addAsyncCleanup(away.close)
        self.assertIn("cannot connect", str(await self.failure(away)))
