#!/bin/sh
# What the program is built from, held against deny.toml.
#
#   tests/tools/deny.sh lint     licenses, sources, and crates that are there twice
#   tests/tools/deny.sh audit    known vulnerabilities, from a database that is fetched
#
# cargo-deny is built when it is missing, which takes some minutes. Where it cannot be, `lint` says
# so and passes, but fails under CI=true.
set -eu

# The one that deny.toml was written for; a newer one may want a newer toolchain.
VERSION=0.20.2

if ! cargo deny --version >/dev/null 2>&1; then
    echo "+ cargo install --locked cargo-deny@$VERSION   (once; it takes some minutes)"
    if ! cargo install --locked "cargo-deny@$VERSION"; then
        echo "cargo-deny cannot be installed: licenses, sources and advisories are not checked" >&2
        [ "${CI:-}" = true ] && exit 1
        [ "$1" = lint ] && exit 0
        exit 1
    fi
fi

case $1 in
    lint)
        echo "+ cargo deny --locked check bans licenses sources"
        cargo deny --locked check bans licenses sources
        ;;
    audit)
        echo "+ cargo deny --locked check advisories"
        said=$(cargo deny --locked check advisories 2>&1) && { echo "$said"; exit 0; }
        echo "$said"
        case $said in
            *"failed to fetch"* | *"failed to load advisory database"* | *"failed to open"*)
                echo "The database of advisories cannot be reached: nothing was checked." >&2
                ;;
        esac
        exit 1
        ;;
    *)
        echo "deny.sh: lint or audit, not $1" >&2
        exit 2
        ;;
esac
