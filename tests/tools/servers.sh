#!/bin/sh
# Brings newer servers than the machine's own under target/servers, to run tests against.
#
#   tests/tools/servers.sh           -> target/servers/redis-8  and  target/servers/valkey-8
#
# Each is a program that starts the server of that name with the libraries that came with it, and
# its own program loader: nothing is installed, and nothing of the system is touched. The packages
# are those of one release of Debian, fetched and verified by apt with lists and a cache of its
# own. What is there already is not fetched again; remove target/servers to begin anew.
set -eu

SUITE=trixie
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
PACKAGES="redis-server redis-tools valkey-server valkey-tools
    libatomic1 libc6 libcap2 libgcc-s1 libjemalloc2 liblzf1 libssl3t64 libstdc++6 libsystemd0
    libzstd1 zlib1g"

cd "$(dirname "$0")/../.."
target=$PWD/target/servers
mkdir -p "$target"
# Tests that run at the same time may each ask for them.
exec 9>"$target/lock"
flock 9
[ ! -x "$target/redis-8" ] || [ ! -x "$target/valkey-8" ] || exit 0

for program in apt-get dpkg dpkg-deb; do
    command -v "$program" >/dev/null 2>&1 && continue
    echo "servers.sh: no $program here, so Redis 8 and Valkey 8 cannot be unpacked." >&2
    exit 1
done

work=$target/work
root=$target/$SUITE
rm -rf "$work" "$root"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts" "$work/debs" "$root"
: >"$work/status"
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
    "$MIRROR" "$SUITE" >"$work/sources.list"

apt() {
    apt-get --quiet --quiet \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 \
        -o Dir::State="$work" -o Dir::State::Lists="$work/lists" \
        -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/parts" \
        -o Dir::Etc::Preferences="$work/none" -o Dir::Etc::PreferencesParts="$work/parts" "$@"
}

echo "Fetching Redis 8 and Valkey 8 from $MIRROR ($SUITE), to $target"
# Each word of the list is meant to be one.
# shellcheck disable=SC2086
if ! apt -o APT::Update::Error-Mode=any update </dev/null ||
    ! (cd "$work/debs" && apt download $PACKAGES </dev/null); then
    echo "servers.sh: Redis 8 and Valkey 8 could not be fetched: is there a network?" >&2
    echo "servers.sh: another mirror can be named in DEBIAN_MIRROR." >&2
    exit 1
fi
for package in "$work"/debs/*.deb; do
    dpkg-deb --extract "$package" "$root"
done

loader=$(find "$root" -name 'ld-linux*.so.*' | head -n 1)
paths=$(find "$root" -name '*.so.*' -path '*/usr/lib/*-linux-gnu/*' ! -path '*/share/*' -exec dirname {} + | sort -u | tr '\n' ':')
for server in redis valkey; do
    place=$target/$server-8
    printf '#!/bin/sh\nexec "%s" --argv0 %s-server --library-path "%s" "%s" "$@"\n' \
        "$loader" "$server" "$paths" "$root/usr/bin/$server-server" >"$place.new"
    chmod 755 "$place.new"
    "$place.new" --version
    mv "$place.new" "$place"
done
rm -rf "$work"
