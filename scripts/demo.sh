#!/usr/bin/env bash
# The tour: three real nodes, every consistency level with its evidence, a killed leader, a lost quorum, recovery.
# Exit code 0: every expectation held. Leaves nothing behind.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WORK=$(mktemp -d)
CLUSTER=$WORK/cluster
KEYS=30
BASE_PORT=0
LAST_REVISION=0
BOLD='' DIM='' GREEN='' RED='' PLAIN=''
if [ -t 1 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'; fi

step() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
good() { printf '%s  ok%s  %s\n' "$GREEN" "$PLAIN" "$*"; }
say() { printf '      %s\n' "$*"; }
quote() { sed "s/^/      ${DIM}|${PLAIN} /"; }

fail() {
    printf '\n%sThe demo failed:%s %s\n' "$RED" "$PLAIN" "$*" >&2
    for log in "$CLUSTER"/node-*/log; do
        [ -f "$log" ] || continue
        echo "the end of ${log#"$WORK"/}:" >&2
        tail -n 5 "$log" >&2
    done
    exit 1
}

cluster() { "$ROOT/scripts/cluster.sh" "$@" --dir "$CLUSTER"; }

# shellcheck disable=SC2317 # called by the trap
cleanup() {
    local code=$?
    trap - EXIT
    cluster stop >/dev/null 2>&1 || true
    rm -rf "$WORK"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

endpoint() { echo "127.0.0.1:$((BASE_PORT + $1))"; }
q() { "$BIN" --endpoints "$(endpoint 1),$(endpoint 2),$(endpoint 3)" "$@"; }
# Asks one node only.
q_at() { local id=$1; shift; "$BIN" --endpoints "$(endpoint "$id")" "$@"; }
# The first value of a field in JSON output.
field() { grep -o "\"$1\": *\"\{0,1\}[^,\"}]*" | head -n 1 | sed 's/^[^:]*: *"\{0,1\}//'; }
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# Runs a command until it succeeds; fails after so many seconds with the text.
within() {
    local seconds=$1 what=$2 deadline=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what: not within $seconds s"
        sleep 0.02
    done
}

occupied() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

choose_ports() {
    local try offset free
    for try in $(seq 1 50); do
        BASE_PORT=$((20000 + RANDOM % 9000)) free=yes
        for offset in 1 2 3 101 102 103; do
            if occupied $((BASE_PORT + offset)); then free=no; fi
        done
        if [ $free = yes ]; then return; fi
    done
    fail "no free ports found in $try tries"
}

put() {
    local answer revision
    answer=$(q --timeout 2s -o json put "$1" "$2" 2>&1) || return 1
    revision=$(field revision <<<"$answer")
    [ -n "$revision" ] || return 1
    LAST_REVISION=$revision
}

read_at_level() {
    local level=$1
    shift
    printf '\n      %s$ quorate get greeting --consistency %s --evidence%s\n' "$DIM" "$level${*:+ $*}" "$PLAIN"
    q get greeting --consistency "$level" "$@" --evidence 2>&1 | quote ||
        fail "a read with consistency $level was refused on a healthy cluster"
}

start_cluster() {
    step "1. Three nodes, three processes, three disks' worth of data"
    choose_ports
    cluster start --base-port "$BASE_PORT" >"$WORK/start.txt" 2>&1 || { cat "$WORK/start.txt" >&2; fail "no cluster"; }
    good "ready at $(endpoint 1), $(endpoint 2), $(endpoint 3)"
    q status 2>&1 | quote
}

every_level() {
    step "2. One key, read at every consistency level, with the evidence"
    put greeting hello || fail "a write to a healthy cluster was refused"
    good "put greeting = hello: revision $LAST_REVISION"
    read_at_level linearizable
    read_at_level log
    # The lease needs its first round of heartbeats.
    within 5 "a lease read" q get greeting --consistency lease
    read_at_level lease
    read_at_level leader-local
    within 5 "a bounded read" q get greeting --consistency bounded --max-age 500ms
    read_at_level bounded --max-age 500ms
    read_at_level session --min-revision "$LAST_REVISION"
    read_at_level eventual
}

leader() { q -o json get greeting --consistency linearizable 2>/dev/null | field leader_id; }

# Puts until one is acknowledged, each under a key of its own: what was not acknowledged is never repeated.
first_acknowledged_put() {
    local try deadline=$((SECONDS + 20))
    for try in $(seq 1 1000); do
        if put "after/$try" "$try"; then
            echo "after/$try" >>"$WORK/acknowledged"
            return
        fi
        [ "$SECONDS" -lt "$deadline" ] || break
    done
    fail "no write was acknowledged within 20 s of the leader's death"
}

kill_leader() {
    local i started
    step "3. $KEYS writes, then SIGKILL for the leader"
    for i in $(seq 1 "$KEYS"); do
        put "demo/$i" "value $i" || fail "write $i to a healthy cluster was refused"
        echo "demo/$i" >>"$WORK/acknowledged"
    done
    FIRST=$(leader)
    [ -n "$FIRST" ] || fail "nobody says who leads"
    good "$KEYS writes are acknowledged; node $FIRST leads"
    started=$(now_ms)
    cluster kill "$FIRST" >/dev/null
    first_acknowledged_put
    good "node $FIRST is dead; the next write was acknowledged $(($(now_ms) - started)) ms later"
}

# Every acknowledged key is on the node, by what the node itself has.
has_all_keys() {
    local id=$1 prefix
    for prefix in demo/ after/; do
        q_at "$id" -o json get "$prefix" --prefix --keys-only --consistency eventual
    done >"$WORK/found.json" 2>/dev/null || return 1
    while read -r key; do grep -qF "\"$key\"" "$WORK/found.json" || return 1; done <"$WORK/acknowledged"
}

check_keys() {
    local id
    for id in "$@"; do within 10 "an acknowledged key is missing on node $id" has_all_keys "$id"; done
    good "every acknowledged key ($(wc -l <"$WORK/acknowledged")) is on node${2:+s} $*"
}

# A command that must be refused (exit code 3) within its own deadline; shows the reason.
refused() {
    local id=$1 code=0 started took text
    shift
    started=$(now_ms)
    text=$(q_at "$id" --timeout 2s "$@" 2>&1) || code=$?
    took=$(($(now_ms) - started))
    [ "$code" -eq 3 ] || fail "\`quorate $*\` without a quorum: exit code $code, expected a refusal (3): $text"
    [ "$took" -lt 4000 ] || fail "\`quorate $*\` took $took ms, with a deadline of 2 s"
    good "quorate $*: refused after $took ms"
    quote <<<"$text"
}

bounded_refuses() { ! q_at "$SURVIVOR" --timeout 2s get greeting --consistency bounded --max-age 300ms; }

lose_quorum() {
    local id second=
    step "4. A second node dies: one of three is left, and it says what it can and cannot prove"
    for id in 1 2 3; do if [ "$id" -ne "$FIRST" ]; then SURVIVOR=$second second=$id; fi; done
    cluster kill "$second" >/dev/null
    say "nodes $FIRST and $second are dead, node $SURVIVOR is alone"
    refused "$SURVIVOR" get greeting --consistency linearizable
    refused "$SURVIVOR" get greeting --consistency lease
    refused "$SURVIVOR" put lost cause
    within 5 "bounded reads refused" bounded_refuses
    refused "$SURVIVOR" get greeting --consistency bounded --max-age 300ms
    q_at "$SURVIVOR" get greeting --consistency eventual --evidence >"$WORK/eventual.txt" 2>&1 ||
        fail "an eventual read was refused: $(cat "$WORK/eventual.txt")"
    good "quorate get greeting --consistency eventual: answered, and says how old it may be"
    quote <"$WORK/eventual.txt"
}

equal_hashes() {
    local id hash first=
    for id in 1 2 3; do
        hash=$(q_at "$id" -o json hash 2>/dev/null | field hash)
        [ -n "$hash" ] || return 1
        [ "${first:=$hash}" = "$hash" ] || return 1
    done
    HASH=$first
}

recover() {
    local id
    step "5. Both come back"
    for id in 1 2 3; do
        if [ "$id" -eq "$SURVIVOR" ]; then continue; fi
        # Both at once, as after a power failure.
        cluster restart "$id" >"$WORK/restart-$id.txt" 2>&1 &
    done
    wait
    for id in 1 2 3; do within 30 "node $id answers" q_at "$id" --timeout 1s get greeting; done
    good "all three nodes answer linearizable reads"
    check_keys 1 2 3
    within 10 "equal state hashes" equal_hashes
    equal_hashes
    good "equal state hashes: $HASH"
}

BIN=${QUORATE_BIN:-$ROOT/target/release/quorate}
export QUORATE_BIN=$BIN
if [ "$BIN" = "$ROOT/target/release/quorate" ]; then
    step "0. Building the release program"
    (cd "$ROOT" && cargo build --release --locked --quiet --bin quorate) || fail "it does not build"
fi
start_cluster
every_level
kill_leader
for survivor in 1 2 3; do if [ "$survivor" -ne "$FIRST" ]; then check_keys "$survivor"; fi; done
lose_quorum
recover
cluster stop >/dev/null || fail "the cluster did not stop"
step "Everything held. \`make cluster\` starts a cluster that stays; \`quorate help\` lists the commands."
