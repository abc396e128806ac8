"""The handler of `logging` against the daemon's log."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
import unittest
from typing import Any

from rpc_client import Settings, blocking
from rpc_client.logs import LogHandler

from support import Daemon

READ = 1002


def entries(daemon: Daemon) -> list[dict[str, Any]]:
    """All that stands in the log."""
    with blocking.Client(daemon.address) as client:
        found: list[dict[str, Any]] = []
        while page := client.call(READ, {"after": found[-1]["seq"] if found else 0, "limit": 1000})["entries"]:
            found += page
        return found


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

    def test_entries_stand_in_the_log_in_their_order(self) -> None:
        with Daemon() as daemon:
            handler = LogHandler(daemon.address, service="order")
            logger = self.logger(handler)
            for number in range(2000):
                logger.info("%d", number)
            handler.flush()
            self.assertEqual([entry["message"] for entry in entries(daemon)], [str(number) for number in range(2000)])

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
