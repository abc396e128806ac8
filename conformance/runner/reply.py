"""Lines of a server: whether they are what the protocol says of every line, and whether they match a pattern."""

from __future__ import annotations

import json
import re
import secrets
from decimal import Decimal
from typing import Any, Dict, Iterable, List, Optional, Tuple, cast


class Context:
    """What `${...}` and `$n` stand for in one vector."""

    def __init__(self) -> None:
        self.values: Dict[str, str] = {"run": "run" + secrets.token_hex(8)}
        self.n = 0

    def fill(self, text: str) -> str:
        """Puts the values in the places of their names."""
        if "${" not in text:
            return text
        return re.sub(r"\$\{(\w+)\}", lambda found: str(self.n) if found[1] == "n" else self.values[found[1]], text)


class JsonObject(Dict[str, Any]):
    """A JSON object that remembers the order of its names, and whether one was repeated."""

    repeated: bool = False


def _object(pairs: List[Tuple[str, Any]]) -> JsonObject:
    made = JsonObject(pairs)
    made.repeated = len(made) != len(pairs)
    return made


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _integer(text: str) -> Any:
    """Python bounds the digits of an `int`; a Decimal takes any number of them."""
    return int(text) if len(text) < 1000 else Decimal(text)


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=Decimal, parse_int=_integer, parse_constant=_no_constant
)


def parse_reply(raw: bytes) -> JsonObject:
    """One line of the server, checked against all that the protocol says of any line."""
    if not raw.startswith(b"{") or not raw.endswith(b"}\n"):
        raise ValueError("it is not a JSON object that ends with a newline")
    reply = cast(JsonObject, DECODER.decode(raw[:-1].decode("utf-8")))
    if reply.repeated:
        raise ValueError("a field is repeated")
    if "event" in reply and "code" not in reply:
        return reply
    names = list(reply)
    if names[:2] != ["id", "code"] and (names[:1] != ["code"] or "id" in reply):
        raise ValueError("id, then code, must come first")
    check_reply_fields(reply)
    return reply


def check_reply_fields(reply: JsonObject) -> None:
    """Raises `ValueError` for a reply that breaks the table of the reply's fields."""
    for name in ("id", "code", "retry_after_ms"):
        if name in reply and not (is_integer(reply[name]) and reply[name] >= 0):
            raise ValueError(f"{name} must be an integer, 0 or more")
    for name in ("more", "rejected"):
        if name in reply and reply[name] is not True:
            raise ValueError(f"{name} can only be true")
    if reply["code"] == 0:
        extra = {"message", "details", "rejected", "retry_after_ms"} & reply.keys()
        if extra:
            raise ValueError(f"a success has no {sorted(extra)}")
    else:
        if not isinstance(reply.get("message"), str) or not reply["message"]:
            raise ValueError("a failure must have a message")
        extra = {"data", "more"} & reply.keys()
        if extra:
            raise ValueError(f"a failure has no {sorted(extra)}")
    if "more" in reply and "data" not in reply:
        raise ValueError("an item must have data")


def is_number(value: Any) -> bool:
    """A JSON number; Python counts booleans among its integers, JSON does not."""
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """A JSON number that is written as an integer."""
    return isinstance(value, int) and not isinstance(value, bool)


def type_name(value: Any) -> str:
    """The JSON type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if is_number(value):
        return "integer" if is_integer(value) else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def mismatch(pattern: Any, value: Any, context: Context, where: str = "the reply") -> Optional[str]:
    """Why `value` does not match `pattern`, or None where it does."""
    if isinstance(pattern, dict) and len(pattern) == 1 and next(iter(pattern)).startswith("$"):
        ((operator, operand),) = pattern.items()
        return operator_mismatch(operator, operand, value, context, where)
    if isinstance(pattern, dict):
        if not isinstance(value, dict):
            return f"{where} is not an object"
        for key in pattern:
            if key not in value:
                return f"{where} has no {key}"
        for key in value:
            if key not in pattern:
                return f"{where} has {key}, which was not expected"
        return first(mismatch(pattern[key], value[key], context, f"{where}.{key}") for key in pattern)
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            return f"{where} is not an array of {len(pattern)}"
        return first(
            mismatch(one, other, context, f"{where}[{i}]") for i, (one, other) in enumerate(zip(pattern, value))
        )
    if is_number(pattern):
        same = is_number(value) and Decimal(str(pattern)) == value
    elif isinstance(pattern, str):
        same = isinstance(value, str) and context.fill(pattern) == value
    else:
        same = type(pattern) is type(value) and pattern == value
    return None if same else f"{where} is not {json.dumps(pattern)}"


def operator_mismatch(operator: str, operand: Any, value: Any, context: Context, where: str) -> Optional[str]:
    """Why `value` does not match a pattern `{operator: operand}`, or None where it does."""
    if operator == "$any":
        return None
    if operator == "$type":
        found = type_name(value)
        fits = found == operand or (operand == "number" and found == "integer")
        return None if fits else f"{where} is no {operand}"
    if operator == "$contains":
        fits = isinstance(value, str) and context.fill(operand).lower() in value.lower()
        return None if fits else f"{where} does not contain {operand!r}"
    if operator == "$regex":
        fits = isinstance(value, str) and re.search(operand, value) is not None
        return None if fits else f"{where} does not match {operand!r}"
    if operator == "$length":
        fits = isinstance(value, (str, list)) and len(value) == operand
        return None if fits else f"{where} has not the length {operand}"
    if operator == "$between":
        fits = is_number(value) and operand[0] <= value <= operand[1]
        return None if fits else f"{where} is not between {operand[0]} and {operand[1]}"
    if operator == "$n":
        return None if is_integer(value) and value == context.n else f"{where} is not {context.n}"
    if operator == "$capture":
        context.values[operand] = value if isinstance(value, str) else json.dumps(value)
        return None
    if operator == "$includes":
        if not isinstance(value, dict):
            return f"{where} is not an object"
        part = {key: value[key] for key in operand if key in value}
        return mismatch(operand, part, context, where)
    if operator == "$one_of":
        reasons = [mismatch(pattern, value, context, where) for pattern in operand]
        return None if None in reasons else f"{where} matches none of {len(reasons)}: " + "; ".join(map(str, reasons))
    if not isinstance(value, list):
        return f"{where} is not an array"
    if operator == "$each":
        return first(mismatch(operand, one, context, f"{where}[{i}]") for i, one in enumerate(value))
    for pattern in operand:  # $has
        if all(mismatch(pattern, one, context, where) for one in value):
            return f"{where} has no element {json.dumps(pattern)}"
    return None


def first(reasons: Iterable[Optional[str]]) -> Optional[str]:
    """The first reason of several, if there is one."""
    return next((reason for reason in reasons if reason is not None), None)
