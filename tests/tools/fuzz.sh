#!/bin/sh
# Runs every target of the fuzzer for so many seconds, one after the other.
#
#   tests/tools/fuzz.sh SECONDS [TARGET...]
#
# It needs a nightly compiler, for the instrumentation, and cargo-fuzz, which it installs. New inputs
# go to fuzz/corpus, and one that breaks a property to fuzz/artifacts: then the exit code is not 0.
set -eu

seconds=$1
shift
cd "$(dirname "$0")/../../fuzz"

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "Fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal" >&2
    exit 1
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "+ cargo install --locked cargo-fuzz"
    cargo install --locked cargo-fuzz
fi
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)

for target in "$@"; do
    case $target in
        config) words=config.dict ;;
        memcache_*) words=memcached.dict ;;
        *) words=redis.dict ;;
    esac
    echo "+ cargo +nightly fuzz run $target -- -max_total_time=$seconds"
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -max_len=4096 -timeout=120 \
        -dict="$words" -print_final_stats=1
done
