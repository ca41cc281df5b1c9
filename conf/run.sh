#!/bin/sh
# Runs the proxy: with your configuration, or with two Redis servers of its own to try it on.
#
#   conf/run.sh [nutcracker.yml]
#
# Environment: PORT, the port of the proxy on 127.0.0.1 (22121; not used with a configuration).
# Ctrl-C stops everything that was started here, and nothing else.
set -eu

PATH=$PATH:/usr/sbin:/sbin
conf=${1-}
if [ -n "$conf" ]; then
    if [ ! -r "$conf" ]; then
        echo "run: cannot read the configuration $conf" >&2
        exit 1
    fi
    conf=$(cd "$(dirname "$conf")" && pwd)/$(basename "$conf")
fi
cd "$(dirname "$0")/.."

# A linker is the one thing that a Rust toolchain does not bring along.
tests/tools/install.sh cc=build-essential
cargo build --release --locked

if [ -n "$conf" ]; then
    echo "Running with $conf. Ctrl-C stops it."
    exec cargo run --quiet --release --locked -- -c "$conf"
fi
tests/tools/install.sh redis-server=redis-server redis-cli=redis-tools

# True when something listens on TCP port $1, on any address.
is_taken() {
    hex=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port="$hex" '$4 == "0A" && $2 ~ (":" port "$") { n = 1 } END { exit !n }'
}

# A port below those that the kernel gives to connections.
any_port() {
    while :; do
        port=$((10000 + $(od -An -N2 -tu2 /dev/urandom) % 20000))
        is_taken "$port" || break
    done
    echo "$port"
}

# True while process $1, a child of ours, has not ended.
is_running() {
    state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1)
    [ -n "$state" ] && [ "$state" != Z ]
}

pids=
folder=
# Newest first, each asked to end and given five seconds.
stop_all() {
    trap '' INT TERM HUP
    for pid in $pids; do
        kill -TERM "$pid" 2>/dev/null || true
        tries=50
        while is_running "$pid" && [ "$tries" -gt 0 ]; do
            sleep 0.1
            tries=$((tries - 1))
        done
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    pids=
    [ -z "$folder" ] || rm -rf "$folder"
    folder=
}
trap stop_all EXIT
trap 'echo; echo "Stopping."; exit 0' INT
trap 'exit 143' TERM HUP

# Starts a Redis server without persistence and sets `port` to where it listens. Another program
# may take the port first: then ours ends at once, and the next port is tried.
start_redis() {
    for attempt in 1 2 3 4 5; do
        port=$(any_port)
        redis-server --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' --appendonly no \
            --logfile "$folder/redis-$port.log" --daemonize no </dev/null >/dev/null 2>&1 &
        pid=$!
        pids="$pid $pids"
        while is_running "$pid"; do
            answer=$(redis-cli -h 127.0.0.1 -p "$port" info server 2>/dev/null | tr -d '\r') || true
            case "$answer" in
                *"process_id:$pid"*) return 0 ;;
            esac
            sleep 0.1
        done
    done
    echo "run: redis-server did not start after $attempt attempts:" >&2
    cat "$folder"/redis-*.log >&2 || true
    exit 1
}

if [ -n "${PORT-}" ]; then
    listen=$PORT
    if is_taken "$listen"; then
        echo "run: port $listen is taken; give another with PORT=" >&2
        exit 1
    fi
else
    listen=22121
    if is_taken "$listen"; then
        listen=$(any_port)
        echo "Port 22121 is taken: using $listen. Choose one with PORT=."
    fi
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/ringcracker.XXXXXX")
start_redis
first=$port
start_redis
second=$port

# The servers have names, so that a key's server does not depend on the ports of this run.
cat >"$folder/nutcracker.yml" <<END
try:
  listen: 127.0.0.1:$listen
  hash: fnv1a_64
  distribution: ketama
  timeout: 2000
  redis: true
  servers:
    - 127.0.0.1:$first:1 first
    - 127.0.0.1:$second:1 second
END

cargo run --quiet --release --locked -- \
    -c "$folder/nutcracker.yml" -a 127.0.0.1 -s "$(any_port)" </dev/null &
proxy=$!
pids="$proxy $pids"
while is_running "$proxy" && ! is_taken "$listen"; do
    sleep 0.1
done
if is_running "$proxy"; then
    cat <<END

The proxy listens on 127.0.0.1:$listen, in front of two Redis servers on
127.0.0.1:$first and 127.0.0.1:$second. Its configuration is
$folder/nutcracker.yml

Talk to it from another terminal:

    redis-cli -p $listen set foo bar
    redis-cli -p $listen get foo
    redis-benchmark -p $listen -t set,get -n 200000 -P 16 -q

Ctrl-C stops all three.
END
fi
code=0
wait "$proxy" || code=$?
echo "run: the proxy ended with exit code $code" >&2
exit "$code"
