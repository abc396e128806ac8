#!/usr/bin/env python3
"""Writes the conformance vectors as seeds of the fuzz targets: `seeds.py DIR` fills DIR/decoder,
DIR/envelope, DIR/server and DIR/client; DIR/config has the daemon's config and parts of it."""

import hashlib
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHUNK = 255


def put(directory, data):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def sent(step):
    """The bytes that a step of a vector sends, where they are short and written out."""
    text = step.get("send")
    if not isinstance(text, str) or "${" in text or len(text) > 600:
        return None
    return text.encode("utf-8", "surrogatepass")


def raw(data):
    """Bytes of any kind, as steps of the server's target."""
    steps = b""
    for at in range(0, len(data), CHUNK):
        part = data[at : at + CHUNK]
        steps += bytes([8, len(part)]) + part
    return steps


def main():
    out = pathlib.Path(sys.argv[1])
    for file in sorted((ROOT / "conformance" / "vectors").glob("*.json")):
        for vector in json.loads(file.read_text())["vectors"]:
            steps = [data for data in map(sent, vector["steps"]) if data]
            if not steps:
                continue
            whole = b"".join(steps)
            if len(whole) <= 128:
                put(out / "decoder", bytes([63, 0x3F]) + whole)
            for line in whole.split(b"\n"):
                if line and len(line) < 512:
                    put(out / "envelope", b"\0" + line)
            if len(whole) < 512:
                put(out / "server", b"\0" + b"".join(raw(data) + b"\x0c\x02" for data in steps))
            for step in vector["steps"]:
                expected = step.get("expect")
                if isinstance(expected, dict) and len(json.dumps(expected)) < 200:
                    line = json.dumps(expected).encode()
                    put(out / "envelope", b"\1" + line)
                    put(out / "client", bytes([0, 0, 0, 0, 1, 8, len(line) & 255]) + line)
    entry = '{"level":"info","service":"s","message":"a\\u0062 \\"c\\"","ts":7,"trace":"t","fields":{"a":1.5}}'
    for params in (entry, f'{{"entries":[{entry}]}}', f'{{"producer":"p", "batch":1, "entries":[{entry}]}}'):
        put(out / "envelope", b"\0" + f'{{"cmdid":1001,"params":{params}}}'.encode())
    # One call of each command in each way, then what goes wrong around it.
    for kind in range(6):
        for command in range(7):
            call = bytes([kind, 7 * 6 + command])
            for then in ([12, 2], [9, 0], [10, 3], [14, 0], [6, 0], [7, 9], [15, 0], [15, 3]):
                put(out / "server", bytes([command]) + call + call + bytes(then) + call + bytes([12, 7, 11, 0]))
            for then in range(16):
                step = bytes([then, kind])
                put(out / "client", bytes([0]) + call + call + step + bytes([4, 0, 5, 1]) + step + bytes([12, 7]))
    config = (b"listen = [\"127.0.0.1:0\"]\nworkers = 1\nlog_format = \"json\"\nservices = [\"test\"]\n"
              b"[limits]\nframe_bytes_max = 1048576\n[log]\nfsync = false\n")
    put(out / "config", config)
    for line in config.split(b"\n"):
        put(out / "config", line)
    put(out / "config", b"\0LIMITS_FRAME_BYTES_MAX=7")
    put(out / "config", b"\0LISTEN=127.0.0.1:1,unix:/x")


main()
