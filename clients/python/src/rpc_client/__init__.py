"""Calls services over newline-delimited JSON RPC: one shared connection per service, many calls at once on it.

    import rpc_client

    log = rpc_client.shared("127.0.0.1:8889")
    entry = {"level": "info", "service": "order", "message": "user 4211 logged in"}
    seq = (await log.call(1001, entry))["seq"]

`rpc_client.blocking.shared` is the same for threads, and `rpc_client.logs.LogHandler` sends records of `logging` to the log service.
"""

from . import blocking, logs
from .client import Client
from .errors import Code, RpcError
from .settings import Settings, Tls
from .shared import define, shared
from .streams import Stream
from .timing import Timing

__all__ = ["Client", "Code", "RpcError", "Settings", "Stream", "Timing", "Tls", "blocking", "define", "logs", "shared"]
