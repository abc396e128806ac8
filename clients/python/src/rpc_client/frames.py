"""Lines of the protocol: requests as bytes, and replies as checked fields."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from .errors import Code, RpcError

PING, DESCRIBE, CANCEL, CREDIT, AUTHENTICATE = 0, 1, 4, 5, 6
# The metadata that asks for the times of a call, and the field of the reply that tells them.
TIMING = "timing"
CMDID_MAX = 2**32 - 1
ID_MAX = 2**53 - 1

# Servers write the id first, so that it can be read of a line that is otherwise broken.
_PLAIN_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*(\d+)\s*[,}]')


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_decoder = json.JSONDecoder(parse_constant=_refuse)
_decode = _decoder.decode

# The fields of a reply or a notice, each with its type; `data` and `details` may be anything.
_FIELDS: dict[str, type] = {
    "id": int,
    "code": int,
    "data": object,
    "more": bool,
    "message": str,
    "details": object,
    "rejected": bool,
    "retry_after_ms": int,
    "event": str,
}
_SPACE = re.compile(r"[ \t\n\r]*")


class Json(str):
    """Params that are JSON already, and are sent as they are."""

    __slots__ = ()


class Nonsense(Exception):
    """A line that is neither a reply nor a notice; `id` is the call that it names, if it names one."""

    def __init__(self, message: str, call_id: int | None) -> None:
        super().__init__(message)
        self.id = call_id


def request(
    cmdid: int,
    params: object,
    *,
    timeout_ms: int | None = None,
    oneway: bool = False,
    credit: int | None = None,
    meta: Mapping[str, str] | None = None,
    with_timestamp: bool = False,
) -> str:
    """All of a request behind the id: `"cmdid":…}` and the newline. Raises `RpcError` where it has no JSON form."""
    if not 0 <= cmdid <= CMDID_MAX:
        raise RpcError(Code.INVALID_ARGUMENT, f"cmdid is {cmdid}; it must be from 0 to {CMDID_MAX}", sent=False)
    text = f'"cmdid":{cmdid}'
    if with_timestamp:
        text += f',"timestamp":{int(time.time())}'
    if timeout_ms is not None:
        text += f',"timeout_ms":{timeout_ms}'
    if oneway:
        text += ',"oneway":true'
    if credit is not None:
        text += f',"credit":{credit}'
    try:
        if meta:
            text += f',"meta":{_encode(dict(meta))}'
        return f'{text},"params":{params if type(params) is Json else _encode(params)}}}\n'
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the params cannot be written as JSON: {error}"
        raise RpcError(Code.INVALID_ARGUMENT, message, sent=False) from error


def line(call_id: int | None, rest: str) -> bytes:
    """A whole line: the id, if there is one, and what `request` made."""
    text = "{" + rest if call_id is None else f'{{"id":{call_id},{rest}'
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8; as an escape it is JSON.
        return (_encode_ascii(json.loads(text)) + "\n").encode()


def cancel(call_id: int) -> bytes:
    """The line that gives a call up."""
    return b'{"cmdid":4,"oneway":true,"params":{"id":%d}}\n' % call_id


def credit(call_id: int, items: int) -> bytes:
    """The line that lets a stream send more items."""
    return b'{"cmdid":5,"oneway":true,"params":{"id":%d,"n":%d}}\n' % (call_id, items)


def parse(raw: bytes) -> dict[str, Any]:
    """A reply or a notice, each known field once and of the right type. Raises `Nonsense`."""
    try:
        text = raw.decode()
        reply = _decode(text)
    except (ValueError, RecursionError) as error:
        named = _PLAIN_ID.match(raw)
        raise Nonsense(f"the reply is not JSON: {error}", int(named[1]) if named else None) from None
    if type(reply) is not dict:
        raise Nonsense("the reply is not a JSON object", None)
    repeated = _repeated(text, reply)
    call_id = reply.get("id")
    if "id" in reply and (type(call_id) is not int or not 0 <= call_id <= ID_MAX or repeated == "id"):
        raise Nonsense("`id` of the reply is repeated, or not an integer", None)
    if repeated is not None:
        raise Nonsense(f"`{repeated}` of the reply is repeated", call_id)
    # The usual success needs no further check.
    if type(reply.get("code")) is int and reply["code"] == 0 and "more" not in reply:
        return reply
    for name, value in reply.items():
        kind = _FIELDS.get(name, object)
        if kind is not object and (type(value) is not kind or (isinstance(value, int) and value < 0)):
            raise Nonsense(f"`{name}` of the reply has the wrong type", call_id)
    if "code" not in reply and "event" not in reply:
        raise Nonsense("the reply has no `code`", call_id)
    return reply


def _repeated(text: str, reply: Mapping[str, Any]) -> str | None:
    """A known field that stands twice in the object itself; what is inside `data` may repeat."""
    # If no name of the reply is in its line twice, which is the rule, none is repeated.
    if "\\u" not in text and all(text.count(f'"{name}"') == 1 for name in reply if name in _FIELDS):
        return None
    seen = set()
    at = text.index("{") + 1
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing at least
        if text[at] == "}":
            return None
        name, at = _decoder.raw_decode(text, at)
        if name in _FIELDS and name in seen:
            return str(name)
        seen.add(name)
        at = _SPACE.match(text, text.index(":", at) + 1).end()  # type: ignore[union-attr]
        at = _decoder.raw_decode(text, at)[1]
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        at += text[at] == ","


def failure(reply: Mapping[str, Any], address: str) -> RpcError:
    """The failure that a reply with a code other than 0 tells."""
    return RpcError(
        reply["code"],
        reply.get("message", ""),
        address=address,
        answered=True,
        rejected=reply.get("rejected", False),
        details=reply.get("details"),
        retry_after_ms=reply.get("retry_after_ms"),
    )
