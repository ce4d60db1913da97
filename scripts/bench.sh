#!/usr/bin/env bash
# `quorate bench` with every workload, on three members that are started for it and deleted afterwards. `make bench`, or:
# scripts/bench.sh [options of quorate bench], for example scripts/bench.sh --clients 256 --duration 5s
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BIN=${QUORATE_BIN:-target/release/quorate}
BASE=${BASE_PORT:-18400}
[ -x "$BIN" ] || { echo "error: there is no program at $BIN: run \`make build\` first, or set QUORATE_BIN" >&2; exit 1; }
mkdir -p target/bench
DIR=$(mktemp -d "$PWD/target/bench/run.XXXXXX")

cleanup() {
    scripts/cluster.sh stop --dir "$DIR/cluster" >/dev/null 2>&1 || true
    rm -rf "$DIR"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

QUORATE_BIN=$BIN scripts/cluster.sh start --dir "$DIR/cluster" --base-port "$BASE" >/dev/null
export QUORATE_ENDPOINTS=127.0.0.1:$((BASE + 1)),127.0.0.1:$((BASE + 2)),127.0.0.1:$((BASE + 3))
pids=$(cat "$DIR"/cluster/node-*/pid | paste -sd, -)

run() {
    echo
    echo "\$ quorate bench $*"
    "$BIN" bench "$@" --server-pids "$pids"
}

run put "$@"
run get --route leader "$@"
run get "$@"
run get --route follower "$@"
for level in lease bounded session eventual; do run get --consistency "$level" "$@"; done
run mixed "$@"
run pipeline --plain --clients 1024 --connections 4 "$@"
run get --pipeline --plain --clients 1024 --connections 4 "$@"
run txn "$@"
run put --value-size 64KiB "$@"
run bulk "$@"
run scan --clients 4 --connections 4 "$@"
run watch "$@"
run lock --clients 8 "$@"
# The last, since they stay for two minutes.
run lease "$@"
