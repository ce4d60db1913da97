#!/usr/bin/env bash
# A million keys on a real three-node cluster: loads them, then restarts a member with SIGKILL, and prints the time until
# it is ready, its memory and its disk. `make million`, or: scripts/million.sh [KEYS] [VALUE_BYTES]
set -euo pipefail
cd "$(dirname "$0")/.."

keys=${1:-1000000}
value_bytes=${2:-256}
base=${BASE_PORT:-17400}
bin=${QUORATE_BIN:-target/release/quorate}
bulk=${QUORATE_BULK:-target/release/examples/bulk}
dir=$(mktemp -d)
endpoints=127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2)),127.0.0.1:$((base + 3))

for program in "$bin" "$bulk"; do
    [ -x "$program" ] || { echo "error: there is no $program: run \`make million\`" >&2; exit 1; }
done

cleanup() {
    scripts/cluster.sh stop --dir "$dir" >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap cleanup EXIT

# The process of member 3.
member_pid() { cat "$dir/node-3/pid"; }

rss() { awk '/VmRSS/ { printf "%.0f MiB", $2 / 1024 }' "/proc/$(member_pid)/status"; }

QUORATE_BIN=$bin scripts/cluster.sh start --dir "$dir" --base-port "$base" >/dev/null
echo "loading $keys keys of $value_bytes bytes"
"$bulk" "$endpoints" "$keys" "$value_bytes"
echo "memory of a member after the load: $(rss)"
"$bin" --endpoints "$endpoints" status
"$bin" --endpoints "$endpoints" --timeout 60s hash
du -sh "$dir"/*/ 2>/dev/null | sed "s|$dir/||"

scripts/cluster.sh kill 3 --dir "$dir" >/dev/null
start=$(date +%s%N)
QUORATE_BIN=$bin scripts/cluster.sh restart 3 --dir "$dir" >/dev/null
end=$(date +%s%N)
echo "member 3, killed and restarted, was ready after $(((end - start) / 1000000)) ms; memory $(rss)"
"$bin" --endpoints "$endpoints" --timeout 60s hash
