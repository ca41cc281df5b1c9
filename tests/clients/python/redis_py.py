"""The cases of the client matrix for redis-py: one line for each, `ok NAME` or `FAIL NAME why`.

Which version it is, PYTHONPATH says. Everything not named here is left at the library's default.
"""

import os
import signal
import sys
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PORT = int(os.environ["PORT"])
PORT_WITH_PASSWORD = int(os.environ["PORT_WITH_PASSWORD"])
PASSWORD = os.environ["PASSWORD"]
SERVERS = [int(port) for port in os.environ["SERVERS"].split(",")]
LIMIT_SECONDS = int(os.environ["LIMIT_SECONDS"])

EVERY_BYTE = bytes(range(256))


def client(**options):
    return redis.Redis(port=PORT, **options)


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r:.200}, wanted {wanted!r:.200}")


def expect_refused(text, **options):
    # Later versions repeat what was refused, with pauses of seconds between.
    once = Retry(NoBackoff(), 0)
    try:
        redis.Redis(port=PORT_WITH_PASSWORD, retry=once, **options).ping()
    except redis.AuthenticationError as refusal:
        if text not in str(refusal):
            raise
    else:
        raise AssertionError("it was let in")


def when_blocked(act):
    """Runs `act` on a thread once a server says that a client waits there."""

    def wait_and_act():
        direct = [redis.Redis(port=port, protocol=2) for port in SERVERS]
        end = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < end:
            if any(server.info("clients")["blocked_clients"] for server in direct):
                act()
                return
            time.sleep(0.005)

    thread = threading.Thread(target=wait_and_act, daemon=True)
    thread.start()
    return thread


def connect():
    expect(client().ping(), True)


def set_get():
    r = client()
    expect(r.set("set_get", "a value"), True)
    expect(r.get("set_get"), b"a value")
    expect(r.get("set_get:missing"), None)
    expect(r.delete("set_get"), 1)


def mget():
    r = client()
    values = {f"mget:{number}": f"{number}".encode() for number in range(50)}
    expect(r.mset(values), True)
    expect(r.mget([*values, "mget:missing"]), [*values.values(), None])


def pipeline():
    pipe = client().pipeline(transaction=False)
    for number in range(50):
        pipe.set(f"pipeline:{number}", number)
        pipe.get(f"pipeline:{number}")
    replies = pipe.execute()
    expect(replies[0::2], [True] * 50)
    expect(replies[1::2], [f"{number}".encode() for number in range(50)])


def binary():
    r = client()
    expect(r.set(b"binary:" + EVERY_BYTE, EVERY_BYTE), True)
    expect(r.get(b"binary:" + EVERY_BYTE), EVERY_BYTE)


def large():
    r = client()
    value = EVERY_BYTE * 4096
    expect(r.set("large", value), True)
    expect(r.get("large"), value)


def password():
    r = redis.Redis(port=PORT_WITH_PASSWORD, password=PASSWORD)
    expect(r.set("password", "1"), True)
    expect(r.get("password"), b"1")


def wrong_password():
    expect_refused("invalid", password="wrong")


def missing_password():
    expect_refused("uthenticat")


def user_and_password():
    r = redis.Redis(port=PORT_WITH_PASSWORD, username="default", password=PASSWORD)
    expect(r.set("user", "1"), True)
    expect(r.get("user"), b"1")
    expect_refused("invalid", username="nobody", password=PASSWORD)


def transaction():
    pipe = client().pipeline()
    for number in range(50):
        pipe.incr("{transaction}:count")
        pipe.set(f"{{transaction}}:{number}", number)
    replies = pipe.execute()
    expect(replies[0::2], list(range(1, 51)))
    expect(replies[1::2], [True] * 50)


def watch():
    r, other = client(), client()
    r.set("watch", 1)
    for touched in [False, True]:
        with r.pipeline() as pipe:
            pipe.watch("watch")
            seen = int(pipe.get("watch"))
            if touched:
                other.set("watch", 10)
            pipe.multi()
            pipe.set("watch", seen + 1)
            try:
                pipe.execute()
                expect(touched, False)
            except redis.WatchError:
                expect(touched, True)
    expect(r.get("watch"), b"10")


def blocking_pop():
    r, other = client(), client()
    pusher = when_blocked(lambda: other.rpush("blocking", "pushed"))
    popped = r.blpop("blocking", timeout=LIMIT_SECONDS)
    expect(tuple(popped), (b"blocking", b"pushed"))
    pusher.join()
    expect(r.ping(), True)


def blocking_pop_times_out():
    r = client()
    begin = time.monotonic()
    expect(r.brpop("blocking:empty", timeout=1), None)
    expect(time.monotonic() - begin > 0.9, True)
    expect(r.ping(), True)


def next_message(subscription):
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        message = subscription.get_message(timeout=1)
        if message is not None:
            return message
    raise AssertionError("no message")


def subscribe():
    r = client()
    subscription = r.pubsub()
    channels = [f"subscribe:{number}" for number in range(8)]
    subscription.subscribe(*channels)
    for number in range(8):
        expect(next_message(subscription)["data"], number + 1)
    for channel in channels:
        expect(r.publish(channel, EVERY_BYTE), 1)
        message = next_message(subscription)
        expect((message["type"], message["channel"]), ("message", channel.encode()))
        expect(message["data"], EVERY_BYTE)
    subscription.unsubscribe()
    for number in reversed(range(8)):
        expect(next_message(subscription)["data"], number)
    expect(r.publish(channels[0], "unheard"), 0)


def psubscribe():
    r = client()
    subscription = r.pubsub()
    subscription.psubscribe("psubscribe:*")
    expect(next_message(subscription)["data"], 1)
    for number in range(8):
        r.publish(f"psubscribe:{number}", f"{number}")
        message = next_message(subscription)
        expect((message["type"], message["pattern"]), ("pmessage", b"psubscribe:*"))
        expect(message["channel"], f"psubscribe:{number}".encode())
        expect(message["data"], f"{number}".encode())
    subscription.close()


def scan():
    r = client()
    keys = {f"scan:{number}".encode() for number in range(500)}
    r.mset({key: "1" for key in keys})
    expect(keys - set(r.scan_iter()), set())
    expect(set(r.scan_iter(match="scan:*", count=100)), keys)


def shapes(r):
    r.delete("shapes:hash", "shapes:sorted")
    r.hset("shapes:hash", mapping={"a": "1", "b": "2"})
    r.zadd("shapes:sorted", {"a": 1.5, "b": 2})
    expect(r.hgetall("shapes:hash"), {b"a": b"1", b"b": b"2"})
    scored = [tuple(pair) for pair in r.zrange("shapes:sorted", 0, -1, withscores=True)]
    expect(scored, [(b"a", 1.5), (b"b", 2.0)])
    expect(r.get("shapes:missing"), None)


def resp2():
    shapes(client(protocol=2))


def resp3():
    r = client(protocol=3)
    hello = r.execute_command("HELLO")
    expect(hello[b"proto"], 3)
    shapes(r)


def stop(_signal, _frame):
    raise TimeoutError(f"not within {LIMIT_SECONDS} s")


CASES = [
    connect, set_get, mget, pipeline, binary, large,
    password, wrong_password, missing_password, user_and_password,
    transaction, watch, blocking_pop, blocking_pop_times_out,
    subscribe, psubscribe, scan, resp2, resp3,
]  # fmt: skip

print("version", redis.__version__, flush=True)
signal.signal(signal.SIGALRM, stop)
for case in CASES:
    signal.alarm(LIMIT_SECONDS)
    try:
        case()
        signal.alarm(0)
        print("ok", case.__name__, flush=True)
    except Exception as failure:
        signal.alarm(0)
        why = " ".join(f"{type(failure).__name__}: {failure}".split())
        print("FAIL", case.__name__, why, flush=True)
sys.exit(0)
