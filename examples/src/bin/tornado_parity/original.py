"""A server written as tornado-TCP is, on Python 3 and a tornado of today.

As there, a request is a line of JSON with `cmdid`, `timestamp` and `params`, handlers are registered by cmdid, and the connection
reads the next request when the handler of the one before is done. And as there, what a handler leaves in `res` is written with
nothing behind it; where it raises, nothing is; and a request that makes no sense, or that no handler takes, closes the connection.
The test command answers `{'code':0}`, which JSON does not allow.

    python3 original.py [HOST:PORT]      # port 0 lets the system choose; it says where it listens
"""

import asyncio
import json
import sys
import time

from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer

HANDLERS = {}


def handler(cmdid):
    """Maps a cmdid to a class."""

    def register(cls):
        HANDLERS[cmdid] = cls
        return cls

    return register


class Request:
    """One request, as it came."""

    def __init__(self, address, body):
        data = json.loads(body)
        self.address, self.raw_body = address, body
        self.cmdid = int(data["cmdid"]) if "cmdid" in data else None
        self.timestamp = int(data.get("timestamp", time.time()))
        self.params = data.get("params", {})


class BaseHandler:
    """What is written is `res`."""

    res = None
    handled = 0

    def process(self, request):
        raise NotImplementedError


@handler(10000)
class TestHandler(BaseHandler):
    def process(self, request):
        print(request.params["content"], flush=True)
        BaseHandler.handled += 1
        self.res = "{'code':0}"


@handler(10001)
class HandledHandler(BaseHandler):
    def process(self, request):
        self.res = json.dumps({"code": 0, "data": BaseHandler.handled})


class Server(TCPServer):
    async def handle_stream(self, stream, address):
        stream.set_nodelay(True)
        try:
            while True:
                body = (await stream.read_until(b"\n"))[:-1]
                request = Request(address, body)
                instance = HANDLERS[request.cmdid]()
                try:
                    instance.process(request)
                    await stream.write(instance.res.encode())
                except StreamClosedError:
                    raise
                except Exception as error:
                    print(f"error: {error!r}", flush=True)
        except StreamClosedError:
            pass
        except (KeyError, TypeError, ValueError) as error:
            print(f"closed: {error!r}", flush=True)
            stream.close()


async def main():
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8889").rpartition(":")
    server = Server()
    sockets = bind_sockets(int(port), host)
    server.add_sockets(sockets)
    print("listening on {}:{}".format(*sockets[0].getsockname()[:2]), flush=True)
    # To the end of its input, so that it never outlives what has started it through a pipe.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


asyncio.run(main())
