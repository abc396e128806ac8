#!/usr/bin/env python3
"""Whether a client tells the truth: thousands of calls and streams against the daemon, which is killed and started again,
and cut off from the client, in the middle.

    RPC_BIN=target/release clients/truth.py [--calls 10000] COMMAND [ARGUMENT ...]

As root, the daemon runs in a network namespace of its own, whose packets are dropped in both directions, then in one, as a
lost network drops them. Without root, or without `ip` and `nft`, a proxy is put between the two, which is printed.

COMMAND is the client's driver, as conformance/README.md describes it. Afterwards the log is read: each entry whose call
succeeded is in it once, under the number that the call was told; one whose call "did not run" is not in it; one that
"may have run" is in it once at most. Every other reply is compared with what was asked; a call with dedup has run once, however
often it was sent.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

APPEND, READ = 1001, 1002
SLEEP, ADD, COUNT, FAIL, ONCE = 10001, 10004, 10005, 10006, 10009
IN_FLIGHT = 64
SETTINGS = {"call_timeout_ms": 4000, "ping_interval_ms": 300, "reconnect_cap_ms": 500, "stream_credit": 8}


class Daemon:
    """The daemon, on a port that stays the same and with data that stay."""

    def __init__(self, directory: str, namespace: Namespace | None) -> None:
        self.directory = directory
        self.host = namespace.host if namespace is not None else "127.0.0.1"
        self.prefix = namespace.prefix if namespace is not None else []
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it, and waits until it listens."""
        program = Path(os.environ["RPC_BIN"]) / "rpc-server"
        self.process = await asyncio.create_subprocess_exec(
            *self.prefix,
            str(program),
            "--listen",
            f"{self.host}:{self.port}",
            "--data-dir",
            self.directory,
            env={**os.environ, "RPC_SERVER_SERVICES": "test,log,conformance", "RPC_SERVER_ALLOW_PLAINTEXT": "true"},
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        assert self.process.stderr is not None  # a pipe was asked for
        seen = b""
        while b"listening on" not in (line := await self.process.stderr.readline()):
            seen += line
            if not line:
                raise SystemExit(f"the daemon did not start: {seen.decode(errors='replace')}")
        self.port = int(line.split(self.host.encode() + b":")[1].split(b" ")[0].rstrip(b'"\n,').split(b"\x1b")[0])
        self.reading = asyncio.create_task(self.process.stderr.read())

    async def kill(self) -> None:
        """Ends it by force."""
        assert self.process is not None  # it was started
        self.process.kill()
        await self.process.wait()
        await self.reading


class Namespace:
    """A network namespace for the daemon, and a link to it."""

    def __init__(self) -> None:
        number = os.getpid() % 16384
        self.name = f"rpc-truth-{os.getpid()}"
        self.prefix = ["ip", "netns", "exec", self.name]
        net = f"10.{128 + number // 4096}.{number // 64 % 64}.{number % 64 * 4}".rsplit(".", 1)
        near, self.host = (f"{net[0]}.{int(net[1]) + last}" for last in (1, 2))
        self.run("ip", "netns", "add", self.name)
        try:
            ours, theirs = f"rt{number}a", f"rt{number}b"
            self.run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self.name)
            self.run("ip", "address", "add", f"{near}/30", "dev", ours)
            self.run("ip", "link", "set", ours, "up")
            self.run(*self.prefix, "ip", "address", "add", f"{self.host}/30", "dev", theirs)
            self.run(*self.prefix, "ip", "link", "set", theirs, "up")
            self.rule("input", "accept")
            self.heal()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def run(*command: str) -> None:
        """Raises `CalledProcessError`, or `OSError` without such a program."""
        subprocess.run(command, check=True, capture_output=True, text=True)

    def rule(self, hook: str, verdict: str) -> None:
        """What becomes of the TCP packets that come to the daemon (`input`) or that it sends (`output`)."""
        chain = f"add table inet truth; add chain inet truth {hook} {{ type filter hook {hook} priority 0; }}; "
        self.run(*self.prefix, "nft", f"{chain} add rule inet truth {hook} meta l4proto tcp {verdict}")

    def heal(self) -> None:
        """Packets pass again."""
        self.run(*self.prefix, "nft", "delete table inet truth")

    async def cut(self) -> None:
        """Ends all connections with a reset, as soon as they say something."""
        self.rule("input", "reject with tcp reset")
        await asyncio.sleep(0.5)
        self.heal()

    async def stall(self, seconds: float) -> None:
        """No packet passes; then those of the client do, and the daemon's do not: calls run whose answers are lost."""
        self.rule("input", "drop")
        await asyncio.sleep(seconds)
        self.heal()
        self.rule("output", "drop")
        await asyncio.sleep(seconds)
        self.heal()

    def close(self) -> None:
        """Takes it away, with the link."""
        self.run("ip", "netns", "delete", self.name)


def namespace_if_possible() -> Namespace | None:
    """A namespace; where there can be none, it is said why."""
    try:
        return Namespace()
    except (OSError, subprocess.CalledProcessError) as error:
        why = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        print(f"SKIPPED: no network namespace ({why}); a proxy on loopback replaces the lost network")
        return None


class Proxy:
    """A proxy between client and daemon, and can keep all bytes back, or cut all connections."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.passes = asyncio.Event()
        self.passes.set()
        self.writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        """Listens, and returns the port."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.daemon.port)
        except OSError:
            writer.transport.abort()
            return
        self.writers.add(far_writer)
        await asyncio.gather(self.carry(reader, far_writer), self.carry(far_reader, writer))
        self.writers -= {writer, far_writer}

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes in one direction, while they may pass."""
        try:
            while data := await reader.read(65536):
                await self.passes.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    async def cut(self) -> None:
        """Ends all connections with a reset."""
        for writer in list(self.writers):
            writer.transport.abort()

    async def stall(self, seconds: float) -> None:
        """No bytes pass."""
        self.passes.clear()
        await asyncio.sleep(seconds)
        self.passes.set()

    async def close(self) -> None:
        """Ends it."""
        await self.cut()
        self.server.close()


class Driver:
    """The client under test."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def start(self, command: list[str]) -> None:
        """Starts the driver's process."""
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 24)
        assert self.process.stdout is not None and self.process.stdin is not None  # pipes were asked for
        hello = json.loads(await self.process.stdout.readline())
        print(f"client: {hello['client']}")
        self.stdin = self.process.stdin
        self.reading = asyncio.create_task(self.read(self.process.stdout))

    async def read(self, stdout: asyncio.StreamReader) -> None:
        """What the caller sees, to those who wait for it."""
        async for line in stdout:
            told = json.loads(line)
            self.waiting[told.pop("as")].put_nowait(told)

    def tell(self, verb: str, name: str, **members: Any) -> None:
        """Has the caller do something."""
        self.waiting.setdefault(name, asyncio.Queue())
        self.stdin.write(json.dumps({"verb": verb, "as": name, **members}).encode() + b"\n")

    async def see(self, name: str) -> dict[str, Any]:
        """What the caller sees next."""
        try:
            async with asyncio.timeout(60):
                return await self.waiting[name].get()
        except TimeoutError:
            raise SystemExit(f"the caller sees nothing of {name}: it hangs") from None


class Run:
    """All calls, and what became of them."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.told: dict[str, dict[str, Any]] = {}
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def judge(self, is_right: bool, what: str) -> None:
        """Notes what is not as it must be."""
        if not is_right:
            self.wrong.append(what)

    async def one(self, number: int) -> str:
        """One call of some kind; its outcome. Appends are the ones that can be looked up afterwards."""
        name = f"c{number}"
        kind = random.choice(["append", "append", "append", "ping", "add", "fail", "count", "slow", "once"])
        if kind == "append":
            params: Any = {"level": "info", "service": "truth", "message": name}
            self.driver.tell("call", name, cmdid=APPEND, params=params)
            told = self.told[name] = await self.driver.see(name)
        elif kind == "count":
            told = await self.count(name)
        else:
            cmdid, params, expected = {
                "ping": (0, [name, {"a": name}], [name, {"a": name}]),
                "add": (ADD, {"a": number, "b": 7}, {"sum": number + 7}),
                "fail": (FAIL, {"code": 1234, "message": name, "details": name}, None),
                "slow": (SLEEP, {"ms": number % 50}, {"slept_ms": number % 50}),
                # Sent again where it may have run, it has still run once.
                "once": (ONCE, {"key": name, "add": 1}, {"total": 1}),
            }[kind]
            options = {"dedup": True} if kind == "once" else {}
            self.driver.tell("call", name, cmdid=cmdid, params=params, **options)
            told = await self.driver.see(name)
            if "data" in told:
                self.judge(told["data"] == expected and kind != "fail", f"{kind} of {params}: {told}")
            elif kind == "fail" and told["error"]["answered"]:
                error = told["error"]
                is_right = (error["code"], error.get("message"), error.get("details")) == (1234, name, name)
                self.judge(is_right or error["code"] != 1234, f"{kind} of {params}: {told}")
        outcome = self.outcome(told)
        self.outcomes[outcome] += 1
        del self.driver.waiting[name]
        return outcome

    async def count(self, name: str) -> dict[str, Any]:
        """A stream of 20 items, which must come in their order and all, unless it fails."""
        self.driver.tell("stream", name, cmdid=COUNT, params={"n": 20}, timeout_ms=4000)
        self.driver.tell("next", name, n=21)
        items = []
        while "item" in (told := await self.driver.see(name)):
            items.append(told["item"])
        self.judge(items == [{"i": i} for i in range(len(items))], f"{name}: items {items}")
        self.judge("error" in told or len(items) == 20, f"{name}: the stream ends after {len(items)} items")
        return told

    @staticmethod
    def outcome(told: dict[str, Any]) -> str:
        """In a word, for the report."""
        if "error" not in told:
            return "answered"
        error = told["error"]
        if error["answered"]:
            return "failed as the server said"
        return "may have run" if error["may_have_run"] else "not run"

    def check_log(self, entries: list[dict[str, Any]]) -> None:
        """Compares what was told of the appends with what the log has."""
        numbers = collections.defaultdict(list)
        for entry in entries:
            numbers[entry["message"]].append(entry["seq"])
        for name, told in self.told.items():
            found = numbers.pop(name, [])
            if "data" in told:
                self.judge(found == [told["data"]["seq"]], f"{name} was told {told}, and the log has {found}")
            elif told["error"]["may_have_run"]:
                self.judge(len(found) <= 1, f"{name} may have run, and the log has it {len(found)} times")
            else:
                self.judge(not found, f"{name} was told that it did not run: {told}, and the log has {found}")
        self.judge(not numbers, f"the log has entries that no call has made: {list(numbers)[:5]}")


async def read_log(daemon: Daemon) -> list[dict[str, Any]]:
    """All entries, by a connection of its own."""
    reader, writer = await asyncio.open_connection(daemon.host, daemon.port, limit=1 << 24)
    entries: list[dict[str, Any]] = []
    after = 0
    while True:
        params = {"after": after, "limit": 1000}
        writer.write(json.dumps({"cmdid": READ, "params": params}).encode() + b"\n")
        page = json.loads(await reader.readline())["data"]
        entries += page["entries"]
        if not page["entries"]:
            writer.close()
            return entries
        after = page["next"]


async def run_calls(command: list[str], calls: int, daemon: Daemon, namespace: Namespace | None) -> Run:
    """All calls, with all faults, and the log behind them."""
    driver = Driver()
    await daemon.start()
    proxy = Proxy(daemon) if namespace is None else None
    network = proxy or namespace
    assert network is not None  # one of the two
    target = f"127.0.0.1:{await proxy.start()}" if proxy is not None else f"{daemon.host}:{daemon.port}"
    await driver.start(command)
    driver.tell("open", "client", target=target, settings=SETTINGS)
    await driver.see("client")
    state = Run(driver)
    numbers = iter(range(calls))
    done = 0

    async def caller() -> None:
        nonlocal done
        for number in numbers:
            if await state.one(number) == "not run":
                await asyncio.sleep(0.2)  # or all calls that are left would be over before the network is back
            done += 1

    async def until(share: float) -> None:
        while done < calls * share:
            await asyncio.sleep(0.005)

    async def faults() -> None:
        await until(0.2)
        await daemon.kill()
        await asyncio.sleep(0.3)
        await daemon.start()
        await until(0.4)
        await network.cut()
        await until(0.6)
        await network.stall(3)
        await until(0.8)
        await daemon.kill()
        await daemon.start()

    await asyncio.gather(faults(), *(caller() for _ in range(IN_FLIGHT)))
    driver.tell("close", "client")
    await driver.see("client")
    driver.stdin.close()
    await driver.process.wait()
    state.check_log(await read_log(daemon))
    await daemon.kill()
    if proxy is not None:
        await proxy.close()
    return state


async def run(command: list[str], calls: int, seed: int) -> int:
    """The whole of it. Returns the exit code."""
    random.seed(seed)
    print(f"seed: {seed}")
    namespace = namespace_if_possible()
    try:
        with tempfile.TemporaryDirectory() as directory:
            state = await run_calls(command, calls, Daemon(directory, namespace), namespace)
    finally:
        if namespace is not None:
            namespace.close()
    print(", ".join(f"{number} {outcome}" for outcome, number in state.outcomes.most_common()))
    state.judge(state.outcomes["may have run"] + state.outcomes["not run"] > 0, "no fault has hit any call")
    for what in state.wrong[:20]:
        print(f"WRONG {what}")
    print(f"{calls} calls, {len(state.wrong)} wrong")
    return 1 if state.wrong else 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000, help="how many calls and streams (10,000)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the kinds of calls")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the client's driver")
    options = parser.parse_args()
    if not options.command:
        parser.error("COMMAND is missing")
    if "RPC_BIN" not in os.environ:
        parser.error("RPC_BIN is not set; it is the directory of the program rpc-server, as .ci/programs prints it")
    return asyncio.run(run(options.command, options.calls, options.seed))


if __name__ == "__main__":
    sys.exit(main())
