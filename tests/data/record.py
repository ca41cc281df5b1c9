#!/usr/bin/env python3
"""Records which server nutcracker chooses for each key, and writes what tests/vectors.rs reads.

Usage: tests/data/record.py [nutcracker]

A fake server answers every GET with its own address, so the answer to a request is the choice.
Names and addresses are hashed, hence the fixed addresses: 127.0.x.y on ports 11211 and 16379,
and unix sockets in /tmp/ringcracker-vectors. A second recording gives the same file.
"""

import json
import os
import random
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

SOCKETS = "/tmp/ringcracker-vectors"
TARGET = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nutcracker-tags-ports-unix.json")
DEADLINE_SECONDS = 30

HASHES = ["one_at_a_time", "md5", "crc16", "crc32", "crc32a", "fnv1_64", "fnv1a_64", "fnv1_32",
          "fnv1a_32", "hsieh", "murmur", "jenkins"]
DISTRIBUTIONS = ["ketama", "modula"]
TAGS = ["{}", "$$", "[]"]

# Two names each with a ketama point in common, and the first of some keys that fnv1a_64 puts on
# the arc before that point: whoever gets them shows how nutcracker's sort leaves equal points.
TIES = [(["tie397", "tie253"], 5900), (["tie1312", "tie36"], 8200), (["tie902", "tie883"], 33100)]

# With 7 1 13 3 1, with 7 11 11 50 13 100 and with 25 equal weights, shares in single precision
# give other numbers of points than exact ones; 1 of 1000004 gives none at all.
WEIGHTS = [[1, 7, 33, 1000, 2, 500], [7, 1, 13, 3, 1], [7, 11, 11, 50, 13, 100],
           [1, 1000000, 1, 1, 1], [3, 3, 3, 7, 7, 11, 13], [1] * 25]

# Nobody listens here: nutcracker ejects such a server at the first request.
DEAD = ["127.0.7.201:16379", "127.0.7.202:16379"]


def tag_keys():
    """Keys with whole, empty, nested, reversed, repeated and unclosed tags, and with none."""
    shapes = ["", "o", "c", "oc", "co", "ocx", "xoc", "ocoac", "ooaccb", "xoacyobc", "coaobc",
              "caobc", "oa", "aob", "ac", "a", "oac", "xoac", "oacx", "aoboc", "oooacccb", "ooac",
              "oacobc", "obcoac", "xoycz", "o c", "ocoococ"]
    keys = []
    for opening, closing in TAGS:
        fill = lambda shape: "".join({"o": opening, "c": closing}.get(c, c) for c in shape)
        keys += [fill(shape).encode() for shape in shapes]
        keys += [f"user:{n}{opening}{n % 40}{closing}:{n}".encode() for n in range(60)]
        keys += [opening.encode() + bytes([n, 255 - n]) + closing.encode() for n in range(200, 210)]
    keys += [f"key:{n}".encode() for n in range(40)]
    return list(dict.fromkeys(keys))


def plain_keys():
    """Short and long keys, binary ones, the empty one, and those that TIES is about."""
    draw = random.Random(1)
    keys = [b""] + [f"key:{n}".encode() for n in range(500)]
    keys += [draw.randbytes(draw.randrange(1, 40)) for _ in range(100)]
    for _, first in TIES:
        keys += [f"key:{n}".encode() for n in range(first, first + 6)]
    return list(dict.fromkeys(keys))


def server(address, weight=1, name=None):
    """One entry of `servers`, in parts. A null name stands for the one nutcracker makes."""
    return {"address": address, "weight": weight, "name": name}


def named(names, weights):
    """Servers that only their names and weights tell apart for nutcracker."""
    return [server(f"127.0.7.{place}:16379", weight, name)
            for place, (name, weight) in enumerate(zip(names, weights), 1)]


def pools():
    """Every pool to record, without the choices."""
    def pool(keys, hash_name, distribution, servers, tag=None):
        return {"keys": keys, "hash": hash_name, "distribution": distribution, "hash_tag": tag,
                "servers": servers, "ejected": [entry["address"] in DEAD for entry in servers]}

    tagged = named(["zeta", "b", "server10", "server9", "aa"], [1, 2, 1, 3, 1])
    for tag in TAGS:
        for hash_name in HASHES:
            for distribution in DISTRIBUTIONS:
                yield pool("tags", hash_name, distribution, tagged, tag)

    addressed = [
        [server("127.0.0.100:11211"), server("127.0.0.9:11211"), server("127.0.7.2:11211"),
         server("127.0.0.10:11211")],
        [server("127.0.0.100:11211", 3), server("127.0.0.9:16379"), server("127.0.0.9:11211", 2),
         server("127.8:11211"), server("127.0.7.3:11211", 2, "zz"), server("127.0.0.7:011211"),
         server("127.0.0.6:016379", 2)],
        [server(f"{SOCKETS}/b.sock"), server(f"{SOCKETS}/longer-name.sock"),
         server(f"{SOCKETS}/a.sock"), server(f"{SOCKETS}/c.sock")],
        [server(f"{SOCKETS}/longer-name.sock", 5), server(f"{SOCKETS}/b.sock"),
         server(f"{SOCKETS}/a.sock", 2, "n1"), server("127.0.0.9:11211"),
         server(f"{SOCKETS}/c.sock", 2, "/named/c.sock")],
    ]
    for servers in addressed:
        for hash_name in ["fnv1a_64", "md5", "murmur"]:
            for distribution in DISTRIBUTIONS:
                yield pool("plain", hash_name, distribution, servers)

    for weights in WEIGHTS:
        servers = named([f"s{place * 37 % 101}" for place in range(1, 26)], weights)
        for hash_name in ["fnv1a_64", "jenkins"]:
            for distribution in DISTRIBUTIONS:
                yield pool("plain", hash_name, distribution, servers)

    servers = named(["s9", "s10", "q", "s1", "s2"], [2, 1, 7, 3, 1])
    dead = [server(DEAD[0], 2, "s3"), server(DEAD[1], 5, "a")]
    for hash_name in ["fnv1a_64", "hsieh"]:
        for distribution in DISTRIBUTIONS:
            yield pool("plain", hash_name, distribution, servers + dead)

    for names, _ in TIES:
        yield pool("plain", "fnv1a_64", "ketama", named(names, [1, 1]))


class Answer(socketserver.StreamRequestHandler):
    """Answers each request, of two arguments, with the address it came to."""

    def handle(self):
        """Ends when the peer does."""
        while self.rfile.readline():
            for _ in range(2):
                length = int(self.rfile.readline()[1:])
                self.rfile.read(length + 2)
            address = self.server.label.encode()
            self.wfile.write(b"$%d\r\n%s\r\n" % (len(address), address))


class FakeTcp(socketserver.ThreadingTCPServer):
    """A fake server on an address and a port."""

    allow_reuse_address = True
    daemon_threads = True


class FakeUnix(socketserver.ThreadingUnixStreamServer):
    """A fake server on a path."""

    daemon_threads = True


def start_fake(address):
    """A fake server that accepts connections from now on."""
    if address.startswith("/"):
        fake = FakeUnix(address, Answer)
    else:
        host, port = address.rsplit(":", 1)
        fake = FakeTcp((host, int(port)), Answer)
    fake.label = address
    threading.Thread(target=fake.serve_forever, daemon=True).start()
    return fake


def config(pools_to_run, directory):
    """nutcracker.yml, and the path each pool listens on."""
    lines, paths = [], []
    for number, pool in enumerate(pools_to_run):
        paths.append(f"{directory}/{number}.sock")
        lines += [f"pool{number}:", f"  listen: {paths[-1]}", f"  hash: {pool['hash']}",
                  f"  distribution: {pool['distribution']}", "  redis: true"]
        if pool["hash_tag"]:
            lines.append(f"  hash_tag: \"{pool['hash_tag']}\"")
        if any(pool["ejected"]):
            lines += ["  auto_eject_hosts: true", "  server_failure_limit: 1",
                      "  server_retry_timeout: 600000"]
        lines.append("  servers:")
        for entry in pool["servers"]:
            name = f" {entry['name']}" if entry["name"] else ""
            lines.append(f"   - {entry['address']}:{entry['weight']}{name}")
    return "\n".join(lines) + "\n", paths


def free_port():
    """A port for nutcracker's statistics."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(path, process):
    """A client of the pool that listens on `path`, as soon as nutcracker is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(DEADLINE_SECONDS)
        try:
            client.connect(path)
            return client
        except OSError:
            client.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def ask(path, process, keys, servers):
    """The index in `servers` that each key goes to once the dead servers are ejected."""
    places = {entry["address"]: place for place, entry in enumerate(servers)}
    assert len(places) == len(servers)
    with connect(path, process) as client, client.makefile("rb") as replies:
        for _ in range(len(DEAD) + 1):
            choices = [places.get(get(client, replies, key)) for key in keys]
            if None not in choices:
                return choices
    raise RuntimeError("a dead server is still asked")


def get(client, replies, key):
    """The address that answers for `key`, or None when nutcracker could not connect to any."""
    client.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(key), key))
    head = replies.readline()
    if head.startswith(b"-ERR Connection refused"):
        return None
    assert head.startswith(b"$"), head
    return replies.read(int(head[1:]) + 2)[:-2].decode()


def record(program, pools_to_run, keys):
    """Runs one nutcracker with all the pools and adds the choices to them."""
    with tempfile.TemporaryDirectory() as directory:
        text, paths = config(pools_to_run, directory)
        with open(f"{directory}/nutcracker.yml", "w") as file:
            file.write(text)
        with open(f"{directory}/log", "w+") as log:
            command = [program, "-c", f"{directory}/nutcracker.yml", "-a", "127.0.0.1", "-s",
                       str(free_port())]
            process = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                for pool, path in zip(pools_to_run, paths):
                    pool["choices"] = ask(path, process, keys[pool["keys"]], pool["servers"])
            except Exception:
                log.seek(0)
                sys.stderr.write(log.read())
                raise
            finally:
                process.terminate()
                process.wait()


def write(version, keys, recorded):
    """One line for each list of keys and for each pool, so that a difference can be read."""
    compact = lambda value: json.dumps(value, separators=(",", ":"))
    with open(TARGET, "w") as file:
        file.write("{\n")
        file.write(f"\"source\":{compact(f'the choices of {version}, by record.py')},\n")
        hexed = ",\n".join(f"{compact(name)}:{compact([key.hex() for key in some])}"
                           for name, some in keys.items())
        file.write(f"\"keys_hex\":{{\n{hexed}}},\n")
        file.write("\"pools\":[\n" + ",\n".join(map(compact, recorded)) + "\n]}\n")


def main():
    """Records everything, and leaves nothing behind."""
    program = sys.argv[1] if len(sys.argv) > 1 else "nutcracker"
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version = version.stderr.split()[2].replace("-", " ")
    keys = {"tags": tag_keys(), "plain": plain_keys()}
    recorded = list(pools())
    os.mkdir(SOCKETS)
    fakes = []
    try:
        addresses = {entry["address"] for pool in recorded for entry in pool["servers"]}
        for address in sorted(addresses.difference(DEAD)):
            fakes.append(start_fake(address))
        # A hundred pools have too many connections for the usual limit of 1024 descriptors.
        for start in range(0, len(recorded), 24):
            record(program, recorded[start:start + 24], keys)
    finally:
        for fake in fakes:
            fake.shutdown()
            fake.server_close()
        shutil.rmtree(SOCKETS)
    write(version, keys, recorded)


if __name__ == "__main__":
    main()
