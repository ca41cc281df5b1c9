"""What a Python client of memcached does, on the port given; ends with "ok" if all is right."""

import sys

from pymemcache.client.base import Client


def main(port):
    client = Client(("127.0.0.1", port), timeout=10, connect_timeout=10)
    assert client.version()
    keys = [f"key{number}" for number in range(50)]
    values = {key: bytes([number]) * 100 + b"\r\nEND\r\n" for number, key in enumerate(keys)}
    assert client.set_many(values, noreply=False) == []
    assert client.get_many(keys + ["missing"]) == values
    for large in [b"", bytes(range(256)), b"x" * 1000000]:
        assert client.set("large", large, noreply=False)
        assert client.get("large") == large
    value, unique = client.gets("key1")
    assert value == values["key1"]
    assert client.cas("key1", b"new", unique, noreply=False) is True
    assert client.cas("key1", b"newer", unique, noreply=False) is False
    assert client.add("key1", b"no", noreply=False) is False
    assert client.replace("key1", b"yes", noreply=False) is True
    assert client.append("key1", b"!", noreply=False) and client.prepend("key1", b">", noreply=False)
    assert client.get("key1") == b">yes!"
    assert client.set("count", b"41", noreply=False) and client.incr("count", 1) == 42
    assert client.decr("count", 2) == 40 and client.incr("missing", 1) is None
    assert client.touch("count", 100, noreply=False) and not client.touch("missing", 1, noreply=False)
    # Without a reply, and then in order with those that have one.
    for number in range(100):
        client.set("quiet", str(number), noreply=True)
    assert client.get("quiet") == b"99"
    client.delete("quiet", noreply=True)
    assert client.get("quiet") is None
    assert client.delete("count", noreply=False) and not client.delete("count", noreply=False)
    assert client.flush_all(noreply=False)
    assert client.get_many(keys) == {}
    client.quit()
    print("ok")


main(int(sys.argv[1]))
