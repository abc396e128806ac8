"""Client cases as data: reading them, and finding what is wrong with them before a client sees them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from client_runner.server import Stores
from runner.vector import HERE, UsageError, check_pattern

CASES_MIN = 150

# What a caller can be told to do: the verbs of the driver protocol.
VERBS = {"open", "call", "notify", "stream", "next", "cancel", "connect", "flush", "close"}
# What the scripted server does, and what is expected of either side.
SERVER_STEPS = {
    "accept",
    "send",
    "send_hex",
    "send_repeat",
    "half_close",
    "cut",
    "reset",
    "listen",
    "unlisten",
    "pause_ms",
    "answer_all",
    "turn_away_ms",
    "stores",
}
EXPECT_STEPS = {
    "see",
    "unseen",
    "expect_request",
    "expect_requests",
    "expect_closed",
    "expect_quiet_ms",
    "expect_no_connection_ms",
    "same_server",
    "other_server",
}
STEP_KINDS = VERBS | SERVER_STEPS | EXPECT_STEPS
MODIFIERS: Dict[str, Set[str]] = {
    "send": {"split", "every_ms"},
    "send_hex": {"split", "every_ms"},
    "send_repeat": {"split", "every_ms"},
    "accept": {"after_ms"},
    "see": {"after_ms", "skip_items"},
    "answer_all": {"between"},
    "turn_away_ms": {"between", "send"},
    "expect_request": {"as", "first", "anywhere", "times", "after_ms", "raw_contains", "raw_lacks"},
    "expect_requests": {"first"},
    "expect_closed": {"after_ms"},
}
# Abilities that a client may lack; a case that needs one is skipped then.
FEATURES = {"authenticate", "cancel", "dedup", "endpoints", "idempotent", "liveness", "ordered", "resume", "retry", "streams", "timing"}


@dataclass
class Case:
    """One client case and the name of the file that it is from."""

    file: str
    name: str
    row: str
    steps: List[Dict[str, Any]]
    settings: Dict[str, Any] = field(default_factory=dict)
    servers: int = 1
    down: List[str] = field(default_factory=list)
    # What each server tells of its store of keys; the request for it is not a line of the script.
    stores: Stores = field(default_factory=dict)
    needs: List[str] = field(default_factory=list)
    note: str = ""


def load_cases() -> List[Case]:
    """All cases, in the order of the files' names and of the cases within."""
    cases = []
    for path in sorted((HERE / "client_vectors").glob("*.json")):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            cases += [Case(file=path.stem, **entry) for entry in document["cases"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path.name}: {error}") from error
    return cases


def load_client_rows() -> List[Dict[str, str]]:
    """All rules that a client keeps."""
    rows: List[Dict[str, str]] = json.loads((HERE / "client_rows.json").read_text(encoding="utf-8"))["rows"]
    return rows


def step_kind(step: Dict[str, Any]) -> str:
    """The one member of a step that says what it does."""
    kinds = [key for key in step if key in STEP_KINDS]
    if "turn_away_ms" in kinds:
        kinds = ["turn_away_ms"]  # its `send` is what it says
    if len(kinds) != 1:
        raise UsageError(f"a step must have exactly one of {sorted(STEP_KINDS)}: {step}")
    return kinds[0]


def self_check(cases: List[Case], rows: List[Dict[str, str]]) -> List[str]:
    """Everything that is wrong with the cases themselves."""
    problems = []
    if len(cases) < CASES_MIN:
        problems.append(f"{len(cases)} cases: at least {CASES_MIN} are wanted")
    names: Set[str] = set()
    row_ids = {row["id"] for row in rows}
    if len(row_ids) != len(rows):
        problems.append("client_rows.json: a row id is repeated")
    for case in cases:
        where = f"{case.file}: {case.name}"
        if case.name in names:
            problems.append(f"{where}: the name is repeated")
        names.add(case.name)
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", case.name):
            problems.append(f"{where}: the name is not in kebab-case")
        if case.row not in row_ids:
            problems.append(f"{where}: client_rows.json has no row {case.row}")
        if set(case.needs) - FEATURES:
            problems.append(f"{where}: no client has the features {sorted(set(case.needs) - FEATURES)}")
        try:
            check_steps(case)
        except UsageError as error:
            problems.append(f"{where}: {error}")
    for row in sorted(row_ids - {case.row for case in cases}):
        problems.append(f"client_rows.json: no case shows the row {row}")
    return problems


def check_steps(case: Case) -> None:
    """Raises `UsageError` for a step that a runner could not carry out."""
    named: Set[str] = set()
    callers: Set[str] = {"client"}
    known = {"run", "n", "id"}
    servers = {f"s{number + 1}" for number in range(case.servers)}
    for stores in [case.stores, *(step["stores"] for step in case.steps if step_kind(step) == "stores")]:
        if set(stores) - servers:
            raise UsageError(f"there is no server {sorted(set(stores) - servers)[0]}")
    if not any(step_kind(step) in EXPECT_STEPS for step in case.steps):
        raise UsageError("nothing is expected")
    for step in case.steps:
        kind = step_kind(step)
        for key in step:
            if key not in {kind, "on"} | MODIFIERS.get(kind, set()):
                raise UsageError(f"a step {kind} has no member {key}")
        if kind in ("listen", "unlisten") and step[kind] not in servers:
            raise UsageError(f"there is no server {step[kind]}")
        if kind in VERBS:
            callers.add(step[kind].get("as", "client"))
        if kind == "accept":
            named.add(step["accept"])
        if "first" in step or "anywhere" in step:
            named.add(step.get("first", step.get("anywhere")))
        elif kind.startswith(("send", "expect_request")) or kind in ("half_close", "cut", "reset", "expect_closed"):
            if step.get("on", "a") not in named:
                raise UsageError(f"there is no connection {step.get('on', 'a')} yet")
        if kind == "see":
            for name, pattern in step["see"].items():
                if name not in callers:
                    raise UsageError(f"nothing was begun as {name}")
                check_pattern(pattern, known)
        if kind == "expect_request":
            check_request_pattern(step["expect_request"], known)
            known.add(step.get("as", "id"))
        if kind == "expect_requests":
            for name, pattern in step["expect_requests"].items():
                check_request_pattern(pattern, known)
                known.add(name)
        for name in re.findall(r"\$\{(\w*)\}", json.dumps(step)):
            if name not in known:
                raise UsageError(f"nothing sets ${{{name}}}")


def check_request_pattern(pattern: Dict[str, Any], known: Set[str]) -> None:
    """As `check_pattern`, for the members that are looked at of a request."""
    for name, value in pattern.items():
        if name == "params" and isinstance(value, dict) and "$is" in value.get("id", {}):
            if value["id"]["$is"] not in known:
                raise UsageError(f"no request is known as {value['id']['$is']}")
            value = {key: inner for key, inner in value.items() if key != "id"}
        if value != {"$absent": True}:
            check_pattern(value, known)
