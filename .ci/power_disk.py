"""A disk that knows what was synced, for the file system of `power_fs.py`.

A file has the bytes that programs see, those that are synced, and the changes in between; a directory likewise its names.
After a loss of power there is what was synced, and any part of the rest.
"""

import dataclasses
import os
import pathlib
import shutil
import stat
import time

# What a disk writes whole.
SECTOR = 512


class Content:
    """The bytes of a file."""

    def __init__(self, synced=b""):
        self.seen, self.synced = bytearray(synced), bytearray(synced)
        # Each a place and what was written there, or a length and nothing.
        self.changes = []

    def write(self, offset, data):
        self._change(offset, bytes(data))

    def truncate(self, length):
        self._change(length, None)

    def _change(self, place, data):
        apply(self.seen, place, data)
        self.changes.append((place, data))

    def sync(self):
        for change in self.changes:
            apply(self.synced, *change)
        self.changes.clear()

    def left(self, random):
        """The bytes after a loss of power: what is synced, and some of the changes since, whole or in part. What came behind
        the end may have holes of zeros in it, or only at its end."""
        if not self.changes:
            return bytes(self.synced)

        # The disk was about to write what the first few changes have made.
        made = bytearray(self.synced)
        count = random.choice([0, len(self.changes), random.randint(0, len(self.changes))])
        for change in self.changes[:count]:
            apply(made, *change)
        if count < len(self.changes) and random.random() < 0.5:
            apply(made, *torn(*self.changes[count], random))

        # It has written all of that, its first sectors, or any; the length by itself. What it has not is old, or zeros.
        sectors = -(-max(len(made), len(self.synced)) // SECTOR)
        first = random.randint(0, sectors)
        is_written = random.choice(
            [lambda _: True, lambda _: True, lambda sector: sector < first, lambda _: random.random() < 0.5]
        )
        left = bytearray()
        for sector in range(sectors):
            source, start = made if is_written(sector) else self.synced, sector * SECTOR
            left += source[start:start + SECTOR].ljust(SECTOR, b"\0")
        return bytes(left[:random.choice([len(made), len(made), len(self.synced)])])


def apply(content, place, data):
    """Makes a change of bytes."""
    end = place if data is None else place + len(data)
    if len(content) < end:
        content += bytes(end - len(content))
    if data is None:
        del content[place:]
    else:
        content[place:end] = data


def torn(place, data, random):
    """A change of which the disk has made the first sectors only."""
    if data is None:
        return place, data
    sectors = [end for end in range(place, place + len(data)) if end % SECTOR == 0]
    return place, data[:random.choice([place, *sectors]) - place]


class Node:
    """A file or a directory."""

    def __init__(self, number, mode, content=None):
        self.number, self.mode, self.content = number, mode, content
        # Of a directory: a node each.
        self.names, self.synced_names = {}, {}
        self.links = 1
        self.modified_ns = time.time_ns()

    @property
    def is_directory(self):
        return stat.S_ISDIR(self.mode)

    @property
    def size(self):
        return 0 if self.is_directory else len(self.content.seen)


@dataclasses.dataclass
class Step:
    """A name in a directory that was given a node, or taken away."""

    directory: Node
    name: bytes
    node: Node | None


class Disk:
    """The files below a directory, which are in memory until they are put back."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.nodes = {}
        # Changes of names since they were synced, in their order. The steps of one are made together.
        self.changes = []
        self.root = self._load(self.folder)

    def _load(self, path):
        found = path.stat()
        if path.is_dir():
            node = self.make(found.st_mode, None)
            for child in sorted(path.iterdir()):
                node.names[os.fsencode(child.name)] = self._load(child)
            node.synced_names = dict(node.names)
        else:
            node = self.make(found.st_mode, Content(path.read_bytes()))
        node.modified_ns = found.st_mtime_ns
        return node

    def make(self, mode, content):
        node = Node(len(self.nodes) + 1, mode, content)
        self.nodes[node.number] = node
        return node

    def name(self, *steps):
        """Changes names together."""
        for step in steps:
            before = step.directory.names.get(step.name)
            if before is not None and step.node is not before:
                before.links -= 1
            if step.node is None:
                del step.directory.names[step.name]
            else:
                step.directory.names[step.name] = step.node
                step.node.links = 1
        self.changes.append(steps)

    def sync_names(self, directory):
        """Syncs the changes of the names of a directory."""
        waiting = []
        for steps in self.changes:
            if any(step.directory is directory for step in steps):
                for step in steps:
                    set_name(step.directory.synced_names, step)
            else:
                waiting.append(steps)
        self.changes = waiting

    def put_back(self, random=None):
        """Writes all files into the folder; with `random` as a loss of power leaves them."""
        names = {node.number: node.names if random is None else dict(node.synced_names) for node in self.nodes.values()}
        if random is not None:
            # As a journal has them, up to one of them; in a third of all cases, any.
            first, is_journal = random.randint(0, len(self.changes)), random.random() < 2 / 3
            for place, steps in enumerate(self.changes):
                if place < first if is_journal else random.random() < 0.5:
                    for step in steps:
                        set_name(names[step.directory.number], step)

        shutil.rmtree(self.folder)
        self._write(self.root, self.folder, names, random)

    def _write(self, node, path, names, random):
        if node.is_directory:
            path.mkdir()
            for name, child in names[node.number].items():
                self._write(child, path / os.fsdecode(name), names, random)
        else:
            path.write_bytes(node.content.seen if random is None else node.content.left(random))
        path.chmod(stat.S_IMODE(node.mode))
        os.utime(path, ns=(node.modified_ns, node.modified_ns))


def set_name(names, step):
    if step.node is None:
        names.pop(step.name, None)
    else:
        names[step.name] = step.node
