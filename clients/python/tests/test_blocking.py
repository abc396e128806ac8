"""The client for threads against the daemon."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rpc_client import Code, RpcError, Settings, blocking, shared

from support import Daemon

PING = 0
SLEEP, ADD, COUNT, TALLY = 10001, 10004, 10005, 10008


class Interrupted(Exception):
    """What the handler of a signal raises."""


class AgainstADaemon(unittest.TestCase):
    daemon: Daemon

    @classmethod
    def setUpClass(cls) -> None:
        cls.daemon = Daemon()
        cls.daemon.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.daemon.__exit__(None, None, None)

    def client(self, settings: Settings | None = None) -> blocking.Client:
        client = blocking.Client(self.daemon.address, settings)
        self.addCleanup(client.close)
        return client

    def test_eight_threads_have_their_own_answers(self) -> None:
        client = self.client()

        def work(thread: int) -> list[Any]:
            return [client.call(ADD, {"a": thread, "b": i})["sum"] for i in range(200)]

        with ThreadPoolExecutor(8) as pool:
            for thread, sums in enumerate(pool.map(work, range(8))):
                self.assertEqual(sums, [thread + i for i in range(200)])

    def test_a_stream_is_a_loop(self) -> None:
        with self.client(Settings(stream_credit=4)).stream(COUNT, {"n": 100}) as items:
            self.assertEqual([item["i"] for item in items], list(range(100)))

    def test_a_stream_may_be_left(self) -> None:
        client = self.client()
        with client.stream(COUNT, {"n": 1_000_000}) as items:
            self.assertEqual(next(items), {"i": 0})
        self.assertEqual(client.call(PING, 1), 1)

    def test_oneway_calls_are_flushed(self) -> None:
        client = self.client()
        client.notify(TALLY, {"key": "blocking", "add": 1}, ordered=True)
        client.flush()
        self.assertEqual(client.call(TALLY, {"key": "blocking"}, ordered=True), {"total": 1})

    def test_a_call_ends_by_its_deadline(self) -> None:
        with self.assertRaises(RpcError) as caught:
            self.client().call(SLEEP, {"ms": 30_000}, timeout=0.1)
        self.assertEqual((caught.exception.code, caught.exception.may_have_run), (Code.DEADLINE_EXCEEDED, True))

    def test_a_call_without_time_is_not_sent(self) -> None:
        with self.assertRaises(RpcError) as caught:
            self.client().call(PING, timeout=0)
        self.assertEqual((caught.exception.code, caught.exception.sent), (Code.DEADLINE_EXCEEDED, False))

    def test_a_failure_of_the_server_is_raised_in_the_thread_that_called(self) -> None:
        with self.assertRaises(RpcError) as caught:
            self.client().call(ADD, {"a": "x"})
        self.assertTrue(caught.exception.answered)
        self.assertEqual(caught.exception.code, Code.INVALID_ARGUMENT)

    def test_a_server_that_is_not_there_fails_the_call_as_not_sent(self) -> None:
        with blocking.Client("127.0.0.1:1", Settings(fail_fast_after_ms=50)) as client:
            with self.assertRaises(RpcError) as caught:
                client.call(PING)
        text = "127.0.0.1:1: code 14 UNAVAILABLE: cannot connect: Connection refused (not sent)"
        self.assertEqual(str(caught.exception), text)

    def test_a_call_that_is_interrupted_is_given_up(self) -> None:
        client = self.client()
        client.connect()

        def interrupt(*_: object) -> None:
            raise Interrupted

        before = signal.signal(signal.SIGALRM, interrupt)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with self.assertRaises(Interrupted):
            client.call(SLEEP, {"ms": 60_000}, timeout=60)
        self.assertEqual(client.call(PING, 1), 1)
        connection = client._client._endpoints[0].connection
        assert connection is not None
        self.assertEqual(connection.calls, {})

    def test_a_call_in_the_client_s_own_thread_is_refused(self) -> None:
        client = self.client()

        async def call() -> Any:
            return client.call(PING)

        with self.assertRaisesRegex(RpcError, "inside the client's own thread"):
            client._loop.run(call())

    def test_shared_is_one_client_for_all_threads(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            clients = set(pool.map(lambda _: blocking.shared(self.daemon.address), range(50)))
        self.assertEqual(len(clients), 1)


class AfterAFork(unittest.TestCase):
    def in_a_child(self, work: Any) -> str:
        """What `work` returns in a child process, or its error."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                said = str(work())
            except BaseException as error:
                said = repr(error)
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        with open(reading, encoding="utf-8") as told:
            said = told.read()
        os.waitpid(child, 0)
        return said

    def test_the_child_has_a_connection_of_its_own_and_the_parent_keeps_its_one(self) -> None:
        with Daemon() as daemon:
            client = blocking.shared(daemon.address)
            own = blocking.Client(daemon.address)
            self.assertEqual((client.call(PING, "parent"), own.call(PING, "parent")), ("parent", "parent"))
            before = client._client._endpoints[0].connection
            slow = threading.Thread(target=lambda: done.append(client.call(SLEEP, {"ms": 300})))
            done: list[Any] = []
            slow.start()

            def in_child() -> list[Any]:
                again = blocking.shared(daemon.address)
                return [
                    again is not client,
                    again.call(PING, "child"),
                    own.call(PING, "child"),
                    client.call(PING, "child"),
                ]

            self.assertEqual(self.in_a_child(in_child), "[True, 'child', 'child', 'child']")
            slow.join()
            self.assertEqual(done, [{"slept_ms": 300}])
            self.assertEqual(client.call(PING, "still the same"), "still the same")
            self.assertIs(client._client._endpoints[0].connection, before)
            own.close()
            client.close()

    def test_the_child_of_an_event_loop_has_a_client_of_its_own(self) -> None:
        async def main() -> str:
            client = shared(address)
            await client.call(PING, 1)

            async def in_loop() -> list[Any]:
                mine = shared(address)
                return [mine is client, await mine.call(PING, "child")]

            # A thread of its own, since a thread has one event loop.
            said = await asyncio.to_thread(self.in_a_child, lambda: asyncio.run(in_loop()))
            said += str(await client.call(PING, "parent"))
            await client.close()
            return said

        with Daemon() as daemon:
            address = daemon.address
            self.assertEqual(asyncio.run(main()), "[False, 'child']parent")


if __name__ == "__main__":
    unittest.main()
