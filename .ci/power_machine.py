"""A machine that loses its power: the daemon of `.ci/power_fuse`, and the file system of `power_fs.py` below its data."""

import asyncio
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients/python/src"))
import rpc_client  # noqa: E402

# Debian's own Python, which has Debian's pyfuse3.
PYTHON = "/usr/bin/python3"
SECONDS_MAX = 120
# Of each call of apt-get, which waits for mirrors and for the lock of others.
INSTALL_S_MAX = 300


class Failure(Exception):
    """What must hold does not."""


class NotMounted(Failure):
    """The file system has ended instead of being there."""


@contextlib.asynccontextmanager
async def soon(what, seconds=SECONDS_MAX):
    """Fails unless something is done in good time, on a machine that may be busy."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Failure(f"not in {seconds} s: {what}") from None


def missing():
    """Why no power can be lost here; installs what can be installed."""
    if not os.path.exists("/dev/fuse"):
        return "/dev/fuse is missing"
    if not os.path.exists(PYTHON):
        return f"{PYTHON} is missing, which Debian's python3-pyfuse3 needs"

    def lacks():
        if shutil.which("fusermount3") is None:
            return "fusermount3 is missing"
        imported = [PYTHON, "-c", "import pyfuse3, trio"]
        return subprocess.run(imported, check=False, capture_output=True, text=True, timeout=SECONDS_MAX).stderr

    if lacks():
        as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        for command in ["update", "-qq"], ["install", "-y", "-qq", "python3-pyfuse3", "fuse3"]:
            # `timeout` ends it with its children, as root where it runs as root.
            bounded = [*as_root, "timeout", "--kill-after=10", str(INSTALL_S_MAX), "apt-get", *command]
            with contextlib.suppress(FileNotFoundError):
                subprocess.run(bounded, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    lines = lacks().splitlines()
    return f"python3-pyfuse3 and fuse3 cannot be had: {lines[-1]}" if lines else None


class PowerDisk:
    """A folder, shown by a file system that drops what was not synced. Leaving it unmounts it."""

    # The file system, and how long it may take to come and to go.
    PROGRAM = [PYTHON, HERE / "power_fs.py"]
    SECONDS_MAX = SECONDS_MAX

    def __init__(self, folder, mount, options):
        self.folder, self.mount, self.options = folder, mount, options
        self.is_cut = False
        # Whether the daemon on it has to end: the power was lost, or it is to be killed.
        self.is_over = asyncio.Event()

    async def __aenter__(self):
        self.mount.mkdir(exist_ok=True)
        command = [*self.PROGRAM, self.folder, self.mount, *self.options]
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            async with soon("the file system is mounted", self.SECONDS_MAX):
                said = await self.process.stdout.readline()
        except Failure:
            await self.__aexit__()
            raise
        if said != b"mounted\n":
            await self.__aexit__()
            raise NotMounted(f"the file system was not mounted: {(await self.process.stderr.read()).decode()}")
        self.reading = asyncio.create_task(self._read())
        return self

    async def _read(self):
        async for line in self.process.stdout:
            self.is_cut |= line == b"cut\n"
            self.is_over.set()

    def lose_power(self, changes, seed):
        """Loses the power before one of the next changes."""
        self._say(f"cut {changes} {seed}")

    async def lose_power_now(self, seed):
        self.is_over.clear()
        self._say(f"cut 0 {seed}")
        async with soon("the power is lost"):
            await self.is_over.wait()

    def note(self, changes):
        """Is over at one of the next changes, with power."""
        self._say(f"note {changes}")

    def _say(self, line):
        self.process.stdin.write(f"{line}\n".encode())

    async def ends(self):
        """Whether it is over. What that has caused may be seen a moment earlier."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self.is_over.wait()
        return self.is_over.is_set()

    async def __aexit__(self, *_):
        # The end of its input ends it.
        self.process.stdin.close()
        try:
            async with soon("the file system is unmounted", self.SECONDS_MAX):
                await self.process.wait()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
            mounts = pathlib.Path("/proc/self/mounts").read_text()
            if f" {self.mount} " in mounts:
                subprocess.run(["fusermount3", "-u", "-z", self.mount], check=True, timeout=SECONDS_MAX)


class Daemon:
    """The daemon, with its data in a folder. Leaving it kills it."""

    def __init__(self, program, config, data):
        self.command = [program, "--listen", "127.0.0.1:0", "--config", config, "--data-dir", data]
        self.said = collections.deque(maxlen=40)
        self.address = None

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(*self.command, stderr=asyncio.subprocess.PIPE)
        self.is_ready = asyncio.Event()
        self.reading = asyncio.create_task(self._read())
        return self

    async def _read(self):
        async for line in self.process.stderr:
            self.said.append(line.decode().rstrip())
            if self.address is None and (found := re.search(r"listening on (127\.0\.0\.1:\d+)", self.said[-1])):
                self.address = found[1]
                self.is_ready.set()
        self.is_ready.set()

    async def client(self):
        """A client of it; `None` if it does not start."""
        async with soon("the daemon starts"):
            await self.is_ready.wait()
        if self.address is None:
            return None
        settings = rpc_client.Settings(attempts_max=1, call_timeout_ms=SECONDS_MAX * 1000)
        return rpc_client.Client(self.address, settings)

    async def stop(self):
        """Ends it by SIGTERM."""
        self.process.terminate()
        async with soon("the daemon stops"):
            await self.process.wait()

    def kill(self):
        """Ends it at once."""
        if self.process.returncode is None:
            # Not by asyncio, which might take its end away from those that wait for it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    async def __aexit__(self, *_):
        self.kill()
        await self.process.wait()
        await self.reading
