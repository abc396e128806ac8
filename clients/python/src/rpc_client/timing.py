"""Where the time of a call went at the server."""

from __future__ import annotations

from typing import Any

from . import frames


class Timing(dict[str, str]):
    """Metadata that asks the server where the time of a call goes, and is told: for `meta` of any call or stream.

        timing = rpc_client.Timing()
        await client.call(1001, entry, meta=timing)
        print(timing.queue_us, timing.run_us)

    `queue_us` are the microseconds that the call waited at the server, `run_us` those that it ran there, of a stream to its
    end. Both are those of the last try, `None` where no handler was reached, and of a server that does not tell. Their sum is
    part of the time that the caller sees. Calls that run side by side need one each.
    """

    def __init__(self, meta: dict[str, str] | None = None) -> None:
        super().__init__({**(meta or {}), frames.TIMING: "1"})
        self.queue_us: int | None = None
        self.run_us: int | None = None

    def take(self, told: Any) -> None:
        """What the reply says; what cannot be read says nothing."""
        self.queue_us = self.run_us = None
        if isinstance(told, dict):
            queue_us, run_us = told.get("queue_us"), told.get("run_us")
            if all(type(us) is int and us >= 0 for us in (queue_us, run_us)):
                self.queue_us, self.run_us = queue_us, run_us
