#!/usr/bin/python3
"""A file system that drops what was not synced when the power is lost: power_fs.py FOLDER MOUNT [OPTIONS].

It shows FOLDER at MOUNT. It says `mounted` once it is there, and takes commands on its standard input:

- `cut N SEED`: the power is lost before the Nth change from now on, a sync included; with 0, now.
- `note N`: it says `noted` at the Nth change, so that a program can be killed there.

Once it is lost, FOLDER has what was synced and a part of the rest, by the seed; the file system says `cut` and answers EIO
to everything. Unmounted with power, FOLDER has all. The end of the input unmounts it, so that no mount is left behind.

Files have shared maps and locks (the kernel's own), O_DIRECT, and no further names (hard links); modes and times are kept
without a sync. `--lie` makes every sync do nothing, as some disks do. A file that has grown may have zeros between what was
written, and not only at its end.
It needs Debian's python3-pyfuse3, which only Debian's own Python finds.
"""

import argparse
import errno
import os
import random
import stat
import sys
import time

import pyfuse3
import trio

sys.dont_write_bytecode = True
from power_disk import Content, Disk, Step  # noqa: E402

# Nothing changes a file but by way of this kernel, which may remember what it knows.
REMEMBERED_S = 3600
BLOCK = 4096
UNMOUNTED_S_MAX = 5


class PowerFs(pyfuse3.Operations):
    """The requests of the kernel. Numbers of files stand for files that are open, too."""

    def __init__(self, disk, lies):
        super().__init__()
        self.disk, self.lies = disk, lies
        self.is_cut = False
        # Changes that are left before something happens.
        self.left, self.happening = 0, None

    def cut(self, count, seed):
        self.left, self.happening = count, lambda: self._cut(seed)
        if count == 0:
            self.happening()

    def note(self, count):
        self.left, self.happening = count, lambda: say("noted")

    def _cut(self, seed):
        if not self.is_cut:
            self.is_cut = True
            self.disk.put_back(random.Random(seed))
            say("cut")

    def _node(self, number):
        if self.is_cut:
            raise pyfuse3.FUSEError(errno.EIO)
        return self.disk.nodes[number]

    def _changing(self, number):
        """A node that is about to be changed."""
        self.left -= 1
        if self.left == 0 and self.happening is not None:
            self.happening()
        return self._node(number)

    def _child(self, directory, name):
        if name not in directory.names:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return directory.names[name]

    def _make(self, parent, name, mode, content):
        directory = self._changing(parent)
        if name in directory.names:
            raise pyfuse3.FUSEError(errno.EEXIST)
        node = self.disk.make(mode, content)
        self.disk.name(Step(directory, name, node))
        return node

    # Names

    async def lookup(self, parent_inode, name, ctx):
        directory = self._node(parent_inode)
        return attributes(directory if name == b"." else self._child(directory, name))

    async def mkdir(self, parent_inode, name, mode, ctx):
        return attributes(self._make(parent_inode, name, stat.S_IFDIR | mode, None))

    async def create(self, parent_inode, name, mode, flags, ctx):
        node = self._make(parent_inode, name, stat.S_IFREG | mode, Content())
        return opened(node), attributes(node)

    async def unlink(self, parent_inode, name, ctx):
        directory = self._changing(parent_inode)
        self._child(directory, name)
        self.disk.name(Step(directory, name, None))

    async def rmdir(self, parent_inode, name, ctx):
        directory = self._changing(parent_inode)
        if self._child(directory, name).names:
            raise pyfuse3.FUSEError(errno.ENOTEMPTY)
        self.disk.name(Step(directory, name, None))

    async def rename(self, parent_inode_old, name_old, parent_inode_new, name_new, flags, ctx):
        source, target = self._changing(parent_inode_old), self._node(parent_inode_new)
        node = self._child(source, name_old)
        if flags == pyfuse3.RENAME_NOREPLACE and name_new in target.names:
            raise pyfuse3.FUSEError(errno.EEXIST)
        if flags not in (0, pyfuse3.RENAME_NOREPLACE):
            raise pyfuse3.FUSEError(errno.EINVAL)
        if target.names.get(name_new) is not node:
            self.disk.name(Step(source, name_old, None), Step(target, name_new, node))

    async def opendir(self, inode, ctx):
        return self._node(inode).number

    async def readdir(self, fh, start_id, token):
        # By the numbers of the files, which stay the same while others come and go.
        names = sorted((node.number, name) for name, node in self._node(fh).names.items())
        for number, name in names:
            if number > start_id and not pyfuse3.readdir_reply(token, name, attributes(self.disk.nodes[number]), number):
                return

    async def releasedir(self, fh):
        pass

    async def fsyncdir(self, fh, datasync):
        node = self._changing(fh)
        if not self.lies:
            self.disk.sync_names(node)

    # Files

    async def getattr(self, inode, ctx):
        return attributes(self._node(inode))

    async def setattr(self, inode, attr, fields, fh, ctx):
        node = self._changing(inode)
        if fields.update_size:
            node.content.truncate(attr.st_size)
            node.modified_ns = attr.st_mtime_ns if fields.update_mtime else time.time_ns()
        if fields.update_mode:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(attr.st_mode)
        if fields.update_mtime:
            node.modified_ns = attr.st_mtime_ns
        return attributes(node)

    async def open(self, inode, flags, ctx):
        node = self._node(inode)
        if flags & os.O_TRUNC and node.size > 0:
            self._changing(inode).content.truncate(0)
        return opened(node)

    async def read(self, fh, off, size):
        return bytes(self._node(fh).content.seen[off:off + size])

    async def write(self, fh, off, buf):
        node = self._changing(fh)
        node.content.write(off, buf)
        node.modified_ns = time.time_ns()
        return len(buf)

    async def flush(self, fh):
        pass

    async def fsync(self, fh, datasync):
        node = self._changing(fh)
        if not self.lies:
            node.content.sync()

    async def release(self, fh):
        pass

    async def statfs(self, ctx):
        self._node(pyfuse3.ROOT_INODE)
        found = pyfuse3.StatvfsData()
        found.f_bsize = found.f_frsize = BLOCK
        found.f_blocks = found.f_bfree = found.f_bavail = (64 << 30) // BLOCK
        found.f_files = found.f_ffree = found.f_favail = 1 << 20
        found.f_namemax = 255
        return found


def opened(node):
    found = pyfuse3.FileInfo(fh=node.number)
    found.keep_cache = True
    return found


def attributes(node):
    found = pyfuse3.EntryAttributes()
    found.st_ino, found.st_mode, found.st_nlink, found.st_size = node.number, node.mode, node.links, node.size
    found.st_uid, found.st_gid = os.getuid(), os.getgid()
    found.st_atime_ns = found.st_mtime_ns = found.st_ctime_ns = node.modified_ns
    found.st_blksize, found.st_blocks = BLOCK, -(-node.size // 512)
    found.attr_timeout = found.entry_timeout = REMEMBERED_S
    return found


def say(line):
    print(line, flush=True)


async def obey(fs):
    """Takes commands until there are no more."""
    stream, rest = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())), b""
    while received := await stream.receive_some():
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            command, *numbers = line.split()
            {b"cut": fs.cut, b"note": fs.note}[command](*map(int, numbers))


async def serve(fs, mount):
    """Serves the kernel until the file system is unmounted."""
    is_unmounted = trio.Event()

    async def until_unmounted():
        await pyfuse3.main()
        is_unmounted.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_unmounted)
        say("mounted")
        await obey(fs)
        await trio.run_process(["fusermount3", "-u", "-z", mount])
        # The kernel writes what it still has, and is served until then. A namespace that was made meanwhile has the mount,
        # too, for as long as it likes.
        with trio.move_on_after(UNMOUNTED_S_MAX):
            await is_unmounted.wait()
        nursery.cancel_scope.cancel()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("mount")
    parser.add_argument("--lie", action="store_true")
    given = parser.parse_args()

    fs = PowerFs(Disk(given.folder), given.lie)
    pyfuse3.init(fs, given.mount, pyfuse3.default_options | {"fsname=rpc-power"})
    try:
        trio.run(serve, fs, given.mount)
    finally:
        pyfuse3.close()
    if not fs.is_cut:
        fs.disk.put_back()


main()
