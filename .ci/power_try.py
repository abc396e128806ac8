"""Tries of the disk and the file system of `.ci/power_fuse` themselves."""

import asyncio
import errno
import fcntl
import mmap
import os
import random
import subprocess
import sys

from power_disk import SECTOR, Content
from power_machine import Failure, PowerDisk

LOSSES = 12


def must(what, is_so):
    if not is_so:
        raise Failure(what)


def try_sectors():
    """Of a file there is what was synced; the rest comes whole, in part, as zeros and not at all."""
    seen = set()
    for seed in range(300):
        content = Content(b"a" * 1000)
        content.write(1000, b"b" * 1000)
        content.write(2000, b"c" * 1000)
        left = content.left(random.Random(seed))
        must(f"what was synced is there: {left}", left[:1000] == b"a" * 1000)
        for sector in range(1024, len(left), SECTOR):
            some = left[sector:sector + SECTOR]
            must(f"a sector is written whole or not at all: {some}", not {0} < set(some))
        seen.add((len(left), left.count(b"b"), left.count(b"c"), left.count(b"\0")))
        content.sync()
        must("what was synced is there whole", content.left(random.Random(seed)) == content.seen)
    must(f"a loss of power leaves few things: {seen}", len(seen) > 10)
    must("nothing is kept, sometimes", (1000, 0, 0, 0) in seen)
    must("all is kept, sometimes", (3000, 1000, 1000, 0) in seen)
    must("zeros are kept, sometimes", any(zeros for *_, zeros in seen))
    grown = Content(b"a")
    grown.write(1, b"b" * 5000)
    lefts = [grown.left(random.Random(seed)).rstrip(b"\0") for seed in range(300)]
    must("zeros are not only at the end", any(0 in left for left in lefts))


class Hangs(PowerDisk):
    """A file system that never comes, nor goes by itself."""

    PROGRAM = ["/bin/sh", "-c", "exec sleep 1000"]
    SECONDS_MAX = 0.5


async def try_a_mount_that_hangs(work):
    """A file system that does not come is given up, and its process is gone."""
    hanging = Hangs(work / "folder", work / "mount", [])
    try:
        async with hanging:
            pass
    except Failure as failure:
        must(f"it is said what did not come: {failure}", "mounted" in str(failure))
    else:
        raise Failure("a file system that does not come is taken for one that is there")
    must("its process is gone", hanging.process.returncode is not None)


async def try_files(work):
    """What the daemon and SQLite do with files works; synced files and names are there after each loss of power."""
    folder, kept = work / "try", set()
    for seed in range(LOSSES):
        folder.mkdir()
        async with PowerDisk(folder, work / "mount", []) as disk:
            await asyncio.to_thread(use_files, disk.mount)
            await disk.lose_power_now(seed)
            await asyncio.to_thread(must_fail, disk.mount)
        kept.update(file.name for file in folder.iterdir())
        must("a synced file is there", (folder / "synced").read_bytes() == b"0123456789" + bytes(90))
        must("a file is renamed over another one", (folder / "named").read_bytes() == b"new")
        must("a file has its synced bytes first", (folder / "grown").read_bytes()[:4] == b"kept")
        must("a directory is there with its file", (folder / "sub/file").read_bytes() == b"within")
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
    must(f"a name that was not synced is kept sometimes: {kept}", {"unsynced"} & kept)


def use_files(mount):
    """What a program does that wants its files to be there; `unsynced` may be gone."""
    with open(mount / "synced", "wb+", buffering=0) as file:
        file.write(b"0123456789ab")
        file.truncate(10)
        os.posix_fallocate(file.fileno(), 0, 100)
        os.fdatasync(file.fileno())
        try_maps_and_locks(mount / "synced", file)
    for name, content in ("named", b"old"), ("named.new", b"new"), ("gone", b"gone"), ("grown", b"kept"):
        write(mount / name, content)
    (mount / "sub").mkdir()
    write(mount / "sub/file", b"within")

    with open(mount / "named", "rb") as old, open(mount / "gone", "rb+", buffering=0) as gone:
        os.rename(mount / "named.new", mount / "named")
        os.unlink(mount / "gone")
        must("an open file is there under no name", old.read() == b"old" and gone.write(b"x") == 1 and gone.read() == b"one")
        must("it has no names", os.fstat(gone.fileno()).st_nlink == os.fstat(old.fileno()).st_nlink == 0)
    sync_directory(mount / "sub")
    sync_directory(mount)
    with open(mount / "grown", "ab") as file:
        file.write(b"and more")
    write(mount / "unsynced", b"its bytes are synced, and its name is not")


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path):
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.fsync(directory)
    os.close(directory)


def try_maps_and_locks(path, file):
    """Shared maps, as of SQLite's `-shm`, see each other's bytes; a lock that is held is held for another process."""
    with open(path, "rb+", buffering=0) as other:
        with mmap.mmap(file.fileno(), 0) as one, mmap.mmap(other.fileno(), 0) as two:
            one[50:53] = b"map"
            must("two maps are of one memory", two[50:53] == b"map")
            must("which reads see", os.pread(other.fileno(), 3, 50) == b"map")
            two[50:53] = bytes(3)
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        for lock in "flock", "lockf":
            asked = f"import fcntl, sys; fcntl.{lock}(open(sys.argv[1], 'rb+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
            said = subprocess.run([sys.executable, "-c", asked, path], check=False, capture_output=True, text=True).stderr
            must(f"`{lock}` keeps others out: {said}", "BlockingIOError" in said)

    direct = os.open(path.with_name("direct"), os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    with mmap.mmap(-1, 4096) as aligned:
        aligned[:6] = b"direct"
        must("4096 bytes are written past the cache", os.write(direct, aligned) == 4096)
        aligned[:6] = bytes(6)
        must("and read", os.preadv(direct, [aligned], 0) == 4096 and aligned[:6] == b"direct")
    os.close(direct)


def must_fail(mount):
    """Without power nothing is done."""
    for use in (lambda: write(mount / "late", b""), lambda: os.rename(mount / "named", mount / "other"),
                lambda: sync_directory(mount), lambda: (mount / "named").unlink(), lambda: os.statvfs(mount)):
        try:
            use()
        except OSError as error:
            must(f"the disk is gone: {error}", error.errno == errno.EIO)
        else:
            raise Failure("the disk is used without power")
