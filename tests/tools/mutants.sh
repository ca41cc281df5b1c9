#!/usr/bin/env bash
# Plants the mistakes of tests/mutants, one at a time, and says which tests find each.
#
#   make mutants [ONLY=ring-0] [MUTANT_SEEDS=10000]
#
#   ONLY             a part of the patches' names, or a pattern: proxy, ring-0[12]
#   MUTANT_SEEDS     seeds of the simulation for each mistake
#   MUTANT_SECONDS   how long a stage may take; one that hangs has found something as well
#
# The stages, of which the first that fails ends the search: the simulation; then, for mistakes in
# the worker, the ring's tests, and those with a tiny ring. Mistakes in the ring begin with these:
# the simulation has a ring of its own. Unit tests of the changed
# file do not count: they are close to the line and far from the user. Before that, the tree as it
# is must pass every stage that is going to be used.
#
# It works on a copy below target/mutants, where the log of each find stays. The exit code is 0 if
# every patch applied and built, and nine of ten mistakes were found.
set -euo pipefail

cd "$(dirname "$0")/../.."
ROOT=$PWD
WORK=$ROOT/target/mutants
TREE=$WORK/tree
LOG=$WORK/log
SEEDS=${MUTANT_SEEDS:-10000}
STAGE_SECONDS_MAX=${MUTANT_SECONDS:-900}
BUILD_SECONDS_MAX=3600
ONLY=${ONLY:-}
# A mistake that eats memory must not eat the machine's.
MEMORY_KIB_MAX=$((8 << 20))

# From outside, these would make the tests run something else than is said here.
unset N SEED MAKEFLAGS MAKELEVEL MAKEOVERRIDES GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
export CARGO_TARGET_DIR=$WORK/target
# The copy is no repository. In a folder inside of one, git apply would skip each file in silence.
export GIT_CEILING_DIRECTORIES=$WORK

running=
finish() {
    local code=$?
    trap - EXIT INT TERM HUP
    if [ -n "$running" ]; then
        kill -TERM "$running" 2>/dev/null || true
        wait "$running" 2>/dev/null || true
    fi
    rm -rf "$TREE"
    exit "$code"
}

# Runs a command for at most so many seconds, its output in the log. In the background, as a trap
# runs at once only while the shell waits for a job; `timeout` ends all that the command started.
bounded() {
    local seconds=$1 code=0
    shift
    (
        ulimit -v "$MEMORY_KIB_MAX"
        exec timeout --kill-after=10 "$seconds" "$@"
    ) >"$LOG" 2>&1 </dev/null 9>&- &
    running=$!
    wait "$running" || code=$?
    running=
    return "$code"
}

# The files get new times: cargo would take one with an old time for what it built last, which may
# have been a mistake.
copy_tree() {
    rm -rf "$TREE"
    mkdir -p "$TREE"
    tar --create --exclude=./target --exclude=./.git --exclude=./.run . |
        tar --extract --touch --directory="$TREE"
}

stages_of() {
    case $1 in
        ring-*) echo ring tiny ;;
        worker-*) echo simulation ring tiny ;;
        *) echo simulation ;;
    esac
}

# Builds what the stages run; what a tiny ring is tried with is make's business.
build() {
    local stage targets=()
    for stage in "$@"; do
        case $stage in
            simulation) targets+=(--test simulation) ;;
            ring) targets+=(--test ring --test ring_process) ;;
        esac
    done
    bounded "$BUILD_SECONDS_MAX" cargo test --locked --no-run "${targets[@]}"
}

# Runs one stage. Its exit code is that of the tests, or 124 or 137 when they did not end.
run_stage() {
    local limit=$STAGE_SECONDS_MAX
    case $1 in
        simulation) bounded "$limit" env N="$SEEDS" cargo test --locked --test simulation ;;
        ring) bounded "$limit" cargo test --locked --test ring --test ring_process ;;
        tiny) bounded "$limit" make test-tiny-ring ;;
    esac
}

# What is said of a mistake that a stage has found, from the exit code, the time and the log.
words_for() {
    local stage=$1 code=$2 took=$3 seed
    case $stage in
        simulation)
            seed=$(grep --max-count=1 --only-matching --extended-regexp 'make sim SEED=[0-9]+' "$LOG" ||
                echo 'no seed')
            echo -n "caught by simulation (${seed/make sim SEED=/seed }, $took s"
            ;;
        ring) echo -n "caught by ring tests ($took s" ;;
        tiny) echo -n "caught by tiny ring ($took s" ;;
    esac
    case $code in
        124 | 137) echo ', did not end)' ;;
        *) echo ')' ;;
    esac
}

# Sets `verdict` for a mistake that is planted and builds.
judge() {
    local name=$1 stage code started
    for stage in $(stages_of "$name"); do
        started=$SECONDS
        code=0
        run_stage "$stage" || code=$?
        if [ "$code" -ne 0 ]; then
            cp "$LOG" "$WORK/$name.log"
            verdict=$(words_for "$stage" "$code" $((SECONDS - started)))
            return
        fi
    done
    verdict=SURVIVED
}

# The tree as it is passes each stage that is going to be used, or nothing that follows counts.
require_green() {
    local stage
    if ! build "$@"; then
        tail -n 40 "$LOG" >&2
        echo "the tree does not build as it is" >&2
        exit 1
    fi
    for stage in "$@"; do
        if ! run_stage "$stage"; then
            tail -n 40 "$LOG" >&2
            echo "the tree as it is fails in stage '$stage'" >&2
            exit 1
        fi
    done
}

patches=()
used=(simulation)
for patch in "$ROOT"/tests/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    # ONLY is a pattern, so it stands without quotes.
    # shellcheck disable=SC2053
    [[ $name == *$ONLY* ]] || continue
    patches+=("$patch")
    case $(stages_of "$name") in
        *tiny) used=(simulation ring tiny) ;;
    esac
done
if [ ${#patches[@]} -eq 0 ]; then
    echo "no patch of tests/mutants is named like '$ONLY'" >&2
    exit 1
fi

mkdir -p "$WORK"
exec 9>"$WORK/lock"
if ! flock --nonblock 9; then
    echo "another run works in $WORK" >&2
    exit 1
fi
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

copy_tree
cd "$TREE"
require_green "${used[@]}"
echo "the tree as it is: passes ${used[*]} ($SEEDS seeds)"

caught=0
broken=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    if ! git apply --verbose "$patch" >"$LOG" 2>&1 || ! grep --quiet '^Applied patch' "$LOG"; then
        broken=$((broken + 1))
        echo "$name: DOES NOT APPLY"
        continue
    fi
    # The stages are words.
    # shellcheck disable=SC2046
    if build $(stages_of "$name"); then
        judge "$name"
    else
        broken=$((broken + 1))
        cp "$LOG" "$WORK/$name.log"
        verdict='DOES NOT BUILD'
    fi
    case $verdict in
        caught*) caught=$((caught + 1)) ;;
    esac
    echo "$name: $verdict"
    git apply --reverse "$patch"
done
echo "$caught of ${#patches[@]} caught"
[ "$broken" -eq 0 ] && [ $((caught * 10)) -ge $((${#patches[@]} * 9)) ]
