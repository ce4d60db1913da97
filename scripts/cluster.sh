#!/usr/bin/env bash
# A local cluster of real nodes to play with: start, stop, kill, pause, restart. `cluster.sh help` explains.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${QUORATE_BIN:-$ROOT/target/release/quorate}
DIR=.cluster
NODES=3
BASE_PORT=7400
LOG_STORE=wal
READY_SECONDS=30
STOP_SECONDS=10

usage() {
    cat <<'USAGE'
usage: scripts/cluster.sh COMMAND [ID] [options]

  start        start the nodes and wait until the cluster is ready
  stop         stop all of them (SIGTERM, then SIGKILL after 10 s)
  status       show every node
  kill ID      kill a node at once (SIGKILL)
  pause ID     freeze a node (SIGSTOP)
  resume ID    let it go on (SIGCONT)
  restart ID   stop the node if it runs, start it again, wait until it is ready
  clean        delete the directory of a stopped cluster

options:
  --nodes 3|5            how many nodes (start only; default 3)
  --dir DIR              where data, logs and pid files are (default .cluster)
  --base-port N          node i: clients at N+i, peers at N+100+i (start only; default 7400)
  --log-store wal|sled   where the Raft log is kept (start only; default wal)

environment: QUORATE_BIN   the program to run (default target/release/quorate)
USAGE
}

fail() {
    echo "error: $*" >&2
    exit 1
}

client_addr() { echo "127.0.0.1:$((BASE_PORT + $1))"; }
peer_addr() { echo "127.0.0.1:$((BASE_PORT + 100 + $1))"; }
node_dir() { echo "$DIR/node-$1"; }
ids() { seq 1 "$NODES"; }

endpoints() {
    local list="" id
    for id in $(ids); do list+=",$(client_addr "$id")"; done
    echo "${list:1}"
}

# The pid of a node that runs, or nothing. A pid that now belongs to another program does not count.
pid_of() {
    local file pid
    file="$(node_dir "$1")/pid"
    [ -f "$file" ] || return 0
    pid=$(cat "$file")
    if ps -p "$pid" -o args= 2>/dev/null | grep -qF -- "--data-dir $(node_dir "$1")/data"; then echo "$pid"; fi
}

running() { [ -n "$(pid_of "$1")" ]; }

# Waits until a killed process has let go of its ports. A large one takes a while, and shows no arguments meanwhile; its
# first thread is a zombie (Z) while others (l) still end.
wait_gone() {
    while case "$(ps -p "$1" -o stat= 2>/dev/null)" in *l*) true ;; "" | Z*) false ;; esac; do sleep 0.02; done
}

running_count() {
    local id count=0
    for id in $(ids); do if running "$id"; then count=$((count + 1)); fi; done
    echo "$count"
}

need_binary() {
    [ -x "$BIN" ] || fail "there is no program at $BIN: run \`make build\` first, or set QUORATE_BIN"
}

occupied() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

need_ports() {
    local id port
    for id in $(ids); do
        for port in $((BASE_PORT + id)) $((BASE_PORT + 100 + id)); do
            if occupied "$port"; then
                fail "port $port is occupied by another program: stop it, or choose another --base-port"
            fi
        done
    done
}

save_settings() {
    printf 'NODES=%s\nBASE_PORT=%s\nLOG_STORE=%s\n' "$NODES" "$BASE_PORT" "$LOG_STORE" >"$DIR/settings"
}

setting() { sed -n "s/^$1=\([a-z0-9]*\)\$/\1/p" "$DIR/settings"; }

# Takes nodes, ports and log store from the directory: they are fixed when the cluster is made.
load_settings() {
    [ -f "$DIR/settings" ] || fail "there is no cluster in $DIR: \`scripts/cluster.sh start --dir $DIR\` makes one"
    NODES=$(setting NODES)
    BASE_PORT=$(setting BASE_PORT)
    LOG_STORE=$(setting LOG_STORE)
}

launch() {
    local id=$1 dir members=() peer
    dir=$(node_dir "$id")
    mkdir -p "$dir"
    for peer in $(ids); do
        members+=(--member "$peer=$(peer_addr "$peer"),$(client_addr "$peer")")
    done
    nohup "$BIN" serve --id "$id" --data-dir "$dir/data" "${members[@]}" \
        --log-store "$LOG_STORE" --log-format json >>"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
}

show_log() {
    echo "the end of $(node_dir "$1")/log:" >&2
    tail -n 15 "$(node_dir "$1")/log" >&2 || true
}

# Ready: a linearizable read through this very node is answered (exit code 0, or 1 for a key that is not there), and
# the node says so itself.
answers() {
    local code=0
    "$BIN" --endpoints "$(client_addr "$1")" --timeout 1s get ready-probe >/dev/null 2>&1 || code=$?
    [ "$code" -le 1 ] || return 1
    "$BIN" --endpoints "$(client_addr "$1")" --timeout 1s -o json status 2>/dev/null | grep -q '"ready": *true'
}

wait_ready() {
    local id=$1 deadline=$((SECONDS + READY_SECONDS))
    until answers "$id"; do
        if ! running "$id"; then
            show_log "$id"
            fail "node $id ended while it started"
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            show_log "$id"
            fail "node $id is not ready after $READY_SECONDS s"
        fi
        sleep 0.1
    done
}

stop_node() {
    local id=$1 pid deadline=$((SECONDS + STOP_SECONDS))
    pid=$(pid_of "$id")
    [ -n "$pid" ] || return 0
    kill -TERM "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true
    while running "$id"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "node $id did not end within $STOP_SECONDS s: killing it" >&2
            kill -KILL "$pid" 2>/dev/null || true
        fi
        sleep 0.05
    done
    wait_gone "$pid"
    rm -f "$(node_dir "$id")/pid"
}

check_options() {
    case $NODES in 3 | 5) ;; *) fail "--nodes is $NODES: choose 3 or 5" ;; esac
    case $LOG_STORE in wal | sled) ;; *) fail "--log-store is $LOG_STORE: choose wal or sled" ;; esac
    case $BASE_PORT in '' | *[!0-9]*) fail "--base-port is $BASE_PORT: it must be a number" ;; esac
    if [ "$BASE_PORT" -lt 1024 ] || [ "$BASE_PORT" -gt 65400 ]; then
        fail "--base-port is $BASE_PORT: choose one from 1024 to 65400"
    fi
}

# A directory keeps the cluster that it was made for.
check_same_cluster() {
    local wanted="$NODES nodes at base port $BASE_PORT with log store $LOG_STORE"
    load_settings
    local found="$NODES nodes at base port $BASE_PORT with log store $LOG_STORE"
    [ "$(running_count)" -eq 0 ] || fail "a cluster is running in $DIR: \`stop\` it, or choose another --dir"
    [ "$wanted" = "$found" ] || fail "$DIR holds a cluster of $found, not of $wanted: \`clean\` it, or choose another --dir"
}

cmd_start() {
    local id
    check_options
    need_binary
    if [ -f "$DIR/settings" ]; then check_same_cluster; fi
    need_ports
    mkdir -p "$DIR"
    save_settings
    # What does not come up is not left half up.
    trap 'for id in $(ids); do stop_node "$id"; done' EXIT
    for id in $(ids); do launch "$id"; done
    for id in $(ids); do wait_ready "$id"; done
    trap - EXIT
    cat <<TEXT
A cluster of $NODES nodes is ready. Data and logs are in $DIR.

  endpoints  $(endpoints)

Three commands to try:

  export QUORATE_ENDPOINTS=$(endpoints)
  $BIN put greeting hello
  $BIN get greeting --consistency linearizable --evidence
  $BIN status
TEXT
}

cmd_stop() {
    local id
    [ -f "$DIR/settings" ] || { echo "nothing to stop: there is no cluster in $DIR"; return 0; }
    load_settings
    for id in $(ids); do stop_node "$id" & done
    wait
    [ "$(running_count)" -eq 0 ] || fail "some nodes still run"
    echo "stopped; the data stays in $DIR (\`clean\` deletes it)"
}

state_of() {
    local pid state
    pid=$(pid_of "$1")
    [ -n "$pid" ] || { echo "down"; return; }
    state=$(ps -p "$pid" -o stat= 2>/dev/null || true)
    case $state in T*) echo "paused (pid $pid)" ;; *) echo "running (pid $pid)" ;; esac
}

cmd_status() {
    local id
    load_settings
    for id in $(ids); do
        printf 'node %s  %-22s clients %s  peers %s\n' "$id" "$(state_of "$id")" "$(client_addr "$id")" "$(peer_addr "$id")"
    done
    if [ "$(running_count)" -eq 0 ]; then return 0; fi
    need_binary
    echo
    "$BIN" --endpoints "$(endpoints)" --timeout 2s status || true
}

# Sends a signal to a node that must run.
signal_node() {
    local id=$1 signal=$2 pid
    pid=$(pid_of "$id")
    [ -n "$pid" ] || fail "node $id does not run"
    kill "-$signal" "$pid"
}

cmd_kill() {
    local pid
    pid=$(pid_of "$1")
    signal_node "$1" KILL
    wait_gone "$pid"
    rm -f "$(node_dir "$1")/pid"
    echo "node $1 is killed"
}

cmd_restart() {
    need_binary
    stop_node "$1"
    launch "$1"
    wait_ready "$1"
    echo "node $1 is ready at $(client_addr "$1")"
}

cmd_clean() {
    [ -f "$DIR/settings" ] || { echo "nothing to delete: there is no cluster in $DIR"; return 0; }
    load_settings
    [ "$(running_count)" -eq 0 ] || fail "the cluster in $DIR is running: \`stop\` it first"
    rm -rf "$DIR"
    echo "$DIR is deleted"
}

need_id() {
    load_settings
    [ -n "$ID" ] || fail "\`$COMMAND\` needs the id of a node, 1 to $NODES"
    case $ID in [1-9]) ;; *) fail "$ID is not the id of a node: 1 to $NODES" ;; esac
    [ "$ID" -le "$NODES" ] || fail "there is no node $ID: 1 to $NODES"
}

COMMAND=${1:-help}
[ $# -eq 0 ] || shift
ID=
while [ $# -gt 0 ]; do
    case $1 in
    --nodes | --dir | --base-port | --log-store)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in
        --nodes) NODES=$2 ;;
        --dir) DIR=$2 ;;
        --base-port) BASE_PORT=$2 ;;
        --log-store) LOG_STORE=$2 ;;
        esac
        shift 2
        ;;
    -h | --help) COMMAND=help; shift ;;
    -*) fail "unknown option $1: \`scripts/cluster.sh help\` lists them" ;;
    *)
        [ -z "$ID" ] || fail "unexpected argument $1"
        ID=$1
        shift
        ;;
    esac
done

# Pids are recognised by the directory on their command line, so it must not depend on where we are called from.
case $DIR in /*) ;; *) DIR=$PWD/$DIR ;; esac

case $COMMAND in
start) cmd_start ;;
stop) cmd_stop ;;
status) cmd_status ;;
kill) need_id; cmd_kill "$ID" ;;
pause) need_id; signal_node "$ID" STOP; echo "node $ID is paused" ;;
resume) need_id; signal_node "$ID" CONT; echo "node $ID goes on" ;;
restart) need_id; cmd_restart "$ID" ;;
clean) cmd_clean ;;
help | -h | --help) usage ;;
*)
    echo "error: unknown command $COMMAND" >&2
    usage >&2
    exit 2
    ;;
esac
