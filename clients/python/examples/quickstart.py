"""Calls a daemon at the address on the command line (127.0.0.1:8889): an entry for its log, and what the log says.

cargo rpc-server
python3 clients/python/examples/quickstart.py
"""

import asyncio
import sys

import rpc_client


async def main(address: str) -> None:
    log = rpc_client.shared(address)
    entry = {"level": "info", "service": "order", "message": "user 4211 logged in"}
    seq = (await log.call(1001, entry))["seq"]
    page = await log.call(1002, {"after": seq - 1, "limit": 1}, idempotent=True)
    print(page["entries"][0]["message"])
    await log.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8889"))
