#!/usr/bin/env python3
"""The clients in other languages beside those of gRPC and HTTP: the same log call, 64 in flight, to the harness's servers.

    cargo build --profile dist -p rpc-benches --features peers
    python3 benches/clients/run.py target/dist/rpc-benches

It installs the others (grpcio, httpx, @grpc/grpc-js, undici 7) below target/bench-clients, runs all contenders in turns, and
prints a table and whether the targets are reached. `--judge` exits with 1 where one is not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
PYTHON_PACKAGES = ["grpcio", "httpx", "protobuf", str(TOP / "clients/python")]
NODE_PACKAGES = ["@grpc/grpc-js@1", "undici@7", "protobufjs@7"]


class Contender(NamedTuple):
    """A client, and the server of the harness that it calls."""

    language: str
    name: str
    server: str


class Figures(NamedTuple):
    """What a turn has shown."""

    rate: float
    cpu_us: float


class Target(NamedTuple):
    """How many times as fast the first contender must be as the second."""

    ours: str
    theirs: str
    ratio: float


CONTENDERS = [
    Contender("Python", "rpc-asyncio", "rpc"),
    Contender("Python", "grpc.aio", "grpc"),
    Contender("Python", "httpx", "http"),
    Contender("Python", "rpc-blocking", "rpc"),
    Contender("Python", "grpcio", "grpc"),
    Contender("Node", "rpc", "rpc"),
    Contender("Node", "grpc-js", "grpc"),
    Contender("Node", "undici", "http"),
]
TARGETS = [
    Target("rpc-asyncio", "grpc.aio", 2),
    Target("rpc-asyncio", "httpx", 3),
    Target("rpc-blocking", "grpcio", 1),
    Target("rpc", "grpc-js", 2),
    Target("rpc", "undici", 2),
]


def install(where: Path) -> Tuple[str, Dict[str, str]]:
    """Installs what the contenders need; returns Python's path, and the environment for Node."""
    python = where / "venv/bin/python"
    if not python.exists():
        venv.create(where / "venv", with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PYTHON_PACKAGES[:-1]], check=True)
    # A copy, so that nothing is built in the sources; the client itself is always the present one.
    copy = where / "python"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(PYTHON_PACKAGES[-1], copy)
    subprocess.run([*pip, "--force-reinstall", "--no-deps", str(copy)], check=True)
    packages = where / "node"
    packages.mkdir(exist_ok=True)
    (packages / "package.json").write_text('{"private":true}\n')
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *NODE_PACKAGES], cwd=packages, check=True)
    return str(python), {**os.environ, "NODE_PACKAGES": str(packages)}


def pinned(core: int, command: List[str]) -> List[str]:
    """The command on one core, so that server and client take none from one another."""
    can_pin = shutil.which("taskset") and len(os.sched_getaffinity(0)) > 1
    return ["taskset", "-c", str(sorted(os.sched_getaffinity(0))[core]), *command] if can_pin else command


def serve(program: str, server: str) -> Tuple["subprocess.Popen[str]", str]:
    """Starts a server of the harness; returns it and its address."""
    command = pinned(0, [program, "serve", server, "--listen", "127.0.0.1:0"])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout is not None  # a pipe was asked for
    line = process.stdout.readline()
    if not line.startswith("listening on "):
        raise SystemExit(f"{program} has no server `{server}`; it needs the feature `peers`")
    return process, line.split()[-1]


def measure(options: argparse.Namespace, python: str, environment: Dict[str, str]) -> Dict[str, List[Figures]]:
    """What each contender has shown, in each round."""
    loads = {"Python": [python, str(HERE / "load.py")], "Node": ["node", str(HERE / "load.mjs")]}
    rates: Dict[str, List[Figures]] = {contender.name: [] for contender in CONTENDERS}
    servers = {name: serve(options.program, name) for name in {contender.server for contender in CONTENDERS}}
    try:
        for number in range(options.rounds):
            for contender in CONTENDERS[number:] + CONTENDERS[:number]:
                arguments = [
                    contender.name,
                    "--connect",
                    servers[contender.server][1],
                    "--seconds",
                    str(options.seconds),
                ]
                command = pinned(1, [*loads[contender.language], *arguments])
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                rates[contender.name].append(Figures(*map(float, done.stdout.split())))
    finally:
        for process, _ in servers.values():
            process.kill()
            process.communicate()
    return rates


def report(found: Dict[str, List[Figures]]) -> bool:
    """Prints the tables; returns whether all targets are reached."""
    print("| language | client | calls a second | least | most | µs of processor a call |")
    print("| --- | --- | --- | --- | --- | --- |")
    for contender in CONTENDERS:
        rates = [figures.rate for figures in found[contender.name]]
        cpu_us = statistics.median(figures.cpu_us for figures in found[contender.name])
        shown = " | ".join(f"{rate:,.0f}" for rate in (statistics.median(rates), min(rates), max(rates)))
        print(f"| {contender.language} | `{contender.name}` | {shown} | {cpu_us:,.1f} |")
    print()
    all_reached = True
    for target in TARGETS:
        turns = list(zip(found[target.ours], found[target.theirs]))
        # By rounds: what slows the machine down slows both.
        ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in turns)
        cpu_ratio = statistics.median(theirs.cpu_us / ours.cpu_us for ours, theirs in turns)
        is_reached = ratio >= target.ratio
        all_reached &= is_reached
        print(
            f"{'reached' if is_reached else 'MISSED'}: `{target.ours}` makes {ratio:.1f} times the calls of "
            f"`{target.theirs}`, the target is {target.ratio:g}; by processor time {cpu_ratio:.1f} times"
        )
    return all_reached


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the harness, built with the feature `peers`")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender has its turn (5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a turn is (2)")
    parser.add_argument("--judge", action="store_true", help="exit with 1 where a target is missed")
    options = parser.parse_args()
    where = TOP / "target/bench-clients"
    where.mkdir(parents=True, exist_ok=True)
    python, environment = install(where)
    reached = report(measure(options, python, environment))
    return 1 if options.judge and not reached else 0


if __name__ == "__main__":
    sys.exit(main())
