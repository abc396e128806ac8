#!/usr/bin/env python3
"""A small server of the wire protocol: right as it stands, wrong on request.

It exists to prove the vectors and their runner. Without `--wrong` every vector must pass against it; with
`--wrong NAME` it commits one deliberate fault, and the vectors that are about that rule must fail. It favours being
short and obvious over being fast, and it bounds nothing that the vectors do not look at: it is no server to use.

    python3 conformance/wrong_server.py                   # prints "listening on 127.0.0.1:PORT"
    python3 conformance/wrong_server.py --wrong lax-utf8
    python3 conformance/wrong_server.py --list
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from typing import Optional

from wrong.commands import COMMANDS
from wrong.connection import Server
from wrong.faults import FAULTS


async def serve(wrong: Optional[str], port: int, path: Optional[str], token: Optional[str]) -> None:
    """Listens, says where, and serves until it is interrupted."""
    server = Server(wrong, token)
    if path is not None:
        listener = await asyncio.start_unix_server(server.serve_one, path)
        print(f"listening on unix:{path}", flush=True)
    else:
        listener = await asyncio.start_server(server.serve_one, "127.0.0.1", port)
        print(f"listening on 127.0.0.1:{listener.sockets[0].getsockname()[1]}", flush=True)
    async with listener:
        await listener.serve_forever()


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", metavar="NAME", choices=sorted(FAULTS), help="the deliberate fault; see --list")
    parser.add_argument("--port", type=int, default=0, help="the TCP port of 127.0.0.1; 0 takes a free one")
    parser.add_argument("--unix", metavar="PATH", help="listen on a Unix socket instead")
    parser.add_argument("--token", metavar="TOKEN", help="want authentication, by this token")
    parser.add_argument("--list", action="store_true", help="list the faults and exit")
    parser.add_argument("--built-in-only", action="store_true", help="have no commands but 0 to 6")
    arguments = parser.parse_args()
    if arguments.list:
        for name, what in FAULTS.items():
            print(f"{name:26} {what}")
        return 0
    if arguments.built_in_only:
        for cmdid in [cmdid for cmdid in COMMANDS if cmdid > 99]:
            del COMMANDS[cmdid]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.wrong, arguments.port, arguments.unix, arguments.token))
    return 0


if __name__ == "__main__":
    sys.exit(main())
