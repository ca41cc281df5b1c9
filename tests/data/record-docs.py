#!/usr/bin/env python3
"""Records the group of each command, and since when there is it, as `COMMAND DOCS` tells them.

Usage: tests/data/record-docs.py > src/proto/commands/docs.txt

Where servers differ, Redis 8 is followed. The texts of Redis are its own and are not taken over:
what the proxy tells in their place is what it does with the command.
"""

import importlib.util
import os

HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = importlib.util.spec_from_file_location("rows", os.path.join(HERE, "record-commands.py"))
ROWS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ROWS)


def take(flat, into):
    for name, fields in zip(flat[::2], flat[1::2]):
        fields = dict(zip(fields[::2], fields[1::2]))
        into.setdefault(name, (fields["group"], fields.get("since", "-")))
        take(fields.get("subcommands", []), into)


def main():
    docs = {}
    for name in ("redis-8.0", "valkey-8.1", "redis-7.0"):
        question = b"*2\r\n$7\r\nCOMMAND\r\n$4\r\nDOCS\r\n"
        take(ROWS.reply_of(ROWS.RECORDED[name], question), docs)
    for name, (group, since) in sorted(docs.items()):
        print(name.lower(), group, since)


if __name__ == "__main__":
    main()
