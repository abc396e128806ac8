"""The article's program on Python 3 and a tornado of today: a request waits until Redis has a message for it.

A coroutine pops the list and hands each message to the client that it is for; a handler answers with the next message of its
client, once there is one.

    python3 original.py SOCKET POPPED_MAX   # prints its address, and ends with its standard input

SOCKET is that of Redis, POPPED_MAX the number of messages that are popped at one time: 1 is as BRPOP, which the article has.
"""

import asyncio
import json
import sys
from collections import defaultdict

import redis.asyncio
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

mailboxes = defaultdict(asyncio.Queue)


class WaitHandler(RequestHandler):
    async def get(self):
        message = await mailboxes[int(self.get_argument("to"))].get()
        self.write(message)


async def take(list_of_messages, popped_max):
    while True:
        _, values = await list_of_messages.blmpop(0, 1, "messages", direction="RIGHT", count=popped_max)
        for value in values:
            message = json.loads(value)
            mailboxes[message["to"]].put_nowait(message)


async def main():
    socket_of_redis, popped_max = sys.argv[1], int(sys.argv[2])
    taking = asyncio.create_task(take(redis.asyncio.Redis(unix_socket_path=socket_of_redis), popped_max))
    sockets = bind_sockets(0, "127.0.0.1", backlog=4096)
    server = HTTPServer(Application([("/wait", WaitHandler)]))
    server.add_sockets(sockets)
    print("{}:{}".format(*sockets[0].getsockname()[:2]), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    taking.cancel()


asyncio.run(main())
