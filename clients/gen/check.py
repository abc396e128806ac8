#!/usr/bin/env python3
"""The clients that `rpc gen` writes, for the tutorial's service and for the daemon's: the same bytes each time, strict types, and
every command called.

    RPC_BIN=target/release clients/gen/check.py python
    RPC_BIN=target/release clients/gen/check.py typescript DIRECTORY

Python is checked by this interpreter, which has mypy and rpc_client; TypeScript in a directory whose node_modules have
typescript and rpc-client.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python/tests"))
from support import Daemon  # noqa: E402  # behind the path that it is found by

RPC_BIN = Path(os.environ["RPC_BIN"])


class Orders:
    """The tutorial's service, for as long as the `with` block lasts."""

    def __enter__(self) -> str:
        self.process = subprocess.Popen(
            [RPC_BIN / "orders"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None  # a pipe was asked for
        return self.process.stdout.readline().strip()

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


class Sms(Daemon):
    """A daemon whose SMS service has limits, and knows one caller that may do everything."""

    TOKEN = "a token of the operators of the service"

    def __init__(self) -> None:
        super().__init__()
        tokens = self.path / "tokens"
        tokens.write_text(f"ops {hashlib.sha256(self.TOKEN.encode()).hexdigest()}\n")
        tokens.chmod(0o600)
        self.config = f"""
tokens_file = "{tokens}"
[sms]
countries = ["CN"]
grants = {{ all = ["ops"], may_double = ["ops"], reveal = ["ops"] }}
[sms.class.otp]
per_number = ["1/60s"]
per_prefix = ["2/1m"]
"""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Runs a program, and returns what it says; its failure is that of this one."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def code_of(document: str, language: str, address: str) -> list[str]:
    """The examples of a document that are about generated clients, with this address."""
    text = (HERE.parent.parent / document).read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.S)
    blocks = [block.replace("127.0.0.1:8889", address) for block in blocks if "Orders" in block]
    if len(blocks) != 1:
        raise SystemExit(f"{document} has {len(blocks)} examples in {language} for a generated client, not 1")
    return blocks


def generate(language: str, address: str, out: Path) -> None:
    """Writes a client from the server, and again from a file: both are the same."""
    rpc = RPC_BIN / "rpc"
    run(rpc, "--addr", address, "gen", language, "--out", out)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as descriptors:
        descriptors.write(run(rpc, "--addr", address, "describe", "--json"))
        descriptors.flush()
        again = run(rpc, "gen", language, "--descriptors", descriptors.name)
    if again != out.read_text():
        raise SystemExit(f"two runs of `rpc gen {language}` wrote different bytes")


def example_of_python(directory: Path, orders: str) -> None:
    """The examples of the documents, and the client `orders` that they call."""
    generate("python", orders, directory / "orders.py")
    [example] = code_of("docs/services.md", "python", orders)
    (directory / "example_of_services.py").write_text(example)
    [example] = code_of("clients/python/README.md", "py", orders)
    head = "import asyncio\nimport rpc_client\nfrom orders import OrdersClient\n\n\nasync def main() -> None:\n"
    (directory / "example_of_readme.py").write_text(head + textwrap.indent(example, "    ") + "\n\nasyncio.run(main())\n")


def check_python(directory: Path, orders: str, daemon: str) -> None:
    """Types, and calls."""
    generate("python", orders, directory / "orders_client.py")
    generate("python", daemon, directory / "daemon_client.py")
    run(RPC_BIN / "rpc", "gen", "python", "--descriptors", HERE / "hostile.json", "--out", directory / "hostile.py")
    for program in ("use_orders.py", "use_daemon.py", "use_sms.py"):
        shutil.copy(HERE / program, directory)
    example_of_python(directory, orders)
    print(run(sys.executable, "-m", "mypy", "--strict", "--cache-dir", directory / "mypy", ".", cwd=directory), end="")
    # What a server says is never run.
    run(sys.executable, "hostile.py", cwd=directory)
    print(run(sys.executable, "use_orders.py", orders, cwd=directory), end="")
    print(run(sys.executable, "use_daemon.py", daemon, cwd=directory), end="")
    with Sms() as sms:
        print(run(sys.executable, "use_sms.py", sms.address, sms.TOKEN, cwd=directory), end="")
    with Orders() as another:
        example_of_python(directory, another)
        run(sys.executable, "example_of_services.py", cwd=directory)
        run(sys.executable, "example_of_readme.py", cwd=directory)


def check_typescript(directory: Path, orders: str, daemon: str) -> None:
    """Types, and calls of what the compiler makes of them."""
    generate("typescript", orders, directory / "orders_client.ts")
    generate("typescript", daemon, directory / "daemon_client.ts")
    run(RPC_BIN / "rpc", "gen", "typescript", "--descriptors", HERE / "hostile.json", "--out", directory / "hostile.ts")
    generate("typescript", orders, directory / "orders.ts")
    [example] = code_of("docs/services.md", "ts", orders)
    (directory / "example_of_services.ts").write_text(f"{example}\nshared('{orders}').close();\n")
    [example] = code_of("clients/node/README.md", "ts", orders)
    head = 'import { shared } from "rpc-client";\nimport { OrdersClient } from "./orders.js";\n'
    (directory / "example_of_readme.ts").write_text(head + example)
    (directory / "package.json").write_text('{"type":"module"}\n')
    for file in ("use.ts", "use_sms.ts", "tsconfig.json"):
        shutil.copy(HERE / file, directory)
    run("npx", "tsc", "-p", ".", cwd=directory)
    # What a server says is never run.
    run("node", "made/hostile.js", cwd=directory)
    for example in ("services", "readme"):
        run("node", f"made/example_of_{example}.js", cwd=directory)
    print(run("node", "made/use.js", orders, daemon, cwd=directory), end="")
    with Sms() as sms:
        print(run("node", "made/use_sms.js", sms.address, sms.TOKEN, cwd=directory), end="")


def main() -> None:
    """Reads the command line."""
    with Orders() as orders, Daemon() as daemon:
        if sys.argv[1:] == ["python"]:
            with tempfile.TemporaryDirectory() as directory:
                check_python(Path(directory), orders, daemon.address)
        elif len(sys.argv) == 3 and sys.argv[1] == "typescript":
            with tempfile.TemporaryDirectory(dir=sys.argv[2]) as directory:
                check_typescript(Path(directory), orders, daemon.address)
        else:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
