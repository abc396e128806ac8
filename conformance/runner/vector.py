"""Vectors as data: reading them, and finding what is wrong with them before a server sees them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Set

HERE = Path(__file__).resolve().parent.parent
VECTORS_MIN = 150

STEP_KINDS = {
    "send",
    "send_hex",
    "send_repeat",
    "drip",
    "half_close",
    "reset",
    "open",
    "pause_ms",
    "expect",
    "expect_any_order",
    "expect_event",
    "expect_raw_prefix",
    "expect_silence",
    "expect_open",
    "expect_closed",
}
MODIFIERS: Dict[str, Set[str]] = {
    "send": {"split"},
    "send_hex": {"split"},
    "send_repeat": {"split"},
    "expect": {"times", "raw_prefix", "raw_contains", "raw_lacks"},
    "expect_any_order": {"times"},
    "expect_raw_prefix": {"raw_contains", "raw_lacks"},
}
OPERATORS = {
    "$any",
    "$type",
    "$contains",
    "$regex",
    "$includes",
    "$one_of",
    "$each",
    "$has",
    "$length",
    "$between",
    "$n",
    "$capture",
}
TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}


class UsageError(Exception):
    """The command line, or the vectors, are not as they must be."""


@dataclass
class Vector:
    """One vector and the name of the file that it is from."""

    file: str
    name: str
    row: str
    steps: List[Dict[str, Any]]
    needs: List[int] = field(default_factory=list)
    http_calls: bool = False
    token: bool = False
    slow: bool = False
    note: str = ""


def load_vectors() -> List[Vector]:
    """All vectors, in the order of the files' names and of the vectors within."""
    vectors = []
    for path in sorted((HERE / "vectors").glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            vectors += [Vector(file=path.stem, **entry) for entry in document["vectors"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path.name}: {error}") from error
    return vectors


def load_rows() -> List[Dict[str, str]]:
    """All rows of the protocol document."""
    rows: List[Dict[str, str]] = json.loads((HERE / "rows.json").read_text(encoding="utf-8"))["rows"]
    return rows


def step_kind(step: Dict[str, Any]) -> str:
    """The one member of a step that says what it does."""
    kinds = [key for key in step if key in STEP_KINDS]
    if len(kinds) != 1:
        raise UsageError(f"a step must have exactly one of {sorted(STEP_KINDS)}: {step}")
    return kinds[0]


def self_check(vectors: List[Vector], rows: List[Dict[str, str]]) -> List[str]:
    """Everything that is wrong with the vectors themselves."""
    problems = []
    if len(vectors) < VECTORS_MIN:
        problems.append(f"{len(vectors)} vectors: at least {VECTORS_MIN} are wanted")
    names: Set[str] = set()
    row_ids = {row["id"] for row in rows}
    if len(row_ids) != len(rows):
        problems.append("rows.json: a row id is repeated")
    for vector in vectors:
        where = f"{vector.file}: {vector.name}"
        if vector.name in names:
            problems.append(f"{where}: the name is repeated")
        names.add(vector.name)
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", vector.name):
            problems.append(f"{where}: the name is not in kebab-case")
        if vector.row not in row_ids:
            problems.append(f"{where}: rows.json has no row {vector.row}")
        try:
            check_steps(vector)
        except UsageError as error:
            problems.append(f"{where}: {error}")
    shown = {vector.row for vector in vectors}
    for row in rows:
        if "not_here" not in row and row["id"] not in shown:
            problems.append(f"rows.json: no vector shows the row {row['id']}")
        if "not_here" in row and row["id"] in shown:
            problems.append(f"rows.json: the row {row['id']} is marked not_here, and yet a vector shows it")
    return problems


def check_steps(vector: Vector) -> None:
    """Raises `UsageError` for a step that a runner could not carry out."""
    opened = {"a"}
    finished: Set[str] = set()
    known = {"run", "n"} | ({"token"} if vector.token else set())
    if not any(step_kind(step).startswith("expect") for step in vector.steps):
        raise UsageError("nothing is expected")
    for step in vector.steps:
        kind = step_kind(step)
        for key in step:
            if key not in {kind, "on"} | MODIFIERS.get(kind, set()):
                raise UsageError(f"a step {kind} has no member {key}")
        on = step.get("on", "a")
        if kind == "open":
            opened.add(step["open"])
        elif on not in opened:
            raise UsageError(f"the connection {on} is not open")
        elif on in finished:
            raise UsageError(f"the connection {on} is closed already")
        if kind in ("expect_closed", "reset"):
            finished.add(on)
        if kind in ("pause_ms", "drip") and not vector.slow:
            raise UsageError(f"{kind} takes time: the vector must be marked slow")
        if kind == "send_hex":
            bytes.fromhex(step["send_hex"])
        if kind in ("expect", "expect_any_order", "expect_event"):
            patterns = step[kind] if kind == "expect_any_order" else [step[kind]]
            for pattern in patterns:
                for part in pattern if isinstance(pattern, list) else [pattern]:
                    check_pattern(part, known)
        for name in re.findall(r"\$\{(\w*)\}", json.dumps(step)):
            if name not in known:
                raise UsageError(f"nothing sets ${{{name}}}")


def check_pattern(pattern: Any, known: Set[str]) -> None:
    """Raises `UsageError` for a pattern that a runner could not compare."""
    if isinstance(pattern, list):
        for element in pattern:
            check_pattern(element, known)
    elif isinstance(pattern, dict):
        for key, value in pattern.items():
            if not key.startswith("$"):
                check_pattern(value, known)
                continue
            if key not in OPERATORS or len(pattern) != 1:
                raise UsageError(f"no such pattern: {pattern}")
            if key == "$type" and value not in TYPES:
                raise UsageError(f"no such type: {value}")
            if key == "$capture":
                known.add(value)
            if key in ("$includes", "$one_of", "$each", "$has"):
                check_pattern(value, known)
    elif isinstance(pattern, str):
        try:
            pattern.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UsageError("a lone surrogate in a pattern: not every language can hold it") from error
    elif isinstance(pattern, (int, float)) and not isinstance(pattern, bool) and abs(pattern) > 2**53:
        raise UsageError(f"{pattern} in a pattern: not every language can compare it")
