#!/usr/bin/env python3
"""Measurements of three local members that take more than one run of `quorate bench`.

  scripts/measure.py failover [--trials 20] [--signal KILL|TERM]   how long writes stop when the leader goes
  scripts/measure.py cold                   start, restart, memory at rest, size of the program
  scripts/measure.py growth [--quick] [--of log …]   how the cost of an operation moves with keys, values, clients,
                                            watchers, leases, the length of the log; all of them, or these
  scripts/measure.py beside                 puts while a snapshot, a compaction, a catch-up, a stuck watcher goes on,
                                            and beside a program that only computes
  scripts/measure.py soak [--minutes 30]    full load with periodic compaction: terms, memory, disk
  scripts/measure.py check [--record]       processor time per operation against a server that does nothing, and
                                            against what docs/bench-baseline.json remembers; fails beyond half as much more

Each starts members of its own on free ports below target/measure, and stops them. Figures go to standard output as
lines of a Markdown table, what goes on to standard error. QUORATE_BIN names the program (default
target/release/quorate). Only Python's standard library is needed.
"""
import argparse, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("QUORATE_BIN", ROOT / "target/release/quorate"))
BASELINE = ROOT / "docs/bench-baseline.json"
TOLERANCE = 1.5


def say(text):
    print(text, file=sys.stderr, flush=True)


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def free_base():
    """A port behind which the six that a cluster of three needs are free."""
    for base in range(24000 + os.getpid() % 50 * 100, 32000, 250):
        try:
            for port in [base + place + id for place in (0, 100) for id in (1, 2, 3)]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    sys.exit("error: no free ports")


class Cluster:
    """Three members, started by scripts/cluster.sh and gone at the end of the `with`."""

    def __init__(self, **settings):
        (ROOT / "target/measure").mkdir(parents=True, exist_ok=True)
        self.dir = Path(tempfile.mkdtemp(dir=ROOT / "target/measure"))
        self.base = free_base()
        self.env = os.environ | {"QUORATE_BIN": str(BIN)} | {f"QUORATE_{k.upper()}": v for k, v in settings.items()}
        self.endpoints = ",".join(f"127.0.0.1:{self.base + id}" for id in (1, 2, 3))

    def __enter__(self):
        self.script("start", "--base-port", str(self.base))
        return self

    def __exit__(self, *_):
        self.script("stop", check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def script(self, *words, check=True):
        words = [ROOT / "scripts/cluster.sh", *words, "--dir", self.dir / "c"]
        subprocess.run(words, env=self.env, stdout=subprocess.DEVNULL, check=check)

    def pid(self, id):
        return int((self.dir / f"c/node-{id}/pid").read_text())

    def pids(self):
        return [self.pid(id) for id in (1, 2, 3) if (self.dir / f"c/node-{id}/pid").exists()]

    def run(self, *words, check=True):
        command = [BIN, "--endpoints", self.endpoints, "-o", "json", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)
        if check and done.returncode:
            sys.exit(f"error: {' '.join(map(str, words))}: {done.stderr.strip()}")
        return json.loads(done.stdout or "null")

    def bench(self, *words):
        command = [BIN, "bench", *map(str, words), "--endpoints", self.endpoints, "-o", "json"]
        command += ["--server-pids", ",".join(map(str, self.pids()))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def measured(self, *words):
        return result(self.bench(*words))

    def status(self):
        """The leader's id, its term and the revision."""
        for member in self.run("status", check=False) or []:
            if member.get("role") == "leader":
                return member["id"], member["term"], member["revision"]
        sys.exit("error: nobody leads")

    def rest(self):
        """Waits until the members have nothing more to do: for two minutes at most."""
        def used():
            fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in self.pids()]
            return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")
        for _ in range(60):
            before = used()
            time.sleep(2)
            if used() - before < 0.2:
                return
        say("the members are still busy")

    def disk(self):
        files = [f for f in (self.dir / "c").rglob("*") if f.is_file() and "/data/" in str(f)]
        return sum(f.stat().st_blocks * 512 for f in files if f.exists()) / 3


def result(process):
    out = process.communicate()[0]
    return json.loads(out) if out else sys.exit("error: the measurement failed")


def memory(pids):
    def resident(pid):
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024
    return [round(resident(pid)) for pid in pids]


def failover(options):
    gaps, failed = [], {}
    with Cluster() as cluster:
        for trial in range(options.trials):
            load = cluster.bench("put", "--retry", "--clients", 8, "--rate", 400, "--warmup", "500ms", "--duration", "4s",
                                 "--keys", 100)
            time.sleep(1.5)
            leader, _, _ = cluster.status()
            os.kill(cluster.pid(leader), getattr(signal, f"SIG{options.signal}"))
            measured = result(load)
            gaps.append(measured["max_ms"])
            for kind, count in measured["errors"].items():
                failed[kind] = failed.get(kind, 0) + count
            say(f"trial {trial + 1}: {gaps[-1]:.0f} ms, errors {measured['errors']}")
            cluster.script("restart", str(leader))
            time.sleep(1)
    row("signal", "trials", "median ms", "least", "most", "failed writes of a retrying client")
    row(*["---"] * 6)
    row(f"SIG{options.signal}", len(gaps), round(statistics.median(gaps)), round(min(gaps)), round(max(gaps)), failed or 0)


def cold(_):
    with Cluster() as cluster:
        rest = memory(cluster.pids())
        cluster.measured("put", "--clients", 256, "--duration", "15s", "--warmup", "0s")
        loaded = memory(cluster.pids())
        starts, follower = [], 1 + cluster.status()[0] % 3
        for _ in range(5):
            cluster.script("kill", str(follower))
            began = time.time()
            cluster.script("restart", str(follower))
            starts.append((time.time() - began) * 1000)
    begun = []
    for _ in range(3):
        began = time.time()
        with Cluster():
            begun.append((time.time() - began) * 1000)
    row("what", "figure")
    row("---", "---")
    row("a cluster of three, from nothing to ready (ms, median of 3)", round(statistics.median(begun)))
    row("a killed member with 15 s of puts behind it, to ready (ms, median of 5)", round(statistics.median(starts)))
    row("memory at rest (MiB)", rest)
    row("memory after 15 s of puts by 256 clients (MiB)", loaded)
    row("size of the program (MiB; stripped)", f"{BIN.stat().st_size / 2**20:.0f}; {stripped():.0f}")


def stripped():
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["strip", "-o", out.name, BIN], check=False)
        return os.stat(out.name).st_size / 2**20


def line(what, put, get):
    cells = [what]
    for one in (put, get):
        cells += ["-"] * 3 if one is None else [round(one["ops_per_s"]), f"{one['p99_ms']:.1f}", round(one["server_cpu_us_per_op"])]
    row(*cells, memory_of(get or put))


def memory_of(measured):
    return "/".join(str(round(size / 2**20)) for size in measured["server_rss_bytes"])


def pair(cluster, *words):
    seconds = ["--duration", "5s", "--warmup", "1s"]
    put = cluster.measured("put", "--plain", *words, *seconds)
    return put, cluster.measured("get", "--plain", "--route", "leader", *words, *seconds)


def growth_of_keys(options):
    for keys in [10_000, 100_000] if options.quick else [10_000, 100_000, 1_000_000, 5_000_000]:
        with Cluster() as cluster:
            get = cluster.measured("get", "--plain", "--route", "leader", "--keys", keys, "--duration", "5s")
            put = cluster.measured("put", "--plain", "--keys", keys, "--duration", "5s", "--loaded")
            line(f"{keys:,} keys", put, get)


def growth_of_values(_):
    with Cluster() as cluster:
        for size in ["16", "256", "4KiB", "64KiB"]:
            line(f"values of {size}", *pair(cluster, "--value-size", size, "--keys", 1000))


def growth_of_clients(_):
    with Cluster() as cluster:
        for clients in [1, 16, 64, 256, 1000, 2000]:
            connections = min(64, clients)
            line(f"{clients} clients", *pair(cluster, "--clients", clients, "--connections", connections, "--keys", 1000))


def growth_of_watchers(_):
    with Cluster() as cluster:
        for count in [0, 100, 1000]:
            watchers = cluster.bench("watch", "--clients", count, "--rate", 1, "--duration", "16s") if count else None
            time.sleep(3 if count else 0)
            line(f"{count} watchers of another key", *pair(cluster, "--keys", 1000))
            if watchers:
                watchers.communicate()


def growth_of_leases(_):
    with Cluster() as cluster:
        leases = 0
        for seconds in [0, 2, 12]:
            if seconds:
                granting = ["--clients", 256, "--warmup", "0s", "--duration", f"{seconds}s"]
                leases += cluster.measured("lease", *granting)["ops"]
            line(f"{leases:,} leases", *pair(cluster, "--keys", 1000))


def growth_of_log(_):
    """Without snapshots the log grows. What the state remembers of it is compacted before each measurement."""
    with Cluster(snapshot_log_bytes="16GiB") as cluster:
        for seconds in [2, 15, 30]:
            filling = ["--plain", "--clients", 1000, "--connections", 4, "--keys", 1000, "--duration", f"{seconds}s"]
            cluster.measured("pipeline", *filling)
            cluster.run("compact", cluster.status()[2])
            cluster.rest()
            length = cluster.run("status")[0]["last_log_index"]
            line(f"a log of {length:,} entries", *pair(cluster, "--keys", 1000))


GROWTH = {
    "keys": growth_of_keys,
    "values": growth_of_values,
    "clients": growth_of_clients,
    "watchers": growth_of_watchers,
    "leases": growth_of_leases,
    "log": growth_of_log,
}


def growth(options):
    row("", "puts/s", "p99 ms", "µs/put", "gets/s", "p99 ms", "µs/get", "MiB")
    row(*["---"] * 8)
    for what in options.of or GROWTH:
        GROWTH[what](options)


def beside(_):
    load = ["put", "--plain", "--clients", 64, "--rate", 3000, "--duration", "8s", "--warmup", "2s"]
    quiet = []

    def told(what, measured):
        if what.startswith("quiet"):
            quiet.append(measured["p99_ms"])
        ratio = measured["p99_ms"] / quiet[0]
        row(what, f"{measured['p50_ms']:.2f}", f"{measured['p99_ms']:.2f}", f"{measured['max_ms']:.0f}", f"{ratio:.2f}")

    row("3,000 puts/s, 64 clients, beside", "p50 ms", "p99 ms", "max ms", "p99, to the first quiet one")
    row(*["---"] * 5)
    with Cluster(snapshot_log_bytes="1GiB") as cluster:
        cluster.measured("put", "--plain", "--clients", 256, "--duration", "10s", "--keys", 50_000)
        told("quiet", cluster.measured(*load))
        leader, _, revision = cluster.status()
        run = cluster.bench(*load)
        time.sleep(3)
        cluster.run("compact", revision)
        told(f"a compaction of {revision:,} revisions", result(run))
        told("quiet again", cluster.measured(*load))
        # What anything costs that takes a processor: the measure for the next one.
        computing = subprocess.Popen(["timeout", "30", sys.executable, "-c", "while True: pass"])
        told("a program that only computes", cluster.measured(*load))
        computing.terminate()
        computing.wait()
        follower = 1 + leader % 3
        cluster.script("kill", str(follower))
        cluster.measured("put", "--plain", "--clients", 256, "--duration", "8s", "--keys", 50_000)
        run = cluster.bench(*load)
        time.sleep(3)
        cluster.script("restart", str(follower))
        told("a follower that catches up with 8 s of full load", result(run))
        watch = subprocess.Popen([BIN, "--endpoints", cluster.endpoints, "watch", "bench/", "--prefix"], stdout=subprocess.PIPE)
        time.sleep(1)
        watch.send_signal(signal.SIGSTOP)
        told("a watcher that does not read", cluster.measured(*load))
        watch.kill()
        watch.wait()
        cluster.script("kill", str(follower))
        told("a dead follower", cluster.measured(*load))
    with Cluster(snapshot_log_bytes="4MiB") as cluster:
        cluster.measured("put", "--plain", "--clients", 256, "--duration", "10s", "--keys", 50_000)
        told("snapshots all the time (every 4 MiB, or their own size)", cluster.measured(*load))
    with Cluster(snapshot_log_bytes="1GiB") as cluster:
        cluster.measured("put", "--plain", "--clients", 256, "--duration", "10s", "--keys", 50_000)
        told("quiet, as that one was before", cluster.measured(*load))


def soak(options):
    row("minute", "puts/s", "p99 ms", "µs/put", "MiB/node", "disk MB/node", "term", "errors")
    row(*["---"] * 8)
    with Cluster() as cluster:
        _, first_term, kept = cluster.status()
        for minute in range(1, options.minutes + 1):
            measured = cluster.measured("put", "--plain", "--clients", 256, "--duration", "58s", "--warmup", "1s")
            _, term, revision = cluster.status()
            # What is older than a minute goes.
            cluster.run("compact", kept) if kept else None
            kept = revision
            cells = [round(measured["ops_per_s"]), f"{measured['p99_ms']:.1f}", round(measured["server_cpu_us_per_op"])]
            row(minute, *cells, memory_of(measured), round(cluster.disk() / 1e6), term, measured["errors"] or 0)
        if term != first_term:
            sys.exit(f"error: elections under load: the term went from {first_term} to {term}")


def ratios():
    """Processor time of members per operation, to that of a server that does nothing; the least of three."""
    found = {}
    with Cluster() as cluster:
        for turn in range(3):
            for name, words in {"put": ["put"], "get": ["get", "--route", "leader"],
                                "eventual": ["get", "--consistency", "eventual", "--route", "leader"]}.items():
                run = cluster.measured(*words, "--plain", "--against-noop", "--duration", "3s", "--warmup", "1s")
                found[name] = min(found.get(name, 1e9), run["ratios"]["server_cpu"])
                say(f"turn {turn + 1}: {name} costs {run['ratios']['server_cpu']:.2f} times what nothing does")
    return found


def check(options):
    found = ratios()
    if options.record:
        BASELINE.write_text(json.dumps({name: round(ratio, 2) for name, ratio in found.items()}, indent=1) + "\n")
        return
    known, worse = json.loads(BASELINE.read_text()), []
    row("workload", "to a server that does nothing", "recorded")
    row("---", "---", "---")
    for name, ratio in found.items():
        row(name, f"{ratio:.2f}", known[name])
        if ratio > known[name] * TOLERANCE:
            worse.append(name)
    if worse:
        sys.exit(f"error: {', '.join(worse)}: more than {TOLERANCE} times the processor time that was recorded")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("failover")
    command.add_argument("--trials", type=int, default=20)
    command.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    commands.add_parser("cold")
    growing = commands.add_parser("growth")
    growing.add_argument("--quick", action="store_true")
    growing.add_argument("--of", nargs="+", choices=GROWTH)
    commands.add_parser("beside")
    commands.add_parser("soak").add_argument("--minutes", type=int, default=30)
    commands.add_parser("check").add_argument("--record", action="store_true")
    options = parser.parse_args()
    if not os.access(BIN, os.X_OK):
        sys.exit(f"error: there is no program at {BIN}: run `make build` first, or set QUORATE_BIN")
    globals()[options.command](options)


if __name__ == "__main__":
    main()
