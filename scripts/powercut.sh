#!/usr/bin/env bash
# Simulated power cuts (root). Each round: three nodes, each on an ext4 file system of its own in an image file; a load of
# unique puts; all nodes frozen; the images copied; everything killed; the nodes started from the copies. An image holds
# what the file system has written to its device, and nothing of its page cache: what was not synced is gone.
# Every acknowledged write must be there, on every node, with equal hashes.
#
# With one commit of the journal in ten minutes (--commit 600), what nobody syncs is gone as a whole: the state's files end
# early, or are empty. With one a second (--commit 1) their sizes are there, and of their content what was written back by
# then: files may have holes. --commit random, the default, throws a coin for every disk of every round.
#
# Not simulated: a disk that loses what it has confirmed, or that reorders writes without a flush between them.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${QUORATE_BIN:-$ROOT/target/release/quorate}
LOAD=${QUORATE_LOAD_BIN:-$ROOT/target/release/examples/load}
ROUNDS=20
LOG_STORE=wal
SECONDS_MAX=4
COMMIT=random
IMAGE_SIZE=512M
BASE_PORT=0
WORK='' CLUSTER='' LOAD_PID=''
IDS="1 2 3"

usage() {
    cat <<'USAGE'
usage: scripts/powercut.sh [--rounds 20] [--log-store wal|sled] [--seconds 4] [--commit random|SECONDS]

  --rounds N       how many power cuts
  --log-store S    where the Raft log is kept
  --seconds N      the load runs for a random time up to N seconds before the cut
  --commit S       seconds between commits of the file systems' journals; random: 1 or 600, for each disk

environment: QUORATE_BIN, QUORATE_LOAD_BIN   the programs (default target/release/quorate and …/examples/load)
USAGE
}

fail() {
    echo "error: $*" >&2
    exit 1
}

pid_of() { cat "$CLUSTER/node-$1/pid" 2>/dev/null || true; }

kill_all() {
    local id pid
    if [ -n "$LOAD_PID" ]; then kill -KILL "$LOAD_PID" 2>/dev/null || true; fi
    LOAD_PID=''
    [ -n "$CLUSTER" ] || return 0
    for id in $IDS; do
        pid=$(pid_of "$id")
        [ -n "$pid" ] || continue
        kill -KILL "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
        rm -f "$CLUSTER/node-$id/pid"
    done
}

unmount_all() {
    local id
    [ -n "$CLUSTER" ] || return 0
    for id in $IDS; do
        if mountpoint -q "$CLUSTER/node-$id/disk" 2>/dev/null; then umount "$CLUSTER/node-$id/disk"; fi
    done
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
    local code=$?
    trap - EXIT
    kill_all
    unmount_all || { sleep 1; unmount_all; } || true
    if [ "$code" -ne 0 ] && [ -n "$CLUSTER" ]; then
        mkdir -p "$ROOT/target/powercut"
        cp "$WORK"/*.txt "$ROOT/target/powercut/" 2>/dev/null || true
        for id in $IDS; do cp "$CLUSTER/node-$id/log" "$ROOT/target/powercut/node-$id.log" 2>/dev/null || true; done
        echo "the logs of the failed round are in target/powercut" >&2
    fi
    if [ -n "$WORK" ]; then rm -rf --one-file-system "$WORK"; fi
    exit "$code"
}

commit_interval() {
    if [ "$COMMIT" != random ]; then echo "$COMMIT"; elif [ $((RANDOM % 2)) -eq 0 ]; then echo 1; else echo 600; fi
}

mount_image() { mount -o "loop,commit=$(commit_interval)" "$WORK/$2-$1.img" "$CLUSTER/node-$1/disk"; }

prepare_disks() {
    local id
    for id in $IDS; do
        rm -f "$WORK/disk-$id.img"
        truncate -s "$IMAGE_SIZE" "$WORK/disk-$id.img"
        mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$WORK/disk-$id.img"
        mkdir -p "$CLUSTER/node-$id/disk"
        ln -sfn "$CLUSTER/node-$id/disk/data" "$CLUSTER/node-$id/data"
        mount_image "$id" disk
        mkdir "$CLUSTER/node-$id/disk/data"
        sync -f "$CLUSTER/node-$id/disk"
    done
}

occupied() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

choose_ports() {
    local offset free=no
    until [ $free = yes ]; do
        BASE_PORT=$((20000 + RANDOM % 9000)) free=yes
        for offset in 1 2 3 101 102 103; do
            if occupied $((BASE_PORT + offset)); then free=no; fi
        done
    done
}

endpoint() { echo "127.0.0.1:$((BASE_PORT + $1))"; }
endpoints() { echo "$(endpoint 1),$(endpoint 2),$(endpoint 3)"; }

start_nodes() {
    "$ROOT/scripts/cluster.sh" start --dir "$CLUSTER" --base-port "$BASE_PORT" --log-store "$LOG_STORE" \
        >"$WORK/start.txt" 2>&1 || { cat "$WORK/start.txt" >&2; return 1; }
}

# Everything stops at once; the images are copied while nothing can be acknowledged any more.
cut_power() {
    local id
    # shellcheck disable=SC2046 # three pids
    kill -STOP $(pid_of 1) $(pid_of 2) $(pid_of 3)
    for id in $IDS; do cp --sparse=always "$WORK/disk-$id.img" "$WORK/copy-$id.img"; done
    kill_all
    unmount_all
    for id in $IDS; do mount_image "$id" copy; done
}

keys_on() {
    "$BIN" --endpoints "$(endpoint "$1")" --timeout 30s --consistency eventual -o json scan p/ --keys-only |
        grep -o '"key": *"p/[^"]*"' | sed 's/.*"\(p\/[^"]*\)"/\1/' | sort
}

hash_of() { "$BIN" --endpoints "$(endpoint "$1")" -o json hash | grep -o '"hash": *"[^"]*"' | head -n 1; }

equal_hashes() {
    local first
    first=$(hash_of 1)
    [ -n "$first" ] && [ "$(hash_of 2)" = "$first" ] && [ "$(hash_of 3)" = "$first" ]
}

# How many acknowledged keys are missing on any node; waits for members that are still catching up.
count_lost() {
    local id lost try worst=0
    for id in $IDS; do
        for try in $(seq 1 100); do
            lost=$(keys_on "$id" | comm -13 - "$WORK/acknowledged.txt" | wc -l)
            if [ "$lost" -eq 0 ] || [ "$try" -eq 100 ]; then break; fi
            sleep 0.1
        done
        if [ "$lost" -gt "$worst" ]; then worst=$lost; fi
    done
    echo "$worst"
}

round() {
    local number=$1 acknowledged lost rebuilt=0 hashes=differ verdict=ok id try
    CLUSTER=$WORK/cluster-$number
    mkdir -p "$CLUSTER"
    choose_ports
    prepare_disks
    start_nodes || fail "the cluster of round $number does not start"
    "$LOAD" "$(endpoints)" p/ >"$WORK/printed.txt" &
    LOAD_PID=$!
    # Its death is no news to the shell.
    disown "$LOAD_PID"
    sleep "$((RANDOM % SECONDS_MAX)).$((RANDOM % 900 + 100))"
    cut_power
    # The last line may have been cut off in the middle.
    sed -n '/^p\/[0-9]*\/[0-9]\{8\}$/p' "$WORK/printed.txt" | sort >"$WORK/acknowledged.txt"
    acknowledged=$(wc -l <"$WORK/acknowledged.txt")
    [ "$acknowledged" -gt 0 ] || fail "the load of round $number had no write acknowledged"
    start_nodes || fail "after the power cut of round $number the nodes do not start"
    lost=$(count_lost)
    for try in $(seq 1 50); do
        if equal_hashes; then hashes=equal; break; fi
        sleep 0.1
    done
    for id in $IDS; do if grep -qi rebuil "$CLUSTER/node-$id/log"; then rebuilt=$((rebuilt + 1)); fi; done
    if [ "$lost" -ne 0 ] || [ "$hashes" != equal ]; then verdict=FAILED; fi
    printf '%5s  %12s  %5s  %14s  %6s  %s\n' "$number" "$acknowledged" "$lost" "$rebuilt" "$hashes" "$verdict"
    [ "$verdict" = ok ] || fail "round $number: $lost acknowledged writes are lost, hashes $hashes after $try tries"
    TOTAL=$((TOTAL + acknowledged))
    kill_all
    unmount_all
    rm -rf --one-file-system "$CLUSTER"
}

while [ $# -gt 0 ]; do
    case $1 in
    --rounds | --log-store | --seconds | --commit)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in
        --rounds) ROUNDS=$2 ;;
        --log-store) LOG_STORE=$2 ;;
        --seconds) SECONDS_MAX=$2 ;;
        --commit) COMMIT=$2 ;;
        esac
        shift 2
        ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done

[ "$(id -u)" -eq 0 ] || fail "mounting images needs root"
for tool in mkfs.ext4 losetup mount umount mountpoint; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing: install e2fsprogs and util-linux"
done
for program in "$BIN" "$LOAD"; do [ -x "$program" ] || fail "there is no program at $program: run \`make powercut\`"; done

export QUORATE_BIN=$BIN
# Small thresholds, so that snapshots and purges happen within a round; three small disks are no reason to refuse.
export QUORATE_SNAPSHOT_LOG_BYTES=262144 QUORATE_LOG_ENTRIES_KEPT=100 QUORATE_FREE_BYTES_MIN=16777216
WORK=$(mktemp -d)
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
TOTAL=0
printf '%5s  %12s  %5s  %14s  %6s  %s\n' round acknowledged lost "states rebuilt" hashes verdict
for number in $(seq 1 "$ROUNDS"); do round "$number"; done
echo "$ROUNDS of $ROUNDS power cuts without a lost acknowledged write ($TOTAL writes, log store $LOG_STORE)"
