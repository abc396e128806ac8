"""Lines to frames and replies to lines, without recursion and without computing a number that nobody asked for.

`wrong` is the name of the fault to commit, or None, in every function here.
"""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

NESTING_MAX = 128
ID_MAX = 2**53 - 1
CMDID_MAX = 2**32 - 1
KNOWN_FIELDS = ("id", "cmdid", "timestamp", "params", "timeout_ms", "oneway", "credit", "meta")


class BadLine(Exception):
    """A line that is not executed. `counts` is false where it is no bad line, as with a wrong id."""

    def __init__(self, message: str, id_text: Optional[str] = None, counts: bool = True) -> None:
        super().__init__(message)
        self.id_text = id_text
        self.counts = counts


class Failure(Exception):
    """The failure of a call, as its reply shows it."""

    def __init__(self, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.more = more


@dataclass
class Member:
    """One member of the frame's own object: the value stays text, so that ping can echo it as it came."""

    key: str
    raw: str


@dataclass
class Frame:
    """A request whose every field has been checked."""

    id_text: Optional[str]
    cmdid: int
    timestamp: int
    params: str
    timeout_ms: Optional[int]
    oneway: bool
    credit: Optional[int]
    meta: Dict[str, str]
    received: float


BLANK = re.compile(r"[ \t\r\n]*")
STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"')
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
LAX_NUMBER = re.compile(r"NaN|-?Infinity|[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
INTEGER_TEXT = re.compile(r"[ \t\n\r\v\f]*([+-]?[0-9]+)[ \t\n\r\v\f]*\Z")
LAX_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
WORDS = ("true", "false", "null")


def scan(text: str, wrong: Optional[str], members: List[Member]) -> None:
    """Checks that `text` is one JSON object and nothing else, and fills `members`.

    `members` is the caller's, because what was read before the line broke is wanted where it breaks: its id.
    """
    number = LAX_NUMBER if wrong == "lax-json" else NUMBER
    string = LAX_STRING if wrong == "lax-strings" else STRING
    nesting_max = {"depth-127": 127, "no-depth-limit": 10**9}.get(wrong or "", NESTING_MAX)
    position = BLANK.match(text).end()  # type: ignore[union-attr]  # the pattern matches the empty string too
    if not text.startswith("{", position):
        raise BadLine("a line must be one JSON object")
    stack: List[str] = []
    key, start, wanted = "", 0, "value"
    while True:
        position = BLANK.match(text, position).end()  # type: ignore[union-attr]
        char = text[position : position + 1]
        done = False
        if wanted in ("value", "value or ]"):
            if len(stack) == 1:
                start = position
            if char in ("{", "["):
                if len(stack) == nesting_max:
                    raise BadLine(f"nesting past {nesting_max}")
                stack.append(char)
                position += 1
                wanted = "key or }" if char == "{" else "value or ]"
                continue
            if char == "]" and (wanted == "value or ]" or wrong == "lax-commas"):
                stack.pop()
                position += 1
                done = True
            else:
                position, done = _scalar(text, position, string, number), True
        elif wanted in ("key", "key or }"):
            found = string.match(text, position)
            if found:
                if len(stack) == 1:
                    bare = wrong in ("raw-keys", "lax-strings")
                    key = found.group()[1:-1] if bare else json.loads(found.group())
                position = BLANK.match(text, found.end()).end()  # type: ignore[union-attr]
                if not text.startswith(":", position):
                    raise BadLine(f"no colon behind a name, at character {position}")
                position += 1
                wanted = "value"
                continue
            if char != "}" or (wanted == "key" and wrong != "lax-commas"):
                raise BadLine(f"a name in double quotes was expected at character {position}")
            stack.pop()
            position += 1
            done = True
        else:  # a comma, or the end of what is open
            closing = "}" if stack[-1] == "{" else "]"
            if char == ",":
                wanted = "key" if closing == "}" else "value"
                position += 1
                continue
            if char != closing:
                raise BadLine(f"a comma or {closing} was expected at character {position}")
            stack.pop()
            position += 1
            done = True
        if done and len(stack) == 1:
            members.append(Member(key, text[start:position]))
        if not stack:
            break
        wanted = "comma or end"
    position = BLANK.match(text, position).end()  # type: ignore[union-attr]
    if position != len(text) and wrong != "takes-two-objects":
        raise BadLine(f"there is more after the object, at character {position}: one line is one object")


def _scalar(text: str, position: int, string: "re.Pattern[str]", number: "re.Pattern[str]") -> int:
    """The end of the string, number or word that starts at `position`."""
    for word in WORDS:
        if text.startswith(word, position):
            return position + len(word)
    found = string.match(text, position) or number.match(text, position)
    if not found:
        raise BadLine(f"no JSON value at character {position}")
    return found.end()


def valid_id(raw: str) -> bool:
    """Whether a value is an integer from 0 to 2^53-1. The length is looked at first: `int` of a long text is slow."""
    return bool(INTEGER.match(raw)) and len(raw) <= 16 and 0 <= int(raw) <= ID_MAX and raw != "-0"


def id_before_break(members: List[Member], text: str, wrong: Optional[str]) -> Optional[str]:
    """The id to answer a broken line with: a whole id that stands before the break, if it is the only one."""
    if wrong == "bad-lines-lose-their-id":
        return None
    if wrong == "reads-nested-id":
        found = re.search(r'"id":([0-9]+)', text)
        return found.group(1) if found else None
    ids = [member.raw for member in members if member.key == "id"]
    return ids[0] if len(ids) == 1 and valid_id(ids[0]) else None


def decode(line: bytes, wrong: Optional[str], received: float) -> Frame:
    """Turns a line into a frame, or raises `BadLine`."""
    members: List[Member] = []
    broken: Optional[str] = None
    try:
        text = line.decode("utf-8", errors="replace" if wrong == "lax-utf8" else "strict")
    except UnicodeDecodeError as error:
        text = line[: error.start].decode("utf-8")
        broken = f"invalid UTF-8 at byte {error.start}"
    if wrong == "takes-bom" and text.startswith("\ufeff"):
        text = text[1:]
    try:
        scan(text, wrong, members)
    except BadLine as error:
        broken = broken or str(error)
    if broken and not (wrong == "executes-broken-lines" and any(member.key == "params" for member in members)):
        raise BadLine(broken, id_before_break(members, text, wrong))
    return frame_of(members, wrong, received)


def frame_of(members: List[Member], wrong: Optional[str], received: float) -> Frame:
    """Checks the fields of a whole JSON object."""
    ids = [member.raw for member in members if member.key == "id"]
    if len(ids) > 1 and wrong != "takes-repeated-fields":
        raise BadLine("the field id is repeated: it may stand once")
    id_text = ids[-1] if ids else None
    float_taken = wrong == "float-ids" and id_text is not None and NUMBER.fullmatch(id_text)
    if id_text is not None and not valid_id(id_text) and not float_taken:
        raise BadLine("the field id must be an integer from 0 to 2^53-1", counts=False)

    fields: Dict[str, str] = {}
    for member in members:
        if member.key in fields and member.key in KNOWN_FIELDS and wrong != "takes-repeated-fields":
            raise BadLine(f"the field {member.key} is repeated: it may stand once", id_text)
        if member.key not in KNOWN_FIELDS and wrong == "refuses-unknown-fields":
            raise BadLine(f"unknown field {member.key}", id_text)
        fields[member.key] = member.raw
    if wrong == "null-is-absent":
        fields = {key: raw for key, raw in fields.items() if raw != "null" or key in ("params", "cmdid")}

    if wrong == "forgives-wrong-types":
        fields = {key: raw for key, raw in fields.items() if OPTIONAL_TYPES.get(key, "") in ("", raw[:1])}

    def wrong_type(name: str, expected: str) -> BadLine:
        return BadLine(f"the field {name} must be {expected}", id_text)

    if "cmdid" not in fields:
        raise BadLine("the field cmdid is missing: an integer from 0 to 2^32-1", id_text)
    cmdid = lenient_integer(fields["cmdid"], wrong)
    if cmdid is not None and wrong == "wraps-cmdid":
        cmdid %= CMDID_MAX + 1
    if cmdid is None or not 0 <= cmdid <= CMDID_MAX:
        raise wrong_type("cmdid", "an integer from 0 to 2^32-1")
    timestamp: Optional[int] = int(time.time())
    if "timestamp" in fields:
        timestamp = lenient_integer(fields["timestamp"], wrong)
    if timestamp is None:
        raise wrong_type("timestamp", "an integer: Unix seconds")
    natural: Dict[str, Optional[int]] = {}
    for name in ("timeout_ms", "credit"):
        raw = fields.get(name)
        if raw is not None and not (INTEGER.match(raw) and len(raw) < 20 and int(raw) >= 0):
            raise wrong_type(name, "an integer, 0 or more")
        natural[name] = None if raw is None else int(raw)
    if fields.get("oneway", "false") not in ("true", "false"):
        raise wrong_type("oneway", "true or false")
    meta = json.loads(fields.get("meta", "{}"))
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise wrong_type("meta", "an object of strings")
    return Frame(
        id_text=id_text,
        cmdid=cmdid,
        timestamp=timestamp,
        params=fields.get("params", "{}"),
        timeout_ms=None if wrong == "ignores-timeouts" else natural["timeout_ms"],
        oneway=fields.get("oneway") == "true",
        credit=None if wrong == "ignores-credit" else natural["credit"],
        meta=meta,
        received=received,
    )


# What a right value of an optional field may begin with; enough for a server that is wrong on purpose.
OPTIONAL_TYPES = {"meta": "{", "oneway": "t", "timeout_ms": "4", "credit": "1"}


def lenient_integer(raw: str, wrong: Optional[str]) -> Optional[int]:
    """An integer as `int(...)` takes it: also a string of digits, or a float, which is truncated."""
    if INTEGER.match(raw):
        return int(raw) if len(raw) < 1000 else None
    if wrong == "strict-integers":
        return None
    if raw.startswith('"') and wrong == "python-integers":
        try:
            return int(json.loads(raw))
        except ValueError:
            return None
    if raw.startswith('"'):
        found = INTEGER_TEXT.match(json.loads(raw))
        return int(found.group(1)) if found and len(found.group(1)) < 1000 else None
    if NUMBER.fullmatch(raw):
        value = float(raw)
        return None if math.isinf(value) else math.trunc(value)
    return None


def encode(pairs: List[Tuple[str, str]], wrong: Optional[str]) -> bytes:
    """One reply line out of names and JSON texts, in the order given."""
    if wrong == "code-last":
        pairs = [pair for pair in pairs if pair[0] != "code"] + [pair for pair in pairs if pair[0] == "code"]
    ending = "\r\n" if wrong == "ends-lines-with-crlf" else "\n"
    return ("{" + ",".join(f'"{name}":{raw}' for name, raw in pairs) + "}" + ending).encode("utf-8", "surrogatepass")


def failure_pairs(id_text: Optional[str], failure: Failure, wrong: Optional[str] = None) -> List[Tuple[str, str]]:
    """The members of a reply that says that a call has failed."""
    pairs = [] if id_text is None else [("id", id_text)]
    pairs += [("code", str(failure.code)), ("message", json.dumps(str(failure)))]
    for name, value in failure.more.items():
        if wrong == ("drops-details" if name == "details" else "drops-rejected"):
            continue
        pairs.append((name, json.dumps(value)))
    return pairs
