//! Help texts: examples for each command. docs/cli.md shows their output.

pub(super) const ABOUT: &str =
    "A replicated key-value store: every read names its consistency, every answer proves it";

pub(super) const TOP: &str = "\
Exit codes:
  0  done
  1  the answer is negative: nothing found, nothing deleted, compare failed, guard lost, no such lease,
     hashes differ
  2  usage: the command, or what it asks for, makes no sense
  3  server or network

A failure is one line on standard error; with -o json also {\"error\": {…}} on standard output.

Examples:
  quorate put greeting hello
  quorate get greeting --evidence
  quorate get greeting --consistency bounded --max-age 500ms --route follower -o json
  quorate status";

pub(super) const SERVE: &str = "\
Every flag under Configuration, Timing, Storage and Limits is a field of the TOML file and a variable
QUORATE_*. Precedence: flags, variables, file, defaults. SIGTERM and SIGINT hand leadership over and stop;
a second signal ends the process at once. Exit codes: 2 bad configuration, 3 not started, or failed later.

Examples:
  quorate serve --id 1 --data-dir data/1 \\
      --member 1=10.0.0.1:7501,10.0.0.1:7401 \\
      --member 2=10.0.0.2:7501,10.0.0.2:7401 \\
      --member 3=10.0.0.3:7501,10.0.0.3:7401
  quorate serve --config member1.toml --log-level debug --snapshot-log-bytes 16MiB
  quorate serve --config member1.toml --heartbeat 50ms --print-config";

pub(super) const GET: &str = "\
Prints the value and a newline; of a range, lines of key<TAB>value. Exit code 1 if nothing was found.

Levels of consistency (--consistency), each answer with its proof (--evidence):
  linearizable    every write acknowledged before the read began; no clock is trusted
  log             the same, by sending a marker through the log
  lease           linearizable if the members' clocks run about equally fast
  lease-or-index  lease, or a quorum round when the lease has run out
  leader-local    whatever the member that believes to lead has applied
  bounded         at most --max-age old, provably
  session         at least at --min-revision: read your writes
  eventual        whatever a member has applied; also without a quorum

Examples:
  quorate get greeting
  quorate get photo --raw > photo.jpg
  quorate get users/ --prefix --limit 10 --sort-by mod --desc
  quorate get a --range-end m --keys-only
  quorate get users/ --prefix --count-only
  quorate get greeting --revision 17
  quorate get greeting --consistency lease --evidence
  quorate get greeting --consistency session --min-revision 42 --route follower
  quorate get greeting --consistency eventual --route 3 -o json";

pub(super) const PUT: &str = "\
Without an exactly-once session a write whose outcome is unknown is not repeated: the error then says
\"the write may have been applied\" (in JSON: \"maybe_committed\": true).

Examples:
  quorate put greeting hello
  quorate put photo - < photo.jpg
  quorate put greeting hi --prev-kv
  quorate put session/me alive --lease $(quorate lease grant --ttl 30s)
  quorate put report done --guard jobs/nightly/00c0ffee00c0ffeex:1201
  quorate put -- -5 minus-five";

pub(super) const DEL: &str = "\
Exit code 1 if there was nothing to delete.

Examples:
  quorate del greeting
  quorate del users/ --prefix --prev-kv
  quorate del a --range-end m";

pub(super) const TXN: &str = "\
One statement per line, or separated by semicolons; # begins a comment:
  if value(KEYS) = TEXT           all conditions must hold; none means true
  if version(KEYS) > NUMBER       also create(KEYS), mod(KEYS), lease(KEYS), with = != < >
  if exists(KEYS)
  if not exists(KEYS)
  then put KEY VALUE [lease ID] [prev]
  then get KEYS [keys-only | count-only] [limit N]
  then del KEYS [prev]
  else …                          the same operations, done if a condition fails

KEYS is KEY, prefix KEY, or range KEY END. Text with blanks or symbols is quoted:
  \"a b\", \"line\\n\", \"\\xff\".
Exit code 1 if a condition failed. With --json the transaction is JSON, which also has nested ones; its
results have the same names.

Examples:
  quorate txn 'if not exists(lock); then put lock me; else get lock'
  quorate txn 'if value(config) = \"v1\"; then put config v2; then get prefix conf'
  quorate txn < move.txn
  quorate txn --json '{\"if\": [{\"key\": \"k\", \"version\": {\"=\": 0}}],
                       \"then\": [{\"put\": {\"key\": \"k\", \"value\": \"v\"}}]}'";

pub(super) const SCAN: &str = "\
All pairs are of one revision. Prints lines of key<TAB>value; with -o json one object per pair and line, and
a last one with header, count and evidence: without that line the output is incomplete. --timeout bounds the
wait for each part. Levels of consistency: see `quorate get --help`.

Examples:
  quorate scan
  quorate scan users/ --keys-only
  quorate scan users/ --limit 100
  quorate scan a --range-end m --revision 17 -o json";

pub(super) const WATCH: &str = "\
Every event once, in order, whatever members die meanwhile. Prints lines put<TAB>KEY<TAB>VALUE and
delete<TAB>KEY, with --prev-kv the former value behind; with -o json one object per event and line. Ends at
SIGINT, SIGTERM, or when nobody reads its output. --timeout bounds the wait for its beginning. Exit code 3 if
what is to be told next is compacted.

COMMAND finds QUORATE_WATCH_EVENT_TYPE (put, delete), QUORATE_WATCH_KEY, QUORATE_WATCH_VALUE and
QUORATE_WATCH_REVISION in its environment, and the value on its standard input. A value that does not fit into
an environment (above 64 KiB, or with a zero byte) is only there. A command that fails is noted, and the watch
goes on. A command that runs when a signal comes gets SIGTERM, and SIGKILL 10 s later or at a second signal.

Examples:
  quorate watch greeting
  quorate watch users/ --prefix --prev-kv -o json
  quorate watch users/ --prefix --from-revision 1200 --no-delete
  quorate watch '' --prefix --progress 10s -o json
  quorate watch config/ --prefix -- sh -c 'echo \"$QUORATE_WATCH_KEY\" changed; cat > app.conf'";

pub(super) const LEASE: &str = "\
A lease lives for its time to live from the last keep-alive; when it ends, its keys are deleted in one
revision. Only the leader counts the time; a new leader gives every lease its full time again.

Examples:
  lease=$(quorate lease grant --ttl 30s)
  quorate put members/me alive --lease $lease
  quorate lease keep-alive $lease
  quorate lease ttl $lease --keys
  quorate lease list -o table
  quorate lease revoke $lease";

pub(super) const LOCK: &str = "\
The command runs while the lock is held, as a process group of its own, with QUORATE_LOCK_KEY and
QUORATE_FENCING_TOKEN in its environment. When the lock is about to be lost, or on SIGTERM and SIGINT, the
group gets SIGTERM, then SIGKILL, before anybody else can hold the lock. That needs a quorate that runs: what
must not be done by two at once carries the token (put --guard, or a token that the resource compares).

Exit code: the command's (128 + N if signal N ended it); 1 if --wait was not enough; 3 if the lock was lost,
or the cluster cannot be reached.

Examples:
  quorate lock backup -- ./backup.sh
  quorate lock backup --wait 0s -- ./backup.sh || echo busy
  quorate lock reports --permits 3 --ttl 30s -- ./report.sh
  quorate lock ledger -- sh -c 'quorate put total 7 --guard $QUORATE_LOCK_KEY:$QUORATE_FENCING_TOKEN'
  quorate lock inspect backup -o table";

pub(super) const ELECT: &str = "\
An election is an exclusive lock with a value that others can read and observe. The command runs while this
candidate leads; everything else is as with `quorate lock --help`.

Examples:
  quorate elect scheduler $(hostname):8080 -- ./scheduler
  quorate elect scheduler $(hostname):8080 --ttl 3s";

pub(super) const OBSERVE: &str = "\
Prints a line for the present leader and for every change of leader or value, in order: revision, token and
value, - for no leader; with -o json {\"revision\": …, \"leader\": {…}}. Ends with a signal.

Examples:
  quorate observe scheduler
  quorate observe scheduler --after 1200 -o json";

pub(super) const COMPACT: &str = "\
Examples:
  quorate compact 1000";

pub(super) const STATUS: &str = "\
Asks every endpoint; one that does not answer is shown with its error. LAG is the number of log
entries that a member lacks, as the leader counts them. Exit code 3 if nobody answered, or
endpoints are of several clusters.

Stages (--stages), since the member started; a quantile is at most an eighth too high:
  write     a write, from its admission to its answer
  propose   the same at the leader, from Raft to result
  log_sync  an append, until it is on that member's disk
  commit    an append, until it is committed and its turn to be applied has come
  apply     a chunk of entries
  round     a read waiting for a quorum
  catch_up  a read waiting for the log to be applied

Examples:
  quorate status
  quorate status --stages
  quorate status -o json | jq '.[] | select(.role == \"leader\") | .id'";

pub(super) const MEMBERS: &str = "\
Examples:
  quorate members
  quorate member list -o json";

pub(super) const HASH: &str = "\
Asks every endpoint. Hashes are comparable at equal revisions: exit code 1 if two members differ at one.

Examples:
  quorate hash
  quorate hash --revision 1000 -o json";

pub(super) const COMPLETION: &str = "\
Examples:
  quorate completion bash > ~/.local/share/bash-completion/completions/quorate
  quorate completion zsh > ~/.zfunc/_quorate
  quorate completion fish > ~/.config/fish/completions/quorate.fish";

pub(super) const TORTURE: &str = "\
Starts a cluster of real processes on loopback ports, with a proxy on each link, lets clients do
everything while things go wrong, heals it, and checks what they saw. With --endpoints it works on
a cluster that runs already, and does it no harm. Leaves in --out: history.jsonl (for `quorate
check`), report.html (open it in a browser), summary.json, and each member's log.

Exit codes: 0 every promise was kept, 1 one was broken, 2 nothing is known or too little happened
(void), 3 it could not be made.

Nemeses (--nemesis, separated by commas; all: every one but clock-beyond; none):
  kill kill-all restart rolling-restart pause partition one-way slow drop reset client clock
  disk-full corrupt compact; clock-beyond breaks the assumption of leases, and the report says so
Workloads (--workload; all):
  register cas txn append set counter lock lease watch election

Examples:
  quorate torture --duration 60s --seed 7 --out run7
  quorate torture --nodes 5 --nemesis kill,partition --workload register,lock --out run8
  quorate torture --script contrast --workload register --out contrast
  quorate torture --script clock --workload register --out clocks
  quorate torture --endpoints 10.0.0.1:7401,10.0.0.2:7401 --duration 5m --out theirs";

pub(super) const BENCH: &str = "\
Clients work for --warmup, then for --duration, which is measured; a workload that reads puts its
keys before. Without --rate each client begins when its last operation has ended. --route any
spreads the connections of get and scan over the members; writes go to the leader. --timeout is
for each operation. An operation that fails is counted by kind, and its client pauses for 10 ms.
The keys bench/… stay in the store, and the leases of lease for two minutes.

Per operation, of the members named by --server-pids: user and system time, bytes written to
disks. Flushes of disks are those of the whole machine. What is not known is null in JSON, - in
the table.

Exit codes: 0 measured, 1 not one operation succeeded, 2 usage, 3 the keys could not be put.

Examples:
  quorate bench put --clients 256 --server-pids $(pgrep -d, -f 'quorate serve')
  quorate bench get --route leader
  quorate bench get --consistency eventual --route follower -o json
  quorate bench mixed --rate 2000 --duration 60s --html mixed.html
  quorate bench put --value-size 64KiB --clients 8
  quorate bench get --consistency lease --against-noop
  quorate bench put --plain
  quorate bench put --etcd 127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379";

pub(super) const CHECK: &str = "\
Reads a history (docs/history-format.md) and says what it proves: tier t0 that it is well-formed,
t1 that an order by revision explains it, t2 that values alone do, t3 that transactions over lists
have an order, t4 what watches, leases and locks promise, and for each level of consistency what
it gave. A search that reaches --deadline or --memory says unknown; it never guesses. Operations
of unknown outcome count as such.

Exit codes: 0 no promise is broken, 1 one is, 2 unknown, 3 the file is no history (line, column,
and what was expected are told).

Models (--model): kv register cas-register list-append set lock

Examples:
  quorate check run7/history.jsonl
  quorate check run7/history.jsonl --report report.html
  quorate check history.edn --model cas-register --deadline 5m -o json
  quorate check run7/history.jsonl --export edn --key register/3 --out register3.edn
  quorate check run7/history.jsonl --export edn --out lists.edn";
