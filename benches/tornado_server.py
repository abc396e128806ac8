"""The log call as tornado-TCP served it: a line in, a line out, in order on each connection.

It ends with its standard input, so that it never outlives the process that started it through a pipe.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading

try:
    from tornado import gen
    from tornado.iostream import StreamClosedError
    from tornado.netutil import bind_sockets
    from tornado.tcpserver import TCPServer
except ImportError as error:
    sys.exit(f"tornado is missing for {sys.executable} ({error}); `pip install tornado` brings it")

INVALID_ARGUMENT = 3
UNIMPLEMENTED = 12


class LogServer(TCPServer):
    def __init__(self):
        super().__init__()
        self.seq = 0
        self.commands = {10000: self.log, 10001: self.slow}

    async def handle_stream(self, stream, address):
        stream.set_nodelay(True)
        try:
            while True:
                line = await stream.read_until(b"\n")
                reply = await self.reply(line)
                await stream.write(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
        except StreamClosedError:
            pass

    async def reply(self, line):
        reply = {}
        try:
            request = json.loads(line)
            if "id" in request:
                reply["id"] = request["id"]
            command = self.commands.get(int(request["cmdid"]))
            if command is None:
                return reply | {"code": UNIMPLEMENTED, "message": "unknown cmdid"}
            data = await command(request.get("params", {}))
        except (ValueError, TypeError, KeyError) as error:
            return reply | {"code": INVALID_ARGUMENT, "message": repr(error)}
        reply["code"] = 0
        if data is not None:
            reply["data"] = data
        return reply

    async def log(self, entry):
        self.seq += 1
        return {"accepted": entry["level"] != "" and entry["ts"] > 0, "seq": self.seq}

    async def slow(self, milliseconds):
        await gen.sleep(milliseconds / 1000)


def end_with_stdin():
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


async def main():
    parser = argparse.ArgumentParser(prog="tornado_server", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 lets the system choose")
    host, _, port = parser.parse_args().listen.rpartition(":")

    server = LogServer()
    sockets = bind_sockets(int(port), host.strip("[]"), backlog=1024)
    server.add_sockets(sockets)
    host, port = sockets[0].getsockname()[:2]
    print(f"listening on [{host}]:{port}" if ":" in host else f"listening on {host}:{port}", flush=True)
    await asyncio.Event().wait()


# As with any server that is not Python: no traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)
threading.Thread(target=end_with_stdin, daemon=True).start()
asyncio.run(main())
