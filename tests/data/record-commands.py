#!/usr/bin/env python3
"""Records what `COMMAND` says on three servers, and writes what tests/commands.rs reads.

Usage: tests/data/record-commands.py

The servers are the machine's redis-server and those of tests/tools/servers.sh. A row is a
command's arity, its first and last key and the step between keys, its flags and its categories.
One of two words is named as Redis names it: "xinfo|stream".
"""

import json
import os
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SERVERS = os.path.join(HERE, "..", "..", "target", "servers")
RECORDED = {"redis-7.0": "redis-server", "redis-8.0": os.path.join(SERVERS, "redis-8"),
            "valkey-8.1": os.path.join(SERVERS, "valkey-8")}
DEADLINE_SECONDS = 30


def read(stream):
    line = stream.readline()
    kind, rest = line[:1], line[1:-2]
    if kind == b"*":
        return [read(stream) for _ in range(int(rest))]
    if kind == b"$":
        return stream.read(int(rest) + 2)[:-2].decode()
    return int(rest) if kind == b":" else rest.decode()


def reply_of(program, question):
    """The reply of a server that is started for it."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        server = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", ""],
                                  cwd=directory, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while True:
                with socket.socket(socket.AF_UNIX) as client:
                    try:
                        client.connect(path)
                    except OSError:
                        assert time.monotonic() < deadline, f"{program} does not listen"
                        time.sleep(0.01)
                        continue
                    client.sendall(question)
                    with client.makefile("rb") as stream:
                        return read(stream)
        finally:
            server.terminate()
            server.wait()


def main():
    for name, program in RECORDED.items():
        rows = {}
        for row in reply_of(program, b"*1\r\n$7\r\nCOMMAND\r\n"):
            for row in [row] + row[9]:
                categories = " ".join(sorted(category[1:] for category in row[6]))
                rows[row[0].lower()] = row[1:2] + row[3:6] + [" ".join(sorted(row[2])), categories]
        lines = [f"{json.dumps(name)}: {json.dumps(rows[name])}" for name in sorted(rows)]
        with open(os.path.join(HERE, f"commands-{name}.json"), "w") as file:
            file.write("{\n" + ",\n".join(lines) + "\n}\n")


main()
