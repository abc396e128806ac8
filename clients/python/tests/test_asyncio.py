"""The asyncio client against the daemon."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import socket
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path

import rpc_client
from rpc_client import Client, Code, RpcError, Settings, Tls

from support import Daemon

PING = 0
APPEND, TAIL = 1001, 1006
SLEEP, ADD, COUNT, TALLY, ONCE = 10001, 10004, 10005, 10008, 10009
# As quick as tests want it.
QUICK = Settings(fail_fast_after_ms=200, reconnect_cap_ms=200)


class AgainstADaemon(unittest.IsolatedAsyncioTestCase):
    daemon: Daemon

    @classmethod
    def setUpClass(cls) -> None:
        cls.daemon = Daemon()
        cls.daemon.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.daemon.__exit__(None, None, None)

    def client(self, settings: Settings = QUICK) -> Client:
        client = Client(self.daemon.address, settings)
        self.addAsyncCleanup(client.close)
        return client

    async def test_a_thousand_calls_side_by_side_have_their_own_answers(self) -> None:
        client = self.client()
        answers = await asyncio.gather(*(client.call(ADD, {"a": i, "b": 1}) for i in range(1000)))
        self.assertEqual(answers, [{"sum": i + 1} for i in range(1000)])

    async def test_calls_wait_where_a_connection_has_all_that_it_may_have(self) -> None:
        client = self.client(Settings(in_flight_per_connection=4))
        answers = await asyncio.gather(*(client.call(SLEEP, {"ms": 1}) for _ in range(40)))
        self.assertEqual(answers, [{"slept_ms": 1}] * 40)

    async def test_a_call_that_finds_no_room_ends_by_its_deadline(self) -> None:
        client = self.client(Settings(in_flight_per_connection=1))
        await client.connect()
        first = asyncio.create_task(client.call(SLEEP, {"ms": 20_000}, timeout=30))
        await asyncio.sleep(0)
        with self.assertRaises(RpcError) as caught:
            await client.call(PING, timeout=0.2)
        self.assertEqual((caught.exception.code, caught.exception.may_have_run), (Code.DEADLINE_EXCEEDED, False))
        first.cancel()

    async def test_a_stream_is_read_to_its_end_with_little_credit(self) -> None:
        client = self.client(Settings(stream_credit=3))
        async with await client.stream(COUNT, {"n": 500}) as items:
            self.assertEqual([item["i"] async for item in items], list(range(500)))

    async def test_a_stream_that_is_left_or_dropped_is_cancelled_at_the_server(self) -> None:
        client = self.client()
        async with await client.stream(COUNT, {"n": 1_000_000}) as items:
            self.assertEqual(await anext(items), {"i": 0})
        dropped = await client.stream(COUNT, {"n": 1_000_000})
        del dropped
        gc.collect()
        await client.call(PING)
        connection = client._endpoints[0].connection
        assert connection is not None
        self.assertEqual(connection.calls, {})

    async def test_a_call_that_is_given_up_leaves_nothing_behind(self) -> None:
        client = self.client()
        await client.connect()
        for _ in range(200):
            task = asyncio.create_task(client.call(SLEEP, {"ms": 60_000}, timeout=60))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await client.call(PING)
        connection = client._endpoints[0].connection
        assert connection is not None
        self.assertEqual(connection.calls, {})
        self.assertLess(len(connection._deadlines), 100)

    async def test_params_without_a_json_form_are_not_sent(self) -> None:
        for params in (object(), float("nan"), {1, 2}):
            with self.assertRaises(RpcError) as caught:
                await self.client().call(PING, params)
            self.assertEqual((caught.exception.code, caught.exception.sent), (Code.INVALID_ARGUMENT, False))

    async def test_a_lone_surrogate_arrives_as_it_is(self) -> None:
        self.assertEqual(await self.client().call(PING, ["\ud800", "ä"]), ["\ud800", "ä"])

    async def test_params_over_the_limit_of_the_server_fail_with_its_words(self) -> None:
        client = self.client()
        self.assertEqual(len(await client.call(PING, "x" * 1_000_000)), 1_000_000)
        with self.assertRaises(RpcError) as caught:
            await client.call(PING, "x" * 1_100_000)
        self.assertIn(caught.exception.code, (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE))

    async def test_what_is_not_an_address_is_named(self) -> None:
        with self.assertRaisesRegex(RpcError, "write HOST:PORT or unix:PATH"):
            await Client("nonsense", QUICK).call(PING)
        with self.assertRaisesRegex(RpcError, "cannot connect: .*not sent"):
            await Client("a" * 64 + ".example:1", QUICK).call(PING)

    async def test_shared_is_one_client_for_all_of_a_loop(self) -> None:
        self.assertIs(rpc_client.shared(self.daemon.address), rpc_client.shared(self.daemon.address))
        rpc_client.define("log", self.daemon.address, QUICK)
        log = rpc_client.shared("log")
        self.assertEqual(await log.call(PING, 5), 5)
        self.assertIs(log, rpc_client.shared("log"))
        await log.close()

    async def test_of_several_servers_those_are_called_that_are_there(self) -> None:
        client = Client(f"127.0.0.1:1,{self.daemon.address}", QUICK)
        self.addAsyncCleanup(client.close)
        self.assertEqual(await asyncio.gather(*(client.call(PING, i) for i in range(50))), list(range(50)))

    async def test_oneway_calls_run_in_the_end(self) -> None:
        client = self.client()
        for _ in range(10):
            await client.notify(TALLY, {"key": "oneway", "add": 1}, ordered=True)
        self.assertEqual(await client.call(TALLY, {"key": "oneway"}, ordered=True), {"total": 10})

    async def test_a_setting_that_makes_no_sense_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "`in_flight_per_connection` is 0; it must be at least 1"):
            Settings(in_flight_per_connection=0)
        with self.assertRaisesRegex(ValueError, "`call_timeout_ms` is -1; it must be at least 0"):
            Settings(call_timeout_ms=-1)

    async def test_a_call_with_dedup_runs_once_though_its_answer_is_lost(self) -> None:
        cuts = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal cuts
            far_reader, far_writer = await asyncio.open_connection(*self.daemon.address.split(":"))

            async def forth() -> None:
                while data := await reader.read(65536):
                    far_writer.write(data)
                far_writer.close()

            going = asyncio.create_task(forth())
            while data := await far_reader.read(65536):
                if b'"total":1}' in data and cuts == 0:
                    cuts += 1
                    break
                writer.write(data)
            writer.close()
            await going

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
            port = proxy.sockets[0].getsockname()[1]
            async with Client(f"127.0.0.1:{port}", QUICK) as client:
                # The store is asked for with the first call; nothing is sent again before it is known.
                self.assertEqual(await client.call(ONCE, {"key": "lost"}, dedup=True), {"total": 0})
                answer = await client.call(ONCE, {"key": "lost", "add": 1}, dedup=True)
                self.assertEqual((answer, cuts), ({"total": 1}, 1))
                # The key is that of one call.
                self.assertEqual(await client.call(ONCE, {"key": "lost", "add": 1}, dedup=True), {"total": 2})


class AgainstOtherListeners(unittest.IsolatedAsyncioTestCase):
    async def test_a_server_that_takes_no_bytes_is_given_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            # It accepts, and never reads.
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            settings = Settings(write_stall_timeout_ms=300, attempts_max=1, ping_interval_ms=0, output_bytes_max=10**9)
            async with Client(address, settings) as client:
                await client.connect()
                large = asyncio.create_task(client.call(PING, "x" * (64 << 20), timeout=60))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                waits = asyncio.create_task(client.call(PING, 1, timeout=60))
                with self.assertRaisesRegex(RpcError, "the server took no bytes for 0.3 s .*may have run"):
                    await large
                with self.assertRaises(RpcError) as caught:
                    await waits
                self.assertFalse(caught.exception.may_have_run)

    async def test_a_unix_socket_is_called_by_its_path(self) -> None:
        with tempfile.TemporaryDirectory() as directory, Daemon(listen=f"unix:{directory}/rpc") as daemon:
            async with Client(daemon.address) as client:
                self.assertEqual(await client.call(PING, 1), 1)

    async def test_a_server_that_was_killed_is_found_when_it_is_back(self) -> None:
        with Daemon() as daemon:
            async with Client(daemon.address, Settings(reconnect_cap_ms=100, fail_fast_after_ms=5000)) as client:
                self.assertEqual(await client.call(PING, 1), 1)
                daemon.kill()
                waiting = asyncio.create_task(client.call(PING, 2, idempotent=True))
                await asyncio.to_thread(daemon.start)
                self.assertEqual(await waiting, 2)

    async def test_a_tail_goes_on_when_the_daemon_was_killed_and_each_entry_comes_once(self) -> None:
        with Daemon() as daemon:
            settings = Settings(fail_fast_after_ms=20_000, call_timeout_ms=30_000, reconnect_cap_ms=100)
            async with Client(daemon.address, settings) as client:
                resumable = [("log", "log"), ("next", "after")]
                async with await client.stream(TAIL, {"after": 0}, resumable=resumable) as tail:
                    seen: list[int] = []
                    for number in range(1, 31):
                        entry = {"level": "info", "service": "order", "message": "entry"}
                        self.assertEqual((await client.call(APPEND, entry))["seq"], number)
                        while len(seen) < number:
                            seen += [entry["seq"] for entry in (await anext(tail))["entries"]]
                        if number % 10 == 0:
                            daemon.kill()
                            await asyncio.to_thread(daemon.start)
                self.assertEqual(seen, list(range(1, 31)))

    async def test_a_token_authenticates_the_client(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            token = "a token of 22 characters, at least"
            tokens = Path(directory) / "tokens"
            tokens.write_text(f"order {hashlib.sha256(token.encode()).hexdigest()}\n")
            tokens.chmod(0o600)
            (Path(directory) / "token").write_text(f"{token}\n")
            config = f'tokens_file = "{tokens}"\n'
            with Daemon(config) as daemon:
                async with Client(daemon.address, Settings(token_file=f"{directory}/token")) as client:
                    self.assertEqual(await client.call(PING, 1), 1)
                async with Client(daemon.address, Settings(token="wrong")) as client:
                    with self.assertRaises(RpcError) as caught:
                        await client.call(PING, 1)
                    self.assertEqual((caught.exception.code, caught.exception.sent), (Code.UNAUTHENTICATED, False))

    async def test_tls_trusts_the_authority_that_it_is_given_and_no_other(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            make += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
            make += ["-addext", "basicConstraints=critical,CA:FALSE"]
            make += ["-keyout", f"{directory}/key", "-out", f"{directory}/certificate"]
            subprocess.run(make, check=True, capture_output=True)
            listener = (
                f'listen = []\n[[listeners]]\naddress = "127.0.0.1:0"\ncertificate_file = "{directory}/certificate"\n'
            )
            with Daemon(listener + f'key_file = "{directory}/key"\n', listen=None) as daemon:
                address = daemon.address
                tls = Tls(ca_file=f"{directory}/certificate", server_name="localhost")
                async with Client(address, Settings(tls=tls)) as client:
                    self.assertEqual(await client.call(PING, 1), 1)
                    connection = client._endpoints[0].connection
                    assert connection is not None
                    spoken: ssl.SSLObject = connection._transport.get_extra_info("ssl_object")
                    self.assertEqual(spoken.selected_alpn_protocol(), "ndjson-rpc/1")
                async with Client(f"tls:{address}", QUICK) as client:
                    with self.assertRaisesRegex(RpcError, "certificate verify failed.*not sent"):
                        await client.call(PING, 1)


if __name__ == "__main__":
    unittest.main()
