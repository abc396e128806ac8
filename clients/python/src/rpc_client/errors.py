"""How a call fails, and what may be done about it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any


class Code(enum.IntEnum):
    """The protocol's own codes. Those of services begin at 1000 and are plain integers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """The failure of a call.

    Do not compare its text; ask its attributes:

    - `code`: the server's own; 4 past the deadline, 14 if the connection could not be opened or was lost, 13 where the reply
      makes no sense, 3 where the params have no JSON form, 16 where the server refused this client's token.
    - `answered`: whether the server has answered this failure. Then `message`, `details` and `retry_after_ms` are its own.
    - `sent`: whether the whole request may have left, in the last try or in one before it.
    - `rejected`: whether the server promises that the call did not run.
    - `may_have_run`: whether the command may have run, wholly or in part. If not, calling again is safe.
    - `attempts`: how often it was tried. `address`: where, at last.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        address: str = "",
        answered: bool = False,
        sent: bool = True,
        rejected: bool = False,
        details: Any = None,
        retry_after_ms: int | None = None,
        is_lost: bool = False,
        is_final: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.address = address
        self.answered = answered
        self.sent = sent
        self.rejected = rejected
        self.details = details
        self.retry_after_ms = retry_after_ms
        self.attempts = 1
        # The connection failed under this call; another one may take it.
        self.is_lost = is_lost
        # No later call of the client can succeed.
        self.is_final = is_final

    @property
    def may_have_run(self) -> bool:
        """Whether the command may have run, in any of the tries."""
        return self.sent and not self.rejected

    def of_several(self, attempts: int, may_have_run: bool) -> RpcError:
        """As the failure of the last of several tries; `may_have_run`: one before it may have run."""
        self.attempts = attempts
        if may_have_run:
            self.sent, self.rejected = True, False
        return self

    def become(self, classes: Mapping[int, type[RpcError]] | None) -> RpcError:
        """The same failure, of the class that a service has for its code."""
        if classes is not None and self.answered and self.code in classes:
            self.__class__ = classes[self.code]
        return self

    def __str__(self) -> str:
        name = f" {Code(self.code).name}" if self.code in Code._value2member_map_ else ""
        text = f"{self.address}: code {self.code}{name}: {self.message}"
        if self.rejected:
            text += " (rejected: it did not run)"
        elif not self.answered:
            text += " (it may have run)" if self.sent else " (not sent)"
        if self.retry_after_ms is not None:
            text += f" (retry after {self.retry_after_ms} ms)"
        return text if self.attempts == 1 else f"{text} ({self.attempts} attempts)"
