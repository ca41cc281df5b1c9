#!/bin/sh
# Installs what is missing of the programs that the project's commands need.
#
#   tests/tools/install.sh PROGRAM=PACKAGE...
#
# Only packages whose program cannot be found are installed. The command is printed before it is
# run. Without root it is only printed, and the exit code is 1. Services that a package would
# start by itself are kept from starting, now and at the next boot.
set -eu

PATH=$PATH:/usr/sbin:/sbin
POLICY=/usr/sbin/policy-rc.d

missing=
for pair in "$@"; do
    program=${pair%%=*}
    package=${pair#*=}
    command -v "$program" >/dev/null 2>&1 && continue
    case " $missing " in
        *" $package "*) ;;
        *) missing="$missing $package" ;;
    esac
done
missing=${missing# }
[ -n "$missing" ] || exit 0

install="apt-get install --yes --no-install-recommends $missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing, and there is no apt-get to install it with: $missing" >&2
    exit 1
fi
echo "Missing: $missing"
echo "+ apt-get update"
echo "+ $install"
if [ "$(id -u)" -ne 0 ]; then
    echo "This needs root: run the two commands above as root, then try again." >&2
    exit 1
fi

placed=
remove_policy() {
    [ -z "$placed" ] || rm -f "$POLICY"
    placed=
}
trap remove_policy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# 101 tells Debian's maintainer scripts that a service may not be started.
if [ ! -e "$POLICY" ] && [ ! -L "$POLICY" ]; then
    placed=yes
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
fi
export DEBIAN_FRONTEND=noninteractive
# A list that cannot be refreshed may still be good enough to install from.
apt-get update </dev/null || echo "The package lists could not be refreshed." >&2
# Each word of the command is meant to be one.
# shellcheck disable=SC2086
$install </dev/null
remove_policy

# The policy holds for the installation only; without this, the next boot would start them.
if command -v systemctl >/dev/null 2>&1; then
    for service in redis-server nutcracker memcached haproxy; do
        case " $missing " in
            *" $service "*)
                echo "+ systemctl disable $service"
                systemctl disable "$service" </dev/null || true
                ;;
        esac
    done
fi
