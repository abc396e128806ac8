"""One connection per service: the clients that all code of an event loop shares, and the names of services."""

from __future__ import annotations

import asyncio
import os
import weakref

from .client import Client
from .connection import open_connections
from .settings import Settings

_services: dict[str, tuple[str, Settings]] = {}
_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Client]] = weakref.WeakKeyDictionary()


def define(name: str, target: str, settings: Settings | None = None) -> None:
    """Names a service, so that `shared(name)` calls it; to be done before it is first called."""
    _services[name] = (target, settings or Settings())


def resolve(name: str) -> tuple[str, Settings]:
    """The target and the settings of a service. A name that is not defined is a target itself."""
    return _services.get(name, (name, Settings()))


def shared(name: str) -> Client:
    """The client of this service or target that everyone in this event loop shares. Connections belong to their loop."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    if name not in clients:
        clients[name] = Client(*resolve(name))
    return clients[name]


def _forget_after_fork() -> None:
    """A child process has its parent's sockets, and no part in its calls.

    The sockets are put out of use, so that the child neither keeps them open nor closes others in their place.
    """
    _clients.clear()
    nothing = os.open(os.devnull, os.O_RDWR)
    for connection in list(open_connections):
        if (number := connection.fileno()) >= 0:
            os.dup2(nothing, number)
    os.close(nothing)
    open_connections.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
