"""Eight threads that share one connection, and a handler that sends their records of `logging` to the daemon's log."""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor

import rpc_client


def main(address: str) -> None:
    handler = rpc_client.logs.LogHandler(address, service="threads")
    logger = logging.getLogger("threads")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def work(number: int) -> object:
        logger.info("at work on %d", number)
        return rpc_client.blocking.shared(address).call(0, number)

    with ThreadPoolExecutor(8) as pool:
        print(sum(int(str(number)) for number in pool.map(work, range(100))))
    handler.flush()
    print(handler.sent, "entries are on disk")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8889")
