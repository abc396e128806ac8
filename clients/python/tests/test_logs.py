"""The handler of `logging` against the daemon's log."""

from __future__ import annotations

import json
import logging
import os
import socketserver
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from rpc_client import Settings, blocking, logs
from rpc_client.logs import LogHandler

from support import Daemon

READ = 1002


def entries(daemon: Daemon) -> list[dict[str, Any]]:
    """All entries of the log."""
    with blocking.Client(daemon.address) as client:
        found: list[dict[str, Any]] = []
        while page := client.call(READ, {"after": found[-1]["seq"] if found else 0, "limit": 1000})["entries"]:
            found += page
        return found


@contextmanager
def log_server(answer: Callable[[dict[str, Any]], str | None]) -> Iterator[str]:
    """A server whose replies to requests with an id this function makes, but for the id; without one it cuts."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                request = json.loads(line)
                if "id" not in request or request["cmdid"] < 100:
                    continue
                reply = answer(request)
                if reply is None:
                    return
                self.wfile.write(f'{{"id":{request["id"]},{reply}}}\n'.encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield "{}:{}".format(*server.server_address)
        finally:
            server.shutdown()
            thread.join()


class Logs(unittest.TestCase):
    def logger(self, handler: LogHandler) -> logging.Logger:
        logger = logging.Logger("test", logging.DEBUG)
        logger.addHandler(handler)
        self.addCleanup(handler.close)
        return logger

    def test_a_record_is_an_entry_with_its_level_fields_trace_and_exception(self) -> None:
        with Daemon() as daemon:
            handler = LogHandler(daemon.address, service="order")
            logger = self.logger(handler)
            logger.warning("user %d", 4211, extra={"country": "at", "odd": {1, 2}, "trace": "4bf92f35"})
            try:
                raise ValueError("a mistake")
            except ValueError:
                logger.exception("it failed")
            for level in (5, 10, 20, 30, 40, 50):
                logger.handle(logging.makeLogRecord({"levelno": level, "msg": "level", "name": "n"}))
            handler.flush()
            first, second, *levels = entries(daemon)
        self.assertEqual((first["level"], first["service"], first["message"]), ("warn", "order", "user 4211"))
        self.assertEqual(
            (first["trace"], first["fields"]["country"], first["fields"]["odd"]), ("4bf92f35", "at", "{1, 2}")
        )
        self.assertLess(abs(first["ts"] / 1000 - time.time()), 60)
        self.assertIn("ValueError: a mistake", second["fields"]["exception"])
        self.assertEqual([entry["level"] for entry in levels], ["trace", "debug", "info", "warn", "error", "fatal"])
        self.assertEqual((handler.sent, handler.dropped, handler.unknown), (8, 0, 0))

    def test_entries_are_in_the_log_in_their_order(self) -> None:
        with Daemon() as daemon:
            handler = LogHandler(daemon.address, service="order")
            logger = self.logger(handler)
            for number in range(2000):
                logger.info("%d", number)
            handler.flush()
            self.assertEqual([entry["message"] for entry in entries(daemon)], [str(number) for number in range(2000)])

    def test_a_batch_that_fails_again_and_again_is_not_left_behind_further_than_the_log_remembers(self) -> None:
        numbers: list[int] = []
        failures: list[int] = []

        def answer(request: dict[str, Any]) -> str:
            number = request["params"]["batch"]
            numbers.append(number)
            if number == 5 and len(failures) < 8:
                failures.append(max(numbers))
                return '"code":14,"message":"not now"'
            return '"code":0,"data":{"first":1,"last":1}'

        with mock.patch.object(logs, "_BATCH_MAX", 4), log_server(answer) as address:
            handler = LogHandler(address, service="order", close_timeout=30)
            logger = self.logger(handler)
            for number in range(1200):
                logger.info("%d", number)
            handler.close()
        self.assertEqual((handler.sent, handler.dropped, handler.unknown), (1200, 0, 0))
        self.assertLessEqual(max(failures), 64)
        self.assertGreater(max(numbers), 200)

    def test_a_batch_whose_answer_is_lost_is_sent_again_with_its_number(self) -> None:
        sent: list[Any] = []

        def answer(request: dict[str, Any]) -> str | None:
            sent.append((request["cmdid"], request["params"]))
            return None if len(sent) == 1 else '"code":0,"data":{"first":1,"last":1,"duplicate":true}'

        with log_server(answer) as address:
            handler = LogHandler(address, service="order")
            self.logger(handler).info("once")
            handler.flush()
            handler.close()
        self.assertEqual((len(sent), sent[0], sent[0][0]), (2, sent[1], 1003))
        self.assertEqual((handler.sent, handler.dropped, handler.unknown), (1, 0, 0))

    def test_an_entry_that_is_refused_is_dropped_and_the_others_of_its_batch_are_not(self) -> None:
        batches: list[list[str]] = []

        def answer(request: dict[str, Any]) -> str:
            messages = [entry["message"] for entry in request["params"]["entries"]]
            batches.append(messages)
            if "bad" in messages:
                index = messages.index("bad")
                return f'"code":3,"message":"no","details":{{"index":{index},"field":"message"}}'
            return '"code":0,"data":{"first":1,"last":2}'

        with log_server(answer) as address:
            handler = LogHandler(address, service="order")
            logger = self.logger(handler)
            for message in ("one", "bad", "two"):
                logger.info(message)
            handler.flush()
            handler.close()
        # The last one says what was dropped.
        self.assertEqual((handler.sent, handler.dropped, handler.unknown), (3, 1, 0))
        told = "1 entries of `order` were dropped"
        self.assertEqual(sorted({message for batch in batches for message in batch}), [told, "bad", "one", "two"])

    def test_a_server_that_knows_no_batches_gets_each_entry_by_itself(self) -> None:
        messages: list[str] = []

        def answer(request: dict[str, Any]) -> str:
            if request["cmdid"] == 1003:
                return '"code":12,"message":"no such command"'
            messages.append(request["params"]["message"])
            return '"code":0,"data":{"seq":1}'

        with log_server(answer) as address:
            handler = LogHandler(address, service="order")
            logger = self.logger(handler)
            for number in range(20):
                logger.info("%d", number)
            handler.flush()
            handler.close()
        self.assertEqual(messages, [str(number) for number in range(20)])
        self.assertEqual((handler.sent, handler.dropped, handler.unknown), (20, 0, 0))

    def test_an_entry_that_is_longer_than_a_line_is_dropped(self) -> None:
        with Daemon() as daemon:
            handler = LogHandler(daemon.address, service="order", close_timeout=10)
            logger = self.logger(handler)
            logger.info("too much", extra={"all": "x" * 1_100_000})
            logger.info("enough")
            handler.flush()
            messages = {entry["message"] for entry in entries(daemon)}
        self.assertEqual(messages, {"enough", "1 entries of `order` were dropped"})
        self.assertEqual(handler.dropped, 1)

    def test_a_server_that_is_not_there_blocks_nothing_and_what_is_dropped_is_counted(self) -> None:
        handler = LogHandler("127.0.0.1:1", service="order", queue_max=10, close_timeout=0.2)
        logger = self.logger(handler)
        started = time.monotonic()
        for number in range(1000):
            logger.info("%d", number)
        self.assertLess(time.monotonic() - started, 1)
        handler.close()
        self.assertLess(time.monotonic() - started, 3)
        thread = handler._thread
        assert thread is not None
        # It gives up what is under way, and ends.
        thread.join(30)
        self.assertFalse(thread.is_alive())
        self.assertEqual((handler.sent, handler.dropped, handler.unknown), (0, 1000, 0))

    def test_what_it_holds_is_bounded_in_bytes_and_the_rest_is_dropped_and_counted(self) -> None:
        handler = LogHandler("127.0.0.1:1", service="order", queue_bytes_max=80_000, close_timeout=0.2)
        logger = self.logger(handler)
        for _ in range(20):
            logger.info("x" * 10_000)
        # An entry has some bytes more than its message: the seventh would be in the last eighth.
        self.assertEqual((handler._held, handler.dropped), (6, 14))
        self.assertLessEqual(handler._held_bytes, 70_000)
        handler.close()
        thread = handler._thread
        assert thread is not None
        thread.join(30)
        self.assertEqual((handler._held, handler._held_bytes, handler.dropped), (0, 0, 20))

    def test_the_last_eighth_of_what_it_may_hold_is_for_errors(self) -> None:
        for entries_max, bytes_max in ((16, 8_388_608), (10_000, 16 * 1_024)):
            handler = LogHandler(
                "127.0.0.1:1", service="order", queue_max=entries_max, queue_bytes_max=bytes_max, close_timeout=0.2
            )
            logger = self.logger(handler)
            for _ in range(30):
                logger.warning("x" * 900)
            held = handler._held
            self.assertEqual(handler.dropped, 30 - held)
            logger.error("x" * 900)
            logger.critical("x" * 900)
            self.assertEqual((handler._held, handler.dropped), (held + 2, 30 - held))
            for _ in range(30):
                logger.error("x" * 900)
            self.assertLessEqual(handler._held, 16)
            handler.close()

    def test_what_is_acknowledged_makes_room_again(self) -> None:
        with log_server(lambda _: '"code":0,"data":{"first":1,"last":1}') as address:
            handler = LogHandler(address, service="order", queue_bytes_max=8_000, close_timeout=10)
            logger = self.logger(handler)
            for _ in range(50):
                logger.info("x" * 5_000)
                handler.flush()
            self.assertEqual((handler.sent, handler.dropped, handler._held_bytes), (50, 0, 0))

    def test_text_that_is_not_unicode_is_logged_too(self) -> None:
        with Daemon() as daemon:
            handler = LogHandler(daemon.address, service="order")
            logger = self.logger(handler)
            logger.info("名字 \ud800")
            handler.flush()
            self.assertEqual([entry["message"] for entry in entries(daemon)], ["名字 ?"])

    def test_the_log_says_what_was_dropped_once_the_server_is_there(self) -> None:
        with Daemon() as daemon:
            daemon.kill()
            settings = Settings(fail_fast_after_ms=0, reconnect_cap_ms=100)
            handler = LogHandler(daemon.address, service="order", queue_max=5, settings=settings, close_timeout=10)
            logger = self.logger(handler)
            for number in range(500):
                logger.info("%d", number)
            dropped = handler.dropped
            self.assertGreater(dropped, 0)
            daemon.start()
            handler.flush()
            messages = [entry["message"] for entry in entries(daemon)]
        self.assertEqual(len(messages), 500 - dropped + 1)
        self.assertEqual(messages[-1], f"{dropped} entries of `order` were dropped")

    def test_a_program_that_ends_sends_what_it_has_logged(self) -> None:
        program = (
            "import logging, sys; from rpc_client.logs import LogHandler\n"
            "logging.getLogger().addHandler(LogHandler(sys.argv[1], service='short'))\n"
            "for number in range(300): logging.warning('%d', number)\n"
        )
        with Daemon() as daemon:
            subprocess.run([sys.executable, "-c", program, daemon.address], check=True, timeout=30)
            self.assertEqual([entry["message"] for entry in entries(daemon)], [str(number) for number in range(300)])

    def test_a_program_that_ends_waits_no_longer_than_it_may(self) -> None:
        program = (
            "import logging; from rpc_client.logs import LogHandler\n"
            "logging.getLogger().addHandler(LogHandler('127.0.0.1:1', service='short', close_timeout=0.3))\n"
            "logging.warning('lost')\n"
        )
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
        self.assertLess(time.monotonic() - started, 10)

    def test_the_child_of_a_fork_logs_over_a_connection_of_its_own(self) -> None:
        with Daemon() as daemon:
            handler = LogHandler(daemon.address, service="order")
            logger = self.logger(handler)
            logger.info("parent")
            child = os.fork()
            if child == 0:
                logger.info("child")
                handler.flush()
                os._exit(0 if handler.sent == 1 else 1)
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
            logger.info("parent again")
            handler.flush()
            messages = sorted(entry["message"] for entry in entries(daemon))
        self.assertEqual(messages, ["child", "parent", "parent again"])


if __name__ == "__main__":
    unittest.main()
