"""Lines of a client: whether they are what the protocol says of every request, and whether they match a pattern."""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Optional, Set

from runner.reply import DECODER, Context, JsonObject, is_integer, mismatch

ID_MAX = 2**53 - 1
CMDID_MAX = 2**32 - 1
LINE_BYTES_MAX = 1_048_576
CANCEL, CREDIT = 4, 5


def parse_request(raw: bytes) -> JsonObject:
    """One line of the client, checked against all that the protocol says of any request."""
    line = raw[:-1]
    if line.endswith(b"\r"):
        line = line[:-1]
    if len(line) > LINE_BYTES_MAX:
        raise ValueError(f"a line of {len(line)} bytes is over the limit")
    request: Any = DECODER.decode(line.decode("utf-8"))
    if not isinstance(request, JsonObject):
        raise ValueError("it is not a JSON object")
    if request.repeated:
        raise ValueError("a field is repeated")
    check_request_fields(request)
    return request


def check_request_fields(request: Dict[str, Any]) -> None:
    """Raises `ValueError` for a request that breaks the table of the request's fields."""
    for name, most in (("id", ID_MAX), ("cmdid", CMDID_MAX), ("timeout_ms", ID_MAX), ("credit", ID_MAX)):
        if name in request and not (is_integer(request[name]) and 0 <= request[name] <= most):
            raise ValueError(f"{name} must be an integer from 0 to {most}")
    if "cmdid" not in request:
        raise ValueError("cmdid is missing")
    if "timestamp" in request and not is_integer(request["timestamp"]):
        raise ValueError("timestamp must be an integer")
    if "oneway" in request and not isinstance(request["oneway"], bool):
        raise ValueError("oneway must be a boolean")
    meta = request.get("meta", {})
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise ValueError("meta must be an object of strings")


class IdsInFlight:
    """The ids of one connection whose replies are still to come."""

    def __init__(self) -> None:
        self.ids: Set[int] = set()

    def note_request(self, request: Dict[str, Any]) -> None:
        """Raises `ValueError` for an id that is in flight already."""
        number = request.get("id")
        if number is None or request.get("oneway") is True or request["cmdid"] in (CANCEL, CREDIT):
            return
        if number in self.ids:
            raise ValueError(f"the id {number} is still in flight")
        self.ids.add(number)

    def note_sent(self, data: bytes) -> None:
        """What the script sends may end calls; what is not a line of a server ends none."""
        for line in data.split(b"\n"):
            try:
                reply = json.loads(line)
                if reply.get("more") is not True:
                    self.ids.discard(reply.get("id"))
            except (ValueError, AttributeError, TypeError, RecursionError):
                begins = re.match(rb'\{"id":(\d+)', line)
                if begins:
                    self.ids.discard(int(begins[1]))

    def is_needless(self, request: Dict[str, Any]) -> bool:
        """Whether it is a credit, or a cancel of a call that is over: no case minds those."""
        params = request.get("params")
        number = params.get("id") if isinstance(params, dict) else None
        return request["cmdid"] == CREDIT or (request["cmdid"] == CANCEL and number not in self.ids)


def request_mismatch(pattern: Dict[str, Any], request: Dict[str, Any], context: Context) -> Optional[str]:
    """Why the request does not match: members that the pattern does not name are not looked at."""
    for name, expected in pattern.items():
        if expected == {"$absent": True}:
            if name in request:
                return f"the request has {name}, which was not expected"
            continue
        if name == "params" and expected == {} and name not in request:
            continue
        if name not in request:
            return f"the request has no {name}"
        if name == "params" and isinstance(expected, dict) and "$is" in expected.get("id", {}):
            number = context.values[expected["id"]["$is"]]
            expected = {**expected, "id": int(number)}
        reason = mismatch(expected, request[name], context, f"the request's {name}")
        if reason is not None:
            return reason
    return None
